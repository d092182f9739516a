package bucketkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/state"
)

// gate holds calls of some ops until it is opened.
type gate struct {
	entered chan keystoretest.Call
	open    chan struct{}
}

func newGate() *gate {
	return &gate{entered: make(chan keystoretest.Call, 1000), open: make(chan struct{})}
}

func (g *gate) hook(ops ...keystoretest.Op) func(context.Context, keystoretest.Call) error {
	return func(ctx context.Context, c keystoretest.Call) error {
		for _, op := range ops {
			if c.Op == op {
				g.entered <- c
				select {
				case <-g.open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	}
}

// TestConcurrentMisses: any number of requests that need the same call make it once.
func TestConcurrentMisses(t *testing.T) {
	r := newRig(t)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	var wg sync.WaitGroup
	var blobs sync.Map
	for range 100 {
		wg.Go(func() {
			blob, kek := write(t, r.Keys, alice, photos, r.key, nil)
			blobs.Store(string(blob)+string(kek), true)
		})
	}
	<-g.entered
	time.Sleep(10 * time.Millisecond) // the rest reach the same point
	close(g.open)
	wg.Wait()
	r.counts("100 writes at once", ops{keystoretest.OpGenerateDataKey: 1})
	n := 0
	blobs.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d different keys", n)
	}
}

// TestPanicInCall: a panic in a shared call fails the waiting requests, and does not end the process.
func TestPanicInCall(t *testing.T) {
	r := newRig(t)
	r.kms.Hook = func(context.Context, keystoretest.Call) error { panic("a key's bytes") }
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			h, err := r.Keys.ForWrite(t.Context(), alice, photos, r.key, nil)
			if err == nil {
				h.Release()
			}
			if err == nil || !strings.Contains(err.Error(), "panic (string)") || strings.Contains(err.Error(), "bytes") {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	r.kms.Hook = nil
	write(t, r.Keys, alice, photos, r.key, nil)
}

// TestConcurrentRequesters: concurrent requesters cost a call each, and get the same key.
func TestConcurrentRequesters(t *testing.T) {
	r := newRig(t)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	var wg sync.WaitGroup
	var blobs sync.Map
	for _, who := range []keystore.Caller{alice, bob, carol} {
		wg.Go(func() {
			blob, _ := write(t, r.Keys, who, photos, r.key, nil)
			blobs.Store(string(blob), true)
		})
	}
	for range 3 {
		<-g.entered
	}
	close(g.open)
	wg.Wait()
	r.counts("three requesters at once", ops{keystoretest.OpGenerateDataKey: 3})
	n := 0
	blobs.Range(func(any, any) bool { n++; return true })
	if s := r.Stats(); n != 1 || s.LostRaces != 2 {
		t.Errorf("%d different keys, %d lost races", n, s.LostRaces)
	}
}

// TestCancel: a departing client gets its answer at once and fails no other waiter, and the call's result is used.
func TestCancel(t *testing.T) {
	r := newRig(t)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := r.ForWrite(ctx, alice, photos, r.key, nil)
		first <- err
	}()
	<-g.entered
	second := make(chan error)
	go func() {
		h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
		if err == nil {
			h.Release()
		}
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that went away: got %v", err)
	}
	close(g.open)
	if err := <-second; err != nil {
		t.Errorf("the one that stayed: got %v", err)
	}
	r.counts("both", ops{keystoretest.OpGenerateDataKey: 1})
}

// TestSlowKMS: a call has a time limit, and its waiters get Unavailable.
func TestSlowKMS(t *testing.T) {
	r := newRig(t, func(c *bucketkey.Config) { c.CallTimeout = 20 * time.Millisecond })
	r.kms.Hook = newGate().hook(keystoretest.OpGenerateDataKey)
	h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
	refusedWith(t, "slow", h, err, keystore.Unavailable)
	if !keystore.Transient(err) {
		t.Error("not transient")
	}
}

func TestForget(t *testing.T) {
	r := newRig(t)
	other := r.kms.AddKey()
	old, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, old, nil)
	write(t, r.Keys, alice, photos, r.key, keystore.Context{"a": "b"})
	kept, _ := write(t, r.Keys, alice, photos, other, nil)
	held, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
	if err != nil {
		t.Fatal(err)
	}

	r.kms.SetState(r.key, keystore.StateDisabled)
	r.Forget(r.key)
	h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
	refusedWith(t, "write", h, err, keystore.Disabled)
	h, err = r.ForRead(t.Context(), alice, photos, r.key, old, nil)
	refusedWith(t, "read", h, err, keystore.Disabled)
	if n := r.CachedKeys(); n != 1 {
		t.Errorf("%d keys in memory, want the other's", n)
	}
	if bytes.Equal(held.Key(), make([]byte, 32)) {
		t.Error("the key of a handle in use was zeroed")
	}
	held.Release()
	if !bytes.Equal(bucketkey.Peek(held), make([]byte, 32)) {
		t.Error("the key was not zeroed after its last release")
	}
	if blob, _ := write(t, r.Keys, alice, photos, other, nil); !bytes.Equal(blob, kept) {
		t.Error("another key's blob was forgotten, too")
	}

	r.kms.SetState(r.key, keystore.StateEnabled)
	r.Forget(r.key) // also ends the refusals
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	if bytes.Equal(blob, old) {
		t.Error("the old blob is still the current one")
	}
	if second, _ := write(t, r.replica(), alice, photos, r.key, nil); !bytes.Equal(blob, second) {
		t.Error("the other replica has another")
	}
	read(t, r.Keys, alice, photos, r.key, old, nil)
}

// TestForgetDuringCall: if a key is forgotten during a call, the call's result serves the waiting requests and is not
// cached.
func TestForgetDuringCall(t *testing.T) {
	r := newRig(t)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	done := make(chan error)
	go func() {
		h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
		if err == nil {
			h.Release()
			if !bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) {
				err = errors.New("the key was not zeroed")
			}
		}
		done <- err
	}()
	<-g.entered
	r.Forget(r.key)
	close(g.open)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := r.CachedKeys(); n != 0 {
		t.Errorf("%d keys in memory", n)
	}
	if entries, err := r.store.Range(t.Context(), "", "", 0); err != nil || len(entries) != 0 {
		t.Errorf("%d records in the state, %v", len(entries), err)
	}
	r.kms.Reset()
	write(t, r.Keys, alice, photos, r.key, nil)
	r.counts("after", ops{keystoretest.OpGenerateDataKey: 1})
}

// TestForgetOfAnotherKey: a change of a KMS key does not affect calls under way for other KMS keys.
func TestForgetOfAnotherKey(t *testing.T) {
	r := newRig(t)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	done := make(chan error)
	go func() {
		h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
		if err == nil {
			h.Release()
		}
		done <- err
	}()
	<-g.entered
	r.Forget(r.kms.AddKey())
	close(g.open)
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.kms.Reset()
	write(t, r.Keys, alice, photos, r.key, nil)
	r.counts("after", nil)
	if entries, err := r.store.Range(t.Context(), bucketkey.Prefix, "", 0); err != nil || len(entries) != 1 {
		t.Errorf("%d records in the state, %v", len(entries), err)
	}
}

// TestSweep: an unused key is zeroed at the end of its window, not when another key needs its place.
func TestSweep(t *testing.T) {
	r := newRig(t)
	h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	write(t, r.Keys, alice, photos, r.key, keystore.Context{"a": "b"})
	r.clock.Advance(5*time.Minute - 1)
	r.Sweep()
	if n := r.CachedKeys(); n != 2 || bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) {
		t.Errorf("%d keys in memory, want 2", n)
	}
	r.clock.Advance(1)
	r.Sweep()
	if n := r.CachedKeys(); n != 0 || !bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) {
		t.Errorf("%d keys in memory, want none", n)
	}
	if n := r.Stats().Expiries; n != 2 {
		t.Errorf("%d expiries, want 2", n)
	}
}

func TestClose(t *testing.T) {
	r := newRig(t)
	h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if bytes.Equal(h.Key(), make([]byte, 32)) {
		t.Error("zeroed in use")
	}
	h.Release()
	h.Release() // does nothing
	if !bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) || r.CachedKeys() != 0 {
		t.Error("not zeroed")
	}
	defer func() {
		if recover() == nil {
			t.Error("a released key could be used")
		}
	}()
	h.Key()
}

// TestReplacedKeyIsZeroed: a replaced value is zeroed, although lru calls no function for it.
func TestReplacedKeyIsZeroed(t *testing.T) {
	r := newRig(t)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	r.clock.Advance(time.Hour)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpDecrypt)
	handles := make(chan *keystore.Handle, 2)
	for _, who := range []keystore.Caller{alice, bob} {
		go func() {
			h, err := r.ForRead(t.Context(), who, photos, r.key, blob, nil)
			if err != nil {
				t.Error(err)
			}
			handles <- h
		}()
	}
	<-g.entered
	<-g.entered
	close(g.open) // both open the key, and the second replaces the first in memory
	a, b := <-handles, <-handles
	if a == nil || b == nil {
		t.FailNow()
	}
	if bucketkey.References(a)+bucketkey.References(b) != 3 {
		t.Errorf("%d and %d references, want 1 and 2", bucketkey.References(a), bucketkey.References(b))
	}
	a.Release()
	b.Release()
	if zero := make([]byte, 32); bytes.Equal(bucketkey.Peek(a), zero) == bytes.Equal(bucketkey.Peek(b), zero) {
		t.Error("want the replaced one zeroed and the other in memory")
	}
}

// TestNeverZeroInUse has many use few places: keys are evicted, forgotten, expired and replaced all the time, and no
// handle may ever show zeros or another's key; when all is over, everything is zero.
func TestNeverZeroInUse(t *testing.T) {
	r := newRig(t, func(c *bucketkey.Config) { c.Capacity = 3; c.MaxContexts = 4 })
	keys := []string{r.key, r.kms.AddKey()}
	scopes := []string{photos, archive, "arn:aws:s3:::logs", "arn:aws:s3:::mail"}
	var known sync.Map // blob -> key
	var all sync.Map   // every handle ever
	stop := make(chan struct{})
	var churn, work sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			switch i % 3 {
			case 0:
				r.Forget(keys[i/3%2])
			case 1:
				r.clock.Advance(2 * time.Minute)
			case 2:
				r.Sweep()
			}
		}
	})
	for w := range 8 {
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			var lastBlob []byte
			var lastScope, lastKey string
			var lastContext keystore.Context
			for range 400 {
				who := []keystore.Caller{alice, bob, carol}[rnd.IntN(3)]
				scope, key := scopes[rnd.IntN(len(scopes))], keys[rnd.IntN(2)]
				var ec keystore.Context
				if rnd.IntN(4) == 0 {
					ec = keystore.Context{"n": fmt.Sprint(rnd.IntN(6))}
				}
				var h *keystore.Handle
				var err error
				if lastBlob != nil && rnd.IntN(2) == 0 {
					h, err = r.ForRead(t.Context(), who, lastScope, lastKey, lastBlob, lastContext)
				} else {
					h, err = r.ForWrite(t.Context(), who, scope, key, ec)
					if err == nil {
						lastBlob, lastScope, lastKey, lastContext = h.Blob(), scope, key, ec
					}
				}
				if errors.Is(err, bucketkey.ErrTooManyContexts) {
					continue
				}
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				all.Store(h, true)
				first := bytes.Clone(h.Key())
				if rnd.IntN(8) == 0 {
					time.Sleep(time.Millisecond)
				}
				if want, _ := known.LoadOrStore(string(h.Blob()), first); !bytes.Equal(want.([]byte), h.Key()) {
					t.Error("a blob opened to another key, or to zeros")
				}
				h.Release()
			}
		})
	}
	work.Wait()
	close(stop)
	churn.Wait()
	r.Close()
	n := 0
	all.Range(func(h, _ any) bool {
		n++
		if h := h.(*keystore.Handle); bucketkey.References(h) != 0 || !bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) {
			t.Errorf("a key was left with %d references", bucketkey.References(h))
			return false
		}
		return true
	})
	t.Logf("%d handles, %+v", n, r.Stats())
}

func BenchmarkForWrite(b *testing.B) {
	kms := keystoretest.NewFake()
	key := kms.AddKey()
	keys := bucketkey.New(kms, state.NewMemory(), newSealer(), bucketkey.Config{})
	defer keys.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h, err := keys.ForWrite(b.Context(), alice, photos, key, nil)
			if err != nil {
				b.Fatal(err)
			}
			h.Release()
		}
	})
}

func BenchmarkForRead(b *testing.B) {
	kms := keystoretest.NewFake()
	key := kms.AddKey()
	keys := bucketkey.New(kms, state.NewMemory(), newSealer(), bucketkey.Config{})
	defer keys.Close()
	h, err := keys.ForWrite(b.Context(), alice, photos, key, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h, err := keys.ForRead(b.Context(), alice, photos, key, h.Blob(), nil)
			if err != nil {
				b.Fatal(err)
			}
			h.Release()
		}
	})
}
