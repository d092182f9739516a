package state

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
)

// implementations are the stores of the contract suite.
var implementations = map[string]func(*testing.T) Store{
	"bolt": func(t *testing.T) Store {
		s, err := OpenBolt(filepath.Join(t.TempDir(), "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
	"memory": func(*testing.T) Store { return NewMemory() },
	"sealed": func(*testing.T) Store { return &Sealed{store: NewMemory(), sealer: new(tagSealer)} },
}

func eachStore(t *testing.T, test func(*testing.T, Store)) {
	for name, open := range implementations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, s)
		})
	}
}

func put(t *testing.T, s Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, []Op{{Key: key, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// step is a line of the script below.
type step struct {
	name  string
	conds []Cond
	ops   []Op
	err   error
	want  string // all entries afterwards: key=value@revision ...
}

func TestTransactions(t *testing.T) {
	set := func(k, v string) Op { return Op{Key: k, Value: []byte(v)} }
	del := func(k string) Op { return Op{Key: k, Delete: true} }
	script := []step{
		{"create", []Cond{{"a", 0}}, []Op{set("a", "1")}, nil, "a=1@1"},
		{"create what exists", []Cond{{"a", 0}}, []Op{set("a", "2"), set("b", "2")}, ErrConflict, "a=1@1"},
		{"two in one", []Cond{{"a", 1}}, []Op{set("a", "2"), set("b", "")}, nil, "a=2@2 b=@2"},
		{"an old revision", []Cond{{"a", 1}}, []Op{set("a", "3")}, ErrConflict, "a=2@2 b=@2"},
		{"one condition of two", []Cond{{"a", 2}, {"b", 1}}, []Op{del("a")}, ErrConflict, "a=2@2 b=@2"},
		{"delete and create", []Cond{{"b", 2}}, []Op{del("a"), set("c", "x")}, nil, "b=@2 c=x@3"},
		{"a revision of what is absent", []Cond{{"a", 2}}, []Op{set("a", "4")}, ErrConflict, "b=@2 c=x@3"},
		{"created again, it has a new revision", []Cond{{"a", 0}}, []Op{set("a", "1")}, nil, "a=1@4 b=@2 c=x@3"},
		{"delete what is absent", nil, []Op{del("zz")}, nil, "a=1@4 b=@2 c=x@3"},
		{"the last of two writes counts", nil, []Op{set("a", "5"), set("a", "6")}, nil, "a=6@6 b=@2 c=x@3"},
		{"conditions only", []Cond{{"a", 6}, {"q", 0}}, nil, nil, "a=6@6 b=@2 c=x@3"},
		{"conditions only, one fails", []Cond{{"a", 5}}, nil, ErrConflict, "a=6@6 b=@2 c=x@3"},
	}
	eachStore(t, func(t *testing.T, s Store) {
		for _, st := range script {
			if _, err := s.Txn(t.Context(), st.conds, st.ops); !errors.Is(err, st.err) {
				t.Fatalf("%s: got %v, want %v", st.name, err, st.err)
			}
			if got := dump(t, s, "", "", 0); got != st.want {
				t.Fatalf("%s: got %s, want %s", st.name, got, st.want)
			}
		}
		if rev, err := s.Txn(t.Context(), nil, nil); err != nil || rev != 6 {
			t.Errorf("the current revision: got %d, %v, want 6", rev, err)
		}
	})
}

func dump(t *testing.T, s Store, prefix, after string, limit int) string {
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

func TestGetAndRange(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		for _, k := range []string{"b/2", "a", "b/1", "b", "c", "b/3"} {
			put(t, s, k, k)
		}
		if _, err := s.Get(t.Context(), "nonesuch"); !errors.Is(err, ErrNotFound) {
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
	})
}

func TestRefusals(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		long := string(make([]byte, MaxKeySize+1))
		for name, ops := range map[string][]Op{
			"empty key":    {{Key: "x"}, {Key: ""}},
			"long key":     {{Key: long}},
			"long value":   {{Key: "x", Value: make([]byte, MaxValueSize+1)}},
			"many at once": make([]Op, MaxTxnSize+1),
		} {
			if _, err := s.Txn(t.Context(), nil, ops); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Txn(ctx, nil, []Op{{Key: "x"}}); !errors.Is(err, context.Canceled) {
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
	})
}

func TestClosed(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
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
		if _, err := s.Txn(t.Context(), nil, []Op{{Key: "x"}}); !errors.Is(err, ErrClosed) {
			t.Errorf("Txn: got %v", err)
		}
		if _, err := s.Get(t.Context(), "x"); !errors.Is(err, ErrClosed) {
			t.Errorf("Get: got %v", err)
		}
		if _, err := s.Range(t.Context(), "", "", 0); !errors.Is(err, ErrClosed) {
			t.Errorf("Range: got %v", err)
		}
		if _, err := s.Watch(t.Context(), ""); !errors.Is(err, ErrClosed) {
			t.Errorf("Watch: got %v", err)
		}
	})
}

// TestRacingCounters has many writers increase one counter by compare-and-set: no increment may be lost, and each
// conflict must be another writer's success.
func TestRacingCounters(t *testing.T) {
	const writers, each = 8, 25
	eachStore(t, func(t *testing.T, s Store) {
		var conflicts atomic.Int64
		increase := func() error {
			for {
				e, err := s.Get(t.Context(), "n")
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
				n, _ := strconv.Atoi(string(e.Value)) // 0 before the first
				_, err = s.Txn(t.Context(), []Cond{{"n", e.Revision}}, []Op{{Key: "n", Value: []byte(strconv.Itoa(n + 1))}})
				if !errors.Is(err, ErrConflict) {
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
	})
}

// TestOneWinner has many create the same key at once.
func TestOneWinner(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				_, err := s.Txn(t.Context(), []Cond{{"x", 0}}, []Op{{Key: "x", Value: []byte{byte(i)}}, {Key: fmt.Sprint("by/", i)}})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ErrConflict):
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
	})
}

func next(t *testing.T, events <-chan Event) Event {
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

func TestWatch(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		put(t, s, "k/before", "1")
		ctx, cancel := context.WithCancel(t.Context())
		events, err := s.Watch(ctx, "k/")
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "k/a", "1")
		put(t, s, "other", "1")
		if _, err := s.Txn(t.Context(), []Cond{{"k/a", 99}}, []Op{{Key: "k/a"}}); !errors.Is(err, ErrConflict) {
			t.Fatal(err)
		}
		if _, err := s.Txn(t.Context(), nil, []Op{{Key: "k/a", Delete: true}, {Key: "k/b", Value: []byte("2")}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []Event{
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
	})
}

func TestWatchLags(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		events, err := s.Watch(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		// Nobody reads. Each transaction brings many events, so that the queue overflows with few fsyncs.
		for range 2*watchBuffer/MaxTxnSize + 8 {
			ops := make([]Op, MaxTxnSize)
			for i := range ops {
				ops[i] = Op{Key: fmt.Sprint(i)}
			}
			if _, err := s.Txn(t.Context(), nil, ops); err != nil {
				t.Fatal(err)
			}
		}
		seen := 0
		for e := next(t, events); !e.Lagged; e = next(t, events) {
			seen++
		}
		if seen > 2*watchBuffer {
			t.Errorf("%d events were kept for a watcher that did not read", seen)
		}
		put(t, s, "after", "1")
		// Events after Lagged are delivered, or dropped with a further Lagged.
		for e := next(t, events); e.Key != "after" && !e.Lagged; e = next(t, events) {
		}
	})
}

func TestBackup(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
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
		file, err := OpenBolt(path)
		if err != nil {
			t.Fatal(err)
		}
		restored := file
		if _, ok := s.(*Sealed); ok {
			restored = &Sealed{store: restored, sealer: new(tagSealer)}
		}
		if got, want := dump(t, restored, "", "", 0), dump(t, s, "", "", 0); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if rev := put(t, restored, "c", "3"); rev != 3 {
			t.Errorf("the copy goes on with revision %d, want 3", rev)
		}
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestValuesAreCopies(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store) {
		v := []byte("value")
		if _, err := s.Txn(t.Context(), nil, []Op{{Key: "k", Value: v}}); err != nil {
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
	})
}
