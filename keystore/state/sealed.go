package state

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Sealer seals values. aad binds a sealed value to its key. Open fails for a changed value, or with another aad.
// Stale reports whether a value has to be sealed again because the root secret was changed.
type Sealer interface {
	Seal(plaintext, aad []byte) ([]byte, error)
	Open(sealed, aad []byte) ([]byte, error)
	Stale(sealed []byte) (bool, error)
}

// ErrNotAuthentic is returned for a value without a valid seal for its key: written without the root secret, moved
// here from another key, changed or damaged.
var ErrNotAuthentic = errors.New("state: value is not authentic")

// sealMark is the key of the mark of a sealed state. A state without the mark has plain values, written by an earlier
// version. The mark's own value is sealed: markBegun and the sum of all values while plain values are being sealed,
// else markDone.
const (
	sealMark  = "state/sealed"
	markBegun = "begun "
	markDone  = "done"
)

// Sealed is a Store with values sealed at rest, each bound to its key. An attacker with write access to the state,
// but without the root secret, can delete values and bring back older values of the same key, but not make, change or
// move a value. So nobody gains a right, or plants a key, by writing to the state.
type Sealed struct {
	store  Store
	sealer Sealer
	except []string

	// writing is held for reading from the seal of a value until its write ends. Reseal locks it to wait for values
	// sealed under the earlier secret.
	writing sync.RWMutex
}

var _ Store = (*Sealed)(nil)

// Seal returns a sealed view of a store. Values under the prefixes in except are sealed by their owners. The plain
// values of an earlier version's store are sealed first, unless mayTakeOver returns an error: no plain store belongs
// here, for example, or the secret is another deployment's.
func Seal(ctx context.Context, s Store, sealer Sealer, mayTakeOver func(context.Context) error, except ...string) (*Sealed, error) {
	sealed := &Sealed{store: s, sealer: sealer, except: except}
	if err := sealed.begin(ctx, mayTakeOver); err != nil {
		return nil, err
	}
	return sealed, nil
}

func (s *Sealed) begin(ctx context.Context, mayTakeOver func(context.Context) error) error {
	mark, err := s.Get(ctx, sealMark)
	if errors.Is(err, ErrNotFound) {
		if err = s.markEmpty(ctx); err == nil {
			return nil
		}
		if errors.Is(err, errNotEmpty) {
			return s.sealFirst(ctx, mayTakeOver)
		}
		if errors.Is(err, ErrConflict) { // another replica starts just now
			mark, err = s.Get(ctx, sealMark)
		}
	}
	if err == nil && strings.HasPrefix(string(mark.Value), markBegun) {
		return s.sealRest(ctx, string(mark.Value))
	}
	return err
}

var errNotEmpty = errors.New("state: there are entries")

// markEmpty marks an empty store as sealed; else it returns errNotEmpty, or ErrConflict when there is a mark by now.
func (s *Sealed) markEmpty(ctx context.Context) error {
	entries, err := s.store.Range(ctx, "", "", 1)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		// A replica that starts just now writes the mark first, and then other records: the mark may have come meanwhile.
		_, err := s.Get(ctx, sealMark)
		switch {
		case err == nil:
			return ErrConflict
		case errors.Is(err, ErrNotFound):
			return errNotEmpty
		}
		return err
	}
	_, err = s.Txn(ctx, []Cond{{Key: sealMark}}, []Op{{Key: sealMark, Value: []byte(markDone)}})
	return err
}

// sealFirst seals the values of a store without a mark. A sealed value in such a store means an attack: a removed
// mark, so that planted plain values pass as values of an earlier version.
func (s *Sealed) sealFirst(ctx context.Context, mayTakeOver func(context.Context) error) error {
	if err := mayTakeOver(ctx); err != nil {
		return err
	}
	begun, err := s.sum(ctx, func(e Entry) ([]byte, error) {
		if _, err := s.open(e.Key, e.Value); err == nil {
			return nil, fmt.Errorf("%w: %s is missing, and %s is sealed: restore a backup", ErrNotAuthentic, sealMark, e.Key)
		}
		return e.Value, nil
	})
	if err != nil {
		return err
	}
	if _, err := s.Txn(ctx, []Cond{{Key: sealMark}}, []Op{{Key: sealMark, Value: []byte(begun)}}); err != nil {
		return err
	}
	return s.sealPlain(ctx)
}

// sealRest seals the values left plain by an interrupted start. The mark has the sum of that moment's values: with an
// old mark, brought back, planted values are refused.
func (s *Sealed) sealRest(ctx context.Context, begun string) error {
	now, err := s.sum(ctx, func(e Entry) ([]byte, error) {
		if plain, err := s.open(e.Key, e.Value); err == nil {
			return plain, nil
		}
		return e.Value, nil
	})
	if err != nil {
		return err
	}
	if now != begun {
		return fmt.Errorf("%w: %s is of other values than there are: restore a backup", ErrNotAuthentic, sealMark)
	}
	return s.sealPlain(ctx)
}

// sum returns the mark of a store before its values are sealed. value returns the plain value of an entry.
func (s *Sealed) sum(ctx context.Context, value func(Entry) ([]byte, error)) (string, error) {
	sum := sha256.New()
	err := s.each(ctx, func(page []Entry) error {
		for _, e := range page {
			v, err := value(e)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, "%d %d %s%s", len(e.Key), len(v), e.Key, v)
		}
		return nil
	})
	return fmt.Sprintf("%s%x", markBegun, sum.Sum(nil)), err
}

// sealPlain seals the values still plain, a page in a transaction: each transaction waits for the disk.
func (s *Sealed) sealPlain(ctx context.Context) error {
	err := s.each(ctx, func(page []Entry) error {
		var conds []Cond
		var ops []Op
		for _, e := range page {
			if _, err := s.open(e.Key, e.Value); err != nil {
				conds = append(conds, Cond{Key: e.Key, Revision: e.Revision})
				ops = append(ops, Op{Key: e.Key, Value: e.Value})
			}
		}
		for some := range Chunks(ops) {
			if _, err := s.Txn(ctx, conds[:len(some)], some); err != nil {
				return err
			}
			conds = conds[len(some):]
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = s.Txn(ctx, nil, []Op{{Key: sealMark, Value: []byte(markDone)}})
	return err
}

// each passes every entry except the mark and exempt keys to do, as stored, in pages that fit into a transaction with
// their conditions.
func (s *Sealed) each(ctx context.Context, do func([]Entry) error) error {
	const page = MaxTxnSize / 2
	for after := ""; ; {
		entries, err := s.store.Range(ctx, "", after, page)
		if err != nil {
			return err
		}
		full := len(entries) == page
		if full {
			after = entries[page-1].Key
		}
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Key == sealMark || s.exempt(e.Key) })
		if err := do(entries); err != nil || !full {
			return err
		}
	}
}

// awaitWrites returns after the end of all writes begun so far.
func (s *Sealed) awaitWrites() {
	s.writing.Lock()
	defer s.writing.Unlock()
}

// Reseal seals every value again unless it is under the newest secret already, and returns the number of resealed
// values.
func (s *Sealed) Reseal(ctx context.Context) (int, error) {
	s.awaitWrites() // writes sealed under the earlier secret
	mark, err := s.store.Get(ctx, sealMark)
	if err != nil {
		return 0, err
	}
	n, err := s.resealAll(ctx, []Entry{mark})
	if err != nil {
		return n, err
	}
	err = s.each(ctx, func(page []Entry) error {
		done, err := s.resealAll(ctx, page)
		n += done
		return err
	})
	return n, err
}

func (s *Sealed) resealAll(ctx context.Context, entries []Entry) (n int, err error) {
	for _, e := range entries {
		done, err := s.reseal(ctx, e)
		if err != nil {
			return n, err
		}
		if done {
			n++
		}
	}
	return n, nil
}

// reseal reports whether it sealed a value again. A value written meanwhile is under the newest secret.
func (s *Sealed) reseal(ctx context.Context, e Entry) (bool, error) {
	plain, err := s.open(e.Key, e.Value)
	if err != nil {
		return false, err
	}
	stale, err := s.sealer.Stale(e.Value)
	if err != nil || !stale {
		return false, err
	}
	_, err = s.Txn(ctx, []Cond{{Key: e.Key, Revision: e.Revision}}, []Op{{Key: e.Key, Value: plain}})
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

func (s *Sealed) exempt(key string) bool {
	for _, prefix := range s.except {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (s *Sealed) open(key string, value []byte) ([]byte, error) {
	if s.exempt(key) {
		return value, nil
	}
	plain, err := s.sealer.Open(value, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotAuthentic, key, err)
	}
	return plain, nil
}

// Get implements Store.
func (s *Sealed) Get(ctx context.Context, key string) (Entry, error) {
	e, err := s.store.Get(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	if e.Value, err = s.open(e.Key, e.Value); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Range implements Store. A single inauthentic value fails it: a key or grant, for example, must not pass as absent.
func (s *Sealed) Range(ctx context.Context, prefix, after string, limit int) ([]Entry, error) {
	entries, err := s.store.Range(ctx, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if entries[i].Value, err = s.open(e.Key, e.Value); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// Txn implements Store.
func (s *Sealed) Txn(ctx context.Context, conds []Cond, ops []Op) (int64, error) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	sealed := make([]Op, len(ops))
	for i, op := range ops {
		sealed[i] = op
		if op.Delete || s.exempt(op.Key) {
			continue
		}
		value, err := s.sealer.Seal(op.Value, []byte(op.Key))
		if err != nil {
			return 0, fmt.Errorf("state: %s: %w", op.Key, err)
		}
		sealed[i].Value = value
	}
	return s.store.Txn(ctx, conds, sealed)
}

// Watch implements Store. An inauthentic value becomes a Lagged event without a value: the watcher reads again, and
// gets the error from Get or Range.
func (s *Sealed) Watch(ctx context.Context, prefix string) (<-chan Event, error) {
	events, err := s.store.Watch(ctx, prefix)
	if err != nil {
		return nil, err
	}
	out := make(chan Event)
	go func() {
		defer close(out)
		for e := range events {
			select {
			case out <- s.openEvent(e):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (s *Sealed) openEvent(e Event) Event {
	if e.Deleted || e.Lagged {
		return e
	}
	plain, err := s.open(e.Key, e.Value)
	if err != nil {
		return Event{Lagged: true}
	}
	e.Value = plain
	return e
}

// Follow implements Store. Followers get no values.
func (s *Sealed) Follow(prefix string, see func(string, int64)) func() {
	return s.store.Follow(prefix, see)
}

// Backup implements Store. Values in the copy are sealed.
func (s *Sealed) Backup(w io.Writer) error { return s.store.Backup(w) }

// Close implements Store.
func (s *Sealed) Close() error { return s.store.Close() }
