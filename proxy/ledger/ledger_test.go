package ledger

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore/state"
)

var background = context.Background()

func open(t testing.TB, s state.Store) *Ledger {
	t.Helper()
	l, err := Open(background, s, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Ledger) reading() *Reading {
	r, err := l.Read(background)
	if err != nil {
		panic(err)
	}
	return r
}

func (l *Ledger) sum(h Holding) Sum {
	for _, r := range l.reading().Rows {
		if r.Holding == h {
			return r.Sum
		}
	}
	return Sum{}
}

func charge(t testing.TB, l *Ledger, h Holding, size int64) *Charge {
	t.Helper()
	c, err := l.Charge(background, h, size)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func noUploads(context.Context, time.Time) (map[Holding]int64, error) { return nil, nil }

func walk(t testing.TB, l *Ledger, found map[Holding]Sum) {
	t.Helper()
	id, err := l.Begin(background)
	if err == nil {
		err = l.Commit(background, id, found, noUploads)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var photos = Holding{"photos", "aws:kms", "arn:aws:kms:us-east-1:000000000000:key/a"}

// TestExactInOneProcess: without a crash and without deletes the sum is what was written.
func TestExactInOneProcess(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	var want Sum
	for range 500 {
		size := rand.Int64N(1 << 24)
		charge(t, l, photos, size).End(false)
		want = want.Plus(Sum{1, size})
		if got := l.sum(photos); got != want {
			t.Fatalf("the sum is %+v, and %+v was written", got, want)
		}
	}
	if err := l.Close(background); err != nil {
		t.Fatal(err)
	}
	if got := open(t, s).sum(photos); got != want {
		t.Errorf("after a clean end the sum is %+v, and %+v was written", got, want)
	}
}

// TestCrashNeverBelow leaves a process without Close at any moment, over and over.
func TestCrashNeverBelow(t *testing.T) {
	s := state.NewMemory()
	var truth Sum
	for range 30 {
		l := open(t, s)
		if got := l.sum(photos); !got.covers(truth) {
			t.Fatalf("after a crash the sum is %+v, below %+v", got, truth)
		}
		for range rand.IntN(300) {
			size := rand.Int64N(1 << 26)
			charge(t, l, photos, size)
			truth = truth.Plus(Sum{1, size})
		}
	}
	l := open(t, s)
	walk(t, l, map[Holding]Sum{photos: truth})
	if got := l.sum(photos); got != truth {
		t.Errorf("after a walk the sum is %+v, and the walk found %+v", got, truth)
	}
}

// TestWritesDuringAWalk: a walk drops what was charged and ended before it began, and nothing else.
func TestWritesDuringAWalk(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	charge(t, l, photos, 1).End(false)    // found by the walk
	lost := charge(t, l, photos, 10)      // its answer was lost before the walk
	flying := charge(t, l, photos, 100)   // ends during the walk, behind its back
	lost.End(true)                        //
	id, err := l.Begin(background)        //
	charge(t, l, photos, 1000).End(false) // written during the walk, behind its back
	flying.End(false)                     //
	other := Holding{"new", "AES256", ""} //
	charge(t, l, other, 5).End(false)     // a holding that the walk does not know
	if err == nil {
		err = l.Commit(background, id, map[Holding]Sum{photos: {1, 1}}, func(context.Context, time.Time) (map[Holding]int64, error) {
			return map[Holding]int64{photos: 2}, nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.sum(photos), (Sum{1 + 3 + 2, 1111}); got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
	if got, want := l.sum(other), (Sum{1, 5}); got != want {
		t.Errorf("the new holding has %+v, want %+v", got, want)
	}
	walk(t, l, map[Holding]Sum{photos: {4, 1111}})
	if got, want := l.sum(photos), (Sum{4, 1111}); got != want {
		t.Errorf("after the next walk the sum is %+v, want %+v", got, want)
	}
	if rows := l.reading().Rows; len(rows) != 1 {
		t.Errorf("what the walk did not find is still there: %+v", rows)
	}
	if got, want := open(t, s).sum(photos), (Sum{4, 1111}); got != want {
		t.Errorf("the state has %+v, want %+v", got, want)
	}
}

// TestAbandonedWalkKeepsDoubt: a walk that is not committed takes no doubtful write with it.
func TestAbandonedWalkKeepsDoubt(t *testing.T) {
	l := open(t, state.NewMemory())
	charge(t, l, photos, 10).End(true)
	abandoned, err := l.Begin(background)
	if err != nil {
		t.Fatal(err)
	}
	walk(t, l, nil)
	if got, want := l.sum(photos), (Sum{1, 10}); got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
	if err := l.Commit(background, abandoned, nil, noUploads); !errors.Is(err, ErrOtherWalk) {
		t.Errorf("the abandoned walk was committed: %v", err)
	}
}

func TestWalksRefused(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	id, err := l.Begin(background)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, s).Commit(background, id, nil, noUploads); !errors.Is(err, ErrOtherWalk) {
		t.Errorf("a walk that began before a restart was committed: %v", err)
	}
}

func TestLastWalk(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	if l.reading().Walk != nil {
		t.Error("there was a walk before the first")
	}
	walk(t, l, nil)
	if w := open(t, s).reading().Walk; w == nil || w.Begun.IsZero() || w.Ended.Before(w.Begun) {
		t.Errorf("the last walk is %+v", w)
	}
	if err := MarkRestored(background, s); err != nil {
		t.Fatal(err)
	}
	if open(t, s).reading().Walk != nil {
		t.Error("a restored state has a last walk: writes since the backup are not known")
	}
}

func TestStartTellsOfACrash(t *testing.T) {
	s := state.NewMemory()
	for i, want := range []bool{false, true, false} {
		l := open(t, s)
		crashed, err := l.Start(background)
		if err != nil || crashed != want {
			t.Fatalf("start %d: crashed is %v, %v", i, crashed, err)
		}
		if i == 1 {
			if err := l.Close(background); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReplicasAdd charges the same holding from two processes at once.
func TestReplicasAdd(t *testing.T) {
	s := state.NewMemory()
	ledgers := []*Ledger{open(t, s), open(t, s)}
	var all sync.WaitGroup
	for _, l := range ledgers {
		all.Go(func() {
			for range 400 {
				if c, err := l.Charge(background, photos, 1); err != nil {
					t.Error(err)
				} else {
					c.End(false)
				}
			}
		})
	}
	all.Wait()
	for _, l := range ledgers {
		if err := l.Close(background); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := open(t, s).sum(photos), (Sum{800, 800}); got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
}

// unsure is a state whose transactions lose their answers.
type unsure struct {
	state.Store
	mu      sync.Mutex
	applied bool // the lost transaction was applied
	lose    int  // how many are still to be lost
}

func (u *unsure) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lose == 0 {
		return u.Store.Txn(ctx, conds, ops)
	}
	u.lose--
	if u.applied {
		if rev, err := u.Store.Txn(ctx, conds, ops); err != nil {
			return rev, err
		}
	}
	return 0, state.ErrUnknown
}

// TestLostAnswersNeverBelow loses the answer of a reservation and of the giving back.
func TestLostAnswersNeverBelow(t *testing.T) {
	for _, applied := range []bool{true, false} {
		s := &unsure{Store: state.NewMemory(), applied: applied, lose: 1}
		l := open(t, s)
		charge(t, l, photos, 7).End(false)
		s.lose = 1
		if err := l.Close(background); !errors.Is(err, state.ErrUnknown) {
			t.Fatalf("applied %v: Close says %v", applied, err)
		}
		if got := open(t, s).sum(photos); !got.covers(Sum{1, 7}) {
			t.Errorf("applied %v: the sum is %+v", applied, got)
		}
	}
}

// TestNoChargeWithoutState: a write that cannot be charged is refused.
func TestNoChargeWithoutState(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Charge(background, photos, 1); err == nil || c != nil {
		t.Errorf("charged %v, %v without a state", c, err)
	}
}

func BenchmarkCharge(b *testing.B) {
	l := open(b, state.NewMemory())
	for b.Loop() {
		charge(b, l, photos, 4096).End(false)
	}
}

func BenchmarkOfKey(b *testing.B) {
	l := open(b, state.NewMemory())
	for i := range 10_000 {
		charge(b, l, Holding{"bucket-" + strconv.Itoa(i), "aws:kms", photos.Key}, 1).End(false)
	}
	for b.Loop() {
		if rows := l.reading().OfKey(photos.Key); len(rows) != 10_000 {
			b.Fatal(len(rows))
		}
	}
}

// TestDoubtDuringAWalk: a write that ends in doubt while a walk is under way outlasts that walk and the next one.
func TestDoubtDuringAWalk(t *testing.T) {
	l := open(t, state.NewMemory())
	id, err := l.Begin(background)
	if err != nil {
		t.Fatal(err)
	}
	charge(t, l, photos, 10).End(true)
	if err := l.Commit(background, id, nil, noUploads); err != nil {
		t.Fatal(err)
	}
	for i, want := range []Sum{{1, 10}, {1, 10}, {}} {
		if got := l.sum(photos); got != want {
			t.Errorf("after walk %d the sum is %+v, want %+v", i+1, got, want)
		}
		walk(t, l, nil)
	}
}

// replica is a ledger of one of several replicas.
func replica(t *testing.T, s state.Store, name string) (*Ledger, *state.Replicas) {
	t.Helper()
	r, err := state.Join(background, s, name, slog.New(slog.DiscardHandler), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(background, s, r, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

// TestReplicas: each replica sees the charges of the others, and a walk replaces none that it cannot know.
func TestReplicas(t *testing.T) {
	s := state.NewMemory()
	one, first := replica(t, s, "one")
	id, err := one.Begin(background)
	if err != nil {
		t.Fatal("a replica alone may not walk: ", err)
	}
	two, second := replica(t, s, "two")
	charge(t, two, photos, 7).End(false)
	if got := one.sum(photos); !got.covers(Sum{1, 7}) {
		t.Errorf("the other replica's charge is not seen: %+v", got)
	}
	if _, err := two.Begin(background); !errors.Is(err, ErrShared) {
		t.Errorf("a walk began beside another replica: %v", err)
	}
	if err := one.Commit(background, id, nil, noUploads); !errors.Is(err, ErrShared) {
		t.Errorf("a walk was committed beside another replica: %v", err)
	}
	if err := errors.Join(two.Close(background), second.Leave(background)); err != nil {
		t.Fatal(err)
	}
	if id, err = one.Begin(background); err != nil {
		t.Fatal(err)
	}
	three, third := replica(t, s, "three") // comes, writes and goes while the walk is under way
	charge(t, three, photos, 100).End(false)
	if err := errors.Join(three.Close(background), third.Leave(background)); err != nil {
		t.Fatal(err)
	}
	if err := one.Commit(background, id, map[Holding]Sum{photos: {1, 7}}, noUploads); !errors.Is(err, ErrOtherWalk) {
		t.Errorf("a walk replaced another replica's charge: %v", err)
	}
	if got, want := one.sum(photos), (Sum{2, 107}); got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
	walk(t, one, map[Holding]Sum{photos: {2, 107}})
	if got, want := one.sum(photos), (Sum{2, 107}); got != want || one.reading().Walk == nil {
		t.Errorf("after the walk of a replica alone the sum is %+v, want %+v", got, want)
	}
	if err := first.Leave(background); err != nil {
		t.Fatal(err)
	}
}

// TestLongNames: a key of any name can be charged, and is found again.
func TestLongNames(t *testing.T) {
	s := state.NewMemory()
	l := open(t, s)
	long := Holding{strings.Repeat("b", 63), "aws:kms", "arn:aws:kms:us-east-1:000000000000:key/" + strings.Repeat("k", 2000)}
	charge(t, l, long, 3).End(false)
	if err := l.Close(background); err != nil {
		t.Fatal(err)
	}
	if got, want := open(t, s).sum(long), (Sum{1, 3}); got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
}
