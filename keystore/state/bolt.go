package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The file has two bbolt buckets: "entries" holds key -> be64(revision) || value, "meta" holds the format number
// and the last revision. Nothing else is ever written, so a file of this format can be read by any bbolt tool.
var (
	entriesBucket = []byte("entries")
	metaBucket    = []byte("meta")
	formatKey     = []byte("format")
	revisionKey   = []byte("revision")
)

const (
	boltFormat = 1
	// lockTimeout is how long OpenBolt waits for another process to let go of the file.
	lockTimeout = 2 * time.Second
	// groupLimit bounds the waiting transactions of a commit, and so the loss when an fsync fails.
	groupLimit = 256
)

// boltStore is a Store in a bbolt file.
//
// All writes go through a single goroutine. It takes every waiting transaction, evaluates them in order within a
// single bbolt transaction, and commits once. So concurrent callers share an fsync, and a failed condition fails its
// own transaction only. (bbolt's Batch would run the whole batch again for each failure.)
type boltStore struct {
	db     *bbolt.DB
	file   *os.File // of db
	hub    Hub
	queue  chan *boltTxn
	stop   chan struct{} // closed by Close: no new transactions
	done   chan struct{} // closed by the writer when it has ended
	closer sync.Once
	err    error // of Close

	damage error // set and read by the writer alone while it runs; bbolt can hold its locks for ever
}

type boltTxn struct {
	ctx   context.Context
	conds []Cond
	ops   []Op

	rev  int64
	err  error
	done chan struct{}
}

// OpenBolt opens the state file at path and creates it when absent. A second process cannot open the file meanwhile.
func OpenBolt(path string) (Store, error) {
	s, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openBolt(path string) (*boltStore, error) {
	_, statErr := os.Stat(path)
	db, file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	err = db.Update(initialise)
	if err == nil {
		err = removeBackups(path)
	}
	if err == nil && errors.Is(statErr, os.ErrNotExist) {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state: %s: %w", path, err), db.Close())
	}
	s := &boltStore{db: db, file: file, queue: make(chan *boltTxn), stop: make(chan struct{}), done: make(chan struct{})}
	go s.write()
	return s, nil
}

func initialise(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(entriesBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	switch format := meta.Get(formatKey); {
	case format == nil:
		return meta.Put(formatKey, []byte{boltFormat})
	case !bytes.Equal(format, []byte{boltFormat}):
		return fmt.Errorf("has format %x, this version reads %d", format, boltFormat)
	}
	return nil
}

// syncDir makes a file's name durable: bbolt syncs the file's contents, not the directory entry.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *boltStore) view(ctx context.Context, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := guarded(func() error { return s.db.View(fn) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

func (s *boltStore) Get(ctx context.Context, key string) (e Entry, err error) {
	if err := CheckKey(key); err != nil {
		return Entry{}, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		v := tx.Bucket(entriesBucket).Get([]byte(key))
		if v == nil {
			return ErrNotFound
		}
		e, err = decodeEntry([]byte(key), v)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

func (s *boltStore) Range(ctx context.Context, prefix, after string, limit int) (found []Entry, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(entriesBucket).Cursor()
		start := max(prefix, after)
		for k, v := c.Seek([]byte(start)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if string(k) == after {
				continue
			}
			e, err := decodeEntry(k, v)
			if err != nil {
				return err
			}
			if found = append(found, e); len(found) == limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (s *boltStore) Txn(ctx context.Context, conds []Cond, ops []Op) (int64, error) {
	if err := CheckTxn(conds, ops); err != nil {
		return 0, err
	}
	t := &boltTxn{ctx: ctx, conds: conds, ops: ops, done: make(chan struct{})}
	select {
	case <-s.stop:
		return 0, ErrClosed
	default:
	}
	select {
	case s.queue <- t:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.stop:
		return 0, ErrClosed
	}
	<-t.done
	return t.rev, t.err
}

func (s *boltStore) Watch(ctx context.Context, prefix string) (<-chan Event, error) {
	return s.hub.Watch(ctx, prefix)
}

// Follow implements Store.
func (s *boltStore) Follow(prefix string, see func(string, int64)) func() {
	return s.hub.Follow(prefix, see)
}

// Backup copies to a temporary file beside the state first, however slow w is: the file cannot grow while a read
// transaction is open, so the first write in need of space would wait for w, and all later writes for that write.
func (s *boltStore) Backup(w io.Writer) (err error) {
	f, err := os.CreateTemp(filepath.Dir(s.db.Path()), backupPrefix(s.db.Path())+"*")
	if err != nil {
		return fmt.Errorf("state: backup: %w", err)
	}
	defer func() {
		if end := errors.Join(f.Close(), removeOnce(f.Name())); err == nil && end != nil {
			err = fmt.Errorf("state: backup: %w", end)
		}
	}()
	err = s.view(context.Background(), func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if errors.Is(err, ErrClosed) {
		return err
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(w, f)
	}
	if err != nil {
		return fmt.Errorf("state: backup: %w", err)
	}
	return nil
}

// backupPrefix returns the first part of the names of a state file's temporary copies, present only during a Backup.
func backupPrefix(path string) string { return filepath.Base(path) + ".backup-" }

// removeBackups removes the copies of a killed process.
func removeBackups(path string) error {
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), backupPrefix(path)) {
			if err := removeOnce(filepath.Join(filepath.Dir(path), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeOnce removes a file. An absent file is no error: another process may have removed it.
func removeOnce(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *boltStore) Close() error {
	s.closer.Do(func() {
		close(s.stop)
		<-s.done
		s.hub.Close()
		if s.damage != nil {
			s.err = release(s.file)
			return
		}
		s.err = s.db.Close()
	})
	return s.err
}

// write is the writer: it runs until the store is closed.
func (s *boltStore) write() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case first := <-s.queue:
			s.commit(s.gather(first))
		}
	}
}

// gather takes the transactions already waiting, and does not wait for more: under load the next group gathers during
// this group's fsync, and without load no transaction is delayed.
func (s *boltStore) gather(first *boltTxn) []*boltTxn {
	group := []*boltTxn{first}
	for len(group) < groupLimit {
		select {
		case t := <-s.queue:
			group = append(group, t)
		default:
			return group
		}
	}
	return group
}

func (s *boltStore) commit(group []*boltTxn) {
	err := s.update(group)
	for _, t := range group {
		if err != nil {
			t.rev, t.err = 0, fmt.Errorf("state: %w", err)
		}
		if t.err == nil && len(t.ops) > 0 {
			s.hub.Publish(events(t.ops, t.rev))
		}
		close(t.done)
	}
}

// update applies a group in a single bbolt transaction. After the first damage it writes nothing.
func (s *boltStore) update(group []*boltTxn) error {
	if s.damage != nil {
		return s.damage
	}
	applied := false
	err := guarded(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			for _, t := range group {
				t.rev, t.err = 0, nil
				if err := t.apply(tx); err != nil {
					return err
				}
			}
			applied = true
			return nil
		})
	})
	if err != nil && applied { // a page that did not reach the disk now may be read from it later
		err = fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if errors.Is(err, ErrDamaged) {
		s.damage = err
	}
	return err
}

// apply evaluates a transaction. An error of the file is returned and fails the whole group; an error of the
// transaction goes to t.err, with nothing written.
func (t *boltTxn) apply(tx *bbolt.Tx) error {
	if t.err = t.ctx.Err(); t.err != nil {
		return nil
	}
	entries, meta := tx.Bucket(entriesBucket), tx.Bucket(metaBucket)
	for _, c := range t.conds {
		rev, err := revisionOf(entries.Get([]byte(c.Key)))
		if err != nil {
			return err
		}
		if rev != c.Revision {
			t.err = ErrConflict
			return nil
		}
	}
	last, err := revisionOf(meta.Get(revisionKey))
	if err != nil {
		return err
	}
	if t.rev = last; len(t.ops) == 0 {
		return nil
	}
	t.rev++
	for _, op := range t.ops {
		if op.Delete {
			err = entries.Delete([]byte(op.Key))
		} else {
			err = entries.Put([]byte(op.Key), encodeEntry(t.rev, op.Value))
		}
		if err != nil {
			return err
		}
	}
	return meta.Put(revisionKey, encodeEntry(t.rev, nil))
}

func encodeEntry(rev int64, value []byte) []byte {
	b := make([]byte, 8, 8+len(value))
	binary.BigEndian.PutUint64(b, uint64(rev))
	return append(b, value...)
}

func decodeEntry(key, stored []byte) (Entry, error) {
	rev, err := revisionOf(stored)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Key: string(key), Value: append([]byte(nil), stored[8:]...), Revision: rev}, nil
}

// revisionOf returns an entry's revision, 0 for an absent entry.
func revisionOf(stored []byte) (int64, error) {
	switch {
	case stored == nil:
		return 0, nil
	case len(stored) < 8:
		return 0, fmt.Errorf("state: the file %w: an entry is too short", ErrDamaged)
	}
	return int64(binary.BigEndian.Uint64(stored)), nil
}
