package sse

import (
	"fmt"
	"math"
)

// The geometry of a Tink AES-GCM-HKDF stream with 64 KiB segments. The first
// segment is shorter inside because the stream's header stands before it.
const (
	SegmentSize      = 65536 // of ciphertext, the first segment with the header
	StreamHeaderSize = 40    // length byte, salt(32), nonce prefix(7)
	TagSize          = 16

	segmentPlain = SegmentSize - TagSize

	// MaxPlaintext bounds a part so that its segments are numbered in 32 bits in both layers, far above the limits of
	// all stores.
	MaxPlaintext = 1 << 47
)

// CiphertextSize returns the length of a stream of plaintext bytes. Unknown (negative) stays unknown (-1); beyond
// MaxPlaintext it is math.MaxInt64, too large for everything.
func CiphertextSize(plaintext int64) int64 {
	switch {
	case plaintext < 0:
		return -1
	case plaintext > 2*MaxPlaintext: // twice: the outer layer holds the inner layer
		return math.MaxInt64
	}
	return plaintext + StreamHeaderSize + TagSize*segments(plaintext)
}

// PlaintextSize is the inverse of CiphertextSize. Impossible stream sizes are ErrMalformed.
func PlaintextSize(ciphertext int64) (int64, error) {
	if ciphertext < StreamHeaderSize+TagSize || ciphertext > 4*MaxPlaintext {
		return 0, fmt.Errorf("%w: no stream has %d bytes", ErrMalformed, ciphertext)
	}
	k := (ciphertext + SegmentSize - 1) / SegmentSize
	plaintext := ciphertext - StreamHeaderSize - TagSize*k
	if CiphertextSize(plaintext) != ciphertext { // the last segment would be empty
		return 0, fmt.Errorf("%w: no stream has %d bytes", ErrMalformed, ciphertext)
	}
	return plaintext, nil
}

// SealedSize is the length of a sealed part: CiphertextSize once per layer.
func SealedSize(plaintext int64, layers int) int64 {
	for range layers {
		plaintext = CiphertextSize(plaintext)
	}
	return plaintext
}

// OpenedSize is the inverse of SealedSize.
func OpenedSize(ciphertext int64, layers int) (int64, error) {
	for range layers {
		var err error
		if ciphertext, err = PlaintextSize(ciphertext); err != nil {
			return 0, err
		}
	}
	return ciphertext, nil
}

// segments counts a stream's segments; because of the header an empty stream has a segment too.
func segments(plaintext int64) int64 {
	return (plaintext + StreamHeaderSize + segmentPlain - 1) / segmentPlain
}

// segmentOf returns the index of the segment with the plaintext byte at off.
func segmentOf(off int64) int64 { return (off + StreamHeaderSize) / segmentPlain }

// segmentStart is the plaintext offset of a segment's first byte.
func segmentStart(index int64) int64 {
	return max(0, index*segmentPlain-StreamHeaderSize)
}

// span is a run of bytes.
type span struct{ off, n int64 }

func (s span) end() int64 { return s.off + s.n }

// segmentRange returns the first and last segment to open for s in a stream of size plaintext bytes: at least one,
// because nothing is known about a stream (not even its emptiness) before a segment of it is authenticated.
func segmentRange(s span, size int64) (first, last int64) {
	final := segments(size) - 1
	first = min(segmentOf(s.off), final)
	last = first
	if s.n > 0 {
		last = min(segmentOf(s.end()-1), final)
	}
	return first, last
}

// covering returns the ciphertext range of the segments of s.
func covering(s span, size int64) span {
	first, last := segmentRange(s, size)
	off := first * SegmentSize
	return span{off, min((last+1)*SegmentSize, CiphertextSize(size)) - off}
}

// SpeculativeRange returns the body bytes of plaintext [off, off+n) for an unknown object, taken for a single part:
// whole segments, clamped by the store at the object's end. For every real size above off the clamped response begins
// with, and without a manifest is, the run of Layout.Range.
func SpeculativeRange(off, n int64, layers int) (offset, length int64) {
	s := span{off: min(max(off, 0), MaxPlaintext)}
	s.n = min(max(n, 0), MaxPlaintext-s.off)
	for range layers {
		s = covering(s, 2*MaxPlaintext)
	}
	return s.off, s.n
}
