package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A rotation has five steps. A crash after a step leaves a directory for the next start to complete:
//
//	current.jsonl gets its number     a closed file without a digest: the start signs one
//	the digest is signed              the same
//	the digest is in the directory    the state does not know it: the start takes it in
//	the state knows the digest        nothing is missing
//	there is a new current.jsonl      nothing is missing

// openChain opens the chain of digests, if there is to be one. found is the origin of the records already in the
// current file.
func (s *FileSink) openChain() (found Found, err error) {
	if s.o.Register == nil {
		return "", nil
	}
	s.chain, found, err = openChain(context.Background(), s.dir, s.o)
	return found, err
}

// attestFound attests the origin of the records found in the current file. Records added after a close are closed off
// at once, apart from this process's own records.
func (s *FileSink) attestFound(found Found) error {
	if s.chain == nil || s.tally.size == 0 {
		return nil
	}
	s.tally.found, s.tally.foundSize = found, s.tally.size
	if found == FoundAfterClose {
		return s.rotate()
	}
	return nil
}

// due reports whether the current file must be closed before more bytes go in.
func (s *FileSink) due(more int64) bool {
	return s.tally.size > 0 && (s.tally.size+more > s.o.MaxBytes || s.o.Now().Sub(s.opened) >= s.o.MaxAge)
}

// rotate gives the current file its number and its digest, and opens a new file. After a failure there may be no file;
// the next write then opens it.
func (s *FileSink) rotate() error {
	if err := s.closeFile(); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.chain == nil {
		return nil
	}
	return s.chain.at("open")
}

// closeFile gives the current file its number and its digest.
func (s *FileSink) closeFile() error {
	name := closedName(s.next, s.o.Now())
	if err := os.Rename(filepath.Join(s.dir, currentName), filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	old := s.file
	s.file = nil
	if s.chain != nil {
		d := s.tally.digest(s.next, name)
		s.signed = &d
	}
	s.next++
	if err := old.Close(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return s.signPending()
}

// signPending signs the digest of the last closed file, unless that is done.
func (s *FileSink) signPending() error {
	if s.signed == nil {
		return nil
	}
	if err := s.chain.at("rename"); err != nil {
		return err
	}
	// The file's name must be durable before a digest names the file.
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := s.chain.add(context.Background(), *s.signed); err != nil {
		return err
	}
	s.signed = nil
	return nil
}

// Rotate closes the current file if it is old enough. So the records of a quiet day are delivered too.
func (s *FileSink) Rotate() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.ready(); err != nil {
		return err
	}
	if s.due(0) {
		return s.rotate()
	}
	if s.chain == nil {
		return nil
	}
	return s.chain.retry(context.Background())
}

// Close waits for the running writes and closes the file and the chain. Records that the next start finds in the
// directory without a digest then count as added by somebody else. Later writes fail.
func (s *FileSink) Close() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.chain != nil {
		return s.closeChain()
	}
	if s.file == nil {
		return nil
	}
	return errors.Join(s.mend(), s.file.Close())
}

// closeChain closes the current file, without a successor, and the chain.
func (s *FileSink) closeChain() error {
	if err := s.ready(); err != nil {
		return err
	}
	var err error
	if s.tally.size > 0 {
		err = s.closeFile()
	} else {
		err = s.file.Close()
	}
	if err != nil {
		return err
	}
	return s.chain.close(context.Background())
}
