package proxy

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/proxy/uploads"
)

// spool keeps a form's file until its end is known. Only the boundary behind it says how long a file is, and the
// store wants the length first. A small file waits in one of the server's buffers, a larger one on disk: under a key
// that is nowhere but here, in a file that has no name any more.
type spool struct {
	size int64

	server *Server
	memory *bytes.Buffer
	room   *uploads.Room // of a file on disk
	file   *os.File
	block  cipher.Block
	out    *bufio.Writer
	cipher cipher.Stream
}

// spoolFile reads the form's file and what follows it, digests it, and holds its length to the policy.
func (f *form) spoolFile(w *write, policy *sigv4.PostPolicy) (*spool, error) {
	s, err := newSpool(f.call, f.mostOfFile(policy))
	if err != nil {
		return nil, err
	}
	if err := s.fill(f, w, policy); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// mostOfFile bounds what is to come of the form's file. Of one that is longer than its policy allows, one byte more is read.
func (f *form) mostOfFile(policy *sigv4.PostPolicy) int64 {
	if _, high, ok := policy.LengthRange(); ok {
		return min(f.body.left, min(high, maxPut)+1)
	}
	return f.body.left
}

func (s *spool) fill(f *form, w *write, policy *sigv4.PostPolicy) error {
	sum := s3.NewChecksumOf(w.want.Algorithm)
	var digest hash.Hash
	sinks := []io.Writer{s, sum}
	if w.showsMD5() {
		digest = md5.New()
		sinks = append(sinks, digest)
	}
	src := io.Reader(f.file)
	if _, high, ok := policy.LengthRange(); ok {
		src = io.LimitReader(src, min(high, maxPut)+1)
	}
	if _, err := io.Copy(io.MultiWriter(sinks...), src); err != nil {
		return spoolError(err)
	}
	if err := policy.CheckLength(s.size); err != nil {
		return err
	}
	// The file is read once more when it goes up, and held to these.
	if w.want.Value == nil {
		w.want.Value = sum.Sum(nil)
	}
	if w.want.MD5 == nil && digest != nil {
		w.want.MD5 = digest.Sum(nil)
	}
	if err := f.skipRest(); err != nil {
		return err
	}
	if s.out != nil {
		return spoolError(s.out.Flush())
	}
	return nil
}

// skipRest reads what stands behind the file. fasthttp takes a connection that was closed early for the body's end:
// the count is what tells.
func (f *form) skipRest() error {
	switch n, err := io.CopyN(io.Discard, f.body, maxFormRest); {
	case n == maxFormRest:
		f.call.ctx.SetConnectionClose()
		return nil
	case err != io.EOF:
		return err
	case f.body.left > 0:
		return errCutForm()
	}
	return nil
}

func spoolError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutForm()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: holding a form's file: %w", s3.Errorf(s3.SlowDown, "There is no space left for files of forms. Please try again later."), err)
	}
	return err
}

// newSpool makes a spool for most bytes at most.
func newSpool(c *call, most int64) (*spool, error) {
	s := &spool{server: c.s, room: c.s.uploads.Space.Room(c.who())}
	if most <= inlineLimit {
		if s.memory = c.s.inline.take(inlineLimit); s.memory != nil {
			return s, nil
		}
	}
	if err := s.open(); err != nil {
		s.close()
		return nil, spoolError(err)
	}
	return s, nil
}

func (s *spool) open() error {
	key := make([]byte, 32)
	defer clear(key)
	rand.Read(key)
	var err error
	if s.block, err = aes.NewCipher(key); err != nil {
		return err
	}
	if s.file, err = os.CreateTemp(s.server.cfg.HeldDir, "form-*"); err != nil {
		return fmt.Errorf("holding a form's file: %w", err)
	}
	if err := os.Remove(s.file.Name()); err != nil {
		return fmt.Errorf("holding a form's file: %w", err)
	}
	s.cipher, s.out = s.stream(), bufio.NewWriterSize(s.file, 128<<10)
	return nil
}

// stream is the key stream of the file. The key encrypts one file, once.
func (s *spool) stream() cipher.Stream {
	return cipher.NewCTR(s.block, make([]byte, aes.BlockSize))
}

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.memory != nil {
		return s.memory.Write(p)
	}
	if err := s.room.Grow(int64(len(p))); err != nil {
		return 0, err
	}
	return cipher.StreamWriter{S: s.cipher, W: s.out}.Write(p)
}

// reader reads the file from its beginning.
func (s *spool) reader() (io.Reader, error) {
	if s.memory != nil {
		return bytes.NewReader(s.memory.Bytes()), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("holding a form's file: %w", err)
	}
	return cipher.StreamReader{S: s.stream(), R: bufio.NewReaderSize(s.file, 128<<10)}, nil
}

func (s *spool) close() {
	if s.memory != nil {
		s.server.inline.give(s.memory)
		s.memory = nil
	}
	if s.file != nil {
		s.file.Close()
	}
	s.room.Leave()
}
