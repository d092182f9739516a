package embedded

import (
	"errors"
	"io"
	"iter"
)

// medium holds a store's bytes: an ordered index with transactions, and bodies in numbered files. Every method is a step
// at which power can fail, a disk can be full, or a test can stop the world.
type medium interface {
	// view runs fn in a read transaction. The slices that fn sees are valid until it returns.
	view(fn func(tx) error) error
	// update runs fn in the only write transaction. What fn wrote is durable when update returns nil, and nowhere when it
	// returns an error, unless the error is errUncertain.
	update(fn func(tx) error) error

	// create makes the file of a body. Its name is durable only after syncDir.
	create(id uint64) (bodyFile, error)
	open(id uint64) (bodyReader, error)
	// link gives the bytes of one file a second name.
	link(from, to uint64) error
	// remove takes a file away. A file that is not there is no error.
	remove(id uint64) error
	// syncDir makes the names in the directory of a body durable.
	syncDir(dir uint64) error
	// files yields the ids of all files from an id on, in any order.
	files(from uint64) iter.Seq2[uint64, error]
	// free is the number of bytes that the medium can still take.
	free() (int64, error)
	// check gives what contradicts itself in the index, below what a transaction shows.
	check() []string
	close() error
}

// bodyFile is a body that is being written.
type bodyFile interface {
	io.Writer
	// sync makes the bytes durable.
	sync() error
	io.Closer
}

// bodyReader is a body that is being read. It stays readable after its file was removed.
type bodyReader interface {
	io.ReaderAt
	io.Closer
	size() (int64, error)
}

// tx is a transaction of the index. Values must not be changed, nor kept after the transaction.
type tx interface {
	get(s space, key []byte) []byte
	put(s space, key, value []byte) error
	del(s space, key []byte) error
	cursor(s space) cursor
}

// cursor walks a space in the order of its keys. A nil key is the end. Writes to the space invalidate the cursor.
type cursor interface {
	seek(key []byte) (k, v []byte)
	next() (k, v []byte)
	last() (k, v []byte)
}

// errUncertain is a commit, or an fsync, of which nobody can say whether it happened.
var errUncertain = errors.New("embedded store: a sync has failed")

// space is one keyspace of the index.
type space uint8

const (
	metaSpace    space = iota // counters, format
	bucketSpace               // name -> bucket
	currentSpace              // bucket, key -> the current object; a key with a delete marker on top is absent
	versionSpace              // bucket, key, descending sequence -> noncurrent versions and delete markers
	nullSpace                 // bucket, key -> sequence of a noncurrent version with the id null
	layoutSpace               // sequence -> parts of an object that was uploaded in parts
	uploadSpace               // bucket, key, sequence -> upload under way
	partSpace                 // sequence of the upload, number -> part
	doneSpace                 // sequence of the upload -> outcome, for a client that did not hear it
	inlineSpace               // id -> bytes of a small body
	fileSpace                 // id -> nothing: the files that the index refers to
	trashSpace                // id -> nothing: files that the index referred to, to be unlinked
	spaces
)

var spaceNames = [spaces]string{"meta", "buckets", "current", "versions", "nulls", "layouts", "uploads", "parts", "done", "inline", "files", "trash"}

func (s space) String() string { return spaceNames[s] }

// filesPerDir bounds a directory, so that its fsync and its listing stay cheap.
const filesPerDir = 4096

func dirOf(id uint64) uint64 { return id / filesPerDir }
