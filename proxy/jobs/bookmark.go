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

// bookmark records the progress of a job: all keys up to Last are done. It lies in the data directory, and an
// interrupted job resumes there. A job may do an object twice without harm, so the bookmark may be behind.
type bookmark struct {
	path string // empty: none is kept
	What string `json:"job"`
	Last string `json:"after"`

	mu    sync.Mutex
	keys  []string // of the open places, from first on
	ended []bool
	first int // place of keys[0]
	saved time.Time
}

// saveEvery bounds the work repeated after a crash.
const saveEvery = time.Second

// bookmark is the job's own: of this store, this bucket and prefix, and how it changes them.
func (j *Job) bookmark(anew bool, name string, how ...string) (*bookmark, error) {
	return openBookmark(j.marks, anew, append([]string{name, j.s3.Store, j.bucket, j.prefix}, how...)...)
}

// openBookmark reads a job's bookmark. The job's name and parameters identify it. With anew set, or without a data
// directory, the job begins from the front.
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

// noBookmark returns the bookmark of a job without resumption.
func noBookmark() *bookmark { return new(bookmark) }

func (b *bookmark) after() string { return b.Last }

// begin takes the next place, in the order of the listing.
func (b *bookmark) begin(key string) (place int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys, b.ended = append(b.keys, key), append(b.ended, false)
	return b.first + len(b.keys) - 1
}

// end marks a place as done and moves the bookmark over all done places without a gap. The bookmark stops before a
// failed object.
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

// close keeps the bookmark of an interrupted job and removes the bookmark of a finished job.
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
