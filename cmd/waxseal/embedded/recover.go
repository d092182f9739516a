package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/versity/versitygw/backend/posix"
)

// inProgress ends the name that the backend gives an upload's directory while it completes it.
const inProgress = ".inprogress"

// recover puts right what a killed process left half-done. Nothing of it was acknowledged.
func (a attributes) recover() error {
	buckets, err := os.ReadDir(a.layout.data)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if !b.IsDir() || strings.HasPrefix(b.Name(), ".") {
			continue
		}
		if err := a.recoverBucket(a.layout.bucket(b.Name())); err != nil {
			return err
		}
	}
	versions, err := os.ReadDir(a.layout.versions)
	if err != nil {
		return err
	}
	for _, b := range versions {
		if err := removeFiles(filepath.Join(a.layout.versions, b.Name(), posix.MetaTmpDir)); err != nil {
			return err
		}
	}
	return nil
}

func (a attributes) recoverBucket(dir string) error {
	whole, err := a.has(dir, attrACL)
	if err != nil {
		return err
	}
	if !whole { // CreateBucket was cut short; Remove refuses if there is anything in it
		return os.Remove(dir)
	}
	if err := removeFiles(filepath.Join(dir, posix.MetaTmpDir)); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(globEscape(dir), posix.MetaTmpMultipartDir, "*"))
	if err != nil {
		return err
	}
	for _, uploads := range names {
		if err := a.recoverUploads(dir, uploads); err != nil {
			return err
		}
	}
	return nil
}

// recoverUploads gives uploads back whose Complete was cut short before the object had its name; else it was the
// removal of the parts that was cut short.
func (a attributes) recoverUploads(bucket, uploads string) error {
	if err := removeFiles(uploads); err != nil {
		return err
	}
	entries, err := os.ReadDir(uploads)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, _, found := strings.Cut(e.Name(), ".")
		if !found || !strings.HasSuffix(e.Name(), inProgress) {
			continue
		}
		key, err := a.text(uploads, "objname")
		if err != nil {
			return err
		}
		made, err := a.uploadOf(filepath.Join(bucket, key))
		if err != nil {
			return err
		}
		claimed := filepath.Join(uploads, e.Name())
		if made == id {
			err = os.RemoveAll(claimed)
		} else {
			err = os.Rename(claimed, filepath.Join(uploads, id))
		}
		if err != nil {
			return err
		}
	}
	return a.sync.path(uploads)
}

// removeFiles removes the staged files that a killed process left in dir.
func removeFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// globEscape makes a path literal in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
