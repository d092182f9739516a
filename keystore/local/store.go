package local

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

// key is a revision of a record, as read. It is shared and never changed.
type key struct {
	*record
	revision int64
	policy   *iam.Policy
	grants   grantSet // of this revision
	stale    bool     // the record at rest still has expired material
}

var errNoKey = errors.New("no such key")

// load reads a key as it is now: material past its expiry is gone, also when the reaper has not come by yet.
func (s *Service) load(ctx context.Context, account, id string) (*key, error) {
	k, err := s.read(ctx, account, id)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if k.expired(now) == nil {
		return k, nil
	}
	view := &key{record: k.clone(), revision: k.revision, policy: k.policy, grants: k.grants, stale: true}
	for m := view.expired(now); m != nil; m = view.expired(now) {
		view.dropMaterial(m)
	}
	return view, nil
}

// read reads a key. It asks the state each time, so that the next request sees every change. Only the parsed form of
// the current revision is cached.
func (s *Service) read(ctx context.Context, account, id string) (*key, error) {
	e, err := s.state.Get(ctx, keyPath(account, id))
	if errors.Is(err, state.ErrNotFound) {
		return nil, errNoKey
	}
	if err != nil {
		return nil, err
	}
	if k, ok := s.keys.Get(e.Key); ok && k.revision == e.Revision {
		return k, nil
	}
	r, err := decodeRecord(e.Value)
	if err != nil {
		return nil, err
	}
	k := &key{record: r, revision: e.Revision}
	if k.policy, err = parseKeyPolicy(r.Policy); err != nil {
		return nil, err
	}
	if r.Grants > 0 {
		if k.grants, err = s.loadGrants(ctx, id); err != nil {
			return nil, err
		}
	}
	s.keys.Add(e.Key, k)
	return k, nil
}

// edit is a change of a key with all its parts in the state.
type edit struct {
	*record // the new value
	conds   []state.Cond
	ops     []state.Op
	others  []string // ARNs of other changed keys
}

func (e *edit) put(key string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	e.ops = append(e.ops, state.Op{Key: key, Value: encoded})
	return nil
}

func (e *edit) remove(key string) { e.ops = append(e.ops, state.Op{Key: key, Delete: true}) }

// save writes an edit, if the key is unchanged since it was read. Otherwise it returns ErrConflict and writes nothing.
func (s *Service) save(ctx context.Context, k *key, e *edit) error {
	if k.stale { // the expiry is a change of its own, with its own event
		return orError(s.expireKey(ctx, k), state.ErrConflict)
	}
	if err := e.put(keyPath(k.Account, k.ID), e.record); err != nil {
		return err
	}
	conds := append(e.conds, state.Cond{Key: keyPath(k.Account, k.ID), Revision: k.revision})
	rev, err := s.state.Txn(ctx, conds, e.ops)
	if err == nil || errors.Is(err, state.ErrUnknown) { // also after an unknown outcome: caches must drop the key
		s.changed(e.arn())
		for _, keyARN := range e.others {
			s.changed(keyARN)
		}
	}
	if err == nil {
		s.replicas.Settle(ctx, rev)
	}
	return err
}

// lockCount must be held during a read and change of an account's number of keys.
func (s *Service) lockCount(account string) (unlock func()) {
	lock, _ := s.counts.LoadOrStore(account, new(sync.Mutex))
	mu := lock.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

func decodeJSON(e state.Entry, into any) error {
	if err := json.Unmarshal(e.Value, into); err != nil {
		return fmt.Errorf("%s: %w", e.Key, err)
	}
	return nil
}

// maxTries bounds the retries of a change against concurrent changes of the same key.
const maxTries = 100

// retry repeats a read-change-write until no concurrent change conflicts.
func retry(ctx context.Context, change func() error) error {
	for range maxTries {
		err := change()
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return fmt.Errorf("gave up after %d tries: %w", maxTries, state.ErrConflict)
}

// getJSON reads a value; found is false when it is absent, and revision 0 then.
func (s *Service) getJSON(ctx context.Context, path string, into any) (revision int64, found bool, err error) {
	e, err := s.state.Get(ctx, path)
	if errors.Is(err, state.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return e.Revision, true, decodeJSON(e, into)
}

// page is the start of a page of a listing, and its size.
type page struct {
	after string
	limit int
}

// openMarker reads Limit and Marker. A marker names its listing.
func openMarker(listing, marker string, limit *int, preset int) (page, error) {
	p := page{limit: preset}
	if limit != nil {
		p.limit = *limit
	}
	if marker == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(marker)
	after, ok := strings.CutPrefix(string(raw), listing+"\x00")
	if err != nil || !ok || after == "" {
		return page{}, failf(codeInvalidMarker, "Could not deserialize marker '%s'", marker)
	}
	p.after = after
	return p, nil
}

func nextMarker(listing, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(listing + "\x00" + last))
}

// cut applies a page to sorted items: it returns the items after the marker, and the marker of the next page.
func cut[T any](listing string, p page, items []T, name func(T) string) (shown []T, marker string) {
	shown = []T{}
	for _, item := range items {
		if name(item) <= p.after {
			continue
		}
		if len(shown) == p.limit {
			return shown, nextMarker(listing, name(shown[len(shown)-1]))
		}
		shown = append(shown, item)
	}
	return shown, ""
}
