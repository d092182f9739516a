package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"waxseal/keystore/state"
)

// servicePrefix is where service keys are in the state: prefix, id in 8 hexadecimal digits.
const servicePrefix = "servicekey/"

// ServiceKeyRing is the service's own keys: random, sealed, in the state, found by a number that is stored with what
// they vouch for. The highest is the current one. It is safe for concurrent use.
type ServiceKeyRing struct {
	store  state.Store
	sealer Sealer

	mu      sync.RWMutex
	keys    map[uint32]*Secret
	newest  uint32
	looked  time.Time // when the state was last read for a number that was not known
	timeout time.Duration
}

// relook is how often at most the state is read for an unknown number: numbers come from outside, and anybody can make
// some up.
const relook = time.Second

// NewServiceKeyRing opens the ring, and makes its first key when there is none.
func NewServiceKeyRing(ctx context.Context, s state.Store, sealer Sealer) (*ServiceKeyRing, error) {
	r := &ServiceKeyRing{store: s, sealer: sealer, timeout: 5 * time.Second}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if r.newest == 0 {
		if _, err := r.Rotate(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Current returns the newest key and its number.
func (r *ServiceKeyRing) Current() (uint32, Secret) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.newest, *r.keys[r.newest]
}

// ByID returns the key of a number. Another replica may have made it since the state was read, so an unknown number is
// looked for there.
func (r *ServiceKeyRing) ByID(id uint32) (Secret, bool) {
	if key, ok := r.known(id); ok || !r.mayLook() {
		return key, ok
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	if r.load(ctx) != nil {
		// The caller learns what it asked: not known here. It can tell nobody more than that.
		return Secret{}, false
	}
	return r.known(id)
}

func (r *ServiceKeyRing) known(id uint32) (Secret, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if key, ok := r.keys[id]; ok {
		return *key, true
	}
	return Secret{}, false
}

func (r *ServiceKeyRing) mayLook() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < relook {
		return false
	}
	r.looked = time.Now()
	return true
}

// Rotate makes a new current key and returns its number. Earlier ones go on vouching for what they did. When another
// replica makes the same step at the same time, its key is taken.
func (r *ServiceKeyRing) Rotate(ctx context.Context) (uint32, error) {
	r.mu.RLock()
	id := r.newest + 1
	r.mu.RUnlock()
	key := RandomSecret()
	defer key.Zero()
	sealed, err := r.sealer.Seal(key.Bytes(), serviceAAD(id))
	if err != nil {
		return 0, err
	}
	_, err = r.store.Txn(ctx, []state.Cond{{Key: serviceKey(id)}}, []state.Op{{Key: serviceKey(id), Value: sealed}})
	if err != nil && !errors.Is(err, state.ErrConflict) {
		return 0, fmt.Errorf("keystore: service key: %w", err)
	}
	if err := r.load(ctx); err != nil {
		return 0, err
	}
	id, _ = r.Current()
	return id, nil
}

// Reseal seals every key again, under the newest root secret: a rekey.
func (r *ServiceKeyRing) Reseal(ctx context.Context) error {
	entries, err := r.store.Range(ctx, servicePrefix, "", 0)
	if err != nil {
		return fmt.Errorf("keystore: service keys: %w", err)
	}
	for _, e := range entries {
		id, key, err := r.unseal(e)
		if err != nil {
			return err
		}
		sealed, err := r.sealer.Seal(key.Bytes(), serviceAAD(id))
		key.Zero()
		if err != nil {
			return err
		}
		_, err = r.store.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Value: sealed}})
		if err != nil {
			return fmt.Errorf("keystore: service key %d: %w", id, err)
		}
	}
	return nil
}

func (r *ServiceKeyRing) load(ctx context.Context) error {
	entries, err := r.store.Range(ctx, servicePrefix, "", 0)
	if err != nil {
		return fmt.Errorf("keystore: service keys: %w", err)
	}
	keys, newest := make(map[uint32]*Secret, len(entries)), uint32(0)
	for _, e := range entries {
		id, key, err := r.unseal(e)
		if err != nil {
			return err
		}
		keys[id], newest = &key, max(newest, id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if newest >= r.newest { // an older reading must not take a newer one's place
		r.keys, r.newest = keys, newest
	}
	return nil
}

func (r *ServiceKeyRing) unseal(e state.Entry) (uint32, Secret, error) {
	id, err := strconv.ParseUint(e.Key[len(servicePrefix):], 16, 32)
	if err != nil || e.Key != serviceKey(uint32(id)) {
		return 0, Secret{}, fmt.Errorf("keystore: %q is not a service key's name", e.Key)
	}
	plain, err := r.sealer.Open(e.Value, serviceAAD(uint32(id)))
	if err != nil {
		return 0, Secret{}, fmt.Errorf("keystore: service key %d: %w", id, err)
	}
	defer clear(plain)
	key, err := NewSecret(plain)
	if err != nil {
		return 0, Secret{}, fmt.Errorf("keystore: service key %d: %w", id, err)
	}
	return uint32(id), key, nil
}

func serviceKey(id uint32) string { return fmt.Sprintf("%s%08x", servicePrefix, id) }

func serviceAAD(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("waxseal/v1/servicekey/"), id)
}
