package sse

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

const labelManifestKey = "waxseal/v1/manifest/key"

// ManifestKey seals one manifest of an object, for who must let go of the data
// keys before the manifest's facts are known. It opens none of the object's data.
//
// Its salt is fixed, and with it the nonces: never seal two different manifests with it.
type ManifestKey struct {
	salt         [saltSize]byte
	table, facts Key
	commitment   [32]byte
	layers       byte
}

// ManifestKey makes a key with a salt of its own.
func (k Keys) ManifestKey() (ManifestKey, error) {
	if err := k.usable(); err != nil {
		return ManifestKey{}, err
	}
	var salt [saltSize]byte
	rand.Read(salt[:])
	return k.manifestKey(salt), nil
}

func (k Keys) manifestKey(salt [saltSize]byte) ManifestKey {
	return ManifestKey{
		salt: salt, table: k.derive(salt[:], labelTable), facts: k.derive(salt[:], labelFacts),
		commitment: k.Commitment(), layers: byte(k.Layers()),
	}
}

// Zero wipes the key.
func (k *ManifestKey) Zero() {
	k.table.Zero()
	k.facts.Zero()
}

// Format implements fmt.Formatter for every verb.
func (k ManifestKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

const manifestKeySize = saltSize + 2*keySize + 32 + 1

// Wrap seals the key under kek, to be kept; context must be given again to unwrap it.
func (k ManifestKey) Wrap(kek Key, context []byte) []byte {
	plain := make([]byte, 0, manifestKeySize)
	plain = append(plain, k.salt[:]...)
	plain = append(plain, k.table.b[:]...)
	plain = append(plain, k.facts.b[:]...)
	plain = append(plain, k.commitment[:]...)
	plain = append(plain, k.layers)
	defer clear(plain)
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return append(salt, kek.Derive(salt, labelManifestKey).sealBox(plain, associated(labelManifestKey, context))...)
}

// UnwrapManifestKey opens what Wrap sealed.
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
	in.into(k.salt[:])
	in.into(k.table.b[:])
	in.into(k.facts.b[:])
	in.into(k.commitment[:])
	k.layers = in.u8()
	return k, in.end()
}

// SealWith is Seal without the data keys.
func (m *Manifest) SealWith(k ManifestKey, svc ServiceKey) ([]byte, error) {
	if k.table.IsZero() || svc.Key.IsZero() {
		return nil, ErrNoKey
	}
	if k.layers != 1 && k.layers != 2 {
		return nil, errors.New("sse: a manifest key of no layers")
	}
	return m.sealWith(k, svc)
}

func (m *Manifest) sealWith(k ManifestKey, svc ServiceKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	facts, err := m.Facts.encode()
	if err != nil {
		return nil, err
	}
	f := m.footer(int(k.layers))
	f.service, f.salt = svc.ID, k.salt
	footer := f.append(nil)
	commitment := k.commitment

	b := make([]byte, 0, f.ManifestSize())
	b = append(b, k.table.sealBox(m.appendTable(nil, int(k.layers)), associated(labelTable, footer, commitment[:]))...)
	b = append(b, k.facts.sealBox(facts, associated(labelFacts, footer, commitment[:]))...)
	b = append(b, svc.Key.Derive(k.salt[:], labelPublic).sealBox(m.Tag.encode(nil), associated(labelPublic, footer, commitment[:]))...)
	b = append(b, footer...)
	if int64(len(b)) != f.ManifestSize() {
		panic("sse: internal error: a manifest's size is not the announced one")
	}
	return b, nil
}
