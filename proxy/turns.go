package proxy

import (
	"context"
	"fmt"
	"sync"

	"waxseal/proxy/store"
)

// turns lets one request of this process at a time do something with what a name stands for.
type turns struct {
	mu     sync.Mutex
	queues map[string]*turnQueue
}

type turnQueue struct {
	turn  chan struct{} // holds one while it is somebody's
	users int
}

func newTurns() *turns { return &turns{queues: make(map[string]*turnQueue)} }

// take waits for a turn, at most until ctx ends; the function gives it back.
func (t *turns) take(ctx context.Context, name string) (release func(), err error) {
	t.mu.Lock()
	q := t.queues[name]
	if q == nil {
		q = &turnQueue{turn: make(chan struct{}, 1)}
		t.queues[name] = q
	}
	q.users++
	t.mu.Unlock()
	select {
	case q.turn <- struct{}{}:
		return func() {
			<-q.turn
			t.leave(name, q)
		}, nil
	case <-ctx.Done():
		t.leave(name, q)
		return nil, fmt.Errorf("%w: %w", store.ErrClientGone, ctx.Err())
	}
}

func (t *turns) leave(name string, q *turnQueue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.queues, name)
	}
}
