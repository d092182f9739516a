package sse

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
)

const (
	// MaxCompressible is the longest plaintext that is compressed: a length must
	// be announced before the first byte goes out, so it is compressed as a whole.
	MaxCompressible = 16 << 20

	compressedBlock = 1 << 20
)

var compressors = sync.Pool{New: func() any {
	return s2.NewWriter(nil, s2.WriterConcurrency(1), s2.WriterBlockSize(compressedBlock))
}}

// Compress gives plain as an S2 stream, or false when that does not save at
// least a sixteenth, or plain is longer than MaxCompressible.
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

// bounded is a buffer that refuses to outgrow what would be worth keeping.
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

// decompressor gives exactly the announced size: a compressed stream can stand
// for a thousand times its length, and it is the size that was authenticated.
type decompressor struct {
	src     *s2.Reader
	left    int64
	scratch [1]byte
	err     error
}

// NewDecompressor reads r, which is what Compress gave, as exactly size bytes.
// Fewer are io.ErrUnexpectedEOF, more ErrTooLong.
func NewDecompressor(r io.Reader, size int64) io.Reader {
	return &decompressor{src: s2.NewReader(r, s2.ReaderMaxBlockSize(compressedBlock)), left: size}
}

func (d *decompressor) Read(b []byte) (int, error) {
	if d.err != nil || len(b) == 0 {
		return 0, d.err
	}
	n := 0
	if d.left > 0 {
		n, d.err = d.src.Read(b[:min(int64(len(b)), d.left)])
		d.left -= int64(n)
		if d.err == io.EOF && d.left > 0 {
			d.err = io.ErrUnexpectedEOF
		} else if d.err != nil && d.err != io.EOF {
			d.err = fmt.Errorf("sse: decompress: %w", d.err)
		}
	}
	if d.left == 0 && (d.err == nil || d.err == io.EOF) {
		if d.err = expectEnd(d.src, d.scratch[:]); d.err == nil {
			d.err = io.EOF
		}
	}
	return n, d.err
}
