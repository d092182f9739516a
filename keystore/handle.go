package keystore

import "sync/atomic"

// HeldKey is a key in memory with several users. Release ends the use of a holder.
type HeldKey interface {
	Bytes() []byte
	Release()
}

// Handle is a key-encryption key in use. Its key stays valid until Release, also when a cache evicts or forgets it.
type Handle struct {
	key      HeldKey
	blob     []byte
	keyARN   string
	indirect bool
	released atomic.Bool
}

// NewHandle returns a handle on a key with a single user: Release zeroes it.
func NewHandle(key Secret, keyARN string, blob []byte) *Handle {
	return NewSharedHandle((*ownKey)(&key), keyARN, blob)
}

// NewSharedHandle returns a handle on a key with further users. Release ends the holder's use.
func NewSharedHandle(key HeldKey, keyARN string, blob []byte) *Handle {
	return &Handle{key: key, keyARN: keyARN, blob: blob}
}

// NewIndirectHandle returns a handle as NewHandle does, on a key with another origin than its blob.
func NewIndirectHandle(key Secret, keyARN string, blob []byte) *Handle {
	h := NewHandle(key, keyARN, blob)
	h.indirect = true
	return h
}

// Indirect reports whether the key comes from elsewhere than its blob: a later bucket key has opened it, for example. If
// it does not fit the wrapped data key, the blob itself is to be opened.
func (h *Handle) Indirect() bool { return h.indirect }

// ownKey is the HeldKey of a single user.
type ownKey Secret

func (k *ownKey) Bytes() []byte { return (*Secret)(k).Bytes() }
func (k *ownKey) Release()      { (*Secret)(k).Zero() }

// Key returns the key, 32 bytes, not to be changed, and not to be used after Release.
func (h *Handle) Key() []byte {
	if h.released.Load() {
		// A data key wrapped under zeros would be open to everybody.
		panic("keystore: internal error: a key was used after its release")
	}
	return h.key.Bytes()
}

// Blob returns the key under its KMS key, to be stored with the data keys wrapped under it. Not to be changed.
func (h *Handle) Blob() []byte { return h.blob }

// KeyARN returns the ARN of the KMS key.
func (h *Handle) KeyARN() string { return h.keyARN }

// Release gives the key back. A second Release does nothing.
func (h *Handle) Release() {
	if h.released.CompareAndSwap(false, true) {
		h.key.Release()
	}
}
