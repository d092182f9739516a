package rootkey

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"waxseal/keystore"

	"waxseal/keystore/state"
)

// Service keys in the state: each by its id in 8 hexadecimal digits, and the id of the current key.
const (
	ServiceKeyPrefix  = "servicekey/"
	ServiceKeyCurrent = "servicekeys/current"
)

// firstRandomID is the least id that a ring gives out. Earlier rings counted from 1, so every deployment has a key of
// number 1 and the number says nothing: see sse.CountedServiceKeys.
const firstRandomID = 1 << 16

// Ring has the service's own keys: random, sealed, in the state. A MAC is stored with the id of its key. Ids are
// random, so that a ring tells its own keys from the keys of another deployment, or of a state that was lost. It is
// safe for concurrent use.
type Ring struct {
	store  state.Store
	sealer state.Sealer

	mu       sync.RWMutex
	keys     map[uint32]*keystore.Secret
	current  uint32    // 0: none yet
	revision int64     // of ServiceKeyCurrent; 0: not there
	looked   time.Time // when the state was last read for an unknown id
	timeout  time.Duration
}

// relook is the least time between two reads of the state for an unknown id: ids come from outside, and a client can
// invent any number.
const relook = time.Second

// OpenRing opens the ring, and makes a current key when there is none: at the first start, and in a state
// whose keys are numbered from 1.
func OpenRing(ctx context.Context, s state.Store, sealer state.Sealer) (*Ring, error) {
	r := &Ring{store: s, sealer: sealer, timeout: 5 * time.Second}
	// Every key's path begins so, and the path of the current key's record.
	s.Follow(strings.TrimSuffix(ServiceKeyPrefix, "/"), func(string, int64) { r.lookSoon() })
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if r.current == 0 {
		if _, err := r.Rotate(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// CheckRing gives an error for a state whose service keys do not open. It makes none.
func CheckRing(ctx context.Context, s state.Store, sealer state.Sealer) error {
	return (&Ring{store: s, sealer: sealer}).load(ctx)
}

// Current returns the current key and its id.
func (r *Ring) Current() (uint32, keystore.Secret) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.current, *r.keys[r.current]
}

// ByID returns the key of an id. Another replica may have made it since the state was read, so an unknown id is looked
// for there.
func (r *Ring) ByID(id uint32) (keystore.Secret, bool) {
	if key, ok := r.known(id); ok || !r.mayLook() {
		return key, ok
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	if r.load(ctx) != nil {
		// The caller asks whether the id is known here, and it is not. There is nobody to tell more.
		return keystore.Secret{}, false
	}
	return r.known(id)
}

func (r *Ring) known(id uint32) (keystore.Secret, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if key, ok := r.keys[id]; ok {
		return *key, true
	}
	return keystore.Secret{}, false
}

func (r *Ring) mayLook() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < relook {
		return false
	}
	r.looked = time.Now()
	return true
}

// lookSoon lets the next unknown id read the state at once: a key may have come.
func (r *Ring) lookSoon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Time{}
}

// Rotate makes a new current key and returns its id. Earlier keys go on verifying their MACs. When another
// replica makes the same step at the same time, its key is taken.
func (r *Ring) Rotate(ctx context.Context) (uint32, error) {
	id, revision := r.vacant()
	key := keystore.RandomSecret()
	defer key.Zero()
	sealed, err := r.sealer.Seal(key.Bytes(), serviceAAD(id))
	if err != nil {
		return 0, err
	}
	current, err := r.sealer.Seal(binary.BigEndian.AppendUint32(nil, id), []byte(ServiceKeyCurrent))
	if err != nil {
		return 0, err
	}
	_, err = r.store.Txn(ctx,
		[]state.Cond{{Key: serviceKey(id)}, {Key: ServiceKeyCurrent, Revision: revision}},
		[]state.Op{{Key: serviceKey(id), Value: sealed}, {Key: ServiceKeyCurrent, Value: current}})
	if err != nil && !errors.Is(err, state.ErrConflict) {
		return 0, fmt.Errorf("rootkey: service key: %w", err)
	}
	if err := r.load(ctx); err != nil {
		return 0, err
	}
	id, _ = r.Current()
	return id, nil
}

// vacant returns a random id without a key in the ring, and the revision of the current key's record.
func (r *Ring) vacant() (id uint32, revision int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for {
		var b [4]byte
		rand.Read(b[:])
		id = binary.BigEndian.Uint32(b[:])
		if _, taken := r.keys[id]; id >= firstRandomID && !taken {
			return id, r.revision
		}
	}
}

// Reseal seals every key again, under the newest root secret: a rekey.
func (r *Ring) Reseal(ctx context.Context) error {
	entries, err := r.store.Range(ctx, ServiceKeyPrefix, "", 0)
	if err != nil {
		return fmt.Errorf("rootkey: service keys: %w", err)
	}
	for _, e := range entries {
		id, err := serviceID(e.Key)
		if err != nil {
			return err
		}
		if err := r.reseal(ctx, e, serviceAAD(id)); err != nil {
			return fmt.Errorf("rootkey: service key %d: %w", id, err)
		}
	}
	e, err := r.store.Get(ctx, ServiceKeyCurrent)
	if err == nil {
		err = r.reseal(ctx, e, []byte(ServiceKeyCurrent))
	}
	if err != nil {
		return fmt.Errorf("rootkey: current service key: %w", err)
	}
	return r.load(ctx) // the current key's record has a new revision
}

func (r *Ring) reseal(ctx context.Context, e state.Entry, aad []byte) error {
	plain, err := r.sealer.Open(e.Value, aad)
	if err != nil {
		return err
	}
	defer clear(plain)
	sealed, err := r.sealer.Seal(plain, aad)
	if err != nil {
		return err
	}
	_, err = r.store.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Value: sealed}})
	return err
}

func (r *Ring) load(ctx context.Context) error {
	current, revision, err := r.loadCurrent(ctx)
	if err != nil {
		return err
	}
	entries, err := r.store.Range(ctx, ServiceKeyPrefix, "", 0)
	if err != nil {
		return fmt.Errorf("rootkey: service keys: %w", err)
	}
	keys := make(map[uint32]*keystore.Secret, len(entries))
	for _, e := range entries {
		id, key, err := r.unseal(e)
		if err != nil {
			return err
		}
		keys[id] = &key
	}
	if keys[current] == nil {
		current = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision >= r.revision { // an older reading must not replace a newer
		r.keys, r.current, r.revision = keys, current, revision
	}
	return nil
}

// loadCurrent reads the id of the current key. It comes before the keys are read, so the named key is among them.
func (r *Ring) loadCurrent(ctx context.Context) (id uint32, revision int64, err error) {
	e, err := r.store.Get(ctx, ServiceKeyCurrent)
	if errors.Is(err, state.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("rootkey: current service key: %w", err)
	}
	plain, err := r.sealer.Open(e.Value, []byte(ServiceKeyCurrent))
	if err != nil {
		return 0, 0, fmt.Errorf("rootkey: current service key: %w", err)
	}
	if len(plain) != 4 {
		return 0, 0, fmt.Errorf("rootkey: current service key: an id of %d bytes", len(plain))
	}
	return binary.BigEndian.Uint32(plain), e.Revision, nil
}

func (r *Ring) unseal(e state.Entry) (uint32, keystore.Secret, error) {
	id, err := serviceID(e.Key)
	if err != nil {
		return 0, keystore.Secret{}, err
	}
	plain, err := r.sealer.Open(e.Value, serviceAAD(id))
	if err != nil {
		return 0, keystore.Secret{}, fmt.Errorf("rootkey: service key %d: %w", id, err)
	}
	defer clear(plain)
	key, err := keystore.NewSecret(plain)
	if err != nil {
		return 0, keystore.Secret{}, fmt.Errorf("rootkey: service key %d: %w", id, err)
	}
	return id, key, nil
}

func serviceID(key string) (uint32, error) {
	id, err := strconv.ParseUint(key[len(ServiceKeyPrefix):], 16, 32)
	if err != nil || key != serviceKey(uint32(id)) {
		return 0, fmt.Errorf("rootkey: %q is not a service key's name", key)
	}
	return uint32(id), nil
}

func serviceKey(id uint32) string { return fmt.Sprintf("%s%08x", ServiceKeyPrefix, id) }

func serviceAAD(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("waxseal/v1/servicekey/"), id)
}
