package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// bookmark is how far a job has come: every key up to After is done. It lies in the data directory, so that a job that
// was interrupted goes on where it was. A job does no harm when it does an object twice, so the bookmark may be behind.
type bookmark struct {
	path string // empty: none is kept
	What string `json:"job"`
	Last string `json:"after"`

	mu    sync.Mutex
	keys  []string // of the places that have begun, from first on
	ended []bool
	first int // place of keys[0]
	saved time.Time
}

// saveEvery bounds what is done twice after a crash.
const saveEvery = time.Second

// bookmark is the job's own: of this store, this bucket and prefix, and how it changes them.
func (j *Job) bookmark(anew bool, name string, how ...string) (*bookmark, error) {
	return openBookmark(j.marks, anew, append([]string{name, j.s3.Store, j.bucket, j.prefix}, how...)...)
}

// openBookmark reads the bookmark of a job, which is known by everything that decides what it does. With anew it
// begins from the front. Without a data directory there is no bookmark.
func openBookmark(dir string, anew bool, what ...string) (*bookmark, error) {
	b := &bookmark{What: strings.Join(what, " ")}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	sum := sha256.Sum256([]byte(strings.Join(what, "\x00")))
	b.path = filepath.Join(dir, "job-"+hex.EncodeToString(sum[:8])+".json")
	text, err := os.ReadFile(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && anew:
		return b, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it to begin anew", b.path, err)
	}
	return b, nil
}

// noBookmark is for jobs that begin from the front every time.
func noBookmark() *bookmark { return new(bookmark) }

func (b *bookmark) after() string { return b.Last }

// begin takes the next place, in the order of the listing.
func (b *bookmark) begin(key string) (place int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys, b.ended = append(b.keys, key), append(b.ended, false)
	return b.first + len(b.keys) - 1
}

// end says that a place is done, and moves the bookmark over all that are done without a gap. It does not pass an
// object that failed.
func (b *bookmark) end(place int, done bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[place-b.first] = true
	if !done {
		b.keys[place-b.first] = "" // the bookmark stops before it
	}
	for len(b.ended) > 0 && b.ended[0] && b.keys[0] != "" {
		b.Last = b.keys[0]
		b.keys, b.ended = b.keys[1:], b.ended[1:]
		b.first++
	}
	if b.path == "" || time.Since(b.saved) < saveEvery {
		return nil
	}
	return b.save()
}

func (b *bookmark) save() error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	b.saved = time.Now()
	next := b.path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, b.path)
}

// close keeps the bookmark of a job that is to go on, and removes that of one that is through.
func (b *bookmark) close(through bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.path == "" {
		return nil
	}
	if !through {
		return b.save()
	}
	if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
