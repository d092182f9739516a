package local

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// pausedStore runs a function once, before the next transaction.
type pausedStore struct {
	state.Store
	mu     sync.Mutex
	before func()
}

func (p *pausedStore) pause(before func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = before
}

func (p *pausedStore) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	p.mu.Lock()
	before := p.before
	p.before = nil
	p.mu.Unlock()
	if before != nil {
		before()
	}
	return p.Store.Txn(ctx, conds, ops)
}

// TestRekeyWaitsForWhatIsUnderWay changes the root secret and removes the old secret just before a value sealed under
// it is stored: the acknowledged value must open afterwards.
func TestRekeyWaitsForWhatIsUnderWay(t *testing.T) {
	encrypts := func(r *rig, id string) error {
		return failed(r.Encrypt(background, alice, &EncryptRequest{KeyId: id, Plaintext: []byte("x")}))
	}
	for name, prepare := range map[string]func(*specimen) (change, check func() error){
		"a new key": func(s *specimen) (change, check func() error) {
			return func() error { s.id = s.newKey(nil).KeyId; return nil }, func() error { return encrypts(s.rig, s.id) }
		},
		"the managed key": func(s *specimen) (change, check func() error) {
			encrypt := func() error {
				return failed(s.Encrypt(background, viaS3(alice), &EncryptRequest{KeyId: managedS3Alias, Plaintext: []byte("x")}))
			}
			return encrypt, encrypt
		},
		"imported material": func(s *specimen) (change, check func() error) {
			s.id = s.newKey(&CreateKeyRequest{Origin: originExternal}).KeyId
			s.prepareImport()
			return func() error { s.importMaterial(); return nil }, func() error { return encrypts(s.rig, s.id) }
		},
		"a rotation on demand": func(s *specimen) (change, check func() error) {
			s.id = s.newKey(nil).KeyId
			return func() error { return failed(s.RotateKeyOnDemand(background, alice, &KeyRequest{s.id})) },
				func() error { return encrypts(s.rig, s.id) }
		},
		"a rotation that is due": func(s *specimen) (change, check func() error) {
			s.id = s.newKey(nil).KeyId
			must(s.EnableKeyRotation(background, alice, &EnableKeyRotationRequest{KeyId: s.id}))(s.t)
			s.turn(presetRotationDays * day)
			return func() error { return s.Sweep(background) }, func() error { return encrypts(s.rig, s.id) }
		},
		"the root": func(s *specimen) (change, check func() error) {
			return func() error { return s.RotateRoot(background) }, func() error {
				s.Service.root.revision = 0 // read it again
				return s.openRoot(background)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			secret, err := rootkey.Load("", filepath.Join(t.TempDir(), "root.key"), true)
			if err != nil {
				t.Fatal(err)
			}
			store := &pausedStore{Store: state.NewMemory()}
			r := newRig(t, func(c *Config) { c.State, c.Secrets = store, secret })
			change, check := prepare(&specimen{rig: r})
			pruned := make(chan error, 1)
			store.pause(func() {
				if err := secret.Rotate(); err != nil {
					t.Error(err)
				}
				go func() {
					_, err := r.Rekey(background)
					if err == nil {
						err = secret.Prune()
					}
					pruned <- err
				}()
				select {
				case err := <-pruned: // too early
					pruned <- err
				case <-time.After(100 * time.Millisecond):
				}
			})
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if err := <-pruned; err != nil {
				t.Fatal(err)
			}
			if err := check(); err != nil {
				t.Errorf("acknowledged, and lost: %v", err)
			}
		})
	}
}

// TestRekeyOfWhatIsBeingUsed removes the old root secret between the reading of a record and its opening.
func TestRekeyOfWhatIsBeingUsed(t *testing.T) {
	secret, err := rootkey.Load("", filepath.Join(t.TempDir(), "root.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Secrets = secret })
	md := r.newKey(nil)
	k := must(r.load(background, testAccount, md.KeyId))(t)
	if err := secret.Rotate(); err != nil {
		t.Fatal(err)
	}
	must(r.Rekey(background))(t)
	if err := secret.Prune(); err != nil {
		t.Fatal(err)
	}
	must(r.openMaterial(k.record, k.current()))(t)
	gone := must(r.load(background, testAccount, md.KeyId))(t).clone()
	gone.ID = strings.Replace(gone.ID, gone.ID[:8], "00000000", 1)
	if _, err := r.openMaterial(gone, gone.current()); err == nil {
		t.Error("material opens as another key's")
	}
}

// TestRekeyOfTheRootBeingRead is the same with the root of SSE-S3, and a store that returns the earlier record.
func TestRekeyOfTheRootBeingRead(t *testing.T) {
	secret, err := rootkey.Load("", filepath.Join(t.TempDir(), "root.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	store := &lateStore{Store: state.NewMemory()}
	r := newRig(t, func(c *Config) { c.State, c.Secrets = store, secret })
	store.after = func() {
		if err := secret.Rotate(); err != nil {
			t.Error(err)
		}
		if _, err := r.Rekey(background); err != nil {
			t.Error(err)
		}
		if err := secret.Prune(); err != nil {
			t.Error(err)
		}
	}
	r.Service.root.revision = 0
	if err := r.openRoot(background); err != nil {
		t.Error(err)
	}
}

// lateStore runs a function once, between the reading of an entry and its answer.
type lateStore struct {
	state.Store
	after func()
}

func (l *lateStore) Get(ctx context.Context, key string) (state.Entry, error) {
	e, err := l.Store.Get(ctx, key)
	if after := l.after; after != nil {
		l.after = nil
		after()
	}
	return e, err
}
