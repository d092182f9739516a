package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The directory of a FileSink holds JSON lines, one record each:
//
//	current.jsonl                          records are appended here
//	000000000001-20060102T150405Z.jsonl    closed files, by number; they do not change any more
//	delivered.json                         how far a Deliverer has come
const currentName = "current.jsonl"

// FileOptions are the limits of a FileSink. Zero fields take their defaults.
type FileOptions struct {
	MaxBytes int64         // size at which a file is closed; 64 MiB
	MaxAge   time.Duration // age at which a file is closed; 5 minutes, as CloudTrail delivers
	Now      func() time.Time
}

// FileSink writes records into files. Write returns when the record is on the disk; writers that come while one
// fsync runs share the next.
type FileSink struct {
	dir string
	o   FileOptions

	mu      sync.Mutex
	pending *batch // takes records; nil: none waits

	// commit is held while a batch is written; it guards what is below.
	commit sync.Mutex
	file   file      // nil: a rotation failed half-way
	size   int64     // of the file, all of it durable
	opened time.Time // when the first record of the file was written
	next   uint64    // number of the file when it is closed
	broken bool      // a failed write may have left bytes behind size
	closed bool
}

// file is what a FileSink needs of an *os.File; tests put their own beneath.
type file interface {
	Write(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}

// batch is a group of records that share one write and one fsync.
type batch struct {
	lines []byte
	done  chan struct{}
	err   error // set before done is closed
}

// ErrClosed is returned by a Write after Close.
var ErrClosed = errors.New("audit: the sink is closed")

// OpenFileSink opens dir, which it makes if needed, for one process. What a crash left of a last line is cut off:
// no Write had returned for it.
func OpenFileSink(dir string, o FileOptions) (*FileSink, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.MaxAge == 0 {
		o.MaxAge = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	closed, err := closedFiles(dir)
	if err != nil {
		return nil, err
	}
	done, err := loadProgress(dir)
	if err != nil {
		return nil, err
	}
	// Delivered files may have been removed. A number that was delivered once must not come again: its file would count
	// as delivered, too.
	s := &FileSink{dir: dir, o: o, next: done.File + 1}
	if len(closed) > 0 {
		s.next = max(s.next, closed[len(closed)-1].number+1)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the current file at the end of its last whole line.
func (s *FileSink) open() error {
	f, err := os.OpenFile(filepath.Join(s.dir, currentName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit: %w", err), f.Close())
	}
	s.file, s.size, s.broken, s.opened = f, size, false, s.o.Now()
	return nil
}

// wholeLines finds the length of f up to its last line end.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		start := max(0, end-int64(len(buffer)))
		part := buffer[:end-start]
		if _, err := f.ReadAt(part, start); err != nil {
			return 0, err
		}
		for i := len(part) - 1; i >= 0; i-- {
			if part[i] == '\n' {
				return start + int64(i) + 1, nil
			}
		}
		end = start
	}
	return 0, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Write makes r durable. It completes r, so that the caller knows its EventID. When ctx ends first, the record may
// or may not be kept.
func (s *FileSink) Write(ctx context.Context, r *Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.Complete(s.o.Now())
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	b, first := s.join(append(line, '\n'))
	if first {
		// The first of a batch writes it, also after its own ctx has ended: the others wait for it.
		s.commitBatch(b)
		return b.err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds a line to the waiting batch, and tells whether it is the first there.
func (s *FileSink) join(line []byte) (b *batch, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending, first = &batch{done: make(chan struct{})}, true
	}
	s.pending.lines = append(s.pending.lines, line...)
	return s.pending, first
}

// commitBatch waits for the batch before, and then writes b and all that has joined it until then.
func (s *FileSink) commitBatch(b *batch) {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	s.pending = nil
	s.mu.Unlock()
	b.err = s.append(b.lines)
	close(b.done)
}

// append writes lines and waits for the disk.
func (s *FileSink) append(lines []byte) error {
	if s.closed {
		return ErrClosed
	}
	if err := s.ready(); err != nil {
		return err
	}
	if s.due(int64(len(lines))) {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.size == 0 {
		s.opened = s.o.Now()
	}
	s.broken = true
	if _, err := s.file.Write(lines); err != nil {
		return fmt.Errorf("audit: %w", errors.Join(err, s.mend()))
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("audit: %w", errors.Join(err, s.mend()))
	}
	s.size += int64(len(lines))
	s.broken = false
	return nil
}

// ready makes sure that there is a file, and that it ends with a whole line.
func (s *FileSink) ready() error {
	if s.file == nil {
		return s.open()
	}
	return s.mend()
}

// mend cuts off what a failed write left, so that a refused request leaves no record of a success and the next
// record begins on a line of its own.
func (s *FileSink) mend() error {
	if !s.broken {
		return nil
	}
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	if _, err := s.file.Seek(s.size, 0); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	s.broken = false
	return nil
}

// due tells whether the current file must be closed before more bytes go in.
func (s *FileSink) due(more int64) bool {
	return s.size > 0 && (s.size+more > s.o.MaxBytes || s.o.Now().Sub(s.opened) >= s.o.MaxAge)
}

// rotate gives the current file its number and opens a new one. After a failure there may be no file; the next
// write then opens it.
func (s *FileSink) rotate() error {
	to := filepath.Join(s.dir, closedName(s.next, s.o.Now()))
	if err := os.Rename(filepath.Join(s.dir, currentName), to); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	old := s.file
	s.file = nil
	s.next++
	return errors.Join(s.open(), old.Close())
}

// Rotate closes the current file if it is old enough, so that a quiet day's records are delivered too.
func (s *FileSink) Rotate() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.ready(); err != nil {
		return err
	}
	if !s.due(0) {
		return nil
	}
	return s.rotate()
}

// Close waits for the running writes and closes the file. Later writes fail.
func (s *FileSink) Close() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.file == nil {
		return nil
	}
	return errors.Join(s.mend(), s.file.Close())
}
