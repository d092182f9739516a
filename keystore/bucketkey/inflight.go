package bucketkey

import (
	"context"
	"sync"
	"time"

	"waxseal/keystore"
)

// callKind is the purpose of a call to the provider.
type callKind uint8

const (
	callGenerate callKind = iota + 1
	callAuthorize
	callDecrypt
	callResolve
	callChains
)

// callKey tells calls with different answers apart. The epoch is part of it: a request after a Forget must not get the
// answer of a call from before.
type callKey struct {
	kind   callKind
	who    requester
	action keystore.Action
	id     id
	epoch  uint64
}

// result is the answer of a call. Its fields depend on the kind of the call.
type result struct {
	key    *opened // with one reference, which becomes the waiters'
	active *active
	info   keystore.KeyInfo
	chains *chains
}

// group makes concurrent requests with the same callKey wait for one call, as singleflight of golang.org/x/sync does.
// Each waiter gets a reference of its own to the key: with singleflight, a key could be evicted and zeroed between the
// end of the call and the wake-up of a waiter.
type group struct {
	mu sync.Mutex
	m  map[callKey]*call
}

// call is a call to the provider under way.
type call struct {
	done chan struct{}

	// Locked by group.mu until done is closed.
	waiters  int
	returned bool

	// Valid once done is closed.
	result result
	err    error
}

// do waits for the call with this key, and starts it unless it is under way. The call has a time limit, and goes on when
// a request ends: a client that gives up fails no other request, and the answer is cached all the same.
func (g *group) do(ctx context.Context, key callKey, limit time.Duration, f func(context.Context) (result, error)) (result, error) {
	g.mu.Lock()
	c, ok := g.m[key]
	if !ok {
		c = &call{done: make(chan struct{})}
		if g.m == nil {
			g.m = make(map[callKey]*call)
		}
		g.m[key] = c
		go g.run(context.WithoutCancel(ctx), key, c, limit, f)
	}
	c.waiters++
	g.mu.Unlock()

	select {
	case <-c.done:
		return c.result, c.err
	case <-ctx.Done():
		g.leave(c)
		return result{}, ctx.Err()
	}
}

func (g *group) run(ctx context.Context, key callKey, c *call, limit time.Duration, f func(context.Context) (result, error)) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := safely(ctx, f)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.m, key)
	c.result, c.err, c.returned = r, err, true
	if r.key != nil {
		for range c.waiters {
			r.key.retain()
		}
		r.key.Release()
	}
	close(c.done)
}

// safely turns a panic into an error. In this goroutine, without the recover of a request, a panic would end the process.
func safely(ctx context.Context, f func(context.Context) (result, error)) (r result, err error) {
	defer func() {
		if v := recover(); v != nil {
			r, err = result{}, keystore.Panicked(v)
		}
	}()
	return f(ctx)
}

// leave ends the wait for a call. The waiter owns a reference if the call has returned at that very moment.
func (g *group) leave(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.returned {
		c.waiters--
	} else if c.result.key != nil {
		c.result.key.Release()
	}
}
