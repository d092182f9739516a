package local

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// rootRecord is kms/root: the AWS owned key of SSE-S3. It is in no listing, has no policy and no audit events. It
// rotates once a year; data keys wrapped by an earlier version open for ever.
type rootRecord struct {
	Version  int           `json:"v"`
	Versions []rootVersion `json:"versions"` // oldest first
}

type rootVersion struct {
	Number  uint32    `json:"number"`
	Mark    []byte    `json:"mark"` // 8 random bytes: the versions of two deployments, or of a restored copy, cannot be confused
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

func (v rootVersion) id() []byte {
	return append(binary.BigEndian.AppendUint32(nil, v.Number), v.Mark...)
}

func (v rootVersion) aad() []byte { return append([]byte("waxseal/kms/root/v1\x00"), v.id()...) }

const rootKEKLabel = "waxseal/kms/root/kek/v1"

// rootCache is the key-encryption keys of all versions, in memory.
type rootCache struct {
	mu       sync.RWMutex
	keys     map[string]*keystore.Secret
	newest   []byte
	created  time.Time
	revision int64
	looked   time.Time
}

// at returns the loaded revision of the state, 0 for none.
func (c *rootCache) at() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

func (c *rootCache) zero() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		k.Zero()
	}
	c.keys = nil
}

// openRoot loads the root, and makes it at the first start.
func (s *Service) openRoot(ctx context.Context) error {
	return retry(ctx, func() error {
		var r rootRecord
		revision, found, err := s.getJSON(ctx, rootKey, &r)
		if err != nil {
			return err
		}
		if !found {
			if err := s.sealAndStore(func() error { return s.addRootVersion(ctx, &r, 0) }); err != nil {
				return err
			}
			return state.ErrConflict // read it back
		}
		if r.Version != recordVersion || len(r.Versions) == 0 {
			return fmt.Errorf("the root key has version %d, this program reads %d", r.Version, recordVersion)
		}
		if revision == s.root.at() {
			return nil
		}
		err = s.loadRoot(&r, revision)
		if errors.Is(err, rootkey.ErrNotSealed) { // perhaps sealed again, and the secret of before removed, since it was read
			if now, getErr := s.state.Get(ctx, rootKey); getErr == nil && now.Revision != revision {
				return state.ErrConflict
			}
		}
		return err
	})
}

func (s *Service) addRootVersion(ctx context.Context, r *rootRecord, revision int64) error {
	v := rootVersion{Number: uint32(len(r.Versions) + 1), Mark: make([]byte, 8), Created: s.now().UTC()}
	rand.Read(v.Mark)
	secret := keystore.RandomSecret()
	defer secret.Zero()
	var err error
	if v.Sealed, err = s.sealer.Seal(secret.Bytes(), v.aad()); err != nil {
		return err
	}
	next := &rootRecord{Version: recordVersion, Versions: append(r.Versions[:len(r.Versions):len(r.Versions)], v)}
	e := new(edit)
	if err := e.put(rootKey, next); err != nil {
		return err
	}
	_, err = s.state.Txn(ctx, []state.Cond{{Key: rootKey, Revision: revision}}, e.ops)
	return err
}

func (s *Service) loadRoot(r *rootRecord, revision int64) error {
	keys := make(map[string]*keystore.Secret, len(r.Versions))
	for _, v := range r.Versions {
		kek, err := s.openRootVersion(v)
		if err != nil {
			return fmt.Errorf("root key version %d: %w", v.Number, err)
		}
		keys[string(v.id())] = &kek
	}
	newest := r.Versions[len(r.Versions)-1]
	s.root.mu.Lock()
	defer s.root.mu.Unlock()
	s.root.keys, s.root.newest, s.root.created, s.root.revision = keys, newest.id(), newest.Created, revision
	return nil
}

// openRootVersion derives the key-encryption key: the stored secret itself never leaves this function.
func (s *Service) openRootVersion(v rootVersion) (keystore.Secret, error) {
	secret, err := s.sealer.Open(v.Sealed, v.aad())
	if err != nil {
		return keystore.Secret{}, err
	}
	defer clear(secret)
	kek, err := hkdf.Key(sha256.New, secret, nil, rootKEKLabel, keystore.SecretSize)
	if err != nil {
		return keystore.Secret{}, err
	}
	defer clear(kek)
	return keystore.NewSecret(kek)
}

// RotateRoot makes a new version of the root of SSE-S3 and wraps new data under it from now on.
func (s *Service) RotateRoot(ctx context.Context) error {
	return s.rotateRoot(ctx, func(*rootRecord) bool { return true })
}

// rotateRoot rotates the root if due. It evaluates due again whenever another replica was faster.
func (s *Service) rotateRoot(ctx context.Context, due func(*rootRecord) bool) error {
	err := retry(ctx, func() error {
		var r rootRecord
		revision, found, err := s.getJSON(ctx, rootKey, &r)
		if err != nil || !found {
			return orError(err, errors.New("the root key is gone from the state"))
		}
		if !due(&r) {
			return nil
		}
		return s.sealAndStore(func() error { return s.addRootVersion(ctx, &r, revision) })
	})
	if err != nil {
		return err
	}
	return s.openRoot(ctx)
}

// sweepRoot rotates the root when its year is over.
func (s *Service) sweepRoot(ctx context.Context) error {
	if err := s.openRoot(ctx); err != nil { // another replica may have rotated it
		return err
	}
	due := func(created time.Time) bool { return !s.now().Before(created.Add(managedRotation * day)) }
	s.root.mu.RLock()
	created := s.root.created
	s.root.mu.RUnlock()
	if !due(created) {
		return nil
	}
	return s.rotateRoot(ctx, func(r *rootRecord) bool { return due(r.Versions[len(r.Versions)-1].Created) })
}

// Root returns the service as the root of SSE-S3. The ring holds the keys of the service itself.
func (s *Service) Root(ring keystore.ServiceKeys) keystore.Root { return &root{s, ring} }

type root struct {
	s    *Service
	ring keystore.ServiceKeys
}

var errClosed = &keystore.Error{Kind: keystore.Unavailable, Message: "The key service is closed."}

func (r *root) Current(ctx context.Context) (*keystore.Handle, []byte, error) {
	c := &r.s.root
	c.mu.RLock()
	defer c.mu.RUnlock()
	kek := c.keys[string(c.newest)]
	if kek == nil {
		return nil, nil, errClosed
	}
	return keystore.NewHandle(*kek, "", nil), append([]byte(nil), c.newest...), nil
}

func (r *root) Open(ctx context.Context, id []byte) (*keystore.Handle, error) {
	if kek, ok := r.s.root.get(id); ok {
		return keystore.NewHandle(kek, "", nil), nil
	}
	if r.s.root.mayLook(time.Now()) { // a newer version, made by another replica
		if err := r.s.openRoot(ctx); err != nil {
			return nil, &keystore.Error{Kind: keystore.Unavailable, Err: err}
		}
	}
	if kek, ok := r.s.root.get(id); ok {
		return keystore.NewHandle(kek, "", nil), nil
	}
	return nil, &keystore.Error{Kind: keystore.InvalidCiphertext, Err: errors.New("no root key version of this id")}
}

func (c *rootCache) get(id []byte) (keystore.Secret, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	kek := c.keys[string(id)]
	if kek == nil {
		return keystore.Secret{}, false
	}
	return *kek, true
}

// mayLook allows one read of the state a second: ids come from outside, and a client can invent any number.
func (c *rootCache) mayLook(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || now.Sub(c.looked) < time.Second {
		return false
	}
	c.looked = now
	return true
}

func (r *root) ServiceKey(context.Context) (uint32, keystore.Secret, error) {
	id, key := r.ring.Current()
	return id, key, nil
}

func (r *root) ServiceKeyByID(id uint32) (keystore.Secret, bool) { return r.ring.ByID(id) }
