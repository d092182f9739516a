package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"

	"waxseal/proxy/s3"
)

// checksumTrailer is the header of the checksum with which the store checks a sealed body.
const checksumTrailer = "x-amz-checksum-crc32c"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrBodyRefused ends a body that the store must not commit.
var ErrBodyRefused = errors.New("the body was refused before the store could commit it")

// trailerBody frames a body as aws-chunked with a CRC32C trailer:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
//
// The frame makes an abort safe. Some stores take a body cut short by a close for a whole body: versitygw does, and
// replaces the old object. Even such a store does not commit a body without its last chunk and trailer. These are sent
// only after src has returned io.EOF, and src returns io.EOF only after every check has passed.
type trailerBody struct {
	src   io.Reader
	size  int64
	left  int64
	sum   hash.Hash32
	frame []byte // unsent bytes of the frame: a chunk's head, its end, or the trailer
	chunk int64  // bytes left in the current chunk
	state uint8
	err   error
}

const (
	chunkHead = iota
	chunkData
	bodyDone
)

// storeChunk is the size of the chunks sent to the store. AWS asks for at least 8 KiB.
const storeChunk = 1 << 20

func newTrailerBody(src io.Reader, size int64) *trailerBody {
	return &trailerBody{src: src, size: size, left: size, sum: crc32.New(castagnoli)}
}

// encodedSize returns the length of the framed body.
func (t *trailerBody) encodedSize() int64 {
	chunkSize := func(n int64) int64 { return int64(len(strconv.FormatInt(n, 16))) + 2 + n + 2 }
	total := (t.size / storeChunk) * chunkSize(storeChunk)
	if rest := t.size % storeChunk; rest > 0 {
		total += chunkSize(rest)
	}
	return total + int64(len("0\r\n"+checksumTrailer+":"+"AAAAAA=="+"\r\n\r\n"))
}

func (t *trailerBody) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && t.err == nil {
		if len(t.frame) > 0 {
			m := copy(p[n:], t.frame)
			t.frame = t.frame[m:]
			n += m
			continue
		}
		switch t.state {
		case chunkHead:
			t.err = t.nextChunk()
		case chunkData:
			m, err := t.readData(p[n:])
			n += m
			if err != nil {
				t.err = err
			} else if n > 0 {
				// Return the bytes at hand: a slow client must not keep the store's connection silent.
				return n, nil
			}
		case bodyDone:
			t.err = io.EOF
		}
	}
	if n > 0 && t.err == io.EOF {
		return n, nil
	}
	return n, t.err
}

// nextChunk queues the head of the next chunk, or the trailer after src has returned io.EOF.
func (t *trailerBody) nextChunk() error {
	if t.left > 0 {
		t.chunk = min(t.left, storeChunk)
		t.frame = append(strconv.AppendInt(nil, t.chunk, 16), "\r\n"...)
		t.state = chunkData
		return nil
	}
	if err := expectEOF(t.src); err != nil {
		return err
	}
	var crc [4]byte
	binary.BigEndian.PutUint32(crc[:], t.sum.Sum32())
	t.frame = []byte("0\r\n" + checksumTrailer + ":" + s3.Base64(crc[:]) + "\r\n\r\n")
	t.state = bodyDone
	return nil
}

func (t *trailerBody) readData(p []byte) (int, error) {
	if int64(len(p)) > t.chunk {
		p = p[:t.chunk]
	}
	n, err := t.src.Read(p)
	t.sum.Write(p[:n])
	t.chunk -= int64(n)
	t.left -= int64(n)
	if t.chunk == 0 {
		t.frame = []byte("\r\n")
		t.state = chunkHead
		if err == io.EOF {
			err = nil // expectEOF asks src again, which must return io.EOF again before the trailer
		}
		return n, err
	}
	if err == io.EOF {
		return n, fmt.Errorf("%w: it ended %d bytes early", ErrBodyRefused, t.left)
	}
	return n, err
}

// expectEOF returns an error unless src returns io.EOF.
func expectEOF(src io.Reader) error {
	var b [1]byte
	for range 100 {
		n, err := src.Read(b[:])
		switch {
		case n > 0:
			return fmt.Errorf("%w: it is longer than declared", ErrBodyRefused)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

func (t *trailerBody) Close() error {
	t.err = ErrBodyRefused
	return nil
}

// plainBody is a body without a frame, for a store without trailers. It keeps the last byte back until src has returned
// io.EOF, so that the store commits only a checked body.
type plainBody struct {
	*trailerBody
	held []byte
}

func (b *plainBody) encodedSize() int64 { return b.size }

func (b *plainBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left > 1 || b.held == nil && b.left == 1 {
		return b.readPlain(p)
	}
	if err := expectEOF(b.src); err != nil {
		b.err = err
		return 0, err
	}
	n := copy(p, b.held)
	b.err = io.EOF
	return n, nil
}

// readPlain reads up to the byte before the last, and keeps the last.
func (b *plainBody) readPlain(p []byte) (int, error) {
	if b.left == 1 {
		b.held = make([]byte, 1)
		if _, err := io.ReadFull(b.src, b.held); err != nil {
			b.err = fmt.Errorf("%w: it ended early: %w", ErrBodyRefused, err)
			return 0, b.err
		}
		b.left = 0
		return 0, nil
	}
	if int64(len(p)) > b.left-1 {
		p = p[:b.left-1]
	}
	n, err := b.src.Read(p)
	b.left -= int64(n)
	if err == io.EOF {
		err = fmt.Errorf("%w: it ended %d bytes early", ErrBodyRefused, b.left)
	}
	b.err = err
	return n, err
}
