package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const cutTime = 5 * time.Second

// Shutdown finishes the requests in flight. When ctx ends it cuts and logs the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	s.listening.refuse()
	err := s.http.ShutdownWithContext(ctx)
	s.listening.close()
	cut := s.running.list()
	s.stop()
	if err != nil {
		s.logCut(cut)
		s.awaitCut()
	}
	s.janitor.Wait()
	s.up.Close()
	if err != nil && len(cut) > 0 {
		return fmt.Errorf("proxy: %d requests were cut at shutdown: %w", len(cut), err)
	}
	return nil
}

// awaitCut waits for the cut requests for up to cutTime, while they abort their work at the store.
func (s *Server) awaitCut() {
	for limit := time.Now().Add(cutTime); s.places.taken() > 0 && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
}

// cutLines is how many of the cut requests have a line in the log.
const cutLines = 50

func (s *Server) logCut(cut []request) {
	for i, r := range cut {
		if i == cutLines {
			s.log.Warn("requests cut at shutdown", "more", len(cut)-i)
			return
		}
		s.log.Warn("request cut at shutdown", "id", r.id, "op", r.op, "bucket", r.bucket, "key", r.key,
			"running", s.cfg.Now().Sub(r.start).Round(time.Millisecond))
	}
}

// request names a request that is worked on.
type request struct {
	id, op, bucket, key string
	start               time.Time
}

// running are the requests that are worked on, for the log of a shutdown.
type running struct {
	mu    sync.Mutex
	calls map[*call]request
}

func (r *running) add(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = make(map[*call]request)
	}
	r.calls[c] = request{id: c.id, op: c.route.name, bucket: c.bucket, key: c.key, start: c.start}
}

func (r *running) remove(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, c)
}

func (r *running) list() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]request, 0, len(r.calls))
	for _, one := range r.calls {
		all = append(all, one)
	}
	return all
}
