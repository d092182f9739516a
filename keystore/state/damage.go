package state

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is returned for a file in another format, or a state file with missing or changed pages.
var ErrDamaged = errors.New("is not a state file, or is damaged")

// ErrInUse is returned while another process has the state file open.
var ErrInUse = errors.New("is in use by another process")

// guarded runs fn, a reader of the mapped file. bbolt panics on a page of the wrong kind (a zeroed page, for
// example), and a read beyond the end of a truncated file is a memory fault: both become ErrDamaged.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			// bbolt's values name pages and their kinds, never their contents.
			line, _, _ := strings.Cut(fmt.Sprint(v), "\n")
			err = fmt.Errorf("%w: %s", ErrDamaged, line)
		}
	}()
	return fn()
}

// openFile opens the bbolt file and reads every page in use, so that damage shows before the first write. The second
// result is the file, for release when bbolt itself can no longer close it.
func openFile(path string) (db *bbolt.DB, file *os.File, err error) {
	opts := &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		}}
	err = guarded(func() (err error) {
		if db, err = bbolt.Open(path, 0o600, opts); err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error { return walk(tx, file) })
	})
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, fmt.Errorf("state: %s %w", path, ErrInUse)
	case !errors.Is(err, ErrDamaged) && !fromSystem(err):
		err = fmt.Errorf("%w: %w", ErrDamaged, err) // bbolt's verdict: "invalid database", "file size too small 4096"
	}
	if file != nil {
		_ = release(file) // bbolt closes it after its own errors, not after panics
	}
	if errors.Is(err, ErrDamaged) {
		return nil, nil, fmt.Errorf("state: %s %w", path, err)
	}
	return nil, nil, fmt.Errorf("state: %w", err)
}

// fromSystem reports whether an error is the operating system's, such as missing rights, and no verdict on the file.
func fromSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// release unlocks and closes the file. Close alone would not unlock it: the mapping, kept by bbolt after a panic,
// holds the lock.
func release(file *os.File) error {
	return errors.Join(syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close())
}

// walk reads all entries, and so every page in use.
func walk(tx *bbolt.Tx, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: it has %d of its %d bytes", ErrDamaged, info.Size(), tx.Size())
	}
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if string(name) == string(entriesBucket) {
				_, err := revisionOf(v)
				return err
			}
			return nil
		})
	})
}
