package sse

import (
	"encoding/binary"
	"fmt"
)

// The records of the format are written with fixed-width big-endian integers,
// with varints (as in protobuf, in their shortest form only), and with byte
// strings behind their varint length.

func appendBytes[T []byte | string](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// associated builds associated data; different lists of fields never give the same bytes.
func associated(label string, fields ...[]byte) []byte {
	n := 0
	for _, f := range fields {
		n += binary.MaxVarintLen32 + len(f)
	}
	b := appendBytes(make([]byte, 0, n+binary.MaxVarintLen32+len(label)), label)
	for _, f := range fields {
		b = appendBytes(b, f)
	}
	return b
}

// fields reads a record. It keeps the first fault, and every later field is zero, so that a record is read as a list
// and checked once.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.b = nil
}

// take returns the next n bytes, not copied, or nil.
func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.fail(fmt.Errorf("%w: cut short", ErrMalformed))
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

// into fills dst with the next bytes.
func (f *fields) into(dst []byte) { copy(dst, f.take(len(dst))) }

func (f *fields) u8() uint8 {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// size reads a be64 plaintext size.
func (f *fields) size() int64 {
	b := f.take(8)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint64(b)
	if n > MaxPlaintext {
		f.fail(fmt.Errorf("%w: size out of range", ErrMalformed))
		return 0
	}
	return int64(n)
}

// uvarint reads a number up to limit in its shortest form.
func (f *fields) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || v > limit || n > 1 && f.b[n-1] == 0 {
		f.fail(fmt.Errorf("%w: number out of range", ErrMalformed))
		return 0
	}
	f.b = f.b[n:]
	return v
}

// view reads a byte string, not copied. An empty string is nil.
func (f *fields) view() []byte {
	n := f.uvarint(uint64(len(f.b)))
	if n == 0 {
		return nil
	}
	return f.take(int(n))
}

// end refuses bytes left over.
func (f *fields) end() error {
	if f.err == nil && len(f.b) > 0 {
		f.fail(fmt.Errorf("%w: %d bytes too many", ErrMalformed, len(f.b)))
	}
	return f.err
}
