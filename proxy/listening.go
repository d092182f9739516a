package proxy

import (
	"net"
	"sync"
)

// listening are the listeners that are served. fasthttp's Shutdown knows only those whose Serve has come to register
// them: one that is just being started would be served for ever.
type listening struct {
	mu     sync.Mutex
	open   []net.Listener
	closed bool
}

func (s *Server) serveAt(l net.Listener) error {
	if !s.listening.add(l) {
		return l.Close()
	}
	err := s.http.Serve(l)
	if s.listening.over() {
		return nil // whatever a closed listener says
	}
	return err
}

// add is false after the end.
func (a *listening) add(l net.Listener) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.open = append(a.open, l)
	}
	return !a.closed
}

func (a *listening) over() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// refuse lets no more listeners in.
func (a *listening) refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// close closes those that fasthttp has not.
func (a *listening) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.open {
		_ = l.Close() // most are closed already
	}
}
