package bucketkey_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/keystoretest"
)

func TestResolve(t *testing.T) {
	r := newRig(t)
	other := r.kms.AddKey()
	r.kms.SetAlias("alias/photos", r.key)
	arn := func() string {
		t.Helper()
		info, err := r.Resolve(t.Context(), alice, "alias/photos")
		if err != nil {
			t.Fatal(err)
		}
		return info.ARN
	}
	for range 10 {
		if arn() != r.key {
			t.Error("another key")
		}
	}
	if n := r.kms.Count(keystoretest.OpResolve); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	r.kms.SetAlias("alias/photos", other)
	r.clock.Advance(time.Minute - 1)
	if arn() != r.key {
		t.Error("the alias moved before its time")
	}
	r.clock.Advance(1)
	if arn() != other {
		t.Error("the alias did not move")
	}
	r.kms.SetAlias("alias/photos", r.key)
	r.Forget(other)
	if arn() != r.key {
		t.Error("the alias was not forgotten")
	}
	r.kms.Reset()
	for range 5 {
		if _, err := r.Resolve(t.Context(), alice, "alias/nonesuch"); keystore.KindOf(err) != keystore.NotFound {
			t.Errorf("got %v", err)
		}
	}
	if n := r.kms.Count(keystoretest.OpResolve); n != 1 {
		t.Errorf("%d calls for what is not there, want 1", n)
	}
}

// TestClientContexts: keys with client contexts are not in the state, are bounded, and have caches of their own.
func TestClientContexts(t *testing.T) {
	r := newRig(t, func(c *bucketkey.Config) { c.MaxContexts = 3 })
	ec := func(i int) keystore.Context { return keystore.Context{"id": fmt.Sprint(i)} }
	var blobs [3][]byte
	for i := range blobs {
		blobs[i], _ = write(t, r.Keys, alice, photos, r.key, ec(i))
	}
	r.counts("three contexts", ops{keystoretest.OpGenerateDataKey: 3})
	if entries, err := r.store.Range(t.Context(), "", "", 0); err != nil || len(entries) != 0 {
		t.Errorf("%d entries in the state, %v", len(entries), err)
	}
	for range 10 {
		if _, err := r.ForWrite(t.Context(), alice, photos, r.key, ec(99)); !errors.Is(err, bucketkey.ErrTooManyContexts) {
			t.Fatalf("got %v, want ErrTooManyContexts", err)
		}
	}
	for i := range blobs { // the existing contexts stay usable
		if blob, _ := write(t, r.Keys, alice, photos, r.key, ec(i)); !bytes.Equal(blob, blobs[i]) {
			t.Error("another key")
		}
		read(t, r.Keys, alice, photos, r.key, blobs[i], ec(i))
	}
	r.counts("the same", ops{keystoretest.OpAuthorizeDecrypt: 3})
	write(t, r.Keys, alice, photos, r.key, nil) // the bucket key without a context is not counted
	write(t, r.Keys, alice, archive, r.key, ec(99))
	// A context unused for a window gives up its place, and still opens.
	r.clock.Advance(3 * time.Minute)
	write(t, r.Keys, alice, photos, r.key, ec(0))
	r.clock.Advance(3 * time.Minute)
	write(t, r.Keys, alice, photos, r.key, ec(50))
	write(t, r.Keys, alice, photos, r.key, ec(51))
	if blob, _ := write(t, r.Keys, alice, photos, r.key, ec(0)); !bytes.Equal(blob, blobs[0]) {
		t.Error("one that was in use gave up its place")
	}
	read(t, r.Keys, alice, photos, r.key, blobs[2], ec(2))
}

// TestContextsPushOutNobody: any number of client contexts leaves the keys without any in memory.
func TestContextsPushOutNobody(t *testing.T) {
	r := newRig(t, func(c *bucketkey.Config) { c.Capacity, c.MaxContexts = 8, 1000 })
	blob, _ := write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	for i := range 100 {
		write(t, r.Keys, alice, photos, r.key, keystore.Context{"id": fmt.Sprint(i)})
	}
	r.kms.Reset()
	write(t, r.Keys, alice, photos, r.key, nil)
	read(t, r.Keys, alice, photos, r.key, blob, nil)
	r.counts("after 100 contexts", nil)
	if n := r.CachedKeys(); n > 8+2 {
		t.Errorf("%d keys in memory", n)
	}
}
