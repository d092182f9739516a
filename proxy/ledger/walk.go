package ledger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"waxseal/keystore/state"
)

// ErrShared refuses a walk beside other replicas: the writes that they have under way are not known here, and a walk may
// have passed their names.
var ErrShared = errors.New("other replicas share the state: an inventory of a bucket counts, and the estimate is only replaced while a single replica serves")

// ErrOtherWalk refuses the result of a walk that did not begin in this process, or after which another walk began.
var ErrOtherWalk = errors.New("waxseal has restarted, or another walk has begun, since this walk began: walk again")

// Begin begins a full walk. Charges from now on, and of writes under way, outlast the walk. The id is for Commit.
func (l *Ledger) Begin(ctx context.Context) (id string, err error) {
	if err := l.checkAlone(ctx); err != nil {
		return "", err
	}
	if l.replicas.Shared() {
		if err := l.refreshAll(ctx); err != nil {
			return "", err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.walking = &walking{rand.Text(), l.now().UTC()}
	for _, h := range l.holdings {
		h.mu.Lock()
		h.next, h.carried = h.flying.Plus(h.doubtful), h.doubtful
		h.mu.Unlock()
	}
	return l.walking.id, nil
}

// checkAlone refuses what other replicas would make wrong.
func (l *Ledger) checkAlone(ctx context.Context) error {
	alone, err := l.replicas.Alone(ctx)
	if err == nil && !alone {
		err = ErrShared
	}
	return err
}

// MarkRestored takes the record of the last walk out of a restored state: objects may have been written since the backup,
// and the sums are below the truth until the next walk.
func MarkRestored(ctx context.Context, s state.Store) error {
	if _, err := s.Txn(ctx, nil, []state.Op{{Key: walkKey, Delete: true}}); err != nil {
		return fmt.Errorf("ledger: the last walk: %w", err)
	}
	return nil
}

// Commit replaces, by what the walk found, what was charged before the walk began. Each holding changes in a transaction
// of its own: a crash in between leaves some at their former, higher sums. The record of the walk comes last. uploads
// returns the multipart uploads under way that had begun before a time: no walk finds them, and each becomes an object.
func (l *Ledger) Commit(ctx context.Context, id string, found map[Holding]Sum, uploads func(context.Context, time.Time) (map[Holding]int64, error)) error {
	w, err := l.end(id)
	if err != nil {
		return err
	}
	if err := l.checkAlone(ctx); err != nil {
		return err
	}
	unfinished, err := uploads(ctx, w.begun)
	if err != nil {
		return fmt.Errorf("ledger: uploads under way: %w", err)
	}
	for at, n := range unfinished {
		h := l.of(at)
		h.mu.Lock()
		h.next.Objects += n
		h.mu.Unlock()
	}
	rest := maps.Clone(found)
	for _, h := range l.all() {
		if err := l.replace(ctx, h, found[h.record.Holding]); err != nil {
			return err
		}
		delete(rest, h.record.Holding)
	}
	for at, sum := range rest {
		if err := l.replace(ctx, l.of(at), sum); err != nil {
			return err
		}
	}
	walk := Walk{Begun: w.begun, Ended: l.now().UTC()}
	value, err := json.Marshal(walk)
	if err != nil {
		return err
	}
	if _, err := l.state.Txn(ctx, nil, []state.Op{{Key: walkKey, Value: value}}); err != nil {
		return fmt.Errorf("ledger: the walk: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = &walk
	return nil
}

// end ends the walk under way, which Commit may replace by only once.
func (l *Ledger) end(id string) (*walking, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.walking
	if w == nil || w.id != id {
		return nil, ErrOtherWalk
	}
	l.walking = nil
	return w, nil
}

// overwrite writes a record over the one that is known. A record that another replica has changed since stays: the
// charges in it are not in the walk.
func (l *Ledger) overwrite(ctx context.Context, h *holding, r record) error {
	for {
		known := h.record
		rev, err := l.write(ctx, r, h.revision)
		if err == nil {
			h.record, h.revision = r, rev
			return nil
		}
		if !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknown) {
			return err
		}
		if err := l.refresh(ctx, h); err != nil {
			return err
		}
		switch h.record {
		case r: // written, and the answer was lost
			return nil
		case known: // sealed anew, under another root secret
		default:
			return ErrOtherWalk
		}
	}
}

// replace writes what a walk found. A holding that came into being after the walk began has everything in next.
func (l *Ledger) replace(ctx context.Context, h *holding, found Sum) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.next
	if h.record.Walked != found || h.record.Charged != next {
		if err := l.overwrite(ctx, h, record{h.record.Holding, found, next}); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	h.room = Sum{}
	h.doubtful, h.carried = h.doubtful.minus(h.carried), Sum{}
	return nil
}
