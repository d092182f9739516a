package bucketkey

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// ChainPrefix begins the keys of chains in the state: prefix, hash of the KMS key's ARN, "/", target id. Earlier versions
// of waxseal know Prefix only, and leave chains as they are.
const ChainPrefix = "bucketkeychain/"

// chainPatience bounds how long a read waits for the state. A read works without the state.
const chainPatience = 2 * time.Second

// errChainVersion is returned for a record of a later version of waxseal.
var errChainVersion = errors.New("chains of version")

func chainKey(t *target) string {
	return ChainPrefix + keyHash(t.keyARN) + "/" + hex.EncodeToString(t.id[:])
}

// chainRecord is the record of a target's chains, as read.
type chainRecord struct {
	chains   *chains
	before   *chains // with extend: the chains as they are in the state; nil: there is no record
	revision int64
	// damaged records are replaced whatever their revision: Get of a sealed state does not return it.
	damaged bool
	// later: the record of a later version of waxseal, to be left alone.
	later bool
}

// readChains reads the target's chains. A damaged record is as good as none: each envelope has its own blob.
func (b *Keys) readChains(ctx context.Context, t *target) (*chainRecord, error) {
	r := &chainRecord{chains: &chains{Version: chainVersion, Scope: t.scope, Key: t.keyARN}}
	e, err := b.store.Get(ctx, chainKey(t))
	switch {
	case errors.Is(err, state.ErrNotFound):
		return r, nil
	case errors.Is(err, state.ErrNotAuthentic):
	case err != nil:
		return nil, err
	default:
		var c *chains
		if c, err = parseChains(t, e.Value); err == nil {
			return &chainRecord{chains: c, revision: e.Revision}, nil
		}
	}
	r.chains.unusable = true
	r.later, r.damaged = errors.Is(err, errChainVersion), !errors.Is(err, errChainVersion)
	b.cfg.Log.Warn("a chain of bucket keys in the state is not used", "key", chainKey(t), "scope", t.scope, "kms_key", t.keyARN, "err", err)
	return r, nil
}

// cachedChains is a target's chains in memory: ciphertext only.
type cachedChains struct {
	*chains
	keyARN string
	loaded stamp
}

// findChain returns the chain and row of a blob, or nil. Memory is compared with the state once in a window, and for an
// unknown blob once in a TransientTTL: a replica may have made a new head. While the state is away, the chains in memory
// go on.
func (b *Keys) findChain(ctx context.Context, t *target, blob id) (*chain, int) {
	if !t.chained {
		return nil, 0
	}
	now := b.now()
	cached, ok := b.memory.chains.Get(t.id)
	if ok {
		c, row, known := cached.find(t, blob)
		if age := now.age(cached.loaded); known && age < b.cfg.PlaintextTTL || age < b.cfg.TransientTTL {
			return c, row
		}
	}
	epoch := b.memory.epochOf(t.keyARN)
	r, err := b.inflight.do(ctx, callKey{kind: callChains, id: t.id, epoch: epoch}, b.cfg.CallTimeout, func(ctx context.Context) (result, error) {
		c := b.reloadChains(ctx, t, cached)
		b.memory.putChains(t, c, epoch)
		return result{chains: c}, nil
	})
	if err != nil {
		return nil, 0 // the request has ended
	}
	c, row, _ := r.chains.find(t, blob)
	return c, row
}

// reloadChains reads the chains again. While the state is away, the chains in memory go on, or none: the blob in the
// envelope does without the state.
func (b *Keys) reloadChains(ctx context.Context, t *target, cached *cachedChains) *chains {
	ctx, cancel := context.WithTimeout(ctx, chainPatience)
	defer cancel()
	r, err := b.readChains(ctx, t)
	switch {
	case err == nil:
		return r.chains
	case cached != nil:
		b.stats.stateErrors.Add(1)
		return cached.chains
	}
	b.stats.stateErrors.Add(1)
	return &chains{}
}

// readChained returns a handle on the key of a blob through its chain, or nil if the blob has to be decrypted itself:
// it is in no chain, or head or row do not open. authorised reports whether the requester is authorised to Decrypt
// afterwards.
func (b *Keys) readChained(ctx context.Context, caller keystore.Caller, t *target, blob []byte, authorised bool) (*keystore.Handle, bool, error) {
	c, row := b.findChain(ctx, t, t.blobID(blob))
	if c == nil || b.provider.Version(c.Head) != b.provider.Version(blob) {
		return nil, authorised, nil
	}
	head, called, err := b.openHead(ctx, caller, t, c, authorised)
	if head == nil || err != nil {
		return nil, authorised, err
	}
	defer head.Release()
	head.used.Store(int64(b.now().mono))
	p, err := c.open(t, head.key.Bytes(), row)
	if err != nil {
		b.stats.chainMisses.Add(1)
		b.cfg.Log.Warn("an earlier bucket key does not open under its successor, and its blob is decrypted", "scope", t.scope, "kms_key", t.keyARN, "err", err)
		return nil, true, nil
	}
	defer p.key.Zero()
	b.stats.chainOpens.Add(1)
	if !called {
		b.stats.hits.Add(1)
	}
	return keystore.NewIndirectHandle(p.key, t.keyARN, blob), true, nil
}

// openHead returns the key of a chain's head, if the requester may Decrypt, as read does for any blob. It returns nil
// for a damaged head: the envelope's own blob may open.
func (b *Keys) openHead(ctx context.Context, caller keystore.Caller, t *target, c *chain, authorised bool) (o *opened, called bool, err error) {
	head := t.blobID(c.Head)
	if _, err := b.memory.grant(t, grantKey{requesterOf(caller), keystore.Decrypt, head}); err != nil {
		return nil, false, nil
	}
	o, called, err = b.openFor(ctx, caller, t, head, c.Head, authorised)
	if ofBlob(err) {
		return nil, called, nil
	}
	if err == nil && o.material != c.Material {
		o.Release()
		return nil, called, nil
	}
	return o, called, err
}

// extend returns the chains with cur as the head of its material. It returns nil, and the chains stay as they are,
// without a material to tell versions by, or while the earlier head cannot be opened. last is the record before cur, or
// nil. The chain does not have its blob yet if an earlier version of waxseal made it, for example.
func (b *Keys) extend(ctx context.Context, t *target, cur *active, key *opened, last *record) *chainRecord {
	if !t.chained || cur.Material == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.CallTimeout/2) // publishing the new key has to fit in as well
	defer cancel()
	r, err := b.readChains(ctx, t)
	if err != nil || r.later {
		return nil
	}
	earlier, err := b.predecessors(ctx, t, cur, r.chains.of(cur.Material), last)
	defer zero(earlier)
	if err != nil {
		b.cfg.Log.Warn("a new bucket key does not open its predecessors", "scope", t.scope, "kms_key", t.keyARN, "err", err)
		return nil
	}
	c, err := sealChain(t, cur.Material, cur.Blob, key.key.Bytes(), earlier)
	if err != nil {
		b.cfg.Log.Error("a chain of bucket keys cannot be sealed", "scope", t.scope, "kms_key", t.keyARN, "err", err)
		return nil
	}
	if r.revision != 0 {
		r.before = r.chains
	}
	r.chains = r.chains.with(c)
	return r
}

// predecessors opens the bucket keys before cur, newest first. The service opens the last record's and the head's blob;
// the head opens its rows.
func (b *Keys) predecessors(ctx context.Context, t *target, cur *active, c *chain, last *record) (all []predecessor, err error) {
	if last != nil && last.Material == cur.Material && (c == nil || !bytes.Equal(last.Blob, c.Head)) {
		// If it does not open, it is lost to the chain. A chain without cur would be worse.
		if p, err := b.openAsService(ctx, t, last.Blob, cur.Material); err == nil {
			all = append(all, p)
		}
	}
	if c == nil {
		return all, nil
	}
	head, err := b.openAsService(ctx, t, c.Head, cur.Material)
	if neverOpens(err) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	all = append(all, head)
	rows, err := c.openAll(t, head.key.Bytes())
	return append(all, rows...), err
}

// neverOpens reports whether an error of Decrypt is final, so that the chain of the blob has to be made anew.
func neverOpens(err error) bool {
	kind := keystore.KindOf(err)
	return kind == keystore.InvalidCiphertext || kind == keystore.IncorrectKey
}

// openAsService opens a blob under this material.
func (b *Keys) openAsService(ctx context.Context, t *target, blob []byte, material string) (predecessor, error) {
	p := predecessor{id: t.blobID(blob)}
	o, _, err := b.openFor(ctx, b.cfg.Service, t, p.id, blob, true)
	if err != nil {
		return p, err
	}
	defer o.Release()
	if o.material != material {
		return p, &keystore.Error{Kind: keystore.IncorrectKey, KeyARN: t.keyARN, Err: fmt.Errorf("material %q, not %q", o.material, material)}
	}
	p.key, err = keystore.NewSecret(o.key.Bytes())
	return p, err
}

// conds returns the conditions of a write of the record.
func (r *chainRecord) conds(t *target) []state.Cond {
	if r.damaged {
		return nil
	}
	return []state.Cond{{Key: chainKey(t), Revision: r.revision}}
}

// op writes chains, and deletes the record for nil.
func (r *chainRecord) op(t *target, c *chains) (state.Op, error) {
	if c == nil {
		return state.Op{Key: chainKey(t), Delete: true}, nil
	}
	value, err := json.Marshal(c)
	if err != nil {
		return state.Op{}, fmt.Errorf("bucketkey: %w", err)
	}
	return state.Op{Key: chainKey(t), Value: value}, nil
}

// toBeChained reports whether an active blob at the end of its period is in no chain yet: an earlier version of waxseal
// made it, or its predecessor could not be opened then. The next active key takes it into its chain.
func (b *Keys) toBeChained(ctx context.Context, recordKey string, r *record) bool {
	if b.cfg.NoChain || r.Material == "" || r.Scope == "" {
		return false
	}
	e, err := b.store.Get(ctx, ChainPrefix+strings.TrimPrefix(recordKey, Prefix))
	if err != nil {
		return !errors.Is(err, state.ErrNotFound)
	}
	c, err := parseChains(&target{scope: r.Scope, keyARN: r.Key}, e.Value)
	if err != nil {
		return false
	}
	ch := c.of(r.Material)
	return ch == nil || !bytes.Equal(ch.Head, r.Blob)
}

// dropChains deletes all chains: without them a key in memory opens no earlier key.
func (b *Keys) dropChains(ctx context.Context) error {
	const page = 16 // a record can have 100 KiB
	for {
		entries, err := b.store.Range(ctx, ChainPrefix, "", page)
		if err != nil || len(entries) == 0 {
			return err
		}
		ops := make([]state.Op, len(entries))
		for i, e := range entries {
			ops[i] = state.Op{Key: e.Key, Delete: true}
		}
		if _, err := b.store.Txn(ctx, nil, ops); err != nil {
			return err
		}
	}
}

// putChains keeps the target's chains in memory.
func (m *memory) putChains(t *target, c *chains, epoch uint64) {
	c.indexRows()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.late(t.keyARN, epoch) {
		m.chains.Add(t.id, &cachedChains{chains: c, keyARN: t.keyARN, loaded: m.clock()})
	}
}
