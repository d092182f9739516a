package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// stalling is a store with a watch that can stand still for one process, while its reads and writes go on.
type stalling struct {
	Store
	mu    sync.Mutex
	still bool
}

func (s *stalling) Follow(prefix string, see func(string, int64)) func() {
	return s.Store.Follow(prefix, func(key string, rev int64) {
		s.mu.Lock()
		still := s.still
		s.mu.Unlock()
		if !still {
			see(key, rev)
		}
	})
}

func (s *stalling) stand(still bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.still = still
}

func join(t *testing.T, s Store, name string) *Replicas {
	t.Helper()
	r, err := Join(t.Context(), s, name, slog.New(slog.DiscardHandler), time.Hour, "key/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pass moves a replica's clock on.
func (r *Replicas) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.clock
	r.clock = func() time.Duration { return before() + d }
}

// beatNow is a beat and a look, as run does them.
func (r *Replicas) beatNow(t *testing.T) {
	t.Helper()
	if err := errors.Join(r.beat(t.Context()), r.look(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestFreshness (attack R7): a replica with a stalled watch is out of date after FreshFor, although its writes and
// lease renewals go on; as soon as the watch goes on the replica is fresh again.
func TestFreshness(t *testing.T) {
	s := &stalling{Store: NewMemory()}
	r := join(t, s, "a")
	if !r.Fresh() {
		t.Fatalf("the caches of a new replica are %v old", r.Age())
	}
	r.pass(time.Hour)
	r.beatNow(t)
	if !r.Fresh() {
		t.Error("a beat that came back does not make fresh")
	}
	s.stand(true)
	r.pass(FreshFor)
	r.beatNow(t)
	if r.Fresh() {
		t.Error("fresh by a beat that did not come back")
	}
	s.stand(false)
	r.beatNow(t)
	if !r.Fresh() {
		t.Error("not fresh again")
	}
	var alone *Replicas
	if !alone.Fresh() || alone.Shared() || !alone.ClocksAgree() || alone.Ended() != nil {
		t.Error("a process alone is not fresh")
	}
}

// TestSettle (attack R11): Settle waits until every live replica has seen the change, and does not wait for a replica
// that is out of date.
func TestSettle(t *testing.T) {
	raw := NewMemory()
	slow := &stalling{Store: raw}
	a, b := join(t, raw, "a"), join(t, slow, "b")
	a.beatNow(t)
	b.beatNow(t)
	a.beatNow(t)

	slow.stand(true)
	rev, err := raw.Txn(t.Context(), nil, []Op{{Key: "key/1"}})
	if err != nil {
		t.Fatal(err)
	}
	settled := make(chan struct{})
	go func() { a.Settle(t.Context(), rev); close(settled) }()
	select {
	case <-settled:
		t.Error("settled while a live replica had not seen the change")
	case <-time.After(50 * time.Millisecond):
	}
	slow.stand(false)
	b.beatNow(t) // comes back, and tells in the next beat
	b.beatNow(t)
	<-settled

	slow.stand(true)
	if rev, err = raw.Txn(t.Context(), nil, []Op{{Key: "key/2"}}); err != nil {
		t.Fatal(err)
	}
	a.pass(FreshFor) // by now b counts as out of date, and knows it
	a.Settle(t.Context(), rev)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	slow.stand(false)
	b.beatNow(t)
	a.Settle(ended, rev+1000)
}

// TestReplicaReplaced (attack R13): a replica ends when its record is not its own last write: a second process has its
// name, or a snapshot was restored. A beat with a lost answer counts as its own.
func TestReplicaReplaced(t *testing.T) {
	s := NewMemory()
	first := join(t, s, "a")
	second := join(t, s, "a")
	if err := first.beat(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("got %v", err)
	}
	select {
	case <-first.Ended():
	default:
		t.Error("the first has not ended")
	}
	if !errors.Is(first.Err(), ErrReplaced) || second.Err() != nil {
		t.Errorf("%v, %v", first.Err(), second.Err())
	}
	for _, name := range []string{"", "a/b"} {
		if _, err := Join(t.Context(), s, name, slog.New(slog.DiscardHandler), time.Hour); err == nil {
			t.Errorf("%q is a replica's name", name)
		}
	}
}

// forgetful loses the answers of transactions.
type forgetful struct {
	Store
	mu     sync.Mutex
	answer func(rev int64, err error) (int64, error)
}

func (f *forgetful) Txn(ctx context.Context, conds []Cond, ops []Op) (int64, error) {
	rev, err := f.Store.Txn(ctx, conds, ops)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer != nil {
		return f.answer(rev, err)
	}
	return rev, err
}

func TestBeatAnswerLost(t *testing.T) {
	s := &forgetful{Store: NewMemory()}
	r := join(t, s, "a")
	s.mu.Lock()
	s.answer = func(int64, error) (int64, error) { return 0, fmt.Errorf("%w: lost", ErrUnknown) }
	s.mu.Unlock()
	r.beatNow(t)
	s.mu.Lock()
	s.answer = nil
	s.mu.Unlock()
	r.beatNow(t)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

// TestClocksAgree (attack R1): while the clock of one replica is days ahead, neither replica may act irrevocably.
func TestClocksAgree(t *testing.T) {
	s := NewMemory()
	a, b := join(t, s, "a"), join(t, s, "b")
	round := func() {
		for range 2 {
			a.beatNow(t)
			b.beatNow(t)
		}
	}
	round()
	if !a.ClocksAgree() || !b.ClocksAgree() {
		t.Error("equal clocks do not agree")
	}
	a.mu.Lock()
	a.wall = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	a.mu.Unlock()
	round()
	if a.ClocksAgree() || b.ClocksAgree() {
		t.Error("clocks that are 8 days apart agree")
	}
}

// TestCheck: a replica without a working watch goes on for the window, and not longer.
func TestCheck(t *testing.T) {
	var alone *Replicas
	if err := alone.Check(); err != nil {
		t.Error(err)
	}
	now := 10 * time.Minute
	r := &Replicas{window: 5 * time.Minute, fresh: now, clock: func() time.Duration { return now }}
	for _, c := range []struct {
		later time.Duration
		ok    bool
	}{{0, true}, {5*time.Minute - 1, true}, {1, false}, {time.Hour, false}} {
		if now += c.later; (r.Check() == nil) != c.ok {
			t.Errorf("after %v: %v", r.Age(), r.Check())
		}
	}
	if err := r.Check(); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
