package proxy

import (
	"net/http"
	"time"

	"waxseal/keystore/sigv4"
	"waxseal/keystore/unproven"
)

// Limits of requests whose sender is not known. The oldest makes room for the youngest (package unproven).
const (
	formsAtOnce      = 64 // POST forms whose fields, and with them their signature, are still to come
	formHeadTime     = 10 * time.Second
	preflightsAtOnce = 64
	anonymousShare   = 4 // anonymous requests take at most this fraction of the places
)

// places are what requests take while they are worked on. Only a request whose sender is known takes one, or, where the
// operator lets anonymous requests in, an anonymous one.
type places struct {
	inflight  chan struct{}
	anonymous chan struct{}

	connections *unproven.Pool
	forms       *unproven.Pool
	preflights  *unproven.Pool
}

func newPlaces(inflight, connections int) *places {
	return &places{
		inflight:    make(chan struct{}, inflight),
		anonymous:   make(chan struct{}, max(inflight/anonymousShare, 1)),
		connections: unproven.NewPool(int64(connections)),
		forms:       unproven.NewPool(formsAtOnce),
		preflights:  unproven.NewPool(preflightsAtOnce),
	}
}

func (p *places) taken() int { return len(p.inflight) }

// prove marks the connection as one whose client has shown who it is.
func (c *call) prove() {
	if conn := unproven.Of(c.ctx.Conn()); conn != nil {
		conn.Prove()
	}
}

// answeredUnknown tells the connection that its client gets an answer without having shown who it is.
func (c *call) answeredUnknown() {
	if conn := unproven.Of(c.ctx.Conn()); conn != nil {
		conn.Answered()
	}
}

// takePlace takes a place among the requests in flight, once the sender is known and before anything is done for it.
// CORS preflights have a pool of their own, and forms have one until their fields are read.
func (c *call) takePlace() error {
	anonymous := c.auth.Kind == sigv4.Anonymous
	if anonymous && c.method == http.MethodOptions {
		c.answeredUnknown() // whatever the answer will be
	}
	if conn := unproven.Of(c.ctx.Conn()); conn != nil {
		conn.Rest() // what follows may wait for the store
	}
	switch {
	case c.leave != nil, anonymous && c.route.name == "PostObject":
		return nil
	case anonymous && c.method == http.MethodOptions:
		c.hold(c.s.places.preflights.Enter(1, func() { c.abandon(errSlowDown) }).Leave)
		return nil
	case anonymous:
		return c.takeAnonymous()
	}
	return c.takeInFlight()
}

func (c *call) takeInFlight() error {
	select {
	case c.s.places.inflight <- struct{}{}:
	default:
		return errSlowDown
	}
	c.s.metrics.inflight.Inc()
	c.hold(func() {
		<-c.s.places.inflight
		c.s.metrics.inflight.Dec()
	})
	return nil
}

// hold keeps a place, which leave gives back, for as long as the client is there.
func (c *call) hold(leave func()) {
	c.taken = time.Now()
	c.alone = c.s.attended.attend(c)
	c.leave = func() {
		c.alone()
		leave()
	}
}

// takeAnonymous takes one of the places that anonymous requests have. The connection cannot be pushed out meanwhile.
func (c *call) takeAnonymous() error {
	select {
	case c.s.places.anonymous <- struct{}{}:
	default:
		return errSlowDown
	}
	if err := c.takeInFlight(); err != nil {
		<-c.s.places.anonymous
		return err
	}
	conn := unproven.Of(c.ctx.Conn())
	if conn != nil {
		conn.Hold()
	}
	leave := c.leave
	c.leave = func() {
		leave()
		<-c.s.places.anonymous
		if conn != nil {
			conn.Release()
		}
	}
	return nil
}

func (c *stay) leavePlace() {
	if c.leave != nil {
		c.leave()
		c.leave = nil
	}
}

// readingForm limits the forms whose fields are being read, and the time that each has for it. The function that it
// returns ends that.
func (c *call) readingForm() (read func()) {
	cut := func() { _ = c.ctx.Conn().Close() } // whoever serves it sees that
	if conn := unproven.Of(c.ctx.Conn()); conn != nil {
		cut = conn.Cut
	}
	m := c.s.places.forms.Enter(1, cut)
	c.ctx.SetReadDeadline(time.Now().Add(formHeadTime))
	return func() {
		c.ctx.SetReadDeadline(time.Time{})
		m.Leave()
	}
}
