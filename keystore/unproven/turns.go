package unproven

import (
	"runtime"
	"sync"
	"time"
)

// Turns of the processors: requests of clients that have shown nothing are worked on a few at a time, on all ports of the
// process together, so that a flood of wrong signatures leaves a processor to clients that are known.
const (
	// longestTurn ends a turn whose work waits for something else than the client.
	longestTurn = 50 * time.Millisecond
	// refusalRest is how long the next turn waits after a refusal, as a multiple of the refusal's own time.
	refusalRest = 3
)

var processors = newTurns(max(1, runtime.GOMAXPROCS(0)-1), longestTurn)

// turns has a place for each turn that is under way. Who waits gets one in the order of coming.
type turns struct {
	places  chan struct{}
	longest time.Duration
}

func newTurns(n int, longest time.Duration) *turns {
	return &turns{make(chan struct{}, n), longest}
}

// turn is the work on what one read of a connection brought.
type turn struct {
	of    *turns
	begin time.Time
	limit *time.Timer

	mu      sync.Mutex
	over    bool
	refused bool
}

// begin waits for a turn.
func (ts *turns) begin() *turn {
	ts.places <- struct{}{}
	t := &turn{of: ts, begin: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = time.AfterFunc(ts.longest, t.end)
	return t
}

// refuse has the next turn wait, once this one ends.
func (t *turn) refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = true
}

// end gives the turn to the next. It may be called again.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.over = true
	t.limit.Stop()
	next := func() { <-t.of.places }
	if t.refused {
		time.AfterFunc(refusalRest*min(time.Since(t.begin), t.of.longest), next)
		return
	}
	next()
}
