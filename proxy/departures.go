package proxy

import (
	"sync"
	"time"

	"waxseal/keystore/unproven"
	"waxseal/proxy/store"
)

// lookForClients is how often connections of calls in flight are looked at, and how old a call is before its own is.
// Fasthttp does not tell a handler that its client has left.
const lookForClients = 250 * time.Millisecond

// attended are the calls in flight whose work ends when their client leaves.
type attended struct {
	mu    sync.Mutex
	calls map[*call]*unproven.Conn
}

// attend has the call's work end when its client leaves: what waits for the store would hold the call's place otherwise.
// The function that it returns ends that, and must be called before the call does.
func (a *attended) attend(c *call) (end func()) {
	conn := unproven.Of(c.ctx.Conn())
	if conn == nil {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == nil {
		a.calls = make(map[*call]*unproven.Conn)
	}
	a.calls[c] = conn
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, c)
	}
}

// look ends the work of calls whose clients have left.
func (a *attended) look(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, conn := range a.calls {
		if now.Sub(c.taken) >= lookForClients && conn.Gone() {
			c.abandon(store.ErrClientGone)
			delete(a.calls, c)
		}
	}
}

// watchClients looks for clients that have left, until the server ends.
func (s *Server) watchClients() {
	tick := time.NewTicker(lookForClients)
	defer tick.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case now := <-tick.C:
			s.attended.look(now)
		}
	}
}
