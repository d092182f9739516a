// Package statetest is the contract of state.Store, as a suite for every implementation's tests.
package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore/state"
)

// Run tests that a Store keeps the contract. open returns an empty store without any other writer; the suite closes
// it. over returns a store of the same kind over the bbolt store of a backup.
func Run(t *testing.T, open func(*testing.T) state.Store, over func(state.Store) state.Store) {
	for name, test := range map[string]func(*testing.T, state.Store){
		"Transactions": testTransactions, "GetAndRange": testGetAndRange, "ManyPages": testManyPages, "Refusals": testRefusals,
		"LargestTransaction": testLargestTransaction, "Closed": testClosed, "RacingCounters": testRacingCounters,
		"OneWinner": testOneWinner, "Watch": testWatch, "Follow": testFollow, "WatchLags": testWatchLags, "ValuesAreCopies": testValuesAreCopies,
		"Backup": func(t *testing.T, s state.Store) { testBackup(t, s, over) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			base, err := s.Txn(t.Context(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			test(t, counted{s, base})
		})
	}
}

// counted is a Store with first revision 1, also over a store with earlier writes.
type counted struct {
	state.Store
	base int64
}

func (c counted) Get(ctx context.Context, key string) (state.Entry, error) {
	e, err := c.Store.Get(ctx, key)
	e.Revision -= c.base
	return e, err
}

func (c counted) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	entries, err := c.Store.Range(ctx, prefix, after, limit)
	for i := range entries {
		entries[i].Revision -= c.base
	}
	return entries, err
}

func (c counted) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	conds = slices.Clone(conds)
	for i := range conds {
		if conds[i].Revision != 0 {
			conds[i].Revision += c.base
		}
	}
	rev, err := c.Store.Txn(ctx, conds, ops)
	return rev - c.base, err
}

func (c counted) Watch(ctx context.Context, prefix string) (<-chan state.Event, error) {
	events, err := c.Store.Watch(ctx, prefix)
	if err != nil {
		return nil, err
	}
	out := make(chan state.Event)
	go func() {
		defer close(out)
		for e := range events {
			e.Revision -= c.base
			out <- e
		}
	}()
	return out, nil
}

func put(t *testing.T, s state.Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, []state.Op{{Key: key, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// step is a line of the script below.
type step struct {
	name  string
	conds []state.Cond
	ops   []state.Op
	err   error
	want  string // all entries afterwards: key=value@revision ...
}

func testTransactions(t *testing.T, s state.Store) {
	set := func(k, v string) state.Op { return state.Op{Key: k, Value: []byte(v)} }
	del := func(k string) state.Op { return state.Op{Key: k, Delete: true} }
	script := []step{
		{"create", []state.Cond{{Key: "a", Revision: 0}}, []state.Op{set("a", "1")}, nil, "a=1@1"},
		{"create what exists", []state.Cond{{Key: "a", Revision: 0}}, []state.Op{set("a", "2"), set("b", "2")}, state.ErrConflict, "a=1@1"},
		{"two in one", []state.Cond{{Key: "a", Revision: 1}}, []state.Op{set("a", "2"), set("b", "")}, nil, "a=2@2 b=@2"},
		{"an old revision", []state.Cond{{Key: "a", Revision: 1}}, []state.Op{set("a", "3")}, state.ErrConflict, "a=2@2 b=@2"},
		{"one condition of two", []state.Cond{{Key: "a", Revision: 2}, {Key: "b", Revision: 1}}, []state.Op{del("a")}, state.ErrConflict, "a=2@2 b=@2"},
		{"delete and create", []state.Cond{{Key: "b", Revision: 2}}, []state.Op{del("a"), set("c", "x")}, nil, "b=@2 c=x@3"},
		{"a revision of what is absent", []state.Cond{{Key: "a", Revision: 2}}, []state.Op{set("a", "4")}, state.ErrConflict, "b=@2 c=x@3"},
		{"created again, it has a new revision", []state.Cond{{Key: "a", Revision: 0}}, []state.Op{set("a", "1")}, nil, "a=1@4 b=@2 c=x@3"},
		{"conditions only", []state.Cond{{Key: "a", Revision: 4}, {Key: "q", Revision: 0}}, nil, nil, "a=1@4 b=@2 c=x@3"},
		{"conditions only, one fails", []state.Cond{{Key: "a", Revision: 3}}, nil, state.ErrConflict, "a=1@4 b=@2 c=x@3"},
		{"two conditions of a key", []state.Cond{{Key: "a", Revision: 4}, {Key: "a", Revision: 4}}, []state.Op{set("a", "5")}, nil, "a=5@5 b=@2 c=x@3"},
	}
	for _, st := range script {
		if _, err := s.Txn(t.Context(), st.conds, st.ops); !errors.Is(err, st.err) {
			t.Fatalf("%s: got %v, want %v", st.name, err, st.err)
		}
		if got := dump(t, s, "", "", 0); got != st.want {
			t.Fatalf("%s: got %s, want %s", st.name, got, st.want)
		}
	}
	if rev, err := s.Txn(t.Context(), nil, nil); err != nil || rev != 5 {
		t.Errorf("the current revision: got %d, %v, want 5", rev, err)
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{del("zz")}); err != nil {
		t.Errorf("deleting an absent key: %v", err)
	}
}

func dump(t *testing.T, s state.Store, prefix, after string, limit int) string {
	t.Helper()
	entries, err := s.Range(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s@%d", e.Key, e.Value, e.Revision)
	}
	return b.String()
}

func testGetAndRange(t *testing.T, s state.Store) {
	for _, k := range []string{"b/2", "a", "b/1", "b", "c", "b/3"} {
		put(t, s, k, k)
	}
	if _, err := s.Get(t.Context(), "nonesuch"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	e, err := s.Get(t.Context(), "b/1")
	if err != nil || e.Key != "b/1" || string(e.Value) != "b/1" || e.Revision != 3 {
		t.Errorf("got %+v, %v", e, err)
	}
	e.Value[0] = 'X' // the caller's own
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 0, "a=a@2 b=b@4 b/1=b/1@3 b/2=b/2@1 b/3=b/3@6 c=c@5"},
		{"b/", "", 0, "b/1=b/1@3 b/2=b/2@1 b/3=b/3@6"},
		{"b/", "", 2, "b/1=b/1@3 b/2=b/2@1"},
		{"b/", "b/2", 2, "b/3=b/3@6"},
		{"b/", "b/15", 1, "b/2=b/2@1"},
		{"b/", "a", 1, "b/1=b/1@3"},
		{"b/", "c", 0, ""},
		{"nonesuch", "", 0, ""},
	} {
		if got := dump(t, s, c.prefix, c.after, c.limit); got != c.want {
			t.Errorf("Range(%q, %q, %d): got %s, want %s", c.prefix, c.after, c.limit, got, c.want)
		}
	}
}

// testManyPages: thousands of entries come back once each and in order, with any page size of the store.
func testManyPages(t *testing.T, s state.Store) {
	const n = 1000
	var ops []state.Op
	for i := range n {
		ops = append(ops, state.Op{Key: fmt.Sprintf("p/%04d", i), Value: []byte{byte(i)}})
	}
	for some := range state.Chunks(ops) {
		if _, err := s.Txn(t.Context(), nil, some); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{0, 1, 127, 128, 129, 256, 999, 1000, 1001} {
		entries, err := s.Range(t.Context(), "p/", "", limit)
		if err != nil {
			t.Fatal(err)
		}
		want := n
		if limit > 0 {
			want = min(limit, n)
		}
		if len(entries) != want {
			t.Errorf("limit %d: %d entries, want %d", limit, len(entries), want)
		}
		for i, e := range entries {
			if e.Key != ops[i].Key || e.Value[0] != byte(i) {
				t.Fatalf("limit %d: entry %d is %s", limit, i, e.Key)
			}
		}
	}
}

// testLargestTransaction: a transaction at the limits of number and of size is accepted.
func testLargestTransaction(t *testing.T, s state.Store) {
	ops := distinct(state.MaxTxnSize)
	each := state.MaxTxnBytes/len(ops) - 3 - state.SealRoom
	for i := range ops {
		ops[i].Value = bytes.Repeat([]byte{byte(i)}, each)
	}
	if _, err := s.Txn(t.Context(), nil, ops); err != nil {
		t.Fatal(err)
	}
	var conds []state.Cond
	for _, op := range ops[1:] {
		e, err := s.Get(t.Context(), op.Key)
		if err != nil || !bytes.Equal(e.Value, op.Value) {
			t.Fatalf("%s: %v", op.Key, err)
		}
		conds = append(conds, state.Cond{Key: e.Key, Revision: e.Revision})
	}
	if _, err := s.Txn(t.Context(), conds, []state.Op{{Key: "one"}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "one", Value: make([]byte, state.MaxValueSize-state.SealRoom)}}); err != nil {
		t.Error(err)
	}
}

func distinct(n int) []state.Op {
	ops := make([]state.Op, n)
	for i := range ops {
		ops[i].Key = fmt.Sprint(i)
	}
	return ops
}

func testRefusals(t *testing.T, s state.Store) {
	long := string(make([]byte, state.MaxKeySize+1))
	for name, ops := range map[string][]state.Op{
		"empty key":           {{Key: "x"}, {Key: ""}},
		"long key":            {{Key: long}},
		"long value":          {{Key: "x", Value: make([]byte, state.MaxValueSize+1)}},
		"many at once":        distinct(state.MaxTxnSize + 1),
		"a key twice":         {{Key: "x", Value: []byte("1")}, {Key: "x", Value: []byte("2")}},
		"written and deleted": {{Key: "x", Value: []byte("1")}, {Key: "x", Delete: true}},
		"too many bytes":      {{Key: "x", Value: make([]byte, state.MaxValueSize)}, {Key: "y", Value: make([]byte, state.MaxValueSize)}},
	} {
		if _, err := s.Txn(t.Context(), nil, ops); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Txn(ctx, nil, []state.Op{{Key: "x"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Txn: got %v, want Canceled", err)
	}
	if _, err := s.Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: got %v, want Canceled", err)
	}
	if _, err := s.Watch(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: got %v, want Canceled", err)
	}
	if got := dump(t, s, "", "", 0); got != "" {
		t.Errorf("something was written: %s", got)
	}
}

func testClosed(t *testing.T, s state.Store) {
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-events; ok {
		t.Error("the watch goes on")
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "x"}}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Txn: got %v", err)
	}
	if _, err := s.Get(t.Context(), "x"); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Get: got %v", err)
	}
	if _, err := s.Range(t.Context(), "", "", 0); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Range: got %v", err)
	}
	if _, err := s.Watch(t.Context(), ""); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Watch: got %v", err)
	}
}

// testRacingCounters has many writers increase a counter by compare-and-set: no increment may be lost, and each
// conflict must be another writer's success.
func testRacingCounters(t *testing.T, s state.Store) {
	const writers, each = 8, 25
	var conflicts atomic.Int64
	increase := func() error {
		for {
			e, err := s.Get(t.Context(), "n")
			if err != nil && !errors.Is(err, state.ErrNotFound) {
				return err
			}
			n, _ := strconv.Atoi(string(e.Value)) // 0 before the first
			_, err = s.Txn(t.Context(), []state.Cond{{Key: "n", Revision: e.Revision}}, []state.Op{{Key: "n", Value: []byte(strconv.Itoa(n + 1))}})
			if !errors.Is(err, state.ErrConflict) {
				return err
			}
			conflicts.Add(1)
		}
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := increase(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, want := dump(t, s, "", "", 0), fmt.Sprintf("n=%d@%d", writers*each, writers*each); got != want {
		t.Errorf("got %s, want %s (%d conflicts)", got, want, conflicts.Load())
	}
}

// testOneWinner has many create the same key at once.
func testOneWinner(t *testing.T, s state.Store) {
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			_, err := s.Txn(t.Context(), []state.Cond{{Key: "x", Revision: 0}}, []state.Op{{Key: "x", Value: []byte{byte(i)}}, {Key: fmt.Sprint("by/", i)}})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, state.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d won", n)
	}
	if by, err := s.Range(t.Context(), "by/", "", 0); err != nil || len(by) != 1 {
		t.Errorf("%d left traces, %v", len(by), err)
	}
}

func next(t *testing.T, events <-chan state.Event) state.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	panic("unreachable")
}

func testWatch(t *testing.T, s state.Store) {
	put(t, s, "k/before", "1")
	ctx, cancel := context.WithCancel(t.Context())
	events, err := s.Watch(ctx, "k/")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k/a", "1")
	put(t, s, "other", "1")
	if _, err := s.Txn(t.Context(), []state.Cond{{Key: "k/a", Revision: 99}}, []state.Op{{Key: "k/a"}}); !errors.Is(err, state.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "k/a", Delete: true}, {Key: "k/b", Value: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []state.Event{
		{Key: "k/a", Value: []byte("1"), Revision: 2},
		{Key: "k/a", Revision: 4, Deleted: true},
		{Key: "k/b", Value: []byte("2"), Revision: 4},
	} {
		got := next(t, events)
		if got.Key != want.Key || !bytes.Equal(got.Value, want.Value) || got.Revision != want.Revision || got.Deleted != want.Deleted {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	cancel()
	for range events { // ends: the channel is closed
	}
}

// testFollow: followers are called for every change under their prefix; followers of the empty prefix are called last.
func testFollow(t *testing.T, s state.Store) {
	type call struct {
		who, key string
		rev      int64
	}
	calls := make(chan call, 100)
	follow := func(who, prefix string) func() {
		return s.Follow(prefix, func(key string, rev int64) { calls <- call{who, key, rev} })
	}
	stopAll, stopB := follow("all", ""), follow("b", "b/")
	stopFirst := follow("first", "b/")
	want := func(what string, want ...call) {
		t.Helper()
		for _, w := range want {
			select {
			case got := <-calls:
				if got.who != w.who || got.key != w.key || got.rev != w.rev {
					t.Errorf("%s: got %v, want %v", what, got, w)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: no call, want %v", what, w)
			}
		}
	}
	a, b := put(t, s, "a", "1"), put(t, s, "b/1", "1")
	base := s.(counted).base // followers get revisions as they are
	want("written", call{"all", "a", a + base}, call{"b", "b/1", b + base}, call{"first", "b/1", b + base}, call{"all", "b/1", b + base})
	stopB()
	rev, err := s.Txn(t.Context(), nil, []state.Op{{Key: "b/1", Delete: true}})
	if err != nil {
		t.Fatal(err)
	}
	want("deleted", call{"first", "b/1", rev + base}, call{"all", "b/1", rev + base})
	stopFirst()
	stopAll()
	put(t, s, "b/2", "1")
	select {
	case got := <-calls:
		t.Errorf("called after the stop: %v", got)
	default:
	}
}

func testWatchLags(t *testing.T, s state.Store) {
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	// No watcher reads. Each transaction brings many events, so that the queue overflows with few fsyncs.
	for range 2*state.WatchBuffer/state.MaxTxnSize + 8 {
		if _, err := s.Txn(t.Context(), nil, distinct(state.MaxTxnSize)); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for e := next(t, events); !e.Lagged; e = next(t, events) {
		seen++
	}
	if seen > 2*state.WatchBuffer {
		t.Errorf("%d events were kept for a watcher that did not read", seen)
	}
	put(t, s, "after", "1")
	// Events after Lagged are delivered, or dropped with a further Lagged.
	for e := next(t, events); e.Key != "after" && !e.Lagged; e = next(t, events) {
	}
}

func testBackup(t *testing.T, s state.Store, over func(state.Store) state.Store) {
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	path := filepath.Join(t.TempDir(), "copy.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Backup(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := state.OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	restored := counted{over(file), s.(counted).base}
	if got, want := dump(t, restored, "", "", 0), dump(t, s, "", "", 0); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if rev := put(t, restored, "c", "3"); rev != 3 {
		t.Errorf("the copy goes on with revision %d, want 3", rev)
	}
	if err := restored.Close(); err != nil {
		t.Error(err)
	}
}

func testValuesAreCopies(t *testing.T, s state.Store) {
	v := []byte("value")
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "k", Value: v}}); err != nil {
		t.Fatal(err)
	}
	v[0] = 'X'
	entries, err := s.Range(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	entries[0].Value[1] = 'X'
	if got := dump(t, s, "", "", 0); !slices.Equal([]byte(got), []byte("k=value@1")) {
		t.Errorf("got %s", got)
	}
}
