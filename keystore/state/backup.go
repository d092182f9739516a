package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// WriteBackup writes entries as a file for OpenBolt: every backup has this format, whatever the store. The file goes on
// from revision rev.
func WriteBackup(w io.Writer, rev int64, entries []Entry) (err error) {
	dir, err := os.MkdirTemp("", "waxseal-state")
	if err != nil {
		return fmt.Errorf("state: backup: %w", err)
	}
	defer func() {
		if rm := os.RemoveAll(dir); err == nil && rm != nil {
			err = fmt.Errorf("state: backup: %w", rm)
		}
	}()
	b, err := openBolt(filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	if err = b.load(rev, entries); err == nil {
		err = b.Backup(w)
	}
	return errors.Join(err, b.Close())
}

// load fills an empty store for a backup.
func (s *boltStore) load(rev int64, entries []Entry) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, e := range entries {
			if err := tx.Bucket(entriesBucket).Put([]byte(e.Key), encodeEntry(e.Revision, e.Value)); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(revisionKey, encodeEntry(rev, nil))
	})
}
