package unproven

import (
	"net"
	"sync"
	"time"
)

// grace is how old a connection is before another may take its room: a burst of clients that are all about to send
// their requests is no flood.
const grace = 100 * time.Millisecond

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
	for wait := l.pool.wait(grace); wait > 0; wait = l.pool.wait(grace) {
		time.Sleep(min(wait, 2*time.Millisecond))
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
	final  bool // proven, or closed
}

func (c *Conn) enter() { c.member = c.pool.Enter(1, c.Cut) }

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
	c.final = true
	c.member.Leave()
}

// Hold keeps the connection for a request of a client without a name that was let in; Release ends that.
func (c *Conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.member.Leave()
}

// Release counts a held connection again.
func (c *Conn) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.final {
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
