package embedded

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/proxy/s3"
)

// Config says how a store behaves. The zero value is a store like Amazon S3 in us-east-1.
type Config struct {
	// Region is where the store says that it is; "" is us-east-1.
	Region string
	// AnyLocation takes CreateBucket with any region in it, or none.
	AnyLocation bool
	// Reserve is how many bytes of the disk writes leave free. Deletes go on below it.
	Reserve int64
	// NewETag makes the hash whose value is an object's ETag; nil is MD5.
	NewETag func() hash.Hash
	// MinPartSize is the least size of all parts but the last; 0 is S3's 5 MiB, negative is none.
	MinPartSize int64
	// MaxPutSize is the largest body of a PUT or a part; 0 is S3's 5 GiB.
	MaxPutSize int64
	// MaxMetadata bounds the user metadata of an object; 0 is S3's 2 KiB.
	MaxMetadata int64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log is told what no request can be; nil is silent.
	Log *slog.Logger
}

// Store is an S3 store. It is an http.RoundTripper.
type Store struct {
	cfg    Config
	medium medium
	log    *slog.Logger

	buckets bucketCache

	ids      atomic.Uint64 // the next id, of bodies and sequences alike
	inFlight inFlight
	readers  readers

	queue   chan *change
	stop    chan struct{}
	awake   chan struct{} // the janitor has something to do
	workers sync.WaitGroup
	closing sync.Once
	closed  error

	failure atomic.Pointer[error]
	ended   chan struct{} // closed when the store has failed

	freeSpace freeSpace
	emptying  sync.Mutex // at the trash
}

// Open opens the store in a directory, and makes one where there is none.
func Open(dir string, cfg Config) (*Store, error) {
	if err := refuseOldLayout(dir); err != nil {
		return nil, err
	}
	m, err := openDisk(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	return start(m, cfg)
}

// NewMemory makes a store that ends with the process.
func NewMemory(cfg Config) (*Store, error) { return start(newMemory(), cfg) }

// IndexPath is where the store in a directory has its index.
func IndexPath(dir string) string { return (&disk{dir: dir}).indexPath() }

// refuseOldLayout names a directory that was written before the store had an index: its objects are in files that are
// named as they are.
func refuseOldLayout(dir string) error {
	if _, err := os.Stat(IndexPath(dir)); err == nil {
		return nil
	}
	for _, name := range []string{"data", "versions"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("embedded store: %s has the layout of an older waxseal (%s): serve it with the waxseal that wrote it, or with versitygw, "+
				"and copy the objects; docs/embedded-store.md, \"An older layout\", has the steps", dir, filepath.Join(dir, name))
		}
	}
	return nil
}

const storeFormat = 1

func start(m medium, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewETag == nil {
		cfg.NewETag = md5.New
	}
	s := &Store{cfg: cfg, medium: m, log: cfg.Log, queue: make(chan *change), stop: make(chan struct{}),
		awake: make(chan struct{}, 1), ended: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.freeSpace.medium = m
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded store: %w", err), m.close())
	}
	s.workers.Go(s.write)
	s.workers.Go(s.janitor)
	s.wake()
	return s, nil
}

// recover reads the counters and removes the files that a crash has left without an entry.
func (s *Store) recover() error {
	var low, next uint64
	err := s.medium.update(func(t tx) error {
		x := &txn{tx: t, store: s}
		switch format := t.get(metaSpace, formatKey); {
		case format == nil:
			if err := t.put(metaSpace, formatKey, []byte{storeFormat}); err != nil {
				return err
			}
		case len(format) != 1 || format[0] != storeFormat:
			return fmt.Errorf("the index has format %x, this version reads %d", format, storeFormat)
		}
		low, next = x.counter(lowKey), max(x.counter(nextKey), 1)
		return x.setCounter(nextKey, next+reservation)
	})
	if err != nil {
		return err
	}
	for id, err := range s.medium.files(low) {
		if err != nil {
			return err
		}
		next = max(next, id+1)
		if err := s.removeOrphan(id); err != nil {
			return err
		}
	}
	s.ids.Store(next)
	return nil
}

func (s *Store) removeOrphan(id uint64) error {
	known := false
	err := s.view(func(t *txn) error {
		known = t.get(fileSpace, idKey(id)) != nil || t.get(trashSpace, idKey(id)) != nil
		return nil
	})
	if err != nil || known {
		return err
	}
	return s.medium.remove(id)
}

// view runs fn in a read transaction.
func (s *Store) view(fn func(*txn) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	return s.medium.view(func(t tx) error { return fn(&txn{tx: t, store: s}) })
}

func (s *Store) now() time.Time { return s.cfg.Now() }

// nextSeq gives numbers that are never given again, also not after a crash.
func (s *Store) nextSeq() uint64 { return s.ids.Add(1) - 1 }

func randomID() uint64 { return rand.Uint64() }

// fail stops the store: after a sync that failed, what is on the disk is not what the process believes.
func (s *Store) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("the embedded store stops", "err", err)
		close(s.ended)
	}
}

func (s *Store) failed() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ended is closed when the store has stopped by itself, because a sync has failed.
func (s *Store) Ended() <-chan struct{} { return s.ended }

// Close ends the store. Requests must have ended.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.stop)
		s.workers.Wait()
		s.closed = s.medium.close()
	})
	return s.closed
}

func (s *Store) region() string {
	if s.cfg.Region == "" {
		return "us-east-1"
	}
	return s.cfg.Region
}

func orDefault(v, standard int64) int64 {
	if v == 0 {
		return standard
	}
	return v
}

// inFlight knows the ids of files that are being written and not in the index yet.
type inFlight struct {
	mu  sync.Mutex
	ids map[uint64]bool
}

// allot gives the id of a new file. The id is in flight until release.
func (s *Store) allot() uint64 {
	f := &s.inFlight
	f.mu.Lock()
	defer f.mu.Unlock()
	id := s.nextSeq()
	if f.ids == nil {
		f.ids = map[uint64]bool{}
	}
	f.ids[id] = true
	return id
}

func (s *Store) release(id uint64) {
	s.inFlight.mu.Lock()
	defer s.inFlight.mu.Unlock()
	delete(s.inFlight.ids, id)
}

// lowest is the lowest id in flight, next if there is none.
func (s *Store) lowest(next uint64) uint64 {
	s.inFlight.mu.Lock()
	defer s.inFlight.mu.Unlock()
	for id := range s.inFlight.ids {
		next = min(next, id)
	}
	return next
}

// readers counts who reads files, so that none is unlinked under a reader that has not opened it yet.
type readers struct {
	mu    sync.Mutex
	count map[uint64]int
}

func (r *readers) pin(ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[uint64]int{}
	}
	for _, id := range ids {
		r.count[id]++
	}
}

func (r *readers) unpin(ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.count[id]--; r.count[id] == 0 {
			delete(r.count, id)
		}
	}
}

func (r *readers) pinned(id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[id] > 0
}

// freeSpace asks the medium once a second at most.
type freeSpace struct {
	medium medium
	mu     sync.Mutex
	at     time.Time
	bytes  int64
}

func (f *freeSpace) get() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.at) < time.Second {
		return f.bytes, nil
	}
	n, err := f.medium.free()
	if err != nil {
		return 0, err
	}
	f.at, f.bytes = time.Now(), n
	return n, nil
}

// room refuses what would take the disk's reserve.
func (s *Store) room(size int64) error {
	if s.cfg.Reserve <= 0 {
		return nil
	}
	free, err := s.freeSpace.get()
	if err != nil {
		return err
	}
	if free-size < s.cfg.Reserve {
		return errDiskFull()
	}
	return nil
}

// errDiskFull is what a client hears: deletes still work.
func errDiskFull() error {
	e := s3.Errorf(s3.ServiceUnavailable, "The embedded store's disk is full. Deletes still work.")
	e.HTTPStatus = 507
	return e
}

// wake tells the janitor that files wait to be unlinked.
func (s *Store) wake() {
	select {
	case s.awake <- struct{}{}:
	default:
	}
}

const (
	tidyAtOnce = 1000           // trash in one commit
	doneFor    = 24 * time.Hour // how long Complete can be repeated
	expireAt   = time.Hour      // between two walks over the lifecycle rules
)

// janitor unlinks what commits have dropped, forgets old outcomes and carries lifecycle rules out.
func (s *Store) janitor() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-s.stop; cancel() }()
	hourly := time.NewTicker(expireAt)
	defer hourly.Stop()
	for {
		var err error
		select {
		case <-s.stop:
			return
		case <-s.awake:
			err = s.emptyTrash(ctx)
		case <-hourly.C:
			err = errors.Join(s.forgetOutcomes(ctx), s.Expire(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("the embedded store's housekeeping has failed, and will be tried again", "err", err)
		}
	}
}

// emptyTrash unlinks the files that nobody reads. The janitor and a check take turns, so that each file goes once.
func (s *Store) emptyTrash(ctx context.Context) error {
	s.emptying.Lock()
	defer s.emptying.Unlock()
	for after := uint64(0); ; {
		var ids, gone []uint64
		err := s.view(func(t *txn) error {
			c := t.cursor(trashSpace)
			for k, _ := c.seek(idKey(after)); k != nil && len(ids) < tidyAtOnce; k, _ = c.next() {
				ids = append(ids, idOf(k))
			}
			return nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1] + 1
		for _, id := range ids {
			if s.readers.pinned(id) {
				continue
			}
			if err := s.medium.remove(id); err != nil {
				return err
			}
			gone = append(gone, id)
		}
		if err := s.commit(ctx, func(t *txn) error { return t.forget(trashSpace, gone) }); err != nil {
			return err
		}
	}
}

func (t *txn) forget(s space, ids []uint64) error {
	for _, id := range ids {
		if err := t.del(s, idKey(id)); err != nil {
			return err
		}
	}
	return nil
}

// forgetOutcomes forgets what Complete answered a day ago. Outcomes are in the order in which their uploads began.
func (s *Store) forgetOutcomes(ctx context.Context) error {
	old := s.now().Add(-doneFor).UnixMilli()
	for {
		var ids []uint64
		err := s.view(func(t *txn) error {
			c := t.cursor(doneSpace)
			for k, v := c.seek(nil); k != nil && len(ids) < tidyAtOnce; k, v = c.next() {
				o, err := decodeOutcome(v)
				if err != nil {
					return err
				}
				if o.at < old {
					ids = append(ids, binary.BigEndian.Uint64(k))
				}
			}
			return nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := s.commit(ctx, func(t *txn) error { return t.forget(doneSpace, ids) }); err != nil {
			return err
		}
	}
}
