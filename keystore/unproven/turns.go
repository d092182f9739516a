package unproven

import (
	"runtime"
	"sync"
	"time"
)

// Turns at the processors: all ports of the process together work on the requests of only a few unproven clients at a
// time. So a flood of wrong signatures leaves a processor to proven clients.
const (
	// longestTurn ends a turn when its work waits for something besides the client, such as a look-up.
	longestTurn = 50 * time.Millisecond
	// refusalRest is how long the next turn waits after a refusal, as a multiple of the refusal's own time.
	refusalRest = 3
)

var processors = newTurns(max(1, runtime.GOMAXPROCS(0)-1), longestTurn)

// turns has a place for each turn under way. Waiting goroutines get places in the order of arrival.
type turns struct {
	places  chan struct{}
	longest time.Duration
}

func newTurns(n int, longest time.Duration) *turns {
	return &turns{make(chan struct{}, n), longest}
}

// turn covers the work on the bytes of a single read.
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

// refuse makes the next turn wait longer after this turn's end.
func (t *turn) refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = true
}

// end gives the place to the next turn. Further calls do nothing.
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
