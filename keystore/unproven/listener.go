package unproven

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A burst of clients about to send their requests is no flood, and a connection does not lose its room because the
// server is busy. So a newcomer may take the room of a connection only in three cases: the server has waited for the
// client for grace in total, the client has proven nothing within patience, or pause has passed since its first answer
// without proof.
const (
	grace    = 250 * time.Millisecond
	patience = 2 * time.Second
	// pause is also the delay before the next request of an answered, unproven client while connections are scarce.
	pause = 250 * time.Millisecond
)

// Listen counts the connections of l in a pool until their clients have proven their identity.
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

// Conn is a connection of a pool: a newcomer may take its room until the client has proven its identity.
type Conn struct {
	net.Conn
	pool *Pool

	mu     sync.Mutex
	member *Member
	turn   *turn // for the work on the bytes of the last Read; nil after its end

	final    atomic.Bool  // proven, or closed
	waited   atomic.Int64 // for the client, since the connection entered the pool
	answered atomic.Int64 // when the first request was answered without proof, in nanoseconds since 1970; 0: none was
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

// kept returns how long the server has waited for the client so far.
func (c *Conn) kept(now time.Time) time.Duration {
	kept := time.Duration(c.waited.Load())
	if begin := c.waiting.Load(); begin != 0 {
		kept += now.Sub(time.Unix(0, begin))
	}
	return kept
}

// Read implements net.Conn. Work on an unproven client's bytes waits for a turn at the processors; the turn lasts to
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

// Rest ends the connection's turn at the processors: the work after it has nothing to do with the client's signature.
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

// Answered records an answer to a client without proof of its identity. It lengthens the wait of unproven clients for
// the next turn. After pause a newcomer may take the connection's room; while room is scarce, each further request
// waits for pause.
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

// paused reports whether pause has passed since the first answer without proof.
func (c *Conn) paused(now time.Time) bool {
	at := c.answered.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) >= pause
}

// takeBreath delays the next request of an answered, unproven client while connections are scarce.
func (c *Conn) takeBreath() {
	if c.answered.Load() != 0 && c.pool.scarce() {
		time.Sleep(pause)
	}
}

// await counts the duration of move as waiting for the client, while the client is unproven. When a Read and a Write
// overlap, the later begin counts.
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

// Of returns the Conn beneath a server's connection, for example beneath TLS; nil if its listener has no pool.
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

// Prove records that the client has proven its identity: no newcomer takes the connection's room from then on.
func (c *Conn) Prove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.final.Store(true)
	c.rest()
	c.member.Leave()
}

// Hold keeps the connection during an admitted anonymous request; Release ends the hold.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest()
	c.member.Leave()
}

// Release returns a held connection to the pool.
func (c *Conn) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.final.Load() {
		c.member.Leave()
		c.enter()
	}
}

// Cut closes the connection at once, without TLS's close_notify. The server's next read or write fails, and the server
// then closes its side.
func (c *Conn) Cut() {
	_ = c.Conn.Close() // an error of Close changes nothing: the connection is given up
}

// Close closes the connection, and gives its room back.
func (c *Conn) Close() error {
	c.Prove()
	return c.Conn.Close()
}

// NetConn returns the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Unheard reports whether fasthttp's error of a request is the end of the wait for its first byte. Such a connection is
// closed without a word: a client keeps some in reserve, and would take an answer for that of the request it sends next.
func Unheard(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // of a request that has begun, fasthttp wraps the error
	return ok && e.Timeout()
}
