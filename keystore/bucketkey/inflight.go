package bucketkey

import (
	"context"
	"sync"
	"time"

	"waxseal/keystore"
)

// flightKind is what a flight does; see flightKey.
type flightKind uint8

const (
	flyGenerate flightKind = iota + 1
	flyAuthorize
	flyDecrypt
	flyResolve
)

// flightKey tells calls apart that may not answer for each other. The epoch is part of it: who asks after a key was
// forgotten does not get the answer of a call from before.
type flightKey struct {
	kind   flightKind
	who    requester
	action keystore.Action
	id     id
	epoch  uint64
}

// landing is what a flight brings back; which fields, depends on its kind.
type landing struct {
	key  *opened // with one reference, which becomes the waiters'
	cur  *current
	info keystore.KeyInfo
}

// flights makes concurrent requests that need the same call wait for one. It does what x/sync's singleflight does, and
// hands each waiter a reference of its own to the key: with singleflight, a key could be evicted and zeroed between the
// call's end and a waiter's waking.
type flights struct {
	mu sync.Mutex
	m  map[flightKey]*flight
}

type flight struct {
	done chan struct{}

	// Locked by flights.mu until done.
	waiters int
	landed  bool

	// Valid once done.
	result landing
	err    error
}

// do waits for the call with this key, which it starts unless one is under way. The call has a context without the
// request's end and with a time limit: who gives up waiting does not fail the others, and what the call brings is
// cached all the same.
func (f *flights) do(ctx context.Context, key flightKey, limit time.Duration, call func(context.Context) (landing, error)) (landing, error) {
	f.mu.Lock()
	fl, ok := f.m[key]
	if !ok {
		fl = &flight{done: make(chan struct{})}
		if f.m == nil {
			f.m = make(map[flightKey]*flight)
		}
		f.m[key] = fl
		go f.fly(context.WithoutCancel(ctx), key, fl, limit, call)
	}
	fl.waiters++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.result, fl.err
	case <-ctx.Done():
		f.leave(fl)
		return landing{}, ctx.Err()
	}
}

func (f *flights) fly(ctx context.Context, key flightKey, fl *flight, limit time.Duration, call func(context.Context) (landing, error)) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result, err := safely(ctx, call)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, key)
	fl.result, fl.err, fl.landed = result, err, true
	if result.key != nil {
		for range fl.waiters {
			result.key.retain()
		}
		result.key.Release()
	}
	close(fl.done)
}

// safely makes an error of a panic, which would end the process here: no request's recover is below it.
func safely(ctx context.Context, call func(context.Context) (landing, error)) (result landing, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = landing{}, keystore.Panicked(v)
		}
	}()
	return call(ctx)
}

// leave is for a waiter that gave up. When the flight landed at that very moment, it owns a reference.
func (f *flights) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !fl.landed {
		fl.waiters--
	} else if fl.result.key != nil {
		fl.result.key.Release()
	}
}
