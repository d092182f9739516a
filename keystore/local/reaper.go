package local

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// sweepInterval is the time between two sweeps. It counts on the wall clock: a restart or a suspended machine does not
// stop it, and the next sweep catches up.
const sweepInterval = time.Minute

// clockJump is how far the wall clock may run ahead of the monotonic clock between two sweeps before it is distrusted.
const clockJump = 10 * time.Minute

// clockWatch compares the two clocks from look to look.
type clockWatch struct {
	mu         sync.Mutex
	wall, mono time.Time
	jumped     bool // at the last look
}

// look returns how far the wall clock has jumped ahead since the last look, and whether that counts as a jump.
func (w *clockWatch) look(wall, mono time.Time) (ahead time.Duration, jumped bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ahead = w.ahead(wall, mono)
	w.wall, w.mono, w.jumped = wall, mono, ahead > clockJump
	return ahead, w.jumped
}

// trusts reports, between two sweeps, whether the wall clock has not jumped since the last sweep, and had not jumped
// then.
func (w *clockWatch) trusts(wall, mono time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.jumped && w.ahead(wall, mono) <= clockJump
}

func (w *clockWatch) ahead(wall, mono time.Time) time.Duration {
	return wall.Round(0).Sub(w.wall.Round(0)) - mono.Sub(w.mono) // Round strips the monotonic reading
}

// reap sweeps until the service is closed. When the wall clock jumps ahead (a wrong time server, a resumed machine),
// reap skips a sweep, and the next sweep goes by the time of that moment. So a jump corrected within the minute deletes
// nothing.
func (s *Service) reap(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if ahead, jumped := s.watch.look(s.now(), time.Now()); jumped {
			s.log.Warn("key service: the clock jumped ahead; deletions wait for the next look", "by", ahead)
			continue
		}
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("key service: what was due could not be done; it is tried again", "err", err)
		}
	}
}

const sweepPage = 256

// Sweep does all due work: it deletes keys at the end of their waiting period and material at its expiry, rotates keys,
// and writes the last uses. A failure of a key does not stop the work on the rest.
func (s *Service) Sweep(ctx context.Context) error {
	var failed []error
	after := ""
	for {
		entries, err := s.state.Range(ctx, keyPrefix, after, sweepPage)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		for _, e := range entries {
			if err := s.sweepEntry(ctx, e); err != nil {
				failed = append(failed, err)
			}
			after = e.Key
		}
		if len(entries) < sweepPage {
			break
		}
	}
	for _, step := range []func(context.Context) error{s.sweepRoot, s.sweepGrants, s.deliverEvents, s.flushUsage} {
		if err := step(ctx); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// dated are the members of a record with a due time; most keys have none of them, and need no decoding.
var dated = [][]byte{[]byte(`"deletion_date"`), []byte(`"next_rotation"`), []byte(`"valid_to"`)}

func (s *Service) sweepEntry(ctx context.Context, e state.Entry) error {
	if !slices.ContainsFunc(dated, func(name []byte) bool { return bytes.Contains(e.Value, name) }) {
		return nil
	}
	r, err := decodeRecord(e.Value)
	if err != nil {
		return err
	}
	if due := r.due(); due.IsZero() || due.After(s.now()) {
		return nil
	}
	return s.sweepKey(ctx, &key{record: r})
}

// sweepKey does the due work of a key, in a single transaction with its events.
func (s *Service) sweepKey(ctx context.Context, due *key) error {
	return s.doDue(ctx, due, func(k *key, now time.Time) error {
		if !k.DeletionDate.IsZero() && !k.DeletionDate.After(now) {
			if !s.mayDelete(k) {
				return nil
			}
			return s.deleteKey(ctx, k, now)
		}
		return s.sealAndStore(func() error {
			e := &edit{record: k.clone()}
			if err := s.expireMaterial(e, now); err != nil {
				return err
			}
			if err := s.rotateDue(e, now); err != nil {
				return err
			}
			return s.save(ctx, k, e)
		})
	})
}

// expireKey drops expired material before a change of the key is written. Only the reaper deletes keys. After a jump of
// the clock expireKey refuses: the change can be made when the clock is trusted again.
func (s *Service) expireKey(ctx context.Context, due *key) error {
	if !s.watch.trusts(s.now(), time.Now()) {
		return failf(codeKeyUnavailable, "%s has key material whose time is over, by a clock that jumped ahead just now. Try again in some minutes.", due.arn())
	}
	return s.doDue(ctx, due, func(k *key, now time.Time) error {
		e := &edit{record: k.clone()}
		if err := s.expireMaterial(e, now); err != nil {
			return err
		}
		return s.save(ctx, k, e)
	})
}

// doDue runs due work on a key, unless another process has done it meanwhile, and delivers its events.
func (s *Service) doDue(ctx context.Context, due *key, do func(k *key, now time.Time) error) error {
	err := retry(ctx, func() error {
		k, err := s.read(ctx, due.Account, due.ID)
		if errors.Is(err, errNoKey) {
			return nil
		}
		if err != nil {
			return err
		}
		now := s.now().UTC()
		if next := k.due(); next.IsZero() || next.After(now) {
			return nil
		}
		return do(k, now)
	})
	if err != nil {
		return err
	}
	if err := s.deliverEvents(ctx); err != nil {
		s.log.Error("key service: event of the service not written; it is tried again", "err", err)
	}
	return nil
}

// deleteKey removes a key with its aliases, for ever. Its grants, possibly many, are removed afterwards.
func (s *Service) deleteKey(ctx context.Context, k *key, now time.Time) error {
	defer s.lockCount(k.Account)()
	var count int
	countKey := countPrefix + k.Account
	revision, _, err := s.getJSON(ctx, countKey, &count)
	if err != nil {
		return err
	}
	e := &edit{record: k.record}
	e.conds = []state.Cond{{Key: keyPath(k.Account, k.ID), Revision: k.revision}, {Key: countKey, Revision: revision}}
	e.remove(keyPath(k.Account, k.ID))
	e.remove(usagePrefix + k.ID)
	for _, name := range k.Aliases {
		e.remove(aliasPath(k.Account, name))
	}
	if err := e.put(countKey, max(0, count-1)); err != nil {
		return err
	}
	if k.Grants > 0 {
		if err := e.put(doomPrefix+k.ID, k.Grants); err != nil {
			return err
		}
	}
	if err := s.announce(e, "DeleteKey", now, nil); err != nil {
		return err
	}
	_, err = s.state.Txn(ctx, e.conds, e.ops)
	if err == nil || errors.Is(err, state.ErrUnknown) {
		s.keys.Remove(keyPath(k.Account, k.ID))
		s.changed(k.arn())
	}
	return err
}

func (s *Service) expireMaterial(e *edit, now time.Time) error {
	for {
		m := e.expired(now)
		if m == nil {
			return nil
		}
		id := m.ID
		e.dropMaterial(m)
		if err := s.announce(e, "DeleteExpiredKeyMaterial", now, map[string]any{"keyMaterialId": id}); err != nil {
			return err
		}
	}
}

// rotateDue rotates once, however many periods have gone by, and keeps to the schedule.
func (s *Service) rotateDue(e *edit, now time.Time) error {
	if e.State != keystore.StateEnabled || e.NextRotation.IsZero() || e.NextRotation.After(now) {
		return nil
	}
	if err := s.rotate(e.record, now, rotationAutomatic); err != nil {
		return err
	}
	for !e.NextRotation.After(now) {
		e.NextRotation = e.NextRotation.Add(time.Duration(e.RotationDays) * day)
	}
	return s.announce(e, "RotateKey", now, map[string]any{"rotationType": rotationAutomatic, "keyMaterialId": e.current().ID})
}

// announce adds an event of the service to an edit. The event is stored with the change and written to the log after
// it. So there is neither an event without a change nor a change without an event.
func (s *Service) announce(e *edit, name string, now time.Time, extra map[string]any) error {
	r := &audit.Record{
		UserIdentity: audit.UserIdentity{AccountID: e.Account, InvokedBy: audit.Internal},
		EventTime:    audit.At(now), EventSource: audit.KMSSource, EventName: name, AWSRegion: e.Region,
		SourceIPAddress: audit.Internal, UserAgent: audit.Internal, AdditionalEventData: extra,
		RequestID: audit.NewID(), EventID: audit.NewID(), EventType: audit.ServiceEvent, ManagementEvent: true,
		Resources:          []audit.Resource{{AccountID: e.Account, Type: audit.KMSKey, ARN: e.arn()}},
		RecipientAccountID: e.Account, EventCategory: audit.Management,
	}
	return e.put(eventPrefix+r.EventID, r)
}

// deliverEvents writes the stored events. After a crash between writing and removing, an event is written twice, with
// the same event id.
func (s *Service) deliverEvents(ctx context.Context) error {
	for {
		entries, err := s.state.Range(ctx, eventPrefix, "", sweepPage)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			var r audit.Record
			if err := decodeJSON(e, &r); err != nil {
				return err
			}
			if err := s.audit.Write(ctx, &r); err != nil {
				return err
			}
			s.counters.add(r.EventName, "")
			if _, err := s.state.Txn(ctx, nil, []state.Op{{Key: e.Key, Delete: true}}); err != nil {
				return err
			}
		}
	}
}

// sweepGrants removes the grants of deleted keys, in transactions of bounded size.
func (s *Service) sweepGrants(ctx context.Context) error {
	doomed, err := s.state.Range(ctx, doomPrefix, "", 0)
	if err != nil {
		return err
	}
	for _, d := range doomed {
		prefix := grantPrefix + d.Key[len(doomPrefix):] + "/"
		for {
			grants, err := s.state.Range(ctx, prefix, "", sweepPage)
			if err != nil {
				return err
			}
			ops := []state.Op{}
			for _, g := range grants {
				ops = append(ops, state.Op{Key: g.Key, Delete: true})
			}
			if len(grants) < sweepPage {
				ops = append(ops, state.Op{Key: d.Key, Delete: true})
			}
			if err := state.WriteAll(ctx, s.state, ops); err != nil {
				return err
			}
			if len(grants) < sweepPage {
				break
			}
		}
	}
	return nil
}
