// Package state is the transactional key-value state of waxseal: KMS keys, uploads in flight, current bucket keys.
//
// The interface has the shape of etcd's: one flat, ordered key space, a revision that grows with every transaction,
// compare-and-set on an entry's revision, and watches. A single process keeps it in a bbolt file ([OpenBolt]), several
// processes share it in an etcd (package etcd), tests keep it in memory ([NewMemory]). Every [Store] passes the contract
// suite of package statetest.
//
// Values are opaque here. [Seal] wraps a store so that values at rest are secret and authentic.
package state

import (
	"context"
	"errors"
	"io"
)

var (
	// ErrNotFound is returned by Get for an absent key.
	ErrNotFound = errors.New("state: not found")
	// ErrConflict is returned by Txn when a condition does not hold; nothing was written.
	ErrConflict = errors.New("state: conflict")
	// ErrUnavailable is returned when the store cannot be asked now. Nothing was written.
	ErrUnavailable = errors.New("state: the state store does not answer")
	// ErrUnknown is returned by Txn when the transaction was sent or begun and its outcome is not known: it may have been
	// applied, may be applied later, or never. The caller reads the keys before it undoes anything that belongs to the
	// transaction: the object of a record, for example, may only be removed when the record is not there.
	ErrUnknown = errors.New("state: the outcome of the transaction is unknown")
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("state: closed")
)

// Limits, enforced by every implementation before anything is written. They are etcd's: it takes 128 conditions, 128
// operations and 1.5 MiB a request, and refuses a transaction that writes a key twice. Values count as stored: a sealed
// value is up to SealRoom bytes longer than its plaintext.
const (
	MaxKeySize   = 1024
	MaxValueSize = 1 << 20
	MaxTxnSize   = 128             // conditions and operations of a transaction
	MaxTxnBytes  = 1<<20 + 256<<10 // keys and values of a transaction
	SealRoom     = 256
)

// Entry is a key with its value and the revision of its last transaction.
type Entry struct {
	Key      string
	Value    []byte
	Revision int64
}

// Cond is a condition of a transaction: the key was last written by exactly this revision. 0: it must be absent.
type Cond struct {
	Key      string
	Revision int64
}

// Op writes or deletes a key. Deleting an absent key is no error.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
}

// Event is a change of a key. With Lagged set, and all else empty, it says that the watcher was too slow and changes
// were dropped: the watcher must read its prefix again.
type Event struct {
	Key      string
	Value    []byte
	Revision int64
	Deleted  bool
	Lagged   bool
}

// Store is the state. Implementations are safe for concurrent use; returned slices belong to the caller.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// Range returns, in order, at most limit entries (all when limit is 0) with a key that begins with prefix and is
	// greater than after.
	Range(ctx context.Context, prefix, after string, limit int) ([]Entry, error)

	// Txn applies all operations or, when a condition does not hold, none, and returns ErrConflict. When it returns
	// nil, the change is durable. It returns the new revision; without operations, the current revision. No key may be
	// in two operations. ErrUnknown is returned as described there.
	//
	// A context that ends before the transaction begins cancels it. After the begin Txn waits for the outcome:
	// "cancelled" for a change that happened would mislead.
	Txn(ctx context.Context, conds []Cond, ops []Op) (rev int64, err error)

	// Watch sends every change under prefix after its return, in order of revision, until ctx or the store ends, and
	// then closes the channel. A slow reader never delays a writer: see Event.Lagged.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)

	// Follow calls see with the key and the revision of every change under prefix, in order, until stop. An empty key
	// means lost changes: any key may have changed up to that revision. Followers of the empty prefix are called last:
	// by then every cache has dropped the entry. see must be quick and must not call the store.
	Follow(prefix string, see func(key string, rev int64)) (stop func())

	// Backup writes a consistent copy for OpenBolt. Reads and writes go on meanwhile, however slow w is.
	Backup(w io.Writer) error

	// Close ends all watches and releases the store.
	Close() error
}
