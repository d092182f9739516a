// Package keyed has a mutex for each of many names.
package keyed

import (
	"context"
	"sync"
)

// Mutex lets one holder at a time work at what a name stands for: an upload or an object.
type Mutex struct {
	mu     sync.Mutex
	queues map[string]*queue
}

type queue struct {
	turn  chan struct{} // full while a holder works
	users int
}

// NewMutex makes a mutex that no name is locked in.
func NewMutex() *Mutex { return &Mutex{queues: make(map[string]*queue)} }

// Lock waits until nobody else holds name, or until ctx ends, which is an error of ctx. The function unlocks it.
func (m *Mutex) Lock(ctx context.Context, name string) (unlock func(), err error) {
	m.mu.Lock()
	q := m.queues[name]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		m.queues[name] = q
	}
	q.users++
	m.mu.Unlock()
	select {
	case q.turn <- struct{}{}:
		return func() {
			<-q.turn
			m.leave(name, q)
		}, nil
	case <-ctx.Done():
		m.leave(name, q)
		return nil, ctx.Err()
	}
}

func (m *Mutex) leave(name string, q *queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(m.queues, name)
	}
}
