package rootkey

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

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// ErrNotSealed is returned by Open unless the value was sealed by this root secret, for this purpose and place, and is
// unchanged.
var ErrNotSealed = errors.New("rootkey: does not open with this root secret")

// Secret is the root secret: it seals everything at rest. It is a single random 256-bit secret, or, while it is
// being changed, a ring of them: the first seals, all open.
//
// A secret is never used as a key itself:
//
//	id      := HKDF-SHA256(secret, salt: none, info: "waxseal/v1/root/id")[:8]
//	salt    := 32 random bytes, new for each seal
//	key     := HKDF-SHA256(secret, salt, info: "waxseal/v1/root/seal/" || purpose)
//	sealed  := 0x01 || id || salt || AES-256-GCM(key, nonce: 0, plaintext, aad: 0x01 || id || salt || aad)
type Secret struct {
	path string // of the file; empty when the secret came from elsewhere

	mu      sync.RWMutex
	secrets []*keystore.Secret // newest first; replaced as a whole, never changed in place but by Zero
}

const (
	sealVersion  = 1
	sealIDSize   = 8
	sealSaltSize = 32
	sealHeader   = 1 + sealIDSize + sealSaltSize
	sealOverhead = sealHeader + 16
)

// New makes a Secret of secrets, newest first. It is for tests and for secrets kept elsewhere.
func New(newest keystore.Secret, older ...keystore.Secret) *Secret {
	r := &Secret{secrets: []*keystore.Secret{&newest}}
	for _, s := range older {
		r.secrets = append(r.secrets, &s)
	}
	return r
}

// Sealer returns the sealer for a purpose. Different purposes use unrelated keys.
func (r *Secret) Sealer(purpose string) state.Sealer { return &rootSealer{root: r, purpose: purpose} }

// Derive returns a key for a purpose that needs a key and not a seal. It changes with the newest secret, so it is for
// short-lived uses.
func (r *Secret) Derive(purpose string) (keystore.Secret, error) {
	secrets := r.all()
	if len(secrets) == 0 {
		return keystore.Secret{}, ErrNoSecret
	}
	return derive(secrets[0], nil, "waxseal/v1/root/derive/"+purpose)
}

// all returns the secrets, newest first; none after Zero.
func (r *Secret) all() []*keystore.Secret {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.secrets
}

// Zero erases the secrets, when nobody uses them any more; nothing can be sealed or opened after.
func (r *Secret) Zero() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.secrets {
		s.Zero()
	}
	r.secrets = nil
}

// Stale reports whether a value was sealed by an older secret than the newest, so that a rekey has to seal it again.
func (r *Secret) Stale(sealed []byte) (bool, error) {
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

// Fingerprint names the newest secret. Every value sealed by it carries the same bytes, and nothing can be learned of
// the secret from them.
func (r *Secret) Fingerprint() (string, error) {
	secrets := r.all()
	if len(secrets) == 0 {
		return "", ErrNoSecret
	}
	id, err := secretID(secrets[0])
	return hex.EncodeToString(id), err
}

func secretID(s *keystore.Secret) ([]byte, error) {
	id, err := derive(s, nil, "waxseal/v1/root/id")
	if err != nil {
		return nil, err
	}
	return id.Bytes()[:sealIDSize], nil
}

func derive(s *keystore.Secret, salt []byte, info string) (keystore.Secret, error) {
	key, err := hkdf.Key(sha256.New, s.Bytes(), salt, info, keystore.SecretSize)
	if err != nil {
		return keystore.Secret{}, fmt.Errorf("rootkey: %w", err)
	}
	defer clear(key)
	return keystore.NewSecret(key)
}

type rootSealer struct {
	root    *Secret
	purpose string
}

func (s *rootSealer) aead(secret *keystore.Secret, salt []byte) (cipher.AEAD, error) {
	key, err := derive(secret, salt, "waxseal/v1/root/seal/"+s.purpose)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	block, err := aes.NewCipher(key.Bytes())
	if err != nil {
		return nil, fmt.Errorf("rootkey: %w", err)
	}
	return cipher.NewGCM(block)
}

func (s *rootSealer) Seal(plaintext, aad []byte) ([]byte, error) {
	secrets := s.root.all()
	if len(secrets) == 0 {
		return nil, ErrNoSecret
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
func parseSecret(text string) (keystore.Secret, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.Strict().DecodeString(text); err == nil && len(key) == keystore.SecretSize {
			defer clear(key)
			return keystore.NewSecret(key)
		}
	}
	return keystore.Secret{}, errors.New("not 32 bytes in base64")
}
