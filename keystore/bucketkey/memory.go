package bucketkey

import (
	"sync"
	"time"

	"waxseal/keystore"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxOpened is how long an opened key stays in memory however much it is used. It bounds the exposure of a key, not its
// use after a revocation: a use needs an authorisation of the window.
const maxOpened = 24 * time.Hour

// grantsPerKey is the number of authorizations cached for each key: keys have several requesters.
const grantsPerKey = 8

// memory has the caches of a Keys.
//
// mu guards every change, for two reasons. A replaced key must be zeroed, and lru calls no evict function for a replaced
// value. And nothing from before a Forget may come in after it. A lookup takes the cache's own lock only.
type memory struct {
	cfg   Config
	stats *counters
	clock func() stamp

	mu         sync.Mutex
	epoch      uint64            // counts Forgets
	forgot     map[string]uint64 // the epoch of each KMS key's last Forget; it does not affect calls for other KMS keys
	forgotAll  uint64            // the epoch of the last Forget of all KMS keys
	forgetting map[string]uint64 // KMS keys with records to be removed from the state, by the epoch of the Forget
	sweeper    *time.Timer       // nil: not armed
	closed     bool

	main     share // keys without client contexts
	contexts share // keys with; a client can make any number of them, which must not push out main
	resolved *lru.Cache[id, *resolved]
	actives  *lru.Cache[id, *active]
	chains   *lru.Cache[id, *cachedChains]
	byScope  map[scopedKey]map[id]*active // active keys with client contexts; guarded by mu
}

// share is a part of the caches with a capacity of its own.
type share struct {
	keys   *lru.Cache[id, *cachedKey]
	grants *lru.Cache[grantKey, *grant]
}

// cachedKey is an opened key, or why the service could not open it.
type cachedKey struct {
	o      *opened // nil with err
	err    error
	keyARN string
	issued stamp
	ttl    time.Duration
}

type grantKey struct {
	who    requester
	action keystore.Action
	id     id
}

// grant is an authorisation, or its refusal.
type grant struct {
	err    error
	keyARN string
	issued stamp
	ttl    time.Duration
}

// resolved is an answer of Resolve, or its refusal. It is fresh for ttl after checked.
type resolved struct {
	info    keystore.KeyInfo
	err     error
	issued  stamp // when the key service gave the answer
	checked stamp // when it was last asked, with or without an answer
	ttl     time.Duration
}

func (m *memory) init(cfg Config, clock func() stamp, stats *counters) {
	m.cfg, m.clock, m.stats = cfg, clock, stats
	m.main = newShare(cfg.Capacity)
	m.contexts = newShare(max(1, cfg.Capacity/4))
	m.resolved = newLRU[id, *resolved](cfg.Capacity, nil)
	m.actives = newLRU[id, *active](cfg.Capacity, nil)
	m.chains = newLRU[id, *cachedChains](max(1, cfg.Capacity/8), nil)
	m.byScope = make(map[scopedKey]map[id]*active)
	m.forgetting, m.forgot = make(map[string]uint64), make(map[string]uint64)
}

func newShare(capacity int) share {
	return share{
		keys:   newLRU(capacity, func(_ id, k *cachedKey) { k.release() }),
		grants: newLRU[grantKey, *grant](capacity*grantsPerKey, nil),
	}
}

func newLRU[K comparable, V any](capacity int, evicted func(K, V)) *lru.Cache[K, V] {
	c, err := lru.NewWithEvict(capacity, evicted)
	if err != nil {
		panic("bucketkey: internal error: " + err.Error()) // only for a capacity below 1, and withDefaults excludes it
	}
	return c
}

func (k *cachedKey) release() {
	if k.o != nil {
		k.o.Release()
	}
}

func (m *memory) share(t *target) *share {
	if t.shared {
		return &m.main
	}
	return &m.contexts
}

// anyEpoch counts the Forgets of all KMS keys; epochOf is the last Forget of a single KMS key.
func (m *memory) anyEpoch() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch
}

func (m *memory) epochOf(keyARN string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastForget(keyARN)
}

// lastForget returns the epoch of a KMS key's last Forget. mu is held.
func (m *memory) lastForget(keyARN string) uint64 { return max(m.forgot[keyARN], m.forgotAll) }

// late reports whether a KMS key was forgotten since the epoch. mu is held.
func (m *memory) late(keyARN string, epoch uint64) bool {
	return m.closed || m.lastForget(keyARN) != epoch
}

// key returns an opened key, opened within the last maxAge, with a reference for the caller, or nil, or why it cannot be
// opened.
func (m *memory) key(t *target, id id, maxAge time.Duration) (*opened, error) {
	s := m.share(t)
	k, ok := s.keys.Get(id)
	if !ok {
		return nil, nil
	}
	now := m.clock()
	if m.over(k, now) {
		m.expire(s, id, k)
		return nil, nil
	}
	if k.o != nil && now.age(k.issued) >= maxAge {
		return nil, nil
	}
	if k.err != nil {
		return nil, k.err
	}
	if !k.o.retain() { // evicted since
		return nil, nil
	}
	return k.o, nil
}

// holds reports whether a key, or the refusal to open it, is in memory.
func (m *memory) holds(t *target, id id) bool {
	k, ok := m.share(t).keys.Peek(id)
	return ok && !m.over(k, m.clock())
}

// over reports whether a key was in memory for its time, or unused for a window.
func (m *memory) over(k *cachedKey, now stamp) bool {
	return now.age(k.issued) >= k.ttl || k.o != nil && now.mono-time.Duration(k.o.used.Load()) >= m.cfg.PlaintextTTL
}

// putKey caches a key. It takes over a reference of the caller's in any case.
func (m *memory) putKey(t *target, id id, k *cachedKey, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.late(t.keyARN, epoch) {
		k.release()
		return
	}
	keys := m.share(t).keys
	if old, ok := keys.Peek(id); ok {
		if keystore.Transient(k.err) && old.o != nil && !m.over(old, m.clock()) {
			return // an outage of the key service takes no open key away
		}
		old.release() // lru calls no evict function for a replaced value
	}
	if keys.Add(id, k) {
		m.stats.evictions.Add(1)
	}
	m.arm()
}

// dropKey removes a useless key, after a lost race.
func (m *memory) dropKey(t *target, id id) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.share(t).keys.Remove(id)
}

// expire removes a key after its time, unless it has been replaced.
func (m *memory) expire(s *share, id id, k *cachedKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := s.keys.Peek(id); ok && now == k {
		m.stats.expiries.Add(1)
		s.keys.Remove(id)
	}
}

// grant reports whether an action is authorised, or returns the refusal.
func (m *memory) grant(t *target, key grantKey) (bool, error) {
	g, ok := m.share(t).grants.Get(key)
	if !ok || m.clock().age(g.issued) >= g.ttl {
		return false, nil
	}
	return g.err == nil, g.err
}

func (m *memory) putGrant(t *target, key grantKey, g *grant, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.late(t.keyARN, epoch) {
		return
	}
	grants := m.share(t).grants
	if old, ok := grants.Peek(key); ok && keystore.Transient(g.err) && old.err == nil && m.clock().age(old.issued) < old.ttl {
		return // nor an authorisation
	}
	grants.Add(key, g)
	m.arm()
}

func (m *memory) putResolved(id id, r *resolved, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch == epoch && !m.closed {
		m.resolved.Add(id, r)
	}
}

// forget drops everything of a KMS key and keeps out calls under way. Answers of Resolve are dropped altogether:
// an alias may have come to name another key.
func (m *memory) forget(keyARN string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.forgot[keyARN], m.forgetting[keyARN] = m.epoch, m.epoch
	m.resolved.Purge()
	m.drop(
		func(k *cachedKey) bool { return k.keyARN == keyARN },
		func(g *grant) bool { return g.keyARN == keyARN },
		func(c *active) bool { return c.keyARN == keyARN })
	removeIf(m.chains, func(c *cachedChains) bool { return c.keyARN == keyARN })
}

// drop removes the entries chosen by the functions. mu is held.
func (m *memory) drop(key func(*cachedKey) bool, granted func(*grant) bool, cur func(*active) bool) {
	for _, s := range []share{m.main, m.contexts} {
		removeIf(s.keys, key)
		removeIf(s.grants, granted)
	}
	removeIf(m.actives, cur)
	for scope, actives := range m.byScope {
		for id, c := range actives {
			if cur(c) {
				delete(actives, id)
			}
		}
		if len(actives) == 0 {
			delete(m.byScope, scope)
		}
	}
}

func removeIf[K comparable, V any](c *lru.Cache[K, V], chosen func(V) bool) {
	for _, k := range c.Keys() {
		if v, ok := c.Peek(k); ok && chosen(v) {
			c.Remove(k)
		}
	}
}

// arm makes sure of a sweep. mu is held. A timer, and not a goroutine: an idle Keys has nothing to sweep.
func (m *memory) arm() {
	if m.sweeper == nil {
		m.sweeper = time.AfterFunc(max(m.cfg.PlaintextTTL/4, time.Second), m.swept)
	}
}

// swept removes expired entries. Without it, keys without further requests would stay in memory.
func (m *memory) swept() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	m.drop(
		func(k *cachedKey) bool {
			old := m.over(k, now)
			if old && k.o != nil {
				m.stats.expiries.Add(1)
			}
			return old
		},
		func(g *grant) bool { return now.age(g.issued) >= g.ttl },
		func(c *active) bool { return c.over(now) || !c.shared && m.idle(c, now) })
	m.sweeper = nil
	if !m.closed && m.main.keys.Len()+m.contexts.keys.Len()+len(m.byScope) > 0 {
		m.arm()
	}
}

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.epoch++
	if m.sweeper != nil {
		m.sweeper.Stop()
	}
	m.drop(func(*cachedKey) bool { return true }, func(*grant) bool { return true }, func(*active) bool { return true })
	m.resolved.Purge()
	m.chains.Purge()
}
