package keystore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// Sealer protects what is at rest in the state. aad says what the plaintext is and where it belongs: what was sealed
// for one place opens in no other.
type Sealer interface {
	Seal(plaintext, aad []byte) ([]byte, error)
	Open(sealed, aad []byte) ([]byte, error)
	// Stale reports whether sealed has to be sealed again, because the secret was changed since.
	Stale(sealed []byte) (bool, error)
}

// ErrNotSealed is returned by Open for what was not sealed by this root secret, for this purpose and place, or was
// changed since.
var ErrNotSealed = errors.New("keystore: does not open with this root secret")

// RootSecret is the secret that everything at rest is sealed under. It is one random 256-bit secret, or, while it is
// being changed, a ring of them: the first seals, all open.
//
// A secret is never used as a key itself:
//
//	id      := HKDF-SHA256(secret, salt: none, info: "waxseal/v1/root/id")[:8]
//	salt    := 32 random bytes, new for each seal
//	key     := HKDF-SHA256(secret, salt, info: "waxseal/v1/root/seal/" || purpose)
//	sealed  := 0x01 || id || salt || AES-256-GCM(key, nonce: 0, plaintext, aad: 0x01 || id || salt || aad)
type RootSecret struct {
	path string // of the file; empty when the secret came from elsewhere

	mu      sync.RWMutex
	secrets []*Secret // newest first; replaced as a whole, never changed in place but by Zero
}

const (
	sealVersion  = 1
	sealIDSize   = 8
	sealSaltSize = 32
	sealHeader   = 1 + sealIDSize + sealSaltSize
	sealOverhead = sealHeader + 16
)

// NewRootSecret makes a RootSecret of secrets, newest first. It is for tests and for secrets that are kept elsewhere.
func NewRootSecret(newest Secret, older ...Secret) *RootSecret {
	r := &RootSecret{secrets: []*Secret{&newest}}
	for _, s := range older {
		r.secrets = append(r.secrets, &s)
	}
	return r
}

// Sealer returns what seals for a purpose. Different purposes use unrelated keys.
func (r *RootSecret) Sealer(purpose string) Sealer { return &rootSealer{root: r, purpose: purpose} }

// Derive returns a key for a purpose that needs a key and not a seal. It changes with the newest secret, so it is for
// what is short-lived.
func (r *RootSecret) Derive(purpose string) (Secret, error) {
	secrets := r.all()
	if len(secrets) == 0 {
		return Secret{}, ErrNoRootSecret
	}
	return derive(secrets[0], nil, "waxseal/v1/root/derive/"+purpose)
}

// all returns the secrets, newest first; none after Zero.
func (r *RootSecret) all() []*Secret {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.secrets
}

// Zero erases the secrets, when nobody uses them any more; nothing can be sealed or opened after.
func (r *RootSecret) Zero() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.secrets {
		s.Zero()
	}
	r.secrets = nil
}

// Stale says that something was sealed by another than the newest secret, so that a rekey has to seal it again.
func (r *RootSecret) Stale(sealed []byte) (bool, error) {
	secrets := r.all()
	if len(secrets) == 0 || len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return false, ErrNotSealed
	}
	id, err := secretID(secrets[0])
	if err != nil {
		return false, err
	}
	return !bytes.Equal(id, sealed[1:1+sealIDSize]), nil
}

// Fingerprint names the newest secret. Everything that it sealed carries the same bytes, and nothing can be learned of
// the secret from them.
func (r *RootSecret) Fingerprint() (string, error) {
	secrets := r.all()
	if len(secrets) == 0 {
		return "", ErrNoRootSecret
	}
	id, err := secretID(secrets[0])
	return hex.EncodeToString(id), err
}

func secretID(s *Secret) ([]byte, error) {
	id, err := derive(s, nil, "waxseal/v1/root/id")
	if err != nil {
		return nil, err
	}
	return id.Bytes()[:sealIDSize], nil
}

func derive(s *Secret, salt []byte, info string) (Secret, error) {
	key, err := hkdf.Key(sha256.New, s.Bytes(), salt, info, SecretSize)
	if err != nil {
		return Secret{}, fmt.Errorf("keystore: %w", err)
	}
	defer clear(key)
	return NewSecret(key)
}

type rootSealer struct {
	root    *RootSecret
	purpose string
}

func (s *rootSealer) aead(secret *Secret, salt []byte) (cipher.AEAD, error) {
	key, err := derive(secret, salt, "waxseal/v1/root/seal/"+s.purpose)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	block, err := aes.NewCipher(key.Bytes())
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	return cipher.NewGCM(block)
}

func (s *rootSealer) Seal(plaintext, aad []byte) ([]byte, error) {
	secrets := s.root.all()
	if len(secrets) == 0 {
		return nil, ErrNoRootSecret
	}
	secret := secrets[0]
	id, err := secretID(secret)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, sealHeader, sealOverhead+len(plaintext))
	sealed[0] = sealVersion
	copy(sealed[1:], id)
	rand.Read(sealed[1+sealIDSize:])
	aead, err := s.aead(secret, sealed[1+sealIDSize:])
	if err != nil {
		return nil, err
	}
	// The key is used once, so the nonce may be zero.
	return aead.Seal(sealed, make([]byte, aead.NonceSize()), plaintext, sealAAD(sealed, aad)), nil
}

func (s *rootSealer) Open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, ErrNotSealed
	}
	header, box := sealed[:sealHeader], sealed[sealHeader:]
	secrets := s.root.all()
	for _, secret := range secrets {
		id, err := secretID(secret)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(id, header[1:1+sealIDSize]) {
			continue
		}
		aead, err := s.aead(secret, header[1+sealIDSize:])
		if err != nil {
			return nil, err
		}
		plaintext, err := aead.Open(nil, make([]byte, aead.NonceSize()), box, sealAAD(header, aad))
		if err != nil {
			return nil, ErrNotSealed
		}
		return plaintext, nil
	}
	return nil, ErrNotSealed
}

func (s *rootSealer) Stale(sealed []byte) (bool, error) { return s.root.Stale(sealed) }

func sealAAD(header, aad []byte) []byte {
	return append(append(make([]byte, 0, sealHeader+len(aad)), header[:sealHeader]...), aad...)
}

// parseSecret reads 32 bytes in base64, of either alphabet, padded or not.
func parseSecret(text string) (Secret, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.Strict().DecodeString(text); err == nil && len(key) == SecretSize {
			defer clear(key)
			return NewSecret(key)
		}
	}
	return Secret{}, errors.New("not 32 bytes in base64")
}
