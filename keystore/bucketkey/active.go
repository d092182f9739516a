package bucketkey

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"waxseal/keystore"

	"waxseal/keystore/state"
)

// Prefix begins the keys of active blobs in the state: prefix, hash of the KMS key's ARN, "/", target id.
const Prefix = "bucketkey/"

const recordVersion = 1

// maxSkew bounds how far in the future, by the local clock, a replica may have made a record.
const maxSkew = 5 * time.Minute

// record is an active blob in the state:
//
//	{"v":1,"scope":"arn:aws:s3:::b","key":"arn:aws:kms:...","material":"...","created":"...","expires":"...","blob":"..."}
//
// sealed under the root secret, with the key of its entry as associated data. So an attacker with write access to the
// state cannot plant an active blob with a plaintext known to them.
//
// The revision of the entry identifies the record: a replacement names the revision it replaces, so a paused replica
// cannot write back an older blob. The record is a cache: if it is lost, not understood or not authentic (plain, as
// written by an early version, for example), a new blob is made.
type record struct {
	Version  int       `json:"v"`
	Scope    string    `json:"scope"`
	Key      string    `json:"key"`
	Material string    `json:"material,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"` // for Prune: Created and the period of then
	Blob     []byte    `json:"blob"`
}

// active is the blob for a target's new data.
type active struct {
	record
	id     id // of the blob
	target id
	keyARN string
	shared bool
	loaded stamp
	left   time.Duration // of its period, when it was loaded
	used   atomic.Int64  // time of the last use, as in stamp.mono
}

func newActive(t *target, dk keystore.DataKey, wall time.Time, now stamp) *active {
	r := record{Version: recordVersion, Scope: t.scope, Key: t.keyARN, Material: dk.MaterialID, Blob: dk.Blob}
	r.Created = wall.UTC().Round(0)
	r.Expires = r.Created.Add(t.period)
	return load(t, r, t.period, now)
}

func load(t *target, r record, left time.Duration, now stamp) *active {
	c := &active{record: r, id: t.blobID(r.Blob), target: t.id, keyARN: t.keyARN, shared: t.shared, loaded: now, left: left}
	c.used.Store(int64(now.mono))
	return c
}

// over reports whether the period of the key is over.
func (c *active) over(now stamp) bool { return now.age(c.loaded) >= c.left }

// idle reports whether a key with a client context was unused for a window. Its place is then free for a new context.
func (m *memory) idle(c *active, now stamp) bool {
	return now.mono-time.Duration(c.used.Load()) >= m.cfg.PlaintextTTL
}

// active returns the blob for the target's new data, or nil if there is none. Memory is compared with the state once in a
// window, to see newer blobs and Forgets of replicas.
func (b *Keys) active(ctx context.Context, t *target) (*active, error) {
	now := b.now()
	if c := b.memory.active(t, now); c != nil && (!t.shared || now.age(c.loaded) < b.cfg.PlaintextTTL) {
		return c, nil
	}
	if !t.shared {
		return nil, nil
	}
	epoch := b.memory.epochOf(t.keyARN)
	p, err := b.lookup(ctx, t)
	if err != nil || p.active == nil {
		return nil, err
	}
	b.memory.setActive(t, p.active, epoch)
	return p.active, nil
}

// place is the place of the target's record in the state.
type place struct {
	active   *active // nil: there is none to use
	last     *record // nil: there is none, or none of this target
	revision int64   // to be replaced
}

// lookup reads the target's record.
func (b *Keys) lookup(ctx context.Context, t *target) (*place, error) {
	if err := b.finishForget(ctx, t.keyARN); err != nil {
		return nil, b.stateFailed(t, err)
	}
	e, err := b.store.Get(ctx, recordKey(t))
	if errors.Is(err, state.ErrNotFound) {
		return &place{}, nil
	}
	if err != nil {
		return nil, b.stateFailed(t, err)
	}
	p := &place{revision: e.Revision}
	r, err := b.openRecord(e)
	if err != nil {
		b.cfg.Log.Warn("an active bucket key in the state is not used and made anew", "key", e.Key, "scope", t.scope, "kms_key", t.keyARN, "err", err)
		return p, nil
	}
	if r.Scope != t.scope || r.Key != t.keyARN || len(r.Blob) == 0 {
		return p, nil
	}
	p.last = &r
	if age := b.cfg.Now().Sub(r.Created); age >= -maxSkew && age < t.period {
		p.active = load(t, r, t.period-max(age, 0), b.now())
	}
	return p, nil
}

func (b *Keys) sealRecord(key string, r record) ([]byte, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("bucketkey: %w", err)
	}
	return b.sealer.Seal(value, []byte(key))
}

// openRecord reads a record sealed for this key of the state.
func (b *Keys) openRecord(e state.Entry) (r record, err error) {
	value, err := b.sealer.Open(e.Value, []byte(e.Key))
	if err == nil {
		err = json.Unmarshal(value, &r)
	}
	if err == nil && r.Version != recordVersion {
		err = fmt.Errorf("bucketkey: active bucket key of version %d", r.Version)
	}
	return r, err
}

// Reseal seals active blobs again under the newest root secret: a rekey. A record that does not open is left as it is;
// the next write replaces it.
func (b *Keys) Reseal(ctx context.Context) error {
	entries, err := b.store.Range(ctx, Prefix, "", 0)
	if err != nil {
		return fmt.Errorf("bucketkey: active bucket keys: %w", err)
	}
	for _, e := range entries {
		r, err := b.openRecord(e)
		if err != nil {
			continue
		}
		value, err := b.sealRecord(e.Key, r)
		if err == nil {
			_, err = b.store.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Value: value}})
		}
		if err != nil && !errors.Is(err, state.ErrConflict) {
			return fmt.Errorf("bucketkey: active bucket key %s: %w", e.Key, err)
		}
	}
	return nil
}

// vacancy returns the place for a new blob, or nil when there is a blob by now.
func (b *Keys) vacancy(ctx context.Context, t *target) (*place, error) {
	if !t.shared {
		if b.memory.active(t, b.now()) != nil {
			return nil, nil
		}
		if !b.memory.room(t) {
			b.stats.contextOverflows.Add(1)
			return nil, ErrTooManyContexts
		}
		return &place{}, nil
	}
	p, err := b.lookup(ctx, t)
	if err != nil || p.active != nil {
		return nil, err
	}
	return p, nil
}

// publish makes a blob active, with its chain in the same transaction, and reports true, unless a concurrent write was
// first.
func (b *Keys) publish(ctx context.Context, t *target, c *active, p *place, next *chainRecord, epoch uint64) (bool, error) {
	if !t.shared {
		return b.memory.addContext(t, c, epoch)
	}
	key := recordKey(t)
	value, err := b.sealRecord(key, c.record)
	if err != nil {
		return false, err
	}
	conds, ops := []state.Cond{{Key: key, Revision: p.revision}}, []state.Op{{Key: key, Value: value}}
	if next != nil {
		op, err := next.op(t, next.chains)
		if err != nil {
			return false, err
		}
		conds, ops = append(conds, next.conds(t)...), append(ops, op)
	}
	rev, err := b.store.Txn(ctx, conds, ops)
	switch {
	case errors.Is(err, state.ErrConflict):
		b.stats.lostRaces.Add(1)
		return false, nil
	case err != nil:
		return false, b.stateFailed(t, err)
	}
	if b.memory.setActive(t, c, epoch) {
		if next != nil {
			b.memory.putChains(t, next.chains, epoch)
		}
		return true, nil
	}
	return true, b.unpublish(ctx, t, rev, next)
}

// unpublish takes a record and its chain back after a Forget of the KMS key during the call. The blob serves this request
// and no further request.
func (b *Keys) unpublish(ctx context.Context, t *target, rev int64, next *chainRecord) error {
	key := recordKey(t)
	conds, ops := []state.Cond{{Key: key, Revision: rev}}, []state.Op{{Key: key, Delete: true}}
	if next != nil {
		op, err := next.op(t, next.before)
		if err != nil {
			return err
		}
		conds, ops = append(conds, state.Cond{Key: op.Key, Revision: rev}), append(ops, op)
	}
	if _, err := b.store.Txn(ctx, conds, ops); err != nil && !errors.Is(err, state.ErrConflict) {
		return b.stateFailed(t, err)
	}
	return nil
}

// retire ends the use of a blob for new data of its target. A newer active blob stays.
func (b *Keys) retire(ctx context.Context, t *target, c *active) error {
	b.memory.dropActive(t, c)
	if !t.shared {
		return nil
	}
	e, err := b.store.Get(ctx, recordKey(t))
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return b.stateFailed(t, err)
	}
	if r, err := b.openRecord(e); err == nil && !bytes.Equal(r.Blob, c.Blob) {
		return nil
	}
	_, err = b.store.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Delete: true}})
	if err != nil && !errors.Is(err, state.ErrConflict) {
		return b.stateFailed(t, err)
	}
	return nil
}

// finishForget removes the records of a KMS key after a Forget without an answer of the state.
func (b *Keys) finishForget(ctx context.Context, keyARN string) error {
	b.memory.mu.Lock()
	_, pending := b.memory.forgetting[keyARN]
	b.memory.mu.Unlock()
	if !pending {
		return nil
	}
	return b.dropRecords(ctx, keyARN)
}

// dropRecords deletes the active blobs of a KMS key from the state.
func (b *Keys) dropRecords(ctx context.Context, keyARN string) error {
	b.memory.mu.Lock()
	epoch := b.memory.forgetting[keyARN]
	b.memory.mu.Unlock()
	prefix := recordsOf(keyARN)
	for {
		entries, err := b.store.Range(ctx, prefix, "", state.MaxTxnSize)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		ops := make([]state.Op, len(entries))
		for i, e := range entries {
			ops[i] = state.Op{Key: e.Key, Delete: true}
		}
		if _, err := b.store.Txn(ctx, nil, ops); err != nil {
			return err
		}
	}
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.memory.forgetting[keyARN] == epoch {
		delete(b.memory.forgetting, keyARN)
	}
	return nil
}

// Prune deletes active blobs at the end of their period, of scopes without writers, and damaged records. Chains keep
// their heads; with NoChain they are deleted. Prune is for a timer of the owner's: only the size of the state depends
// on it.
func (b *Keys) Prune(ctx context.Context) error {
	if b.cfg.NoChain {
		if err := b.dropChains(ctx); err != nil {
			return err
		}
	}
	var after string
	for {
		entries, err := b.store.Range(ctx, Prefix, after, 256)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			after = e.Key
			r, err := b.openRecord(e)
			if err == nil && (b.cfg.Now().Before(r.Expires) || b.toBeChained(ctx, e.Key, &r)) {
				continue
			}
			_, err = b.store.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Delete: true}})
			if err != nil && !errors.Is(err, state.ErrConflict) {
				return err
			}
		}
	}
}

func (b *Keys) stateFailed(t *target, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the request ended, nothing failed
	}
	b.stats.stateErrors.Add(1)
	return &keystore.Error{Kind: keystore.Unavailable, KeyARN: t.keyARN, Message: "The state store did not answer.", Err: err}
}

func recordsOf(keyARN string) string {
	return Prefix + keyHash(keyARN) + "/"
}

// keyHash names a KMS key in the keys of the state.
func keyHash(keyARN string) string {
	h := hash("waxseal/record", keyARN, "", nil)
	return hex.EncodeToString(h[:16])
}

func recordKey(t *target) string { return recordsOf(t.keyARN) + hex.EncodeToString(t.id[:]) }

// active returns the target's active key in memory, unless its period is over.
func (m *memory) active(t *target, now stamp) *active {
	var c *active
	if t.shared {
		c, _ = m.actives.Get(t.id)
	} else {
		m.mu.Lock()
		c = m.byScope[t.scoped()][t.id]
		m.mu.Unlock()
	}
	if c == nil || c.over(now) {
		return nil
	}
	c.used.Store(int64(now.mono))
	return c
}

// dropActive removes an active key, unless it has been replaced.
func (m *memory) dropActive(t *target, c *active) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.actives.Peek(t.id); ok && now == c {
		m.actives.Remove(t.id)
	}
	if m.byScope[t.scoped()][t.id] == c {
		delete(m.byScope[t.scoped()], t.id)
	}
}

// setActive keeps an active key, and reports false after a Forget since the epoch.
func (m *memory) setActive(t *target, c *active, epoch uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.late(t.keyARN, epoch) {
		return false
	}
	m.actives.Add(t.id, c)
	return true
}

// room reports whether a scope and KMS key have room for a key with a further client context. It removes idle keys first.
func (m *memory) room(t *target) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roomLocked(t)
}

func (m *memory) roomLocked(t *target) bool {
	now := m.clock()
	actives := m.byScope[t.scoped()]
	if _, ok := actives[t.id]; ok || len(actives) < m.cfg.MaxContexts {
		return true
	}
	for id, c := range actives {
		if c.over(now) || m.idle(c, now) {
			delete(actives, id)
		}
	}
	return len(actives) < m.cfg.MaxContexts
}

// addContext makes a key with a client context active, unless there is an active key already.
func (m *memory) addContext(t *target, c *active, epoch uint64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.late(t.keyARN, epoch) {
		return true, nil // serves this request only
	}
	now := m.clock()
	if old := m.byScope[t.scoped()][t.id]; old != nil && !old.over(now) {
		m.stats.lostRaces.Add(1)
		return false, nil
	}
	if !m.roomLocked(t) {
		m.stats.contextOverflows.Add(1)
		return false, ErrTooManyContexts
	}
	if m.byScope[t.scoped()] == nil {
		m.byScope[t.scoped()] = make(map[id]*active)
	}
	m.byScope[t.scoped()][t.id] = c
	m.arm()
	return true, nil
}
