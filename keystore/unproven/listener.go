package unproven

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A burst of clients that are all about to send their requests is no flood, and a server that is busy has not been kept
// waiting by them. So another may take a connection's room only when the server has waited for its client for grace, when
// its client has shown nothing within patience, or pause after a request of it was answered for which it had shown nothing.
const (
	grace    = 250 * time.Millisecond
	patience = 2 * time.Second
	// pause is between two requests of such a client, where connections are scarce.
	pause = 250 * time.Millisecond
)

// Listen counts the connections of l in a pool until their clients have shown who they are.
func Listen(l net.Listener, pool *Pool) net.Listener { return &listener{l, pool} }

type listener struct {
	net.Listener
	pool *Pool
}

func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for !l.pool.takes(1) {
		time.Sleep(2 * time.Millisecond)
	}
	c := &Conn{Conn: raw, pool: l.pool}
	c.enter()
	return c, nil
}

// Conn is a connection that another may push out until its client has shown who it is.
type Conn struct {
	net.Conn
	pool *Pool

	mu     sync.Mutex
	member *Member
	turn   *turn // of the work on what the last Read brought; nil once it is over

	final    atomic.Bool  // proven, or closed
	waited   atomic.Int64 // for the client, since the connection has been in the pool
	answered atomic.Int64 // when a request was answered first, in nanoseconds since 1970; 0: none was
	waiting  atomic.Int64 // since when the server waits for the client, in nanoseconds since 1970; 0: it does not
}

func (c *Conn) enter() {
	c.waited.Store(0)
	c.answered.Store(0)
	since := time.Now()
	c.member = c.pool.enter(1, c.Cut, func(now time.Time) bool {
		return now.Sub(since) >= patience || c.kept(now) >= grace || c.paused(now)
	})
}

// kept is how long the server has waited for the client so far.
func (c *Conn) kept(now time.Time) time.Duration {
	kept := time.Duration(c.waited.Load())
	if begin := c.waiting.Load(); begin != 0 {
		kept += now.Sub(time.Unix(0, begin))
	}
	return kept
}

// Read implements net.Conn. Until the client is known, work on the bytes has to wait for its turn; the turn lasts to
// the next Read or Write, or to Rest.
func (c *Conn) Read(p []byte) (int, error) {
	c.Rest()
	n, err := c.await(c.Conn.Read, p)
	if n > 0 && !c.final.Load() {
		c.takeBreath()
		c.beginTurn()
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.Rest()
	return c.await(c.Conn.Write, p)
}

func (c *Conn) beginTurn() {
	t := processors.begin()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final.Load() || c.turn != nil {
		t.end()
		return
	}
	c.turn = t
}

// Rest ends the connection's turn at the processors: the work that follows is not the client's signature's.
func (c *Conn) Rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest()
}

func (c *Conn) rest() {
	if c.turn != nil {
		c.turn.end()
		c.turn = nil
	}
}

// Answered tells that the client gets an answer without having shown who it is. Unknown clients wait the longer for the
// next turn. After pause another may take the connection's room; where room is scarce, each further request waits as long.
func (c *Conn) Answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final.Load() {
		return
	}
	c.answered.CompareAndSwap(0, time.Now().UnixNano())
	if c.turn != nil {
		c.turn.refuse()
	}
}

// paused reports whether the first such answer was pause ago.
func (c *Conn) paused(now time.Time) bool {
	at := c.answered.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) >= pause
}

// takeBreath waits before a request that follows such an answer, where connections are scarce.
func (c *Conn) takeBreath() {
	if c.answered.Load() != 0 && c.pool.scarce() {
		time.Sleep(pause)
	}
}

// await counts the time that move takes as waiting for the client, until the client is known. When a Read and a Write
// overlap, that of the later one counts.
func (c *Conn) await(move func([]byte) (int, error), p []byte) (int, error) {
	if c.final.Load() {
		return move(p)
	}
	begin := time.Now()
	c.waiting.Store(begin.UnixNano())
	defer func() {
		c.waiting.Store(0)
		c.waited.Add(int64(time.Since(begin)))
	}()
	return move(p)
}

// Of finds the connection that a server's own, be it TLS, stands on; nil when its listener counts none.
func Of(conn net.Conn) *Conn {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// Prove says that the client has shown who it is: nobody takes the connection's room any more.
func (c *Conn) Prove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.final.Store(true)
	c.rest()
	c.member.Leave()
}

// Hold keeps the connection for a request of a client without a name that was let in; Release ends that.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest()
	c.member.Leave()
}

// Release counts a held connection again.
func (c *Conn) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.final.Load() {
		c.member.Leave()
		c.enter()
	}
}

// Cut closes the connection at once, without a word of TLS. Who serves it sees a read or a write fail, and closes it.
func (c *Conn) Cut() {
	_ = c.Conn.Close() // closed or not, nothing comes of it any more
}

// Close closes the connection, and gives its room back.
func (c *Conn) Close() error {
	c.Prove()
	return c.Conn.Close()
}

// NetConn is the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }
