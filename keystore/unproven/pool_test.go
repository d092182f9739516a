package unproven

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// TestPool: the oldest member makes room for the youngest, the growing member goes last, and units come back.
func TestPool(t *testing.T) {
	p := NewPool(10)
	var evicted []string
	enter := func(name string, units int64) *Member {
		return p.Enter(units, func() { evicted = append(evicted, name) })
	}
	a, b := enter("a", 4), enter("b", 4)
	if len(evicted) != 0 || p.Used() != 8 {
		t.Fatalf("evicted %v, used %d", evicted, p.Used())
	}
	c := enter("c", 4)
	if len(evicted) != 1 || evicted[0] != "a" || p.Used() != 8 {
		t.Fatalf("evicted %v, used %d", evicted, p.Used())
	}
	if a.Grow(1) {
		t.Error("an evicted member grows")
	}
	if !b.Grow(6) || len(evicted) != 2 || evicted[1] != "c" || p.Used() != 10 {
		t.Errorf("evicted %v, used %d", evicted, p.Used())
	}
	a.Leave()
	c.Leave()
	b.Leave()
	b.Leave()
	if p.Used() != 0 {
		t.Errorf("%d units stay", p.Used())
	}
	if m := enter("d", 11); m.Grow(0) || p.Used() != 0 {
		t.Errorf("a member larger than the pool stays: %d", p.Used())
	}
}

// TestConnections: of many silent connections the youngest stay; the connection of a proven client always stays.
func TestConnections(t *testing.T) {
	const room = 4
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pool := NewPool(room)
	l := Listen(raw, pool)
	defer l.Close()
	var ended atomic.Int32
	accepted := make(chan *Conn, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- Of(c)
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
				ended.Add(1)
			}()
		}
	}()
	dial := func() *Conn {
		c, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return <-accepted
	}
	dial().Prove()
	held := dial()
	held.Hold()
	for range 3 * room {
		dial()
	}
	settles(t, "the oldest connections are closed", func() bool { return ended.Load() == 2*room })
	if pool.Used() != room {
		t.Errorf("%d connections are counted", pool.Used())
	}
	held.Release()
	settles(t, "a connection that is counted again takes the oldest one's room", func() bool { return ended.Load() == 2*room+1 })
	held.Close()
	settles(t, "a closed connection gives its room back", func() bool { return pool.Used() == room-1 })
}

// TestBusyServer: while the server is busy, a connection with a complete request keeps its room, however long that
// takes, and newcomers wait. A connection makes room at once if the server has waited for its client, also for a client
// that sends a little now and then.
func TestBusyServer(t *testing.T) {
	pool := NewPool(2)
	connection := func() (*Conn, net.Conn) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		c := &Conn{Conn: ours, pool: pool}
		c.enter()
		return c, theirs
	}
	prompt, client := connection()
	trickling, trickle := connection()
	go client.Write([]byte("GET / HTTP/1.1"))
	if _, err := prompt.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * grace) // the server is busy with other clients
	if pool.takes(1) {
		t.Error("a newcomer would take the room of a client that has sent its request")
	}
	go func() {
		for range 20 {
			time.Sleep(grace / 5)
			trickle.Write([]byte("x"))
		}
	}()
	for b := make([]byte, 1); !pool.takes(1); {
		if _, err := trickling.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	connection()
	if _, err := trickling.Read(make([]byte, 1)); err == nil {
		t.Error("a client that trickles keeps its room")
	}
	if pool.Used() != 2 {
		t.Errorf("%d connections are counted", pool.Used())
	}
	settles(t, "a client that shows nothing for long makes room, busy or not", func() bool { return prompt.member.due(time.Now().Add(patience)) })
}

func settles(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it does not come to pass that", what)
}
