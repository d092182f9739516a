package sse

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"
)

// StreamHeader is the first 39 bytes of a stream after its length byte, none of them secret: salt(32) and nonce
// prefix(7).
type StreamHeader [StreamHeaderSize - 1]byte

// Headers are the stream headers of a part. Outer is zero with a single layer.
type Headers struct{ Data, Outer StreamHeader }

func newStreamHeader() StreamHeader {
	var h StreamHeader
	rand.Read(h[:])
	return h
}

func (h *StreamHeader) salt() []byte   { return h[:saltSize] }
func (h *StreamHeader) prefix() []byte { return h[saltSize:] }

// segmentBuffers holds whole segments; a stream of any length uses one per layer.
var segmentBuffers = sync.Pool{New: func() any { return new([SegmentSize]byte) }}

// segmentCipher seals or opens the segments of a stream. The nonce is a field, not a local variable, because
// arguments of cipher.AEAD escape. The AEAD is held by its methods because fmt reads through pointers to a key
// schedule, but not through functions.
type segmentCipher struct {
	sealAEAD func(dst, nonce, plain, aad []byte) []byte
	openAEAD func(dst, nonce, sealed, aad []byte) ([]byte, error)
	nonce    [12]byte // prefix(7), be32 index, 1 for the last segment
}

func newSegmentCipher(k Key, h *StreamHeader, label string, part int) segmentCipher {
	info := binary.BigEndian.AppendUint32([]byte(label), uint32(part))
	aead := k.Derive(h.salt(), string(info)).aead()
	c := segmentCipher{sealAEAD: aead.Seal, openAEAD: aead.Open}
	copy(c.nonce[:], h.prefix())
	return c
}

func (c *segmentCipher) number(index int64, last bool) {
	if index>>32 != 0 {
		panic("sse: internal error: segment number exceeds 32 bits")
	}
	binary.BigEndian.PutUint32(c.nonce[7:], uint32(index))
	c.nonce[11] = 0
	if last {
		c.nonce[11] = 1
	}
}

// seal seals in place; plain has room for the tag behind it.
func (c *segmentCipher) seal(plain []byte, index int64, last bool) []byte {
	c.number(index, last)
	return c.sealAEAD(plain[:0], c.nonce[:], plain, nil)
}

// open opens in place.
func (c *segmentCipher) open(sealed []byte, index int64, last bool) ([]byte, error) {
	c.number(index, last)
	plain, err := c.openAEAD(sealed[:0], c.nonce[:], sealed, nil)
	if err != nil {
		return nil, ErrAuthentication
	}
	return plain, nil
}

// readExactly is io.ReadFull with every end an early end.
func readExactly(src io.Reader, p []byte) error {
	_, err := io.ReadFull(src, p)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// expectEnd reads one byte more than announced. The source's own error passes, so that a source can still refuse (a
// wrong digest) at its end.
func expectEnd(src io.Reader, scratch []byte) error {
	_, err := io.ReadFull(src, scratch[:1])
	switch err {
	case nil:
		return ErrTooLong
	case io.EOF: // not a wrapping error: a failure with EOF as its cause is no end
		return nil
	}
	return err
}
