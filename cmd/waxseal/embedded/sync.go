package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// syncer makes files and directories durable and counts how often it did.
type syncer struct {
	count   atomic.Int64
	observe func(path string) error // tests: sees every sync before it happens, and may fail it
}

func (s *syncer) handle(f *os.File) error {
	if s.observe != nil {
		if err := s.observe(f.Name()); err != nil {
			return err
		}
	}
	s.count.Add(1)
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	return nil
}

func (s *syncer) path(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open to sync: %w", err)
	}
	err = s.handle(f)
	return errors.Join(err, f.Close())
}

// chain syncs dir and every directory above it, up to and including top. Directories that were removed meanwhile
// are skipped: the one that held them shows it.
func (s *syncer) chain(dir, top string) error {
	for {
		err := s.path(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == top || len(dir) <= len(top) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}
