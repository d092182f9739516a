package bucketkey

import (
	"sync/atomic"

	"waxseal/keystore"
)

// opened is a key in memory with a count of references. It begins with a single reference, its maker's, and is zeroed on
// the release of the last reference: never in use, and not later.
type opened struct {
	key      keystore.Secret
	material string // of the KMS key
	refs     atomic.Int64
	used     atomic.Int64 // when it was last handed out, in stamp.mono's time
}

func newOpened(key keystore.Secret, material string) *opened {
	o := &opened{key: key, material: material}
	o.refs.Store(1)
	return o
}

// retain takes a reference, unless the last reference is gone already.
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

// Release implements keystore.HeldKey.
func (o *opened) Release() {
	switch n := o.refs.Add(-1); {
	case n == 0:
		o.key.Zero()
	case n < 0:
		panic("bucketkey: internal error: a key was released too often")
	}
}

// Bytes implements keystore.HeldKey.
func (o *opened) Bytes() []byte { return o.key.Bytes() }
