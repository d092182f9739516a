package sse

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestManifestKey: a manifest sealed without the data keys is opened with them.
func TestManifestKey(t *testing.T) {
	for _, double := range []bool{false, true} {
		k, kek := NewKeys(double), NewKey()
		key, err := k.ManifestKey()
		if err != nil {
			t.Fatal(err)
		}
		unwrapped, err := UnwrapManifestKey(key.Wrap(kek, []byte("upload")), kek, []byte("upload"))
		if err != nil || unwrapped != key {
			t.Fatal(double, err)
		}
		m := testManifest(3, double)
		sealed, err := m.SealWith(unwrapped, testService)
		if err != nil || int64(len(sealed)) != m.SealedSize(k.Layers()) {
			t.Fatal(double, len(sealed), err)
		}
		got, err := OpenManifest(sealed, k)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatal(double, err)
		}
		f, err := ParseFooter(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if tag, err := f.OpenTag(sealed, k.Commitment(), testServices); err != nil || tag != m.Tag {
			t.Fatal(tag, err)
		}
		if _, err := OpenManifest(sealed, NewKeys(double)); !errors.Is(err, ErrAuthentication) {
			t.Fatal("opened under other keys:", err)
		}
	}
}

// TestManifestsDiffer: each manifest under a key draws a salt, and so keys for its boxes, of its own.
func TestManifestsDiffer(t *testing.T) {
	k := NewKeys(false)
	key, _ := k.ManifestKey()
	m := &Manifest{Parts: []ManifestPart{{Number: 1, Size: 1}}}
	svc := ServiceKey{ID: 1, Key: NewKey()}
	a, err := m.SealWith(key, svc)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.SealWith(key, svc)
	if err != nil {
		t.Fatal(err)
	}
	fa, err := ParseFooter(a)
	if err != nil {
		t.Fatal(err)
	}
	fb, err := ParseFooter(b)
	if err != nil {
		t.Fatal(err)
	}
	if fa.salt == fb.salt || bytes.Equal(a[:fa.TableSize], b[:fb.TableSize]) {
		t.Error("two manifests share what they must not")
	}
}

func TestManifestKeyEveryBit(t *testing.T) {
	k, kek := NewKeys(false), NewKey()
	key, _ := k.ManifestKey()
	wrapped := key.Wrap(kek, []byte("upload"))
	for i := range wrapped {
		if _, err := UnwrapManifestKey(flipped(wrapped, i), kek, []byte("upload")); !errors.Is(err, ErrAuthentication) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := UnwrapManifestKey(wrapped[:i], kek, []byte("upload")); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
	if _, err := UnwrapManifestKey(wrapped, NewKey(), []byte("upload")); !errors.Is(err, ErrAuthentication) {
		t.Error("under another key:", err)
	}
	if _, err := UnwrapManifestKey(wrapped, kek, []byte("another upload")); !errors.Is(err, ErrAuthentication) {
		t.Error("for another upload:", err)
	}
}

// TestUnreadableManifestIsNotSealed: a manifest with a footer refused by readers is an error before anything is sent,
// and the error does not accuse the store.
func TestUnreadableManifestIsNotSealed(t *testing.T) {
	key, _ := NewKeys(true).ManifestKey()
	key.layers = 3 // a table larger than the bound needs a third layer
	m := testManifest(MaxParts, true)
	if f := m.footer(3); f.check() == nil {
		t.Fatal("the footer passes")
	}
	if b, err := m.sealWith(key, testService, [saltSize]byte{}); b != nil || err == nil || errors.Is(err, ErrMalformed) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestManifestKeyRefuses(t *testing.T) {
	if _, err := (Keys{}).ManifestKey(); !errors.Is(err, ErrNoKey) {
		t.Error("of no data key:", err)
	}
	key, _ := NewKeys(false).ManifestKey()
	if _, err := testManifest(1, false).SealWith(key, ServiceKey{}); !errors.Is(err, ErrNoKey) {
		t.Error("without a service key:", err)
	}
	layers := key
	layers.layers = 3
	if _, err := testManifest(1, false).SealWith(layers, testService); err == nil {
		t.Error("of three layers")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if s := fmt.Sprintf(verb, key) + fmt.Sprintf(verb, &key); strings.ReplaceAll(s, redacted, "") != "" {
			t.Errorf("%s prints %q", verb, s)
		}
	}
	key.Zero()
	if _, err := testManifest(1, false).SealWith(key, testService); !errors.Is(err, ErrNoKey) {
		t.Error("after Zero:", err)
	}
}
