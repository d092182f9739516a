package bucketkey_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/rootkey"
)

func TestExternalRoot(t *testing.T) {
	r := newRig(t)
	ring := must(rootkey.OpenRing(t.Context(), r.store, rootkey.New(keystore.RandomSecret()).Sealer("service-key")))
	r.kms.SetAlias("alias/root", r.key)
	if _, err := bucketkey.NewRoot(r.Keys, ring, bucketkey.RootConfig{}); err == nil {
		t.Error("a root without a KMS key")
	}
	root := must(bucketkey.NewRoot(r.Keys, ring, bucketkey.RootConfig{KeyID: "alias/root"}))
	current := func() (kek, id []byte) {
		t.Helper()
		h, id, err := root.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Release()
		return bytes.Clone(h.Key()), id
	}
	opens := func(id, want []byte) {
		t.Helper()
		h, err := root.Open(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Release()
		if !bytes.Equal(h.Key(), want) {
			t.Error("another key")
		}
	}
	kek, id := current()
	for range 50 {
		opens(id, kek)
		current()
	}
	r.counts("100 uses", ops{keystoretest.OpGenerateDataKey: 1, keystoretest.OpAuthorizeDecrypt: 1})
	r.clock.Advance(300 * 24 * time.Hour) // far beyond a bucket key's period
	if _, again := current(); !bytes.Equal(id, again) {
		t.Error("another root key within its period")
	}
	opens(id, kek)
	if err := r.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(65 * 24 * time.Hour)
	if _, again := current(); bytes.Equal(id, again) {
		t.Error("no new root key after its period")
	}
	opens(id, kek)

	for name, bad := range map[string][]byte{
		"empty": nil, "short": id[:4], "version": append([]byte{9}, id[1:]...), "no blob": id[:5+len(r.key)],
		"length": append([]byte{1, 255, 255, 255, 255}, id[5:]...),
	} {
		h, err := root.Open(t.Context(), bad)
		refusedWith(t, name, h, err, keystore.InvalidCiphertext)
	}
	// The store's operator must not be able to choose a KMS key.
	other := r.kms.AddKey()
	theirs := must(bucketkey.NewRoot(r.Keys, ring, bucketkey.RootConfig{KeyID: other}))
	h, foreign, err := theirs.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	_, err = root.Open(t.Context(), foreign)
	refusedWith(t, "another KMS key", nil, err, keystore.IncorrectKey)
	later := must(bucketkey.NewRoot(r.Keys, ring, bucketkey.RootConfig{KeyID: other, Accept: []string{r.key}}))
	if h, err := later.Open(t.Context(), id); err != nil {
		t.Error(err)
	} else {
		h.Release()
	}
	n, k, err := root.ServiceKey(context.Background())
	if err != nil || k.IsZero() {
		t.Errorf("got %d, %v", n, err)
	}
	if _, ok := root.ServiceKeyByID(n); !ok {
		t.Errorf("no service key %d", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
