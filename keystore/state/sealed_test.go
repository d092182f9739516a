package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// tagSealer is a Sealer with a tag as its seal: generation, hash of all. It keeps nothing secret, unlike the root
// secret's sealer.
type tagSealer struct {
	mu         sync.Mutex
	generation byte
	gone       byte // generations up to gone no longer open
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
	sealed, err := Seal(t.Context(), s, sealer, takeOver, "own/")
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func takeOver(context.Context) error { return nil }

// TestSealedRefusesWhatIsNotItsOwn: planted, moved and altered values are refused.
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

// TestSealedWatch: an event brings the value; for an inauthentic value it is Lagged, so that the watcher reads.
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

// TestSealTakesOver: an earlier version's state is sealed at the first start, also after an interrupted start. A
// sealed value in a state without the mark is refused: an attacker took the mark away to have plain values believed.
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

	put(t, raw, "k/001", "planted")
	if _, err := seal(t, raw, sealer).Get(t.Context(), "k/001"); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("got %v", err)
	}
	if _, err := raw.Txn(t.Context(), nil, []Op{{Key: sealMark, Delete: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(t.Context(), raw, sealer, takeOver, "own/"); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("without its mark: %v", err)
	}
}

// cutStore is a store of a process that ends after left transactions.
type cutStore struct {
	Store
	left int
}

var errCut = errors.New("the process ended")

func (s *cutStore) Txn(ctx context.Context, conds []Cond, ops []Op) (int64, error) {
	if s.left == 0 {
		return 0, errCut
	}
	s.left--
	return s.Store.Txn(ctx, conds, ops)
}

// TestSealCutShort: after a first start cut short between any two transactions, the next start seals the rest of the
// same values. An old mark, brought back later, has no planted value believed.
func TestSealCutShort(t *testing.T) {
	for left := range 5 {
		raw, sealer := NewMemory(), new(tagSealer)
		for i := range 600 {
			put(t, raw, fmt.Sprintf("k/%03d", i), fmt.Sprint(i))
		}
		if _, err := Seal(t.Context(), &cutStore{raw, left}, sealer, takeOver, "own/"); !errors.Is(err, errCut) {
			t.Fatalf("after %d transactions: %v", left, err)
		}
		mark, err := raw.Get(t.Context(), sealMark)
		if left == 0 && errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s := seal(t, raw, sealer)
		for i := range 600 {
			if e, err := s.Get(t.Context(), fmt.Sprintf("k/%03d", i)); err != nil || string(e.Value) != fmt.Sprint(i) {
				t.Fatalf("after %d transactions: %q, %v", left, e.Value, err)
			}
		}
		put(t, raw, sealMark, string(mark.Value))
		for key, value := range map[string]string{"k/001": "planted", "k/another": "planted"} {
			put(t, raw, key, value)
			if _, err := Seal(t.Context(), raw, sealer, takeOver, "own/"); !errors.Is(err, ErrNotAuthentic) {
				t.Errorf("%s, under the mark of then: %v", key, err)
			}
		}
	}
}

// TestSealAsksBefore: plain values are not sealed where no plain state belongs, nor under another secret.
func TestSealAsksBefore(t *testing.T) {
	errNo := errors.New("no")
	refuse := func(context.Context) error { return errNo }
	if _, err := Seal(t.Context(), NewMemory(), new(tagSealer), refuse, "own/"); err != nil {
		t.Errorf("an empty state: %v", err)
	}
	for _, key := range []string{"k", "own/x"} {
		raw := NewMemory()
		put(t, raw, key, "plain")
		if _, err := Seal(t.Context(), raw, new(tagSealer), refuse, "own/"); !errors.Is(err, errNo) {
			t.Errorf("%s: %v", key, err)
		}
		if entries, err := raw.Range(t.Context(), "", "", 0); err != nil || len(entries) != 1 || string(entries[0].Value) != "plain" {
			t.Errorf("%s: the state was changed: %v, %v", key, entries, err)
		}
	}
}

// TestReseal: after Reseal neither a stored value nor a write under way needs the older secret.
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
