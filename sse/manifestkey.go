package sse

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

const labelManifestKey = "waxseal/v1/manifest/key"

// ManifestKey seals and opens an object's manifests, and none of its data: an uploader must let go of the data keys
// before the manifest's facts are known. Every manifest draws a salt of its own, so a ManifestKey may seal many.
type ManifestKey struct {
	secret     Key
	commitment [32]byte
	layers     byte
}

// ManifestKey is the manifest key of the data keys.
func (k Keys) ManifestKey() (ManifestKey, error) {
	if err := k.usable(); err != nil {
		return ManifestKey{}, err
	}
	return k.manifestKey(), nil
}

func (k Keys) manifestKey() ManifestKey {
	return ManifestKey{secret: k.derive(nil, labelManifestKey), commitment: k.Commitment(), layers: byte(k.Layers())}
}

// Zero wipes the key.
func (k *ManifestKey) Zero() { k.secret.Zero() }

// Format implements fmt.Formatter for every verb.
func (k ManifestKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

const manifestKeySize = keySize + 32 + 1

// Wrap seals the key under kek, to be kept; context must be given again to unwrap it.
func (k ManifestKey) Wrap(kek Key, context []byte) []byte {
	plain := make([]byte, 0, manifestKeySize)
	plain = append(plain, k.secret.b[:]...)
	plain = append(plain, k.commitment[:]...)
	plain = append(plain, k.layers)
	defer clear(plain)
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return append(salt, kek.Derive(salt, labelManifestKey).sealBox(plain, associated(labelManifestKey, context))...)
}

// UnwrapManifestKey opens the result of Wrap.
func UnwrapManifestKey(wrapped []byte, kek Key, context []byte) (k ManifestKey, err error) {
	if len(wrapped) != saltSize+manifestKeySize+TagSize {
		return k, fmt.Errorf("%w: manifest key of %d bytes", ErrMalformed, len(wrapped))
	}
	plain, err := kek.Derive(wrapped[:saltSize], labelManifestKey).openBox(wrapped[saltSize:], associated(labelManifestKey, context))
	if err != nil {
		return k, fmt.Errorf("%w: manifest key", err)
	}
	defer clear(plain)
	in := fields{b: plain}
	in.into(k.secret.b[:])
	in.into(k.commitment[:])
	k.layers = in.u8()
	return k, in.end()
}

// SealWith is Seal without the data keys.
func (m *Manifest) SealWith(k ManifestKey, svc ServiceKey) ([]byte, error) {
	if k.secret.IsZero() || svc.Key.IsZero() {
		return nil, ErrNoKey
	}
	if k.layers != 1 && k.layers != 2 {
		return nil, errors.New("sse: a manifest key of no layers")
	}
	var salt [saltSize]byte
	rand.Read(salt[:])
	return m.sealWith(k, svc, salt)
}

func (m *Manifest) sealWith(k ManifestKey, svc ServiceKey, salt [saltSize]byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	facts, err := m.Facts.encode()
	if err != nil {
		return nil, err
	}
	f := m.footer(int(k.layers))
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("sse: a manifest that no reader takes: %v", err) // of the caller's making, not the store's
	}
	f.service, f.salt = svc.ID, salt
	footer := f.append(nil)
	commitment := k.commitment
	seal := func(key Key, label string, plain []byte) []byte {
		return key.Derive(salt[:], label).sealBox(plain, associated(label, footer, commitment[:]))
	}

	b := make([]byte, 0, f.ManifestSize())
	b = append(b, seal(k.secret, labelTable, m.appendTable(nil, int(k.layers)))...)
	b = append(b, seal(k.secret, labelFacts, facts)...)
	b = append(b, seal(svc.Key, labelPublic, m.Tag.encode(nil))...)
	b = append(b, footer...)
	if int64(len(b)) != f.ManifestSize() {
		panic("sse: internal error: a manifest's size is not the announced one")
	}
	return b, nil
}
