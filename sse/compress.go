package sse

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
)

const (
	// MaxCompressible is the longest plaintext to compress: the length must be announced before the first byte goes
	// out, so the plaintext is compressed as a whole.
	MaxCompressible = 16 << 20

	compressedBlock = 1 << 20
)

var compressors = sync.Pool{New: func() any {
	return s2.NewWriter(nil, s2.WriterConcurrency(1), s2.WriterBlockSize(compressedBlock))
}}

// Compress returns plain as an S2 stream, or false when this saves less than a sixteenth, or plain is longer than
// MaxCompressible.
func Compress(plain []byte) ([]byte, bool) {
	if len(plain) == 0 || len(plain) > MaxCompressible {
		return nil, false
	}
	limit := len(plain) - max(1, len(plain)/16)
	out := &bounded{left: limit}
	w := compressors.Get().(*s2.Writer)
	w.Reset(out)
	defer func() {
		w.Reset(nil) // the pool is not to hold the output
		compressors.Put(w)
	}()
	if _, err := w.Write(plain); err != nil {
		return nil, false
	}
	if err := w.Close(); err != nil {
		return nil, false
	}
	return out.buf.Bytes(), true
}

// bounded is a buffer with a limit: a longer result would not be worth keeping.
type bounded struct {
	buf  bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrShortWrite
	}
	return b.buf.Write(p)
}

// decompressor returns exactly the announced size: a compressed stream can stand for a thousand times its length, and
// only the size is authenticated.
type decompressor struct {
	src     *s2.Reader
	left    int64
	scratch [1]byte
	err     error
}

var decompressors = sync.Pool{New: func() any {
	return s2.NewReader(nil, s2.ReaderMaxBlockSize(compressedBlock))
}}

// NewDecompressor reads r, a stream of Compress, as exactly size bytes. Fewer are io.ErrUnexpectedEOF, more
// ErrTooLong.
func NewDecompressor(r io.Reader, size int64) io.Reader {
	src := decompressors.Get().(*s2.Reader)
	src.Reset(r)
	return &decompressor{src: src, left: size}
}

func (d *decompressor) Read(b []byte) (int, error) {
	if d.err != nil || len(b) == 0 {
		return 0, d.err
	}
	n, err := d.read(b)
	if err != nil {
		d.err = err
		d.src.Reset(nil)
		decompressors.Put(d.src)
		d.src = nil
	}
	return n, err
}

// read gives bytes up to the size, and with the last of them says whether the
// stream ends there too.
func (d *decompressor) read(b []byte) (n int, err error) {
	if d.left > 0 {
		n, err = d.src.Read(b[:min(int64(len(b)), d.left)])
		d.left -= int64(n)
	}
	switch {
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("sse: decompress: %w", err)
	case d.left > 0 && err == io.EOF:
		return n, io.ErrUnexpectedEOF
	case d.left > 0:
		return n, nil
	}
	if err = expectEnd(d.src, d.scratch[:]); err == nil {
		err = io.EOF
	}
	return n, err
}
