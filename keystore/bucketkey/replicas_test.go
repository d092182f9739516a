package bucketkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// TestPausedReplica: a replica paused between its read of the state and its write cannot bring back an older blob; it
// takes the active blob.
func TestPausedReplica(t *testing.T) {
	r := newRig(t)
	other := r.replica()
	g := newGate()
	r.kms.Hook = func(ctx context.Context, c keystoretest.Call) error {
		if c.Caller.ARN == bob.ARN {
			return g.hook(keystoretest.OpGenerateDataKey)(ctx, c)
		}
		return nil
	}
	paused := make(chan []byte)
	go func() {
		blob, _ := write(t, other, bob, photos, r.key, nil)
		paused <- blob
	}()
	<-g.entered
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	close(g.open)
	if got := <-paused; !bytes.Equal(got, blob) {
		t.Error("the paused replica wrote its own back")
	}
	if third, _ := write(t, r.replica(), carol, photos, r.key, nil); !bytes.Equal(third, blob) {
		t.Error("the state has another")
	}
}

// TestForgetReachesReplicas: a replica sees another's Forget a window later even without a message.
func TestForgetReachesReplicas(t *testing.T) {
	r := newRig(t)
	other := r.replica()
	old, _ := write(t, r.Keys, alice, photos, r.key, nil)
	write(t, other, alice, photos, r.key, nil)
	r.Forget(r.key)
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	if bytes.Equal(blob, old) {
		t.Fatal("not forgotten")
	}
	r.clock.Advance(5 * time.Minute)
	if second, _ := write(t, other, alice, photos, r.key, nil); !bytes.Equal(second, blob) {
		t.Error("the other replica goes on with the old one")
	}
}

// failingStore fails while it is down.
type failingStore struct {
	state.Store
	down atomic.Bool
}

var errDown = errors.New("state store down")

func (s *failingStore) Get(ctx context.Context, key string) (state.Entry, error) {
	if s.down.Load() {
		return state.Entry{}, errDown
	}
	return s.Store.Get(ctx, key)
}

func (s *failingStore) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	if s.down.Load() {
		return nil, errDown
	}
	return s.Store.Range(ctx, prefix, after, limit)
}

func (s *failingStore) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if s.down.Load() {
		return 0, errDown
	}
	return s.Store.Txn(ctx, conds, ops)
}

func (s *failingStore) Backup(io.Writer) error { return errDown }

// TestStateDown: without the state, known keys stay usable for the window and no key is made. A Forget that could not
// reach the state is completed before any record of the key is used.
func TestStateDown(t *testing.T) {
	kms, clock := keystoretest.NewFake(), &keystoretest.Clock{}
	key := kms.AddKey()
	store := &failingStore{Store: state.NewMemory()}
	b := bucketkey.New(kms, store, newSealer(), bucketkey.Config{Now: clock.Now})
	defer b.Close()
	old, _ := write(t, b, alice, photos, key, nil)
	store.down.Store(true)
	clock.Advance(5*time.Minute - 1)
	write(t, b, alice, photos, key, nil)
	clock.Advance(1)
	h, err := b.ForWrite(t.Context(), alice, photos, key, nil)
	refusedWith(t, "after the window", h, err, keystore.Unavailable)
	read(t, b, alice, photos, key, old, nil) // needs no state

	b.Forget(key)
	h, err = b.ForWrite(t.Context(), alice, photos, key, nil)
	refusedWith(t, "forgotten, state down", h, err, keystore.Unavailable)
	store.down.Store(false)
	if blob, _ := write(t, b, alice, photos, key, nil); bytes.Equal(blob, old) {
		t.Error("the old record was used")
	}
	if b.Stats().StateErrors == 0 {
		t.Error("nothing was counted")
	}
}

// TestDamagedRecord: the state's record is a cache; an unreadable record is made anew.
func TestDamagedRecord(t *testing.T) {
	r := newRig(t)
	write(t, r.Keys, alice, photos, r.key, nil)
	entries, err := r.store.Range(t.Context(), bucketkey.Prefix, "", 0)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	for _, value := range []string{"", "{", `{"v":2}`, `{"v":1,"scope":"arn:aws:s3:::archive","blob":"QUJD"}`} {
		if _, err := r.store.Txn(t.Context(), nil, []state.Op{{Key: entries[0].Key, Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
		blob, _ := write(t, r.replica(), alice, photos, r.key, nil)
		read(t, r.Keys, alice, photos, r.key, blob, nil)
	}
}

// TestPlantedCurrentKey: an attacker with write access to the state and use of the KMS key cannot make a bucket key of
// their own wrap new objects: not in the clear, not moved from another scope, not altered, not of another root secret.
func TestPlantedCurrentKey(t *testing.T) {
	r := newRig(t)
	var log bytes.Buffer
	logged := func(c *bucketkey.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	at := func(scope string) state.Entry {
		t.Helper()
		before := must(r.store.Range(t.Context(), "", "", 0))
		write(t, r.replica(), alice, scope, r.key, nil)
		for _, e := range must(r.store.Range(t.Context(), "", "", 0)) {
			if !slices.ContainsFunc(before, func(b state.Entry) bool { return b.Key == e.Key }) {
				return e
			}
		}
		t.Fatal("no record was written")
		return state.Entry{}
	}
	victim, other := at(photos), at(archive)
	known, _ := write(t, r.replica(), alice, "arn:aws:s3:::mallory", r.key, nil)
	plain := must(json.Marshal(map[string]any{
		"v": 1, "scope": photos, "key": r.key, "created": r.clock.Now(), "expires": r.clock.Now().Add(time.Hour), "blob": known,
	}))
	if json.Valid(victim.Value) || bytes.Contains(victim.Value, []byte(photos)) {
		t.Errorf("the record is not sealed: %q", victim.Value)
	}
	altered := bytes.Clone(victim.Value)
	altered[len(altered)-1] ^= 1
	for name, value := range map[string][]byte{
		"in the clear":        plain,
		"moved":               other.Value,
		"altered":             altered,
		"another root secret": must(newSealer().Seal(plain, []byte(victim.Key))),
		"another place":       must(r.sealer.Seal(plain, []byte(other.Key))),
	} {
		must(r.store.Txn(t.Context(), nil, []state.Op{{Key: victim.Key, Value: value}}))
		log.Reset()
		blob, _ := write(t, r.replica(logged), bob, photos, r.key, nil)
		if bytes.Equal(blob, known) {
			t.Errorf("%s: the planted key wraps new objects", name)
		}
		if !strings.Contains(log.String(), victim.Key) {
			t.Errorf("%s: nothing was logged: %s", name, log.String())
		}
		again, _ := write(t, r.replica(), bob, photos, r.key, nil)
		if !bytes.Equal(again, blob) {
			t.Errorf("%s: the record was not made anew", name)
		}
	}
}

// TestBucketKeysReseal: after a rekey current bucket keys go on, without the older root secret.
func TestBucketKeysReseal(t *testing.T) {
	r := newRig(t)
	old, next := keystore.RandomSecret(), keystore.RandomSecret()
	r.sealer = rootkey.New(old).Sealer("bucket-keys")
	blob, _ := write(t, r.replica(), alice, photos, r.key, nil)
	r.sealer = rootkey.New(next, old).Sealer("bucket-keys")
	if err := r.replica().Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sealer = rootkey.New(next).Sealer("bucket-keys")
	if again, _ := write(t, r.replica(), alice, photos, r.key, nil); !bytes.Equal(again, blob) {
		t.Error("the current bucket key was made anew")
	}
}

func TestPrune(t *testing.T) {
	r := newRig(t)
	write(t, r.Keys, alice, archive, r.key, nil)
	r.clock.Advance(23 * time.Hour)
	write(t, r.Keys, alice, photos, r.key, nil)
	for _, c := range []struct {
		pass time.Duration
		want int
	}{{0, 2}, {time.Hour, 1}, {23 * time.Hour, 0}} {
		r.clock.Advance(c.pass)
		if err := r.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if entries, err := r.store.Range(t.Context(), bucketkey.Prefix, "", 0); err != nil || len(entries) != c.want {
			t.Errorf("%d records, want %d (%v)", len(entries), c.want, err)
		}
		if entries, err := r.store.Range(t.Context(), bucketkey.ChainPrefix, "", 0); err != nil || len(entries) != 2 {
			t.Errorf("%d chains, want 2 (%v)", len(entries), err)
		}
	}
}
