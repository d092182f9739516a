package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// disk is the medium in a directory:
//
//	index.db             the index, a bbolt file with a bucket for each space
//	bodies/000000/       the bodies with the ids 0 to 4,095, each in a file named by its id in hexadecimal
//	running              is there while a process has the index open, and after a crash
type disk struct {
	dir string
	db  *bbolt.DB

	uncertain atomic.Bool // a commit has failed, and nothing more is written to the index

	mu   sync.Mutex
	dirs map[uint64]bool // directories of bodies that are there, their own names durable
}

const (
	// mapSize is the address space that the index may grow into. A map that has to grow waits for all read transactions.
	mapSize = 64 << 30
	// lockTimeout is how long openDisk waits for another process to let go of the index.
	lockTimeout = 2 * time.Second
)

func (d *disk) indexPath() string   { return filepath.Join(d.dir, "index.db") }
func (d *disk) bodiesPath() string  { return filepath.Join(d.dir, "bodies") }
func (d *disk) runningPath() string { return filepath.Join(d.dir, "running") }

func (d *disk) dirPath(dir uint64) string {
	return filepath.Join(d.bodiesPath(), fmt.Sprintf("%06x", dir))
}

func (d *disk) path(id uint64) string {
	return filepath.Join(d.dirPath(dirOf(id)), fmt.Sprintf("%016x", id))
}

// openDisk opens the medium in dir, and makes it where there is none.
func openDisk(dir string) (*disk, error) {
	d := &disk{dir: dir, dirs: map[uint64]bool{}}
	if err := os.MkdirAll(d.bodiesPath(), 0o700); err != nil {
		return nil, err
	}
	crashed, err := d.warm()
	if err == nil {
		err = d.survey(crashed)
	}
	if err == nil {
		err = d.openIndex()
	}
	if err != nil {
		return nil, err
	}
	if err := guarded(d.start); err != nil {
		return nil, errors.Join(err, d.db.Close())
	}
	return d, nil
}

func (d *disk) openIndex() error {
	return d.named(guarded(func() (err error) {
		d.db, err = bbolt.Open(d.indexPath(), 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType,
			NoFreelistSync: true, InitialMmapSize: mapSize})
		return err
	}))
}

// named says which index could not be opened, and why.
func (d *disk) named(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process", d.indexPath())
	case err != nil:
		return fmt.Errorf("%s is no index, or is damaged: %w", d.indexPath(), err)
	}
	return nil
}

// guarded runs fn, which reads the mapped index. bbolt panics on a page of the wrong kind, and reading behind the end of
// a file that was cut is a memory fault: both become errDamaged.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			line, _, _ := strings.Cut(fmt.Sprint(v), "\n")
			err = fmt.Errorf("%w: %s", errDamaged, line)
		}
	}()
	return fn()
}

// warm reads the index of a store that was not closed well from its beginning to its end. bbolt then walks the whole of
// it for its free pages, and would read it page by page. crashed reports whether the store was not closed well.
func (d *disk) warm() (crashed bool, err error) {
	if _, err := os.Stat(d.runningPath()); err != nil {
		return false, nil // closed well, or new: the free pages are listed
	}
	f, err := os.Open(d.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(io.Discard, f)
	return true, err
}

// survey looks at the index before bbolt opens it for writing. bbolt looks for free pages in a goroutine of its own, where a
// page that is missing or torn would end the process: here it is errDamaged. An index that was closed well lists its free
// pages, and only its length is looked at.
func (d *disk) survey(crashed bool) error {
	info, err := os.Stat(d.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.Size() == 0 { // a start that was killed before its first page
		return err
	}
	return d.named(guarded(func() error {
		db, err := bbolt.Open(d.indexPath(), 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
		if err != nil {
			return err
		}
		defer db.Close()
		return db.View(func(t *bbolt.Tx) error {
			if t.Size() > info.Size() {
				return fmt.Errorf("%w: it is cut off: it has %d bytes, and its pages take %d", errDamaged, info.Size(), t.Size())
			}
			if crashed {
				return readAll(t)
			}
			return nil
		})
	}))
}

// readAll reads every key and value, and so every page in use.
func readAll(t *bbolt.Tx) error {
	sum := crc32.NewIEEE()
	return t.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			sum.Write(k)
			sum.Write(v)
			return nil
		})
	})
}

// start makes the spaces, and every name that the store needs durable.
func (d *disk) start() error {
	f, err := os.OpenFile(d.runningPath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	err = d.db.Update(func(t *bbolt.Tx) error {
		for s := range spaces {
			if _, err := t.CreateBucketIfNotExists([]byte(s.String())); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range []string{d.bodiesPath(), d.dir, filepath.Dir(d.dir)} {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// close writes the list of free pages, which commits leave out, so that the next start need not look for them. After a
// commit that failed it writes nothing, and the next start looks at the whole index, as after a crash.
func (d *disk) close() error {
	if d.uncertain.Load() {
		return d.db.Close()
	}
	d.db.NoFreelistSync = false
	err := d.db.Update(func(t *bbolt.Tx) error {
		return t.Bucket([]byte(metaSpace.String())).Put([]byte("closed"), strconv.AppendInt(nil, time.Now().Unix(), 10))
	})
	err = errors.Join(err, d.db.Close())
	if err == nil {
		err = os.Remove(d.runningPath())
	}
	return err
}

func (d *disk) view(fn func(tx) error) error {
	return guarded(func() error {
		return d.db.View(func(t *bbolt.Tx) error { return fn(boltTx{t}) })
	})
}

// update commits. A commit that failed after its last page was written is uncertain: the map shows it, the disk may not.
func (d *disk) update(fn func(tx) error) error {
	t, err := d.db.Begin(true)
	if err != nil {
		return err
	}
	id := t.ID()
	if err := guarded(func() error { return fn(boltTx{t}) }); err != nil {
		return errors.Join(err, t.Rollback())
	}
	err = guarded(t.Commit)
	if err == nil {
		return nil
	}
	// bbolt has rolled back a commit that failed, but not a commit that met a damaged page: it would keep its lock for ever.
	if rolledBack := guarded(t.Rollback); rolledBack != nil && !errors.Is(rolledBack, bolterrors.ErrTxClosed) {
		err = errors.Join(err, rolledBack)
	}
	var shown int
	look := d.db.View(func(t *bbolt.Tx) error { shown = t.ID(); return nil })
	if isFull(err) && look == nil && shown < id {
		return err
	}
	d.uncertain.Store(true)
	return fmt.Errorf("%w: the index: %w", errUncertain, err)
}

// isFull reports whether an error says that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// check reads every page of the index and gives what contradicts itself in it. It keeps writers out, whose changes to the
// list of free pages would look like damage.
func (d *disk) check() (damage []string) {
	err := guarded(func() error {
		t, err := d.db.Begin(true)
		if err != nil {
			return err
		}
		// t.Check reads in a goroutine of its own, where a fault would end the process.
		if err := guarded(func() error { return readAll(t) }); err != nil {
			return errors.Join(err, t.Rollback())
		}
		for err := range t.Check() {
			damage = append(damage, err.Error())
		}
		return t.Rollback()
	})
	if err != nil {
		damage = append(damage, err.Error())
	}
	return damage
}

type boltTx struct{ *bbolt.Tx }

var spaceKeys = func() (keys [spaces][]byte) {
	for s := range spaces {
		keys[s] = []byte(s.String())
	}
	return keys
}()

func (t boltTx) get(s space, key []byte) []byte { return t.Bucket(spaceKeys[s]).Get(key) }
func (t boltTx) put(s space, key, value []byte) error {
	return t.Bucket(spaceKeys[s]).Put(key, value)
}
func (t boltTx) del(s space, key []byte) error { return t.Bucket(spaceKeys[s]).Delete(key) }
func (t boltTx) cursor(s space) cursor         { return boltCursor{t.Bucket(spaceKeys[s]).Cursor()} }

type boltCursor struct{ *bbolt.Cursor }

func (c boltCursor) seek(key []byte) (k, v []byte) { return c.Seek(key) }
func (c boltCursor) next() (k, v []byte)           { return c.Next() }
func (c boltCursor) last() (k, v []byte)           { return c.Last() }

// makeDir makes a directory of bodies, with its own name durable.
func (d *disk) makeDir(dir uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[dir] {
		return nil
	}
	err := os.Mkdir(d.dirPath(dir), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncPath(d.bodiesPath()); err != nil {
		return fmt.Errorf("%w: %w", errUncertain, err)
	}
	d.dirs[dir] = true
	return nil
}

func (d *disk) create(id uint64) (bodyFile, error) {
	if err := d.makeDir(dirOf(id)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

type diskFile struct{ *os.File }

func (f diskFile) sync() error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%w: %w", errUncertain, err)
	}
	return nil
}

func (f diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d *disk) open(id uint64) (bodyReader, error) {
	f, err := os.Open(d.path(id))
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d *disk) link(from, to uint64) error {
	if err := d.makeDir(dirOf(to)); err != nil {
		return err
	}
	return os.Link(d.path(from), d.path(to))
}

func (d *disk) remove(id uint64) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) syncDir(dir uint64) error {
	if err := syncPath(d.dirPath(dir)); err != nil {
		return fmt.Errorf("%w: %w", errUncertain, err)
	}
	return nil
}

func (d *disk) files(from uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		dirs, err := os.ReadDir(d.bodiesPath())
		if err != nil {
			yield(0, err)
			return
		}
		for _, dir := range dirs {
			number, err := strconv.ParseUint(dir.Name(), 16, 64)
			if err != nil || number < dirOf(from) {
				continue // not of the store's making
			}
			if !d.filesOf(number, from, yield) {
				return
			}
		}
	}
}

// filesOf yields the files of one directory, and reports whether to go on.
func (d *disk) filesOf(dir, from uint64, yield func(uint64, error) bool) bool {
	files, err := os.ReadDir(d.dirPath(dir))
	if err != nil {
		return yield(0, err)
	}
	for _, f := range files {
		id, err := strconv.ParseUint(f.Name(), 16, 64)
		if err != nil || id < from || !bytes.Equal([]byte(filepath.Base(d.path(id))), []byte(f.Name())) {
			continue
		}
		if !yield(id, nil) {
			return false
		}
	}
	return true
}

func (d *disk) free() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
