package bucketkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

const (
	photos  = "arn:aws:s3:::photos"
	archive = "arn:aws:s3:::archive"
)

func user(name string) keystore.Caller {
	return keystore.Caller{
		ARN: "arn:aws:iam::000000000000:user/" + name, AccountID: "000000000000", AccessKeyID: "AKIA" + name, UserName: name,
		ViaService: "s3.us-east-1.amazonaws.com",
	}
}

var alice, bob, carol = user("alice"), user("bob"), user("carol")

// rig is a Keys over a fake key service, with a clock set by the test.
type rig struct {
	*bucketkey.Keys
	t      *testing.T
	kms    *keystoretest.Fake
	store  state.Store
	sealer state.Sealer
	clock  *keystoretest.Clock
	key    string
}

func newSealer() state.Sealer {
	return rootkey.New(keystore.RandomSecret()).Sealer("bucket-keys")
}

func newRig(t *testing.T, change ...func(*bucketkey.Config)) *rig {
	kms := keystoretest.NewFake()
	r := &rig{t: t, kms: kms, store: state.NewMemory(), sealer: newSealer(), clock: &keystoretest.Clock{}, key: kms.AddKey()}
	r.Keys = r.replica(change...)
	return r
}

func noChain(cfg *bucketkey.Config) { cfg.NoChain = true }

// replica is another process on the same state, or the same after a restart.
func (r *rig) replica(change ...func(*bucketkey.Config)) *bucketkey.Keys {
	cfg := bucketkey.Config{Now: r.clock.Now, Service: keystore.Caller{ARN: "arn:aws:iam::000000000000:role/waxseal"}}
	for _, c := range change {
		c(&cfg)
	}
	b := bucketkey.New(r.kms, r.store, r.sealer, cfg)
	r.t.Cleanup(b.Close)
	return b
}

// write returns the blob and a copy of the key.
func write(t *testing.T, b *bucketkey.Keys, who keystore.Caller, scope, key string, ec keystore.Context) (blob, kek []byte) {
	t.Helper()
	h, err := b.ForWrite(t.Context(), who, scope, key, ec)
	if err != nil {
		t.Fatalf("ForWrite: %v", err)
	}
	defer h.Release()
	if h.KeyARN() != key {
		t.Errorf("got the KMS key %s, want %s", h.KeyARN(), key)
	}
	return h.Blob(), bytes.Clone(h.Key())
}

func read(t *testing.T, b *bucketkey.Keys, who keystore.Caller, scope, key string, blob []byte, ec keystore.Context) []byte {
	t.Helper()
	h, err := b.ForRead(t.Context(), who, scope, key, blob, ec)
	if err != nil {
		t.Fatalf("ForRead: %v", err)
	}
	defer h.Release()
	return bytes.Clone(h.Key())
}

// counts checks the calls since the last Reset, and resets.
func (r *rig) counts(what string, want map[keystoretest.Op]int) {
	r.t.Helper()
	for _, op := range []keystoretest.Op{
		keystoretest.OpGenerateDataKey, keystoretest.OpDecrypt, keystoretest.OpAuthorizeGenerate, keystoretest.OpAuthorizeDecrypt,
	} {
		if got := r.kms.Count(op); got != want[op] {
			r.t.Errorf("%s: %d calls of %s, want %d", what, got, op, want[op])
		}
	}
	r.kms.Reset()
}

type ops = map[keystoretest.Op]int

func TestBucketKeyRoundTrip(t *testing.T) {
	r := newRig(t)
	blob, kek := write(t, r.Keys, alice, photos, r.key, nil)
	r.counts("first write", ops{keystoretest.OpGenerateDataKey: 1})
	for range 100 {
		again, same := write(t, r.Keys, alice, photos, r.key, nil)
		if !bytes.Equal(blob, again) || !bytes.Equal(kek, same) {
			t.Fatal("another key")
		}
	}
	r.counts("100 writes", nil)
	if got := read(t, r.Keys, alice, photos, r.key, blob, nil); !bytes.Equal(got, kek) {
		t.Error("the key that is read is not the one that was written")
	}
	r.counts("first read", ops{keystoretest.OpAuthorizeDecrypt: 1})
	for range 100 {
		read(t, r.Keys, alice, photos, r.key, blob, nil)
	}
	r.counts("100 reads", nil)
	if s := r.Stats(); s.Requests != 202 || s.Hits != 200 || s.Misses != 2 || s.CallsAvoided != 200 {
		t.Errorf("got %+v", s)
	}
	// The context as the key service saw it.
	for _, c := range r.kms.Calls() {
		if c.Context[bucketkey.ScopeContextKey] != photos || len(c.Context) != 1 {
			t.Errorf("%s had the context %v", c.Op, c.Context)
		}
	}
}

// TestCallCount checks the product's promise: 3 users x 2 buckets x 2 keys x 2 actions are 24 authorizations in a
// window, for any number of requests, plus at most 2 calls of the service for each of the 4 keys.
func TestCallCount(t *testing.T) {
	r := newRig(t)
	keys := []string{r.key, r.kms.AddKey()}
	blobs := make(map[string][]byte)
	load := func(b *bucketkey.Keys) {
		for range 50 {
			for _, who := range []keystore.Caller{alice, bob, carol} {
				for _, scope := range []string{photos, archive} {
					for _, key := range keys {
						blob, _ := write(t, b, who, scope, key, nil)
						if old := blobs[scope+key]; old != nil && !bytes.Equal(old, blob) {
							t.Fatal("a second current key in one period")
						}
						blobs[scope+key] = blob
						read(t, b, who, scope, key, blob, nil)
					}
				}
			}
		}
	}
	load(r.Keys)
	r.counts("first window, 1200 requests", ops{
		keystoretest.OpGenerateDataKey: 4, keystoretest.OpAuthorizeGenerate: 8, keystoretest.OpAuthorizeDecrypt: 12,
	})
	r.clock.Advance(5 * time.Minute)
	load(r.Keys)
	r.counts("second window", ops{ // 24 authorisations, and 4 times the service
		keystoretest.OpAuthorizeGenerate: 12, keystoretest.OpDecrypt: 4, keystoretest.OpAuthorizeDecrypt: 12,
	})
	load(r.replica())
	r.counts("another replica, or a restart", ops{
		keystoretest.OpAuthorizeGenerate: 12, keystoretest.OpDecrypt: 4, keystoretest.OpAuthorizeDecrypt: 12,
	})
	load(r.Keys)
	r.counts("the first again", nil)
}

// A window that begins with reads costs no call of the service: the first requester's own Decrypt opens the key.
func TestReadsFirst(t *testing.T) {
	r := newRig(t)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	r.clock.Advance(time.Hour)
	r.kms.Reset()
	read(t, r.Keys, bob, photos, r.key, blob, nil)
	read(t, r.Keys, carol, photos, r.key, blob, nil)
	write(t, r.Keys, alice, photos, r.key, nil)
	r.counts("reads first", ops{keystoretest.OpDecrypt: 1, keystoretest.OpAuthorizeDecrypt: 1, keystoretest.OpAuthorizeGenerate: 1})
}

func refusedWith(t *testing.T, what string, h *keystore.Handle, err error, kind keystore.Kind) {
	t.Helper()
	if h != nil || keystore.KindOf(err) != kind {
		t.Errorf("%s: got %v, %v, want %s", what, h, err, kind)
	}
}

// TestActionsAreApart: a requester with only GenerateDataKey can write and not read, a requester with only Decrypt can
// read and not write, also if the key is in memory already.
func TestActionsAreApart(t *testing.T) {
	for _, warm := range []bool{false, true} {
		t.Run(fmt.Sprint("warm=", warm), func(t *testing.T) {
			r := newRig(t)
			r.kms.Deny(alice.ARN, keystore.Decrypt, true)
			r.kms.Deny(bob.ARN, keystore.GenerateDataKey, true)
			if warm {
				blob, _ := write(t, r.Keys, carol, photos, r.key, nil)
				read(t, r.Keys, carol, photos, r.key, blob, nil)
			}
			h, err := r.ForWrite(t.Context(), bob, photos, r.key, nil)
			refusedWith(t, "bob writes", h, err, keystore.AccessDenied)
			blob, kek := write(t, r.Keys, alice, photos, r.key, nil)
			h, err = r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
			refusedWith(t, "alice reads", h, err, keystore.AccessDenied)
			if !bytes.Equal(read(t, r.Keys, bob, photos, r.key, blob, nil), kek) {
				t.Error("bob read another key")
			}
			h, err = r.ForWrite(t.Context(), bob, photos, r.key, nil)
			refusedWith(t, "bob writes after reading", h, err, keystore.AccessDenied)
			// The same after a restart, where the key has to be opened first.
			r.clock.Advance(time.Hour)
			write(t, r.Keys, alice, photos, r.key, nil)
			h, err = r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
			refusedWith(t, "alice reads later", h, err, keystore.AccessDenied)
		})
	}
}

// Two access keys of the same user are authorized separately. A user of another account with the same name is a
// different requester.
func TestRequesters(t *testing.T) {
	r := newRig(t)
	write(t, r.Keys, alice, photos, r.key, nil)
	r.kms.Reset()
	second := alice
	second.AccessKeyID = "AKIASECOND"
	write(t, r.Keys, second, photos, r.key, nil)
	r.counts("a second access key", ops{keystoretest.OpAuthorizeGenerate: 1})
	elsewhere := alice
	elsewhere.SourceIP, elsewhere.RequestID = "10.0.0.9", "another"
	write(t, r.Keys, elsewhere, photos, r.key, nil)
	r.counts("another request", nil)
}

// A key opened, or a requester authorized, for a scope, KMS key and context does not count for another.
func TestBinding(t *testing.T) {
	r := newRig(t)
	other := r.kms.AddKey()
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	h, err := r.ForRead(t.Context(), alice, archive, r.key, blob, nil)
	refusedWith(t, "another scope", h, err, keystore.InvalidCiphertext)
	h, err = r.ForRead(t.Context(), alice, photos, other, blob, nil)
	refusedWith(t, "another key", h, err, keystore.IncorrectKey)
	h, err = r.ForRead(t.Context(), alice, photos, r.key, blob, keystore.Context{"a": "b"})
	refusedWith(t, "another context", h, err, keystore.InvalidCiphertext)
	h, err = r.ForRead(t.Context(), alice, photos, r.key, nil, nil)
	refusedWith(t, "no blob", h, err, keystore.InvalidCiphertext)
	_, err = r.ForWrite(t.Context(), alice, photos, r.key, keystore.Context{bucketkey.ScopeContextKey: archive})
	if !errors.Is(err, bucketkey.ErrReservedContext) {
		t.Errorf("got %v, want ErrReservedContext", err)
	}
}

// TestPeriod: after its period a key wraps nothing new and still opens.
func TestPeriod(t *testing.T) {
	r := newRig(t)
	old, kek := write(t, r.Keys, alice, photos, r.key, nil)
	r.clock.Advance(24*time.Hour - time.Second)
	if blob, _ := write(t, r.Keys, alice, photos, r.key, nil); !bytes.Equal(blob, old) {
		t.Error("a new key before the period's end")
	}
	r.clock.Advance(time.Second)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	if bytes.Equal(blob, old) {
		t.Error("no new key after the period's end")
	}
	if second, _ := write(t, r.replica(), bob, photos, r.key, nil); !bytes.Equal(blob, second) {
		t.Error("the other replica has another key")
	}
	if !bytes.Equal(read(t, r.Keys, alice, photos, r.key, old, nil), kek) {
		t.Error("the old key does not open")
	}
}

// TestWindowEnds: a disabled key and a denied requester are out of use a window later at the latest.
func TestWindowEnds(t *testing.T) {
	r := newRig(t)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	r.kms.SetState(r.key, keystore.StateDisabled)
	r.clock.Advance(5*time.Minute - time.Second)
	write(t, r.Keys, alice, photos, r.key, nil) // within the window, as documented
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	h, err := r.ForRead(t.Context(), bob, photos, r.key, blob, nil)
	refusedWith(t, "bob, who has no authorisation yet", h, err, keystore.Disabled)
	r.clock.Advance(time.Second)
	h, err = r.ForWrite(t.Context(), alice, photos, r.key, nil)
	refusedWith(t, "write", h, err, keystore.Disabled)
	h, err = r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
	refusedWith(t, "read", h, err, keystore.Disabled)
}

// TestWindowIsNotExtended: neither use, nor the opening of the key by another requester, prolongs an authorization. The
// window of a slow call begins at its start.
func TestWindowIsNotExtended(t *testing.T) {
	r := newRig(t)
	slow := time.Duration(0)
	r.kms.Hook = func(context.Context, keystoretest.Call) error { r.clock.Advance(slow); return nil }
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	slow = 2 * time.Minute
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	slow = 0
	r.kms.Deny(alice.ARN, keystore.Decrypt, true)
	for range 2 { // 4 minutes after the call began
		r.clock.Advance(time.Minute)
		read(t, r.Keys, alice, photos, r.key, blob, nil)
		read(t, r.Keys, bob, photos, r.key, blob, nil)
	}
	r.clock.Advance(time.Minute)
	read(t, r.Keys, bob, photos, r.key, blob, nil)
	h, err := r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
	refusedWith(t, "5 minutes after the call began", h, err, keystore.AccessDenied)
}

// TestClockSetBack: setting the wall clock back extends no window; setting it ahead ends a window.
func TestClockSetBack(t *testing.T) {
	r := newRig(t)
	var mono, wall time.Duration
	r.SetClock(func() (time.Duration, time.Duration) { return mono, wall })
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	r.kms.SetState(r.key, keystore.StateDisabled)

	mono, wall = 4*time.Minute, -3*time.Hour
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	mono, wall = 5*time.Minute, -3*time.Hour
	h, err := r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
	refusedWith(t, "set back", h, err, keystore.Disabled)
	h, err = r.ForWrite(t.Context(), alice, photos, r.key, nil)
	refusedWith(t, "set back, write", h, err, keystore.Disabled)
}

// TestPlainClockSetBack: with a clock without a monotonic reading, a time in the future counts as past.
func TestPlainClockSetBack(t *testing.T) {
	r := newRig(t)
	r.clock.Advance(time.Hour)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	r.clock.Advance(-30 * time.Minute)
	r.kms.Reset()
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	if n := r.kms.Count(); n == 0 {
		t.Error("nobody was asked")
	}
}

func TestNegativeResults(t *testing.T) {
	r := newRig(t)
	blob, _ := write(t, r.Keys, carol, photos, r.key, nil)
	r.kms.Deny(alice.ARN, keystore.Decrypt, true)
	r.kms.Reset()
	for range 20 {
		h, err := r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
		refusedWith(t, "alice", h, err, keystore.AccessDenied)
	}
	read(t, r.Keys, bob, photos, r.key, blob, nil) // another requester is not refused with her
	r.counts("20 refusals", ops{keystoretest.OpAuthorizeDecrypt: 2})
	if n := r.Stats().NegativeHits; n != 19 {
		t.Errorf("%d negative hits, want 19", n)
	}
	r.kms.Deny(alice.ARN, keystore.Decrypt, false)
	r.clock.Advance(5 * time.Second)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
}

// TestOutage: keys in memory stay usable until their window ends, never longer; a failure is repeated for a short time
// only.
func TestOutage(t *testing.T) {
	r := newRig(t)
	down := false
	r.kms.Hook = func(context.Context, keystoretest.Call) error {
		if down {
			return keystore.Errorf(keystore.Unavailable, "", "down")
		}
		return nil
	}
	r.kms.SetAlias("alias/photos", r.key)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	if _, err := r.Resolve(t.Context(), alice, "alias/photos"); err != nil {
		t.Fatal(err)
	}
	down = true
	r.clock.Advance(5*time.Minute - time.Second)
	write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	if info, err := r.Resolve(t.Context(), alice, "alias/photos"); err != nil || info.ARN != r.key {
		t.Errorf("Resolve: got %+v, %v", info, err)
	}
	r.clock.Advance(time.Second)
	r.kms.Reset()
	for range 10 {
		h, err := r.ForWrite(t.Context(), alice, photos, r.key, nil)
		refusedWith(t, "write", h, err, keystore.Unavailable)
		h, err = r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
		refusedWith(t, "read", h, err, keystore.Unavailable)
	}
	r.counts("10 writes and reads", ops{keystoretest.OpAuthorizeGenerate: 1, keystoretest.OpAuthorizeDecrypt: 1})
	r.clock.Advance(time.Second)
	if _, err := r.Resolve(t.Context(), alice, "alias/photos"); !keystore.Transient(err) {
		t.Errorf("Resolve: got %v", err)
	}
	down = false
	r.clock.Advance(time.Second)
	write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
}

// TestOutageSparesWhatIsOpen: an outage of the key service that fails a requester's call does not affect another
// requester with a valid authorization and key.
func TestOutageSparesWhatIsOpen(t *testing.T) {
	r := newRig(t)
	r.kms.SetVersion("1") // the service opens the current key again in each window
	down := false
	r.kms.Hook = func(context.Context, keystoretest.Call) error {
		if down {
			return keystore.Errorf(keystore.Unavailable, "", "down")
		}
		return nil
	}
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	r.clock.Advance(4 * time.Minute)
	read(t, r.Keys, bob, photos, r.key, blob, nil)
	write(t, r.Keys, carol, photos, r.key, nil)
	r.clock.Advance(time.Minute)
	down = true
	h, err := r.ForWrite(t.Context(), carol, photos, r.key, nil)
	refusedWith(t, "a write that needs the key service", h, err, keystore.Unavailable)
	read(t, r.Keys, bob, photos, r.key, blob, nil)
}

// TestOutageSparesAuthorisations: nor does a requester's own failed call end its authorization.
func TestOutageSparesAuthorisations(t *testing.T) {
	r := newRig(t, noChain)
	blobs := r.history(2)
	open, entered := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.kms.Hook = func(_ context.Context, c keystoretest.Call) error {
		if c.Op == keystoretest.OpDecrypt {
			first := false
			once.Do(func() { first = true })
			if first {
				close(entered)
				<-open
				return keystore.Errorf(keystore.Unavailable, "", "down")
			}
		}
		return nil
	}
	next := r.replica(noChain)
	done := make(chan error, 1)
	go func() {
		h, err := next.ForRead(t.Context(), alice, photos, r.key, blobs[0], nil)
		if err == nil {
			h.Release()
		}
		done <- err
	}()
	<-entered
	read(t, next, alice, photos, r.key, blobs[1], nil)
	close(open)
	if err := <-done; keystore.KindOf(err) != keystore.Unavailable {
		t.Errorf("the call that failed: %v", err)
	}
	r.kms.Reset()
	read(t, next, alice, photos, r.key, blobs[1], nil)
	r.counts("read again", nil)
}

// TestSlowRefusal: a slow refusal is cached from its arrival on.
func TestSlowRefusal(t *testing.T) {
	r := newRig(t)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	next := r.replica() // has nothing open
	slow := time.Duration(0)
	r.kms.Hook = func(_ context.Context, c keystoretest.Call) error {
		if c.Op == keystoretest.OpDecrypt {
			r.clock.Advance(slow)
			return keystore.Errorf(keystore.Unavailable, "", "down")
		}
		return nil
	}
	slow = 5 * time.Second
	r.kms.Reset()
	for range 3 {
		h, err := next.ForWrite(t.Context(), alice, photos, r.key, nil)
		refusedWith(t, "write", h, err, keystore.Unavailable)
	}
	if n := r.kms.Count(keystoretest.OpDecrypt); n != 1 {
		t.Errorf("%d calls to open one blob", n)
	}
}

// TestResolveWhileAway: after an outage has begun, no request waits for the key service to resolve a known key again.
func TestResolveWhileAway(t *testing.T) {
	r := newRig(t, func(c *bucketkey.Config) { c.CallTimeout = time.Hour })
	r.kms.SetAlias("alias/photos", r.key)
	if _, err := r.Resolve(t.Context(), alice, "alias/photos"); err != nil {
		t.Fatal(err)
	}
	hang, asked := make(chan struct{}), make(chan struct{}, 10)
	first := true
	r.kms.Hook = func(ctx context.Context, _ keystoretest.Call) error {
		if first {
			first = false
			return keystore.Errorf(keystore.Unavailable, "", "down")
		}
		asked <- struct{}{}
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}
	r.clock.Advance(2 * time.Minute)
	for range 5 { // the first waits for the refusal, the rest do not wait
		done := make(chan error, 1)
		go func() {
			info, err := r.Resolve(t.Context(), alice, "alias/photos")
			if err == nil && info.ARN != r.key {
				err = fmt.Errorf("it is %+v", info)
			}
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			close(hang)
			t.Fatal("it waits for a key service that does not answer")
		}
		r.clock.Advance(2 * time.Second)
	}
	<-asked // somebody asks all the same
	close(hang)
	r.clock.Advance(5 * time.Minute)
	if info, err := r.Resolve(t.Context(), alice, "alias/photos"); err != nil || info.ARN != r.key {
		t.Errorf("%+v, %v", info, err)
	}
}

// history writes a blob a day.
func (r *rig) history(days int) [][]byte {
	blobs := make([][]byte, days)
	for i := range blobs {
		blobs[i], _ = write(r.t, r.Keys, carol, photos, r.key, nil)
		r.clock.Advance(24 * time.Hour)
	}
	r.kms.Reset()
	return blobs
}

// TestHistory: without chains, reading the data of many days costs each requester an authorisation in a window, as for a
// single day, and each day's key is opened once as long as it is used.
func TestHistory(t *testing.T) {
	r := newRig(t, noChain)
	blobs := r.history(30)
	readers := []keystore.Caller{alice, bob, carol}
	for minute := range 60 {
		for i, blob := range blobs {
			read(t, r.Keys, readers[(minute+i)%3], photos, r.key, blob, nil)
		}
		r.clock.Advance(time.Minute)
	}
	// 12 windows of 5 minutes and 3 readers. Each reader's first authorisation is his own opening of a key.
	authorized := 12 * len(readers)
	r.counts("an hour", ops{keystoretest.OpDecrypt: len(blobs), keystoretest.OpAuthorizeDecrypt: authorized - len(readers)})
}

// TestHistoryRevoked: the opened keys of a history are out of use at the end of the window, for every requester.
func TestHistoryRevoked(t *testing.T) {
	r := newRig(t)
	blobs := r.history(3)
	for _, blob := range blobs {
		read(t, r.Keys, alice, photos, r.key, blob, nil)
		read(t, r.Keys, bob, photos, r.key, blob, nil)
	}
	r.kms.Deny(alice.ARN, keystore.Decrypt, true)
	r.clock.Advance(5*time.Minute - time.Second)
	for _, blob := range blobs {
		read(t, r.Keys, alice, photos, r.key, blob, nil)
	}
	r.clock.Advance(time.Second)
	for _, blob := range blobs {
		read(t, r.Keys, bob, photos, r.key, blob, nil)
		h, err := r.ForRead(t.Context(), alice, photos, r.key, blob, nil)
		refusedWith(t, "alice, one window later", h, err, keystore.AccessDenied)
	}
	r.kms.SetState(r.key, keystore.StateDisabled)
	r.clock.Advance(5 * time.Minute)
	for _, blob := range blobs {
		h, err := r.ForRead(t.Context(), bob, photos, r.key, blob, nil)
		refusedWith(t, "bob, after the key was disabled", h, err, keystore.Disabled)
	}
}

// TestOpenedKeyHasAnEnd: a key in constant use is opened anew every day.
func TestOpenedKeyHasAnEnd(t *testing.T) {
	r := newRig(t)
	blob := r.history(1)[0]
	for range 25 * 60 {
		read(t, r.Keys, alice, photos, r.key, blob, nil)
		r.clock.Advance(time.Minute)
	}
	if n := r.kms.Count(keystoretest.OpDecrypt); n != 2 {
		t.Errorf("%d calls of Decrypt in 25 hours, want 2", n)
	}
}

// TestUnusedKeyIsZeroed: use of other keys of the target keeps no key in memory.
func TestUnusedKeyIsZeroed(t *testing.T) {
	r := newRig(t, noChain)
	blobs := r.history(2)
	h, err := r.ForRead(t.Context(), alice, photos, r.key, blobs[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	key := h.Key()
	h.Release()
	for range 6 {
		r.clock.Advance(time.Minute)
		read(t, r.Keys, alice, photos, r.key, blobs[1], nil)
	}
	r.Sweep()
	if !bytes.Equal(key, make([]byte, len(key))) {
		t.Error("a key that nobody used for 6 minutes is in memory still")
	}
}

// TestDamagedBlob: a damaged blob is refused alone; the target's other blobs stay usable.
func TestDamagedBlob(t *testing.T) {
	r := newRig(t)
	blobs := r.history(2)
	damaged := bytes.Clone(blobs[0])
	damaged[len(damaged)-1] ^= 1
	for range 3 {
		h, err := r.ForRead(t.Context(), alice, photos, r.key, damaged, nil)
		refusedWith(t, "damaged", h, err, keystore.InvalidCiphertext)
		read(t, r.Keys, alice, photos, r.key, blobs[1], nil)
	}
}

// versions writes a blob under each of two versions of the KMS key.
func (r *rig) versions() (old, current []byte) {
	r.kms.SetVersion("v1")
	old = r.history(1)[0]
	r.kms.SetVersion("v2")
	return old, r.history(1)[0]
}

// TestVersionRevoked: a version revoked at the key service is out of use a window later, with any use of the key's
// other versions meanwhile, and its refusal does not refuse the others.
func TestVersionRevoked(t *testing.T) {
	r := newRig(t)
	old, current := r.versions()
	read(t, r.Keys, bob, photos, r.key, old, nil)
	read(t, r.Keys, bob, photos, r.key, current, nil)
	r.kms.RevokeVersion("v1")
	for range 4 {
		r.clock.Advance(time.Minute)
		read(t, r.Keys, bob, photos, r.key, old, nil)
		read(t, r.Keys, bob, photos, r.key, current, nil)
	}
	r.clock.Advance(time.Minute)
	for range 2 {
		h, err := r.ForRead(t.Context(), bob, photos, r.key, old, nil)
		refusedWith(t, "the old version", h, err, keystore.InvalidState)
		read(t, r.Keys, bob, photos, r.key, current, nil)
	}
}

// TestVersionRevokedForWriting: a bucket key under a revoked version wraps nothing new; the next write makes a new
// bucket key.
func TestVersionRevokedForWriting(t *testing.T) {
	for _, ec := range []keystore.Context{nil, {"team": "blue"}} {
		r := newRig(t)
		r.kms.SetVersion("v1")
		old, _ := write(t, r.Keys, alice, photos, r.key, ec)
		other := r.replica()
		write(t, r.Keys, bob, photos, r.key, ec)
		r.kms.SetVersion("v2")
		r.kms.RevokeVersion("v1")
		for range 4 {
			r.clock.Advance(time.Minute)
			write(t, r.Keys, alice, photos, r.key, ec)
		}
		r.clock.Advance(time.Minute)
		blob, _ := write(t, r.Keys, alice, photos, r.key, ec)
		if bytes.Equal(blob, old) {
			t.Error("the old bucket key goes on")
		}
		read(t, r.Keys, bob, photos, r.key, blob, ec)
		if again, _ := write(t, other, bob, photos, r.key, ec); ec == nil && !bytes.Equal(again, blob) {
			t.Error("the other replica has another key")
		}
	}
}

// TestVersionRevokedOfRoot: the service reads the root of SSE-S3 for everybody: an object under a revoked version stops
// no other object.
func TestVersionRevokedOfRoot(t *testing.T) {
	r := newRig(t)
	ring, err := rootkey.OpenRing(t.Context(), r.store, rootkey.New(keystore.RandomSecret()).Sealer("test"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := bucketkey.NewRoot(r.Keys, ring, bucketkey.RootConfig{KeyID: r.key})
	if err != nil {
		t.Fatal(err)
	}
	var ids [][]byte
	for _, version := range []string{"v1", "v2"} {
		r.kms.SetVersion(version)
		h, id, err := root.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.Release()
		ids = append(ids, id)
		r.clock.Advance(2 * 365 * 24 * time.Hour)
	}
	r.kms.RevokeVersion("v1")
	for range 3 {
		h, err := root.Open(t.Context(), ids[0])
		refusedWith(t, "the old version", h, err, keystore.InvalidState)
		if h, err = root.Open(t.Context(), ids[1]); err != nil {
			t.Fatalf("the current version: %v", err)
		}
		h.Release()
	}
}

// TestContextsPerKey: client contexts under a KMS key take no place of another KMS key's contexts.
func TestContextsPerKey(t *testing.T) {
	r := newRig(t)
	other := r.kms.AddKey()
	for i := range 64 {
		write(t, r.Keys, alice, photos, r.key, keystore.Context{"id": fmt.Sprint(i)})
	}
	write(t, r.Keys, bob, photos, other, keystore.Context{"team": "blue"})
	h, err := r.ForWrite(t.Context(), bob, photos, r.key, keystore.Context{"team": "blue"})
	if h != nil || !errors.Is(err, bucketkey.ErrTooManyContexts) {
		t.Errorf("the 65th under one key: %v, %v", h, err)
	}
}

// TestRemovedRightEndsAtOnce: an authorization belongs to a revision of the requester's rights. So the next request
// after the removal of a right is authorized again, and not only at the end of the window.
func TestRemovedRightEndsAtOnce(t *testing.T) {
	r := newRig(t)
	with := func(everything bool) keystore.Caller {
		c := keystore.CallerOf(iam.Requester{ARN: alice.ARN, AccountID: alice.AccountID, AccessKey: alice.AccessKeyID, ID: "AIDA1",
			Rights: iam.Rights{Everything: everything}}.Identify())
		c.ViaService = alice.ViaService
		return c
	}
	before, after := with(true), with(false)
	h, err := r.ForWrite(t.Context(), before, photos, r.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	calls := len(r.kms.Calls())
	if h, err = r.ForWrite(t.Context(), before, photos, r.key, nil); err != nil {
		t.Fatal(err)
	}
	h.Release()
	if n := len(r.kms.Calls()); n != calls {
		t.Fatalf("the same rights made %d calls", n-calls)
	}
	r.kms.Deny(alice.ARN, keystore.GenerateDataKey, true)
	if _, err := r.ForWrite(t.Context(), after, photos, r.key, nil); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("after the change: %v", err)
	}
}
