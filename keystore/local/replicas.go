package local

import (
	"strings"
	"sync"
	"time"
)

// follow drops entries from memory when replicas change them. It also sees this replica's own changes.
func (s *Service) follow() {
	keys := s.state.Follow(keyPrefix, func(path string, _ int64) {
		if path == "" {
			s.changedElsewhere("")
			return
		}
		if account, id, ok := strings.Cut(strings.TrimPrefix(path, keyPrefix), "/"); ok {
			s.changedElsewhere(keyARN(s.region, account, id))
		}
	})
	root := s.state.Follow(rootKey, func(string, int64) { s.root.changed() })
	s.unfollow = func() { keys(); root() }
}

// OnChangeElsewhere registers a function for changes of a key or its grants by another replica. It is called after
// every such change, and may be called after this replica's own; "" means every key. It must not call the state: all
// changes wait for it.
func (s *Service) OnChangeElsewhere(hook func(keyARN string)) {
	s.hooksMu.Lock()
	defer s.hooksMu.Unlock()
	s.elsewhere = append(s.elsewhere, hook)
}

func (s *Service) changedElsewhere(keyARN string) {
	s.hooksMu.RLock()
	defer s.hooksMu.RUnlock()
	for _, hook := range s.elsewhere {
		hook(keyARN)
	}
}

// changed lets the next look for an unknown version of the root read the state at once.
func (c *rootCache) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

// secondLook is how long a key must have been due for deletion by the monotonic clock.
const secondLook = time.Hour

// deletions are the keys found due for deletion, with the monotonic time of the find.
type deletions struct {
	mu    sync.Mutex
	found map[string]time.Time
}

// mayDelete reports whether a due key may be deleted. A deletion cannot be undone. A process alone goes by its own
// clock, guarded by clockWatch. A replica's clock may be the only wrong clock of many: so the key must have been due
// for an hour, and the clocks of all live replicas must agree.
func (s *Service) mayDelete(k *key) bool {
	if !s.replicas.Shared() {
		return true
	}
	id := k.ID + " " + k.DeletionDate.String()
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	if s.waiting.found == nil {
		s.waiting.found = make(map[string]time.Time)
	}
	first, ok := s.waiting.found[id]
	if !ok {
		s.waiting.found[id] = s.mono()
		return false
	}
	if s.mono().Sub(first) < secondLook || !s.replicas.ClocksAgree() {
		return false
	}
	delete(s.waiting.found, id)
	return true
}
