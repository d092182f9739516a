package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The directory of a FileSink holds JSON lines, one record each:
//
//	current.jsonl                          records are appended here
//	000000000001-20060102T150405Z.jsonl    closed files, by number; they do not change any more
//	chain.json                             the id of the directory's chain of digests
//	<chain>-000000000001.digest            links of the chain: see Digest
//	delivered.json                         the progress of a Deliverer; see Deliverer.Progress
const currentName = "current.jsonl"

// FileOptions are the limits of a FileSink. Zero fields take their defaults.
type FileOptions struct {
	MaxBytes int64         // a file is closed at this size; 64 MiB
	MaxAge   time.Duration // a file is closed at this age; 5 minutes, as CloudTrail delivers
	Now      func() time.Time

	// Register, if set, makes the sink sign a digest of each closed file: see Digest.
	Register *Register
	// Report is called with errors that do not stop records, for example an unreachable state. It may be nil.
	Report func(error)

	fault func(step string) error // of tests
}

// FileSink writes records into files. Write returns after the record is on disk; writers that arrive during an fsync
// share the next fsync.
type FileSink struct {
	dir string
	o   FileOptions

	pruning sync.Mutex // held by Prune; taken before commit

	mu      sync.Mutex
	pending *batch // takes records; nil: none waits

	// commit is held while a batch is written; it guards the fields below.
	commit sync.Mutex
	file   file      // nil: a rotation failed half-way
	tally  *tally    // of the file, all of it durable
	chain  *chain    // nil: no digests
	signed *Digest   // of a closed file without a digest yet; nil: none
	opened time.Time // when the first record of the file was written
	next   uint64    // number of the file when it is closed
	broken bool      // a failed write may have left bytes after the tally's
	closed bool
}

// file is the part of *os.File in use here; tests replace it.
type file interface {
	Write(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}

// batch is a group of records written and fsynced together.
type batch struct {
	lines       []byte
	records     int
	first, last Time // eventTime of the first and the last record
	done        chan struct{}
	err         error // set before done is closed
}

// ErrClosed is returned by a Write after Close.
var ErrClosed = errors.New("audit: the sink is closed")

// OpenFileSink opens dir for a single process, and makes it if needed. A partial last line after a crash is cut off: no
// Write had returned for it.
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
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	s := &FileSink{dir: dir, o: o}
	found, err := s.openChain()
	if err != nil {
		return nil, err
	}
	if s.next, err = s.nextNumber(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, s.attestFound(found)
}

// nextNumber returns the number for the current file. A number must never be used twice, even after its file was
// removed: the number counts as delivered, and as signed.
func (s *FileSink) nextNumber() (uint64, error) {
	last, err := lastNumber(s.dir)
	if err != nil {
		return 0, err
	}
	done, err := loadProgress(s.dir, deliveredName)
	if err != nil {
		return 0, err
	}
	last = max(last, done.File)
	if s.chain != nil {
		last = max(last, s.chain.head.File)
	}
	if last >= maxNumber {
		return 0, fmt.Errorf("audit: %s: %d is the last number of a file: move that file away", s.dir, last)
	}
	return last + 1, nil
}

// open opens the current file at the end of its last whole line.
func (s *FileSink) open() error {
	f, err := os.OpenFile(filepath.Join(s.dir, currentName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	t, err := cutToLines(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit: %w", err), f.Close())
	}
	s.file, s.tally, s.broken, s.opened = f, t, false, s.o.Now()
	return nil
}

// cutToLines cuts a file off behind its last whole line, and leaves it positioned there.
func cutToLines(f *os.File) (*tally, error) {
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, err
	}
	t, err := tallyFrom(io.NewSectionReader(f, 0, size))
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	return t, err
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

// Write makes r durable. It completes r, so that the caller knows its EventID. If ctx ends first, the record may or may
// not be kept.
func (s *FileSink) Write(ctx context.Context, r *Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.Complete(s.o.Now())
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	b, first := s.join(append(line, '\n'), r.EventTime)
	if first {
		// The first writer of a batch writes all of it, also after its own ctx has ended: the remaining writers wait
		// for it.
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
func (s *FileSink) join(line []byte, at Time) (b *batch, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending, first = &batch{done: make(chan struct{}), first: at}, true
	}
	b = s.pending
	b.lines, b.records, b.last = append(b.lines, line...), b.records+1, at
	return b, first
}

// commitBatch waits for the batch before, and then writes b with every record added until then.
func (s *FileSink) commitBatch(b *batch) {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	s.pending = nil
	s.mu.Unlock()
	b.err = s.append(b)
	close(b.done)
}

// append writes a batch and waits for the disk.
func (s *FileSink) append(b *batch) error {
	if s.closed {
		return ErrClosed
	}
	if err := s.ready(); err != nil {
		return err
	}
	if s.due(int64(len(b.lines))) {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	if s.tally.size == 0 {
		s.opened = s.o.Now()
	}
	s.broken = true
	if _, err := s.file.Write(b.lines); err != nil {
		return fmt.Errorf("audit: %w", errors.Join(err, s.mend()))
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("audit: %w", errors.Join(err, s.mend()))
	}
	s.tally.add(b.lines, b.records, b.first, b.last)
	s.broken = false
	return nil
}

// ready opens a file if there is none, cuts off a partial last line, and signs the digest of the file before.
func (s *FileSink) ready() error {
	if err := s.signPending(); err != nil {
		return err
	}
	if s.file == nil {
		return s.open()
	}
	return s.mend()
}

// mend cuts off the bytes of a failed write. So a refused request leaves no record of a success, and the next record
// begins on its own line.
func (s *FileSink) mend() error {
	if !s.broken {
		return nil
	}
	if err := s.file.Truncate(s.tally.size); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	if _, err := s.file.Seek(s.tally.size, io.SeekStart); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("audit: cutting off a failed write: %w", err)
	}
	s.broken = false
	return nil
}
