package keystore

import "sync/atomic"

// opened is a key in memory that several may be using. It begins with one reference, its maker's, and is zeroed when
// the last is given back: never under somebody who still uses it, and not later than that.
type opened struct {
	key  Secret
	refs atomic.Int64
	used atomic.Int64 // when it was last handed out, in stamp.mono's time
}

func newOpened(key Secret) *opened {
	o := &opened{key: key}
	o.refs.Store(1)
	return o
}

// retain takes a reference, unless the last one is gone already.
func (o *opened) retain() bool {
	for {
		n := o.refs.Load()
		if n == 0 {
			return false
		}
		if o.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (o *opened) release() {
	switch n := o.refs.Add(-1); {
	case n == 0:
		o.key.Zero()
	case n < 0:
		panic("keystore: internal error: a key was released too often")
	}
}

// Handle is a key-encryption key in use. Its key stays valid until Release, whatever is evicted or forgotten
// meanwhile.
type Handle struct {
	o        *opened
	blob     []byte
	keyARN   string
	released atomic.Bool
}

// NewHandle returns a handle on a key that nobody else holds: Release zeroes it.
func NewHandle(key Secret, keyARN string, blob []byte) *Handle {
	return &Handle{o: newOpened(key), keyARN: keyARN, blob: blob}
}

// Key is the key, 32 bytes, not to be changed, and not to be used after Release.
func (h *Handle) Key() []byte {
	if h.released.Load() {
		// Going on would mean to wrap a data key under zeros.
		panic("keystore: internal error: a key was used after its release")
	}
	return h.o.key.Bytes()
}

// Blob is the key under its KMS key, to be stored with what it wraps. Not to be changed.
func (h *Handle) Blob() []byte { return h.blob }

// KeyARN is the ARN of the KMS key.
func (h *Handle) KeyARN() string { return h.keyARN }

// Release gives the key back; the second time it does nothing.
func (h *Handle) Release() {
	if h.released.CompareAndSwap(false, true) {
		h.o.release()
	}
}
