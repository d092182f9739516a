package proxy

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"waxseal/keystore/unproven"
)

// limitListener wraps every connection so that an idle one, or one that trickles, does not stay for ever, while a
// slow upload of many gigabytes does.
func (s *Server) limitListener(l net.Listener) net.Listener {
	return &limitedListener{unproven.Listen(l, s.places.connections), s.cfg.IdleTimeout, s.cfg.MinRate, s.cfg.RateWindow}
}

type limitedListener struct {
	net.Listener
	idle   time.Duration
	rate   int64
	window time.Duration
}

func (l *limitedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &limitedConn{Conn: c, idle: l.idle, rate: l.rate, window: l.window}, nil
}

// limitedConn gives every read and write a deadline of its own, unless fasthttp has set one, and ends a connection
// that moves fewer than rate bytes for each second that the server waits for the client. Time in which the server
// waits for the store does not count.
type limitedConn struct {
	net.Conn
	idle   time.Duration
	rate   int64
	window time.Duration // how much waiting is looked at before a connection can be called slow

	reads, writes flow
}

// NetConn is the connection beneath.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

// flow is one direction of a connection.
type flow struct {
	fixed  atomic.Bool // a deadline was set from outside
	waited time.Duration
	moved  int64
}

var errTooSlow = fmt.Errorf("the client is slower than the minimum rate: %w", os.ErrDeadlineExceeded)

func (c *limitedConn) Read(p []byte) (int, error) {
	return c.reads.do(p, c.Conn.Read, c.Conn.SetReadDeadline, c)
}

func (c *limitedConn) Write(p []byte) (int, error) {
	return c.writes.do(p, c.Conn.Write, c.Conn.SetWriteDeadline, c)
}

func (f *flow) do(p []byte, move func([]byte) (int, error), deadline func(time.Time) error, c *limitedConn) (int, error) {
	if f.fixed.Load() {
		return move(p)
	}
	begin := time.Now()
	if err := deadline(begin.Add(c.idle)); err != nil {
		return 0, err
	}
	n, err := move(p)
	f.waited += time.Since(begin)
	f.moved += int64(n)
	if f.waited < c.window {
		return n, err
	}
	slow := f.moved < int64(f.waited.Seconds())*c.rate
	f.waited, f.moved = 0, 0
	if slow && err == nil {
		err = errTooSlow
	}
	return n, err
}

// SetReadDeadline hands the deadline over to who sets it, and takes it back when it is cleared.
func (c *limitedConn) SetReadDeadline(t time.Time) error {
	c.reads.fixed.Store(!t.IsZero())
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is the same for writes.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	c.writes.fixed.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is both.
func (c *limitedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
