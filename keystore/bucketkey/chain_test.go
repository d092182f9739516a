package bucketkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// written is a blob with its key.
type written struct{ blob, kek []byte }

// days writes with a new bucket key each day, and forgets the calls.
func (r *rig) days(b *bucketkey.Keys, scope, key string, n int) []written {
	r.t.Helper()
	all := make([]written, n)
	for i := range all {
		all[i].blob, all[i].kek = write(r.t, b, carol, scope, key, nil)
		r.clock.Advance(24 * time.Hour)
	}
	r.kms.Reset()
	return all
}

// reads reads blobs and compares the keys.
func (r *rig) reads(b *bucketkey.Keys, who keystore.Caller, scope, key string, all []written) {
	r.t.Helper()
	for i, w := range all {
		if kek := read(r.t, b, who, scope, key, w.blob, nil); !bytes.Equal(kek, w.kek) {
			r.t.Errorf("blob %d of %d: another key", i, len(all))
		}
	}
}

// chainRecord is the JSON of chains in the state.
type chainRecord struct {
	V      int              `json:"v"`
	Scope  string           `json:"scope"`
	Key    string           `json:"key"`
	Chains []map[string]any `json:"chains"`
}

// chainsOf returns the entry of a scope's chains.
func (r *rig) chainsOf(scope, key string) (state.Entry, chainRecord) {
	r.t.Helper()
	entries, err := r.store.Range(r.t.Context(), bucketkey.ChainPrefix, "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		var c chainRecord
		if err := json.Unmarshal(e.Value, &c); err != nil {
			r.t.Fatal(err)
		}
		if c.Scope == scope && c.Key == key {
			return e, c
		}
	}
	r.t.Fatalf("no chains of %s under %s", scope, key)
	return state.Entry{}, chainRecord{}
}

func (r *rig) put(key string, value any) {
	r.t.Helper()
	text, ok := value.([]byte)
	if !ok {
		text = must(json.Marshal(value))
	}
	must(r.store.Txn(r.t.Context(), nil, []state.Op{{Key: key, Value: text}}))
}

// TestChainHistory: reading the data of many days opens a single key, and costs each requester an authorization in a
// window. A restart opens a key again.
func TestChainHistory(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 30)
	for name, b := range map[string]*bucketkey.Keys{"the process": r.Keys, "another": r.replica()} {
		r.kms.Reset()
		readers := []keystore.Caller{alice, bob, carol}
		for minute := range 60 {
			for i, w := range all {
				r.reads(b, readers[(minute+i)%3], photos, r.key, []written{w})
			}
			r.clock.Advance(time.Minute)
		}
		// 12 windows of 5 minutes and 3 readers; one authorisation opens the head.
		r.counts(name, ops{keystoretest.OpDecrypt: 1, keystoretest.OpAuthorizeDecrypt: 12*len(readers) - 1})
		if s := b.Stats(); s.ChainOpens < 29*60 || s.ChainMisses != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestChainAuthorises: a requester without a right to Decrypt opens nothing through a head in memory, and the call is a
// Decrypt under the requester's name and the bucket's context.
func TestChainAuthorises(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 5)
	r.kms.Deny(bob.ARN, keystore.Decrypt, true)
	for _, who := range []string{"before", "after"} {
		for _, w := range all[:4] {
			h, err := r.ForRead(t.Context(), bob, photos, r.key, w.blob, nil)
			refusedWith(t, who+" the head is open", h, err, keystore.AccessDenied)
		}
		r.reads(r.Keys, alice, photos, r.key, all)
	}
	for _, c := range r.kms.Calls() {
		if c.Op != keystoretest.OpDecrypt && c.Op != keystoretest.OpAuthorizeDecrypt {
			t.Errorf("a call of %s", c.Op)
		}
		if !maps.Equal(c.Context, keystore.Context{bucketkey.ScopeContextKey: photos}) || c.Key != r.key {
			t.Errorf("a call under %s with %v", c.Key, c.Context)
		}
	}
	if n := len(r.kms.Calls()); n != 2 {
		t.Errorf("%d calls, want alice's and bob's", n)
	}
}

// TestChainEnds: every way to end a right or a key ends the whole history: at once if waxseal hears of it, a window
// later otherwise.
func TestChainEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(r *rig)
		kind keystore.Kind
	}{
		"key disabled":      {func(r *rig) { r.kms.SetState(r.key, keystore.StateDisabled) }, keystore.Disabled},
		"key deleted":       {func(r *rig) { r.kms.SetState(r.key, keystore.StatePendingDeletion) }, keystore.InvalidState},
		"key imported anew": {func(r *rig) { r.kms.SetState(r.key, keystore.StatePendingImport) }, keystore.InvalidState},
		"grant revoked":     {func(r *rig) { r.kms.Deny(alice.ARN, keystore.Decrypt, true) }, keystore.AccessDenied},
	} {
		for _, told := range []bool{true, false} {
			r := newRig(t)
			all := r.days(r.Keys, photos, r.key, 4)
			r.reads(r.Keys, alice, photos, r.key, all)
			c.end(r)
			if told {
				r.Forget(r.key)
			} else {
				r.clock.Advance(5 * time.Minute)
			}
			for _, b := range []*bucketkey.Keys{r.Keys, r.replica()} {
				for _, w := range all {
					h, err := b.ForRead(t.Context(), alice, photos, r.key, w.blob, nil)
					refusedWith(t, name, h, err, c.kind)
				}
			}
		}
	}
}

// TestChainSurvivesForget: an edit of the KMS key makes a new head, and the new head opens all predecessors of the old
// head.
func TestChainSurvivesForget(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 5)
	for range 3 {
		r.Forget(r.key)
		blob, kek := write(t, r.Keys, carol, photos, r.key, nil)
		all = append(all, written{blob, kek})
	}
	b := r.replica()
	r.kms.Reset()
	r.reads(b, alice, photos, r.key, all)
	r.counts("eight blobs", ops{keystoretest.OpDecrypt: 1})
	r.Forget(r.key)
	r.kms.Reset()
	r.reads(r.Keys, alice, photos, r.key, all)
	r.counts("after a Forget", ops{keystoretest.OpDecrypt: 1})
}

// TestChainForgetDuringCall: if a KMS key is forgotten while a bucket key under it is made, the bucket key enters no
// chain and cuts none.
func TestChainForgetDuringCall(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, _ := r.chainsOf(photos, r.key)
	g := newGate()
	r.kms.Hook = g.hook(keystoretest.OpGenerateDataKey)
	done := make(chan written)
	go func() {
		blob, kek := write(t, r.Keys, carol, photos, r.key, nil)
		done <- written{blob, kek}
	}()
	<-g.entered
	r.Forget(r.key)
	close(g.open)
	all = append(all, <-done)
	if after, _ := r.chainsOf(photos, r.key); !bytes.Equal(after.Value, before.Value) {
		t.Error("the chain was changed")
	}
	r.kms.Reset()
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("the chain, and the key outside of it", ops{keystoretest.OpDecrypt: 2})
}

// TestChainOfRareWrites: a head stays the head after its period: a bucket with weekly writes has a chain.
func TestChainOfRareWrites(t *testing.T) {
	r := newRig(t)
	var all []written
	for range 8 {
		all = append(all, r.days(r.Keys, photos, r.key, 1)...)
		for range 6 {
			r.clock.Advance(24 * time.Hour)
			if err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("eight weeks", ops{keystoretest.OpDecrypt: 1})
}

// TestChainOfMaterials: each material of a KMS key has its own chain; without a reported material there is no chain.
func TestChainOfMaterials(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	r.kms.SetMaterial("2")
	all = append(all, r.days(r.Keys, photos, r.key, 3)...)
	b := r.replica()
	r.reads(b, alice, photos, r.key, all)
	r.counts("two materials", ops{keystoretest.OpDecrypt: 2})
	if _, c := r.chainsOf(photos, r.key); len(c.Chains) != 2 || c.Chains[0]["material"] != "2" || c.Chains[1]["material"] != "1" {
		t.Errorf("got %+v", c)
	}
	// Back to the first material, as an import can.
	r.kms.SetMaterial("1")
	all = append(all, r.days(r.Keys, photos, r.key, 1)...)
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("the first again", ops{keystoretest.OpDecrypt: 2})

	r.kms.SetMaterial("")
	untold := r.days(r.Keys, archive, r.key, 3)
	r.reads(r.replica(), alice, archive, r.key, untold)
	r.counts("no material", ops{keystoretest.OpDecrypt: 3})
	if entries := must(r.store.Range(t.Context(), bucketkey.ChainPrefix, "", 0)); len(entries) != 1 {
		t.Errorf("%d records of chains, want one", len(entries))
	}
}

// TestChainOfVersions: if the key service can end a version, a chain ends with its version, and no other chain does.
func TestChainOfVersions(t *testing.T) {
	r := newRig(t)
	r.kms.SetVersion("v1")
	first := r.days(r.Keys, photos, r.key, 3)
	r.kms.SetVersion("v2")
	second := r.days(r.Keys, photos, r.key, 3)
	r.reads(r.Keys, alice, photos, r.key, slices.Concat(first, second))
	r.kms.RevokeVersion("v1")
	r.clock.Advance(5 * time.Minute)
	for _, w := range first {
		h, err := r.ForRead(t.Context(), alice, photos, r.key, w.blob, nil)
		refusedWith(t, "the first version", h, err, keystore.InvalidState)
	}
	r.reads(r.Keys, alice, photos, r.key, second)
}

// TestChainDamaged: with any damage to a record in the state, every blob opens to its own key by a call for itself, and
// the next bucket key makes the chain anew.
func TestChainDamaged(t *testing.T) {
	chain := func(c *chainRecord) map[string]any { return c.Chains[0] }
	rows := func(c *chainRecord) []byte {
		var b []byte
		if err := json.Unmarshal(must(json.Marshal(chain(c)["rows"])), &b); err != nil {
			panic(err)
		}
		return b
	}
	const row = 80
	for name, damage := range map[string]func(r *rig, c, other *chainRecord) any{
		"rows exchanged": func(_ *rig, c, _ *chainRecord) any {
			b := rows(c)
			chain(c)["rows"] = slices.Concat(b[row:2*row], b[:row], b[2*row:])
			return c
		},
		"boxes exchanged": func(_ *rig, c, _ *chainRecord) any {
			b := rows(c)
			chain(c)["rows"] = slices.Concat(b[:32], b[row+32:2*row], b[row:row+32], b[32:row], b[2*row:])
			return c
		},
		"rows of another bucket": func(_ *rig, c, other *chainRecord) any {
			mine, theirs := rows(c), rows(other)
			for i := range len(mine) / row {
				copy(mine[i*row+32:(i+1)*row], theirs[i*row+32:])
			}
			chain(c)["rows"] = mine
			return c
		},
		"salt and boxes of another bucket": func(_ *rig, c, other *chainRecord) any {
			mine, theirs := rows(c), rows(other)
			for i := range len(mine) / row {
				copy(mine[i*row+32:(i+1)*row], theirs[i*row+32:])
			}
			chain(c)["rows"], chain(c)["salt"] = mine, chain(other)["salt"]
			return c
		},
		"the head of another bucket": func(_ *rig, c, other *chainRecord) any {
			chain(c)["head"] = chain(other)["head"]
			return c
		},
		"the chain of another bucket": func(_ *rig, c, other *chainRecord) any {
			c.Chains = other.Chains
			return c
		},
		"the record of another bucket": func(_ *rig, _, other *chainRecord) any { return other },
		"a head of another KMS key": func(r *rig, c, _ *chainRecord) any {
			chain(c)["head"] = must(r.kms.GenerateDataKey(r.t.Context(), carol, r.kms.AddKey(), nil)).Blob
			return c
		},
		"a head in another context": func(r *rig, c, _ *chainRecord) any {
			chain(c)["head"] = must(r.kms.GenerateDataKey(r.t.Context(), carol, r.key, keystore.Context{"a": "b"})).Blob
			return c
		},
		"a damaged head": func(_ *rig, c, _ *chainRecord) any {
			chain(c)["head"] = []byte("no blob")
			return c
		},
		"another material": func(_ *rig, c, _ *chainRecord) any { chain(c)["material"] = "2"; return c },
		"no material":      func(_ *rig, c, _ *chainRecord) any { chain(c)["material"] = ""; return c },
		"a bit of a box": func(_ *rig, c, _ *chainRecord) any {
			b := rows(c)
			b[40] ^= 1
			b[row+40] ^= 1
			b[2*row+40] ^= 1
			chain(c)["rows"] = b
			return c
		},
		"truncated in a row": func(_ *rig, c, _ *chainRecord) any { chain(c)["rows"] = rows(c)[:row+3]; return c },
		"truncated":          func(_ *rig, c, _ *chainRecord) any { chain(c)["rows"] = rows(c)[:row]; return c },
		"no rows":            func(_ *rig, c, _ *chainRecord) any { delete(chain(c), "rows"); return c },
		"no head":            func(_ *rig, c, _ *chainRecord) any { delete(chain(c), "head"); return c },
		"no salt":            func(_ *rig, c, _ *chainRecord) any { delete(chain(c), "salt"); return c },
		"null":               func(_ *rig, c, _ *chainRecord) any { c.Chains = []map[string]any{nil}; return c },
		"not JSON":           func(*rig, *chainRecord, *chainRecord) any { return []byte("{") },
		"empty":              func(*rig, *chainRecord, *chainRecord) any { return []byte("") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			all := r.days(r.Keys, photos, r.key, 4)
			r.clock.Advance(-4 * 24 * time.Hour)
			r.days(r.Keys, archive, r.key, 4)
			e, c := r.chainsOf(photos, r.key)
			_, other := r.chainsOf(archive, r.key)
			r.put(e.Key, damage(r, &c, &other))
			r.kms.Reset()
			r.reads(r.replica(), alice, photos, r.key, all)
			if n := r.kms.Count(keystoretest.OpDecrypt); n < 2 {
				t.Errorf("%d calls of Decrypt: nothing was damaged", n)
			}
			all = append(all, r.days(r.replica(), photos, r.key, 2)...)
			r.reads(r.replica(), alice, photos, r.key, all[4:])
			r.counts("the chain made anew", ops{keystoretest.OpDecrypt: 1})
		})
	}
}

// TestChainDamagedIsSaidOnce: a damaged record is read, and said in the log, once in a window, however many blobs are
// read.
func TestChainDamagedIsSaidOnce(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 40)
	e, _ := r.chainsOf(photos, r.key)
	r.put(e.Key, []byte("{"))
	var log bytes.Buffer
	b := r.replica(func(c *bucketkey.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, w := range all {
		r.reads(b, alice, photos, r.key, []written{w})
		r.clock.Advance(7 * time.Second)
	}
	if n := strings.Count(log.String(), "a chain of bucket keys in the state is not used"); n != 1 {
		t.Errorf("said %d times in less than a window:\n%s", n, log.String())
	}
}

// TestChainOfLaterVersion: a record written by a later version of waxseal is neither used nor replaced.
func TestChainOfLaterVersion(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	e, c := r.chainsOf(photos, r.key)
	c.V = 2
	r.put(e.Key, c)
	r.kms.Reset()
	b := r.replica()
	r.reads(b, alice, photos, r.key, all)
	r.counts("three blobs", ops{keystoretest.OpDecrypt: 3})
	r.days(b, photos, r.key, 2)
	if now, later := r.chainsOf(photos, r.key); later.V != 2 || len(later.Chains) != 1 || !bytes.Contains(now.Value, must(json.Marshal(c.Chains[0]["rows"]))) {
		t.Error("the record was replaced")
	}
}

// TestChainPlanted: in a sealed state, an attacker with write access can delete a chain, but neither make nor move a
// chain.
func TestChainPlanted(t *testing.T) {
	r := newRig(t)
	raw := r.store
	sealer := rootkey.New(keystore.RandomSecret()).Sealer("state")
	r.store = must(state.Seal(t.Context(), raw, sealer, func(context.Context) error { return nil }, bucketkey.Prefix))
	b := r.replica()
	all := r.days(b, photos, r.key, 4)
	r.days(b, archive, r.key, 4)
	e, c := r.chainsOf(photos, r.key)
	other, _ := r.chainsOf(archive, r.key)
	planted := must(json.Marshal(c))
	if sealed := must(raw.Get(t.Context(), e.Key)); bytes.Contains(sealed.Value, []byte(photos)) {
		t.Error("the record is not sealed")
	}
	for name, value := range map[string][]byte{
		"planted": planted, "moved": must(raw.Get(t.Context(), other.Key)).Value, "deleted": nil,
	} {
		must(raw.Txn(t.Context(), nil, []state.Op{{Key: e.Key, Value: value, Delete: value == nil}}))
		r.kms.Reset()
		r.reads(r.replica(), alice, photos, r.key, all)
		r.counts(name, ops{keystoretest.OpDecrypt: 4})
		more := r.days(r.replica(), photos, r.key, 2)
		r.reads(r.replica(), alice, photos, r.key, more)
		r.counts(name+", made anew", ops{keystoretest.OpDecrypt: 1})
	}
}

// TestChainOfOlderVersion: a version of waxseal without chains replaces the active key and leaves the chain as it is. The
// next version with chains takes both in.
func TestChainOfOlderVersion(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	before, _ := r.chainsOf(photos, r.key)
	old := r.replica(noChain)
	all = append(all, r.days(old, photos, r.key, 1)...)
	if after, _ := r.chainsOf(photos, r.key); after.Revision != before.Revision {
		t.Error("the chain was changed")
	}
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("two heads", ops{keystoretest.OpDecrypt: 2})
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	all = append(all, r.days(r.replica(), photos, r.key, 1)...)
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("one chain", ops{keystoretest.OpDecrypt: 1})
}

// TestChainWhileDecryptIsAway: a key service that makes keys and opens none fails no write and cuts no chain.
func TestChainWhileDecryptIsAway(t *testing.T) {
	for _, kind := range []keystore.Kind{keystore.Unavailable, keystore.Throttled, keystore.AccessDenied, keystore.Internal} {
		r := newRig(t)
		all := r.days(r.Keys, photos, r.key, 3)
		r.kms.Hook = func(_ context.Context, c keystoretest.Call) error {
			if c.Op == keystoretest.OpDecrypt {
				return keystore.Errorf(kind, "", "away")
			}
			return nil
		}
		all = append(all, r.days(r.replica(), photos, r.key, 1)...)
		r.kms.Hook = nil
		all = append(all, r.days(r.replica(), photos, r.key, 1)...)
		r.reads(r.replica(), alice, photos, r.key, all)
		r.counts(string(kind), ops{keystoretest.OpDecrypt: 1})
	}
}

// TestChainInMemory: opened predecessors take no place in the cache and end with their head.
func TestChainInMemory(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 30)
	b := r.replica(func(c *bucketkey.Config) { c.Capacity = 2 })
	h, err := b.ForRead(t.Context(), alice, photos, r.key, all[0].blob, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.reads(b, alice, photos, r.key, all)
	if n, s := b.CachedKeys(), b.Stats(); n != 1 || s.Evictions != 0 {
		t.Errorf("%d keys in memory, %+v", n, s)
	}
	for range 4 { // a predecessor in use keeps its head
		r.clock.Advance(2 * time.Minute)
		r.reads(b, alice, photos, r.key, all[:1])
		b.Sweep()
	}
	if n := b.CachedKeys(); n != 1 {
		t.Errorf("%d keys in memory while the chain is in use", n)
	}
	r.counts("in use", ops{keystoretest.OpDecrypt: 1, keystoretest.OpAuthorizeDecrypt: 1})
	r.clock.Advance(6 * time.Minute)
	b.Sweep()
	if n := b.CachedKeys(); n != 0 {
		t.Errorf("%d keys in memory after a window out of use", n)
	}
	if !bytes.Equal(h.Key(), all[0].kek) {
		t.Error("the key of a handle in use changed")
	}
	h.Release()
	if !bytes.Equal(bucketkey.Peek(h), make([]byte, 32)) {
		t.Error("the key was not zeroed after its release")
	}
	// A head in constant use is opened anew every day.
	r.kms.Reset()
	for range 25 * 60 {
		r.reads(b, alice, photos, r.key, all[:1])
		r.clock.Advance(time.Minute)
	}
	if n := r.kms.Count(keystoretest.OpDecrypt); n != 2 {
		t.Errorf("%d calls of Decrypt in 25 hours, want 2", n)
	}
}

// TestChainOff: with chains off, none is used or made, and Prune deletes the existing chains.
func TestChainOff(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	off := r.replica(noChain)
	r.reads(off, alice, photos, r.key, all)
	r.counts("three blobs", ops{keystoretest.OpDecrypt: 3})
	r.days(off, archive, r.key, 2)
	if entries := must(r.store.Range(t.Context(), bucketkey.ChainPrefix, "", 0)); len(entries) != 1 {
		t.Errorf("%d chains, want the one from before", len(entries))
	}
	if err := off.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries := must(r.store.Range(t.Context(), bucketkey.ChainPrefix, "", 0)); len(entries) != 0 {
		t.Errorf("%d chains are left", len(entries))
	}
}

// TestChainOfClientContexts: keys with client contexts are in memory only and have no chain.
func TestChainOfClientContexts(t *testing.T) {
	r := newRig(t)
	ec := keystore.Context{"team": "a"}
	var blobs [][]byte
	for range 3 {
		blob, _ := write(t, r.Keys, carol, photos, r.key, ec)
		blobs = append(blobs, blob)
		r.clock.Advance(24 * time.Hour)
	}
	if entries := must(r.store.Range(t.Context(), "", "", 0)); len(entries) != 0 {
		t.Errorf("%d records in the state", len(entries))
	}
	r.kms.Reset()
	for _, blob := range blobs {
		read(t, r.replica(), alice, photos, r.key, blob, ec)
	}
	r.counts("three blobs", ops{keystoretest.OpDecrypt: 3})
	// Nor does a chain of the bucket open a blob bound to a client's context.
	plain := r.days(r.Keys, photos, r.key, 2)
	h, err := r.ForRead(t.Context(), alice, photos, r.key, plain[0].blob, ec)
	refusedWith(t, "another context", h, err, keystore.InvalidCiphertext)
}

// TestChainBinding: a blob in a chain opens for its scope and KMS key only.
func TestChainBinding(t *testing.T) {
	r := newRig(t)
	other := r.kms.AddKey()
	all := r.days(r.Keys, photos, r.key, 3)
	r.days(r.Keys, archive, r.key, 1)
	r.days(r.Keys, photos, other, 1)
	for _, w := range all {
		h, err := r.ForRead(t.Context(), alice, archive, r.key, w.blob, nil)
		refusedWith(t, "another bucket", h, err, keystore.InvalidCiphertext)
		h, err = r.ForRead(t.Context(), alice, photos, other, w.blob, nil)
		refusedWith(t, "another KMS key", h, err, keystore.IncorrectKey)
	}
}

// TestChainRaces: if replicas make the next key at the same time, the chain loses no key.
func TestChainRaces(t *testing.T) {
	r := newRig(t)
	replicas := []*bucketkey.Keys{r.Keys, r.replica(), r.replica(), r.replica()}
	blobs := map[string]bool{}
	for range 10 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i, b := range replicas {
			wg.Go(func() {
				blob, _ := write(t, b, []keystore.Caller{alice, bob, carol, user("dave")}[i], photos, r.key, nil)
				mu.Lock()
				defer mu.Unlock()
				blobs[string(blob)] = true
			})
		}
		wg.Wait()
		r.clock.Advance(24 * time.Hour)
	}
	b := r.replica()
	r.kms.Reset()
	for blob := range blobs {
		read(t, b, alice, photos, r.key, []byte(blob), nil)
	}
	r.counts("ten days", ops{keystoretest.OpDecrypt: 1})
}

// TestChainWithoutState: while the state is away, chains in memory go on, and a process without them has the blobs
// decrypted.
func TestChainWithoutState(t *testing.T) {
	r := newRig(t)
	down := &failingStore{Store: r.store}
	r.store = down
	b := r.replica()
	all := r.days(b, photos, r.key, 3)
	warm := r.replica()
	r.reads(warm, alice, photos, r.key, all)
	down.down.Store(true)
	r.clock.Advance(5 * time.Minute)
	r.kms.Reset()
	r.reads(warm, alice, photos, r.key, all)
	r.counts("warm", ops{keystoretest.OpDecrypt: 1})
	r.kms.Reset()
	cold := r.replica()
	r.reads(cold, alice, photos, r.key, all)
	r.counts("cold", ops{keystoretest.OpDecrypt: 3})
	if cold.Stats().StateErrors == 0 {
		t.Error("nothing was counted")
	}
}

// TestChainReachesReplicas: a reading replica takes up a new head of another replica without waiting for its window.
func TestChainReachesReplicas(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 3)
	reader := r.replica()
	r.reads(reader, alice, photos, r.key, all)
	for range 2 {
		r.Forget(r.key)
		blob, kek := write(t, r.Keys, carol, photos, r.key, nil)
		all = append(all, written{blob, kek})
	}
	r.clock.Advance(2 * time.Second)
	r.kms.Reset()
	r.reads(reader, alice, photos, r.key, all)
	r.counts("two more heads, the first under the second", ops{keystoretest.OpDecrypt: 1})
}

// TestChainPausedReplica: a replica paused between its read of the chain and its write does not write back a chain
// without the keys added meanwhile, even if their record is gone.
func TestChainPausedReplica(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 2)
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	paused, other := r.replica(), r.replica()
	entered, open := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	r.kms.Hook = func(_ context.Context, c keystoretest.Call) error {
		if c.Op == keystoretest.OpDecrypt && held.CompareAndSwap(false, true) {
			close(entered)
			<-open
		}
		return nil
	}
	done := make(chan written)
	go func() {
		blob, kek := write(t, paused, alice, photos, r.key, nil)
		done <- written{blob, kek}
	}()
	<-entered
	blob, kek := write(t, other, bob, photos, r.key, nil)
	all = append(all, written{blob, kek})
	other.Forget(r.key)
	close(open)
	all = append(all, <-done)
	r.kms.Reset()
	r.reads(r.replica(), alice, photos, r.key, all)
	r.counts("four keys", ops{keystoretest.OpDecrypt: 1})
}

// TestChainOfAnotherMaterial: a head under another material is in no chain of the material.
func TestChainOfAnotherMaterial(t *testing.T) {
	r := newRig(t)
	all := r.days(r.Keys, photos, r.key, 2)
	e, c := r.chainsOf(photos, r.key)
	c.Chains[0]["material"] = "2"
	r.put(e.Key, c)
	r.kms.SetMaterial("2")
	r.days(r.replica(), photos, r.key, 1)
	if _, c := r.chainsOf(photos, r.key); len(c.Chains) != 1 || c.Chains[0]["rows"] != "" {
		t.Errorf("got %+v", c)
	}
	r.reads(r.replica(), alice, photos, r.key, all)
}

// BenchmarkForReadChained reads the oldest of a thousand bucket keys through the latest.
func BenchmarkForReadChained(b *testing.B) {
	kms, clock := keystoretest.NewFake(), &keystoretest.Clock{}
	key := kms.AddKey()
	keys := bucketkey.New(kms, state.NewMemory(), newSealer(), bucketkey.Config{Now: clock.Now})
	defer keys.Close()
	var oldest []byte
	for range 1000 {
		h, err := keys.ForWrite(b.Context(), carol, photos, key, nil)
		if err != nil {
			b.Fatal(err)
		}
		if oldest == nil {
			oldest = h.Blob()
		}
		h.Release()
		clock.Advance(24 * time.Hour)
	}
	b.ReportAllocs()
	for b.Loop() {
		h, err := keys.ForRead(b.Context(), alice, photos, key, oldest, nil)
		if err != nil {
			b.Fatal(err)
		}
		if !h.Indirect() {
			b.Fatal("the blob itself was decrypted")
		}
		h.Release()
	}
}
