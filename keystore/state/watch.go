package state

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// WatchBuffer bounds a watcher's queue. A watcher further behind gets Lagged.
const WatchBuffer = 1024

// Hub hands the changes of a Store to its watchers. Its zero value is ready for use.
type Hub struct {
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}

	following sync.Mutex
	followers []*follower // followers of the empty prefix stand last
}

// follower is called for each change, before watchers hear of it.
type follower struct {
	prefix string
	see    func(key string, rev int64)
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

// Watch implements Store.Watch.
func (h *Hub) Watch(ctx context.Context, prefix string) (<-chan Event, error) {
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

// Publish queues changes. Callers publish in order of revision, and leave the events' values as they are.
func (h *Hub) Publish(events []Event) {
	followers := h.currentFollowers()
	for _, e := range events {
		for _, f := range followers {
			if strings.HasPrefix(e.Key, f.prefix) {
				f.see(e.Key, e.Revision)
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.push(events)
	}
}

// Follow implements Store.Follow.
func (h *Hub) Follow(prefix string, see func(key string, rev int64)) (stop func()) {
	h.following.Lock()
	defer h.following.Unlock()
	f := &follower{prefix, see}
	at := len(h.followers)
	for prefix != "" && at > 0 && h.followers[at-1].prefix == "" {
		at--
	}
	h.followers = slices.Insert(slices.Clone(h.followers), at, f)
	return func() {
		h.following.Lock()
		defer h.following.Unlock()
		h.followers = slices.DeleteFunc(slices.Clone(h.followers), func(other *follower) bool { return other == f })
	}
}

// currentFollowers returns the followers of now. Their list is never changed in place.
func (h *Hub) currentFollowers() []*follower {
	h.following.Lock()
	defer h.following.Unlock()
	return h.followers
}

// Lag tells every watcher and follower that changes up to a revision were lost.
func (h *Hub) Lag(rev int64) {
	for _, f := range h.currentFollowers() {
		f.see("", rev)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.lag()
	}
}

// Close ends all watches.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		w.close()
	}
}

func (w *watcher) push(events []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		if w.lagged || !strings.HasPrefix(e.Key, w.prefix) {
			continue
		}
		if len(w.queue) == WatchBuffer {
			w.queue, w.lagged = nil, true
			break
		}
		// Each watcher gets a copy of the value, and may change it.
		e.Value = append([]byte(nil), e.Value...)
		w.queue = append(w.queue, e)
	}
	w.signal()
}

func (w *watcher) lag() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue, w.lagged = nil, true
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

// take empties the queue. A lagging watcher gets a single Lagged event and starts anew.
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

// events returns the changes of a transaction.
func events(ops []Op, rev int64) []Event {
	all := make([]Event, len(ops))
	for i, op := range ops {
		all[i] = Event{Key: op.Key, Value: op.Value, Revision: rev, Deleted: op.Delete}
	}
	return all
}
