package unproven

import (
	"net"
	"testing"
	"time"
)

// began reports on a channel that a turn of ts has begun.
func began(ts *turns) <-chan *turn {
	c := make(chan *turn, 1)
	go func() { c <- ts.begin() }()
	return c
}

// TestTurns: a turn waits for the turn before it, and after a refusal for a multiple of the refusal's time more.
func TestTurns(t *testing.T) {
	const work = 10 * time.Millisecond
	ts := newTurns(1, time.Hour)
	first := ts.begin()
	next := began(ts)
	select {
	case <-next:
		t.Fatal("two turns at once")
	case <-time.After(work):
	}
	first.end()
	second := <-next
	first.end() // of no effect: it has ended
	if len(ts.places) != 1 {
		t.Fatalf("%d turns are under way", len(ts.places))
	}
	time.Sleep(work)
	second.refuse()
	ended := time.Now()
	second.end()
	<-began(ts)
	if waited := time.Since(ended); waited < refusalRest*work {
		t.Errorf("the turn after a refusal waited for %v", waited)
	}
}

// TestTurnEndsByItself: a turn does not last for ever when its work waits for something besides the client.
func TestTurnEndsByItself(t *testing.T) {
	ts := newTurns(1, time.Millisecond)
	ts.begin()
	ts.begin().refuse()
	ts.begin()
}

// TestTurnOfAConnection: work on the bytes of an unproven client is a turn until the connection is used again, held or
// closed, or the client is proven. Work for proven clients is no turn.
func TestTurnOfAConnection(t *testing.T) {
	for name, end := range map[string]func(c *Conn){
		"Write": func(c *Conn) { c.Write([]byte("x")) }, "Read": func(c *Conn) { c.Read(make([]byte, 1)) }, "Rest": (*Conn).Rest,
		"Prove": (*Conn).Prove, "Hold": (*Conn).Hold, "Close": func(c *Conn) { c.Close() },
	} {
		ours, theirs := net.Pipe()
		c := &Conn{Conn: ours, pool: NewPool(10)}
		c.enter()
		go theirs.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		working := c.turn
		if working == nil {
			t.Fatal("no turn")
		}
		theirs.Close()
		end(c)
		working.mu.Lock()
		if !working.over || c.turn != nil {
			t.Errorf("%s does not end the turn", name)
		}
		working.mu.Unlock()
		ours.Close()
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	known := &Conn{Conn: ours, pool: NewPool(10)}
	known.enter()
	known.Prove()
	go theirs.Write([]byte("x"))
	if _, err := known.Read(make([]byte, 1)); err != nil || known.turn != nil {
		t.Errorf("a known client's request waits for a turn, %v", err)
	}
}

// TestAnsweredUnknown: a client answered without proof of its identity makes room, though the server never waits for
// it; where room is scarce its next request waits.
func TestAnsweredUnknown(t *testing.T) {
	pool := NewPool(2)
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := &Conn{Conn: ours, pool: pool}
	c.enter()
	if c.member.due(time.Now().Add(pause)) {
		t.Fatal("it is due before it was answered")
	}
	before := time.Now()
	c.Answered()
	if c.member.due(before) || !c.member.due(time.Now().Add(pause)) {
		t.Error("it is due at once, or not after a pause")
	}
	go theirs.Write([]byte("x"))
	begin := time.Now()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(begin); waited < pause {
		t.Errorf("its next request waited for %v in a pool that is half full", waited)
	}
	c.Prove()
	c.Answered()
	if c.answered.Load() == 0 || pool.Used() != 0 {
		t.Errorf("proven: %d are counted", pool.Used())
	}
}
