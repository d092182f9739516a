package state

import (
	"context"
	"strings"
	"sync"
)

// watchBuffer bounds a watcher's queue. A watcher further behind gets Lagged.
const watchBuffer = 1024

// hub hands changes to watchers. Its zero value is ready for use.
type hub struct {
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

// watcher queues changes for a channel. Writers fill the queue and never wait for the channel.
type watcher struct {
	prefix string
	wake   chan struct{} // one token: the queue is no longer empty, or the hub closed
	out    chan Event

	mu     sync.Mutex
	queue  []Event
	lagged bool
	closed bool
}

func (h *hub) watch(ctx context.Context, prefix string) (<-chan Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &watcher{prefix: prefix, wake: make(chan struct{}, 1), out: make(chan Event)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.watchers == nil {
		h.watchers = make(map[*watcher]struct{})
	}
	h.watchers[w] = struct{}{}
	go func() {
		w.pump(ctx)
		h.mu.Lock()
		delete(h.watchers, w)
		h.mu.Unlock()
	}()
	return w.out, nil
}

// publish queues the changes of a transaction. Callers publish in order of revision.
func (h *hub) publish(ops []Op, rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.push(ops, rev)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		w.close()
	}
}

func (w *watcher) push(ops []Op, rev int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range ops {
		if w.lagged || !strings.HasPrefix(op.Key, w.prefix) {
			continue
		}
		if len(w.queue) == watchBuffer {
			w.queue, w.lagged = nil, true
			break
		}
		// Each watcher gets a copy of the value, and may change it.
		w.queue = append(w.queue, Event{Key: op.Key, Value: append([]byte(nil), op.Value...), Revision: rev, Deleted: op.Delete})
	}
	w.signal()
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. A watcher that lagged gets a single Lagged event and starts anew.
func (w *watcher) take() (events []Event, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, w.queue = w.queue, nil
	if w.lagged {
		events, w.lagged = []Event{{Lagged: true}}, false
	}
	return events, w.closed
}

func (w *watcher) pump(ctx context.Context) {
	defer close(w.out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		events, closed := w.take()
		if closed {
			return
		}
		for _, e := range events {
			select {
			case w.out <- e:
			case <-ctx.Done():
				return
			}
		}
	}
}
