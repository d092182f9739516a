package directory

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

// following is a replica as a test wants it.
type following struct{ fresh, within atomic.Bool }

func (f *following) Fresh() bool { return f.fresh.Load() }

func (f *following) Check() error {
	if f.within.Load() {
		return nil
	}
	return state.ErrUnavailable
}

// awayStore is a state that can be away.
type awayStore struct {
	state.Store
	away atomic.Bool
}

func (s *awayStore) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	if s.away.Load() {
		return nil, state.ErrUnavailable
	}
	return s.Store.Range(ctx, prefix, after, limit)
}

// TestResolveWithoutFollowing: a replica that does not follow the state knows what another has changed all the same; where
// the state does not answer, it goes on with what it knows for the window, and does not deny a key that may exist.
func TestResolveWithoutFollowing(t *testing.T) {
	store := &awayStore{Store: state.NewMemory()}
	open := func() *Directory {
		file := []iam.User{{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", Root: true, AccessKey: "AKIAROOT", Secret: iam.NewSecret("secret-of-root")}}
		people, err := iam.NewDirectory(file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{State: store, People: people, Account: "000000000000", Log: slog.New(slog.DiscardHandler)}, file)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	here, there := open(), open()
	f := &following{}
	f.fresh.Store(true)
	f.within.Store(true)
	here.follows = f
	add := func(name, key string) {
		t.Helper()
		if err := there.Change(t.Context(), func(m *Model) error {
			m.PutUser(&User{Record: Record{Name: name, ID: "AIDA" + name}, Keys: []AccessKey{{ID: key, Secret: "secret-of-" + name}}})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	resolves := func(key string, want error) {
		t.Helper()
		c, err := here.Resolve(key, "")
		if !errors.Is(err, want) || want == nil && (err != nil || c.Owner == nil) {
			t.Errorf("%s: %v, want %v", key, err, want)
		}
	}
	add("one", "AKIAONE")
	resolves("AKIAONE", iam.ErrUnknownKey) // the premise: here has not followed
	f.fresh.Store(false)
	resolves("AKIAONE", nil)
	resolves("AKIANOBODY", iam.ErrUnknownKey)
	add("two", "AKIATWO")
	store.away.Store(true)
	resolves("AKIAONE", nil)
	resolves("AKIATWO", iam.ErrUnavailable)
	f.within.Store(false)
	resolves("AKIAONE", iam.ErrUnavailable)
	resolves("AKIAROOT", nil)
	store.away.Store(false)
	here.readings.last.Store(nil) // as after readAgainPause
	resolves("AKIATWO", nil)
}
