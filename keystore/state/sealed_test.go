package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// tagSealer is a Sealer whose seal is a tag in front: generation, hash of all. Secrecy is the real one's business.
type tagSealer struct {
	mu         sync.Mutex
	generation byte
	gone       byte // generations up to this one open no more
}

func (s *tagSealer) tag(generation byte, plain, aad []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf([]byte{generation}, "secret %d %s %s", len(aad), aad, plain))
	return append([]byte{generation}, sum[:]...)
}

func (s *tagSealer) Seal(plain, aad []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(s.tag(s.generation, plain, aad), plain...), nil
}

func (s *tagSealer) Open(sealed, aad []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const size = 1 + sha256.Size
	if len(sealed) < size || sealed[0] < s.gone || !bytes.Equal(sealed[:size], s.tag(sealed[0], sealed[size:], aad)) {
		return nil, errors.New("does not open")
	}
	return sealed[size:], nil
}

func (s *tagSealer) Stale(sealed []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sealed[0] != s.generation, nil
}

func seal(t *testing.T, s Store, sealer Sealer) *Sealed {
	t.Helper()
	sealed, err := Seal(t.Context(), s, sealer, "own/")
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// TestSealedRefusesWhatIsNotItsOwn: values that were planted, moved or altered behind it are no values.
func TestSealedRefusesWhatIsNotItsOwn(t *testing.T) {
	raw := NewMemory()
	s := seal(t, raw, new(tagSealer))
	put(t, s, "grant/a", "alice")
	put(t, s, "own/x", "sealed by its owner")
	if e, err := raw.Get(t.Context(), "own/x"); err != nil || string(e.Value) != "sealed by its owner" {
		t.Errorf("an exempt value is %q, %v", e.Value, err)
	}
	a, err := raw.Get(t.Context(), "grant/a")
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(a.Value)
	altered[len(altered)-1] ^= 1
	for name, value := range map[string][]byte{
		"planted": []byte("mallory"), "empty": {}, "altered": altered, "cut": a.Value[:len(a.Value)-1],
	} {
		put(t, raw, "grant/a", string(value))
		refuses(t, s, name, "grant/a")
	}
	put(t, raw, "grant/a", string(a.Value))
	put(t, raw, "grant/b", string(a.Value))
	refuses(t, s, "moved", "grant/b")
	if e, err := s.Get(t.Context(), "grant/a"); err != nil || string(e.Value) != "alice" {
		t.Errorf("the value itself: %q, %v", e.Value, err)
	}
}

func refuses(t *testing.T, s *Sealed, name, key string) {
	t.Helper()
	if e, err := s.Get(t.Context(), key); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("%s: Get gives %q, %v", name, e.Value, err)
	}
	if entries, err := s.Range(t.Context(), "grant/", "", 0); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("%s: Range gives %v, %v", name, entries, err)
	}
	if _, err := s.Reseal(t.Context()); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("%s: Reseal gives %v", name, err)
	}
}

// TestSealedWatch: an event brings the value; what is not authentic brings the news that something has to be read.
func TestSealedWatch(t *testing.T) {
	raw := NewMemory()
	s := seal(t, raw, new(tagSealer))
	events, err := s.Watch(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "value")
	if e := next(t, events); string(e.Value) != "value" || e.Key != "k" {
		t.Errorf("got %+v", e)
	}
	put(t, raw, "k", "planted")
	if e := next(t, events); !e.Lagged || e.Value != nil {
		t.Errorf("got %+v", e)
	}
}

// TestSealTakesOver: a state of an earlier version is sealed at the first start, also when that start was cut short. It
// is not when a value in it is sealed already: then somebody took the mark away to have plain values believed.
func TestSealTakesOver(t *testing.T) {
	raw, sealer := NewMemory(), new(tagSealer)
	for i := range 600 { // more than a page
		put(t, raw, fmt.Sprintf("k/%03d", i), fmt.Sprint(i))
	}
	put(t, raw, "own/x", "sealed by its owner")
	s := seal(t, raw, sealer)
	wantPlain := func(s Store) {
		t.Helper()
		entries, err := s.Range(t.Context(), "k/", "", 0)
		if err != nil || len(entries) != 600 {
			t.Fatalf("%d values, %v", len(entries), err)
		}
		for i, e := range entries {
			if string(e.Value) != fmt.Sprint(i) {
				t.Errorf("%s is %q", e.Key, e.Value)
			}
		}
	}
	wantPlain(s)
	entries, err := raw.Range(t.Context(), "k/", "", 0)
	if err != nil || slices.ContainsFunc(entries, func(e Entry) bool { return len(e.Value) < sha256.Size }) {
		t.Errorf("a value is plain at rest, %v", err)
	}
	wantPlain(seal(t, raw, sealer))

	// Cut short: some are sealed, some are not, and the mark says so.
	put(t, s, sealMark, markBegun)
	put(t, raw, "k/001", "1")
	wantPlain(seal(t, raw, sealer))
	put(t, raw, "k/001", "planted")
	refuses := func(key string) {
		t.Helper()
		if _, err := seal(t, raw, sealer).Get(t.Context(), key); !errors.Is(err, ErrNotAuthentic) {
			t.Errorf("got %v", err)
		}
	}
	refuses("k/001")

	if _, err := raw.Txn(t.Context(), nil, []Op{{Key: sealMark, Delete: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(t.Context(), raw, sealer, "own/"); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("without its mark: %v", err)
	}
}

// TestReseal: after it the older secret is not needed, and no write that was under way needs it either.
func TestReseal(t *testing.T) {
	raw, sealer := NewMemory(), new(tagSealer)
	s := seal(t, raw, sealer)
	for i := range 300 {
		put(t, s, fmt.Sprintf("k/%03d", i), "before")
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if _, err := s.Txn(t.Context(), nil, []Op{{Key: fmt.Sprintf("w/%d/%d", w, i), Value: []byte("during")}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sealer.mu.Lock()
	sealer.generation++
	sealer.mu.Unlock()
	n, err := s.Reseal(t.Context())
	if err != nil || n < 300 {
		t.Errorf("%d values were sealed again, %v", n, err)
	}
	sealer.mu.Lock()
	sealer.gone = sealer.generation
	sealer.mu.Unlock()
	wg.Wait()
	if entries, err := s.Range(t.Context(), "", "", 0); err != nil || len(entries) != 300+4*300+1 {
		t.Errorf("%d values, %v", len(entries), err)
	}
}
