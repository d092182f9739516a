package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// OpenReader reads as the plaintext of a range. It releases a byte only after the authentication of its whole
// segment. It is not safe for concurrent use. After an error it returns the same error for ever.
type OpenReader struct {
	keys   func() *Keys // a function: fmt does not look into it
	layout *Layout
	src    io.Reader

	part, last int // the next part to begin, the last part wanted
	spans      partSpans
	layers     [2]opener
	top        *opener // nil between parts
	scratch    [1]byte
	out        []byte // authenticated, not handed out yet
	done       bool
	err        error
}

// Open opens the bytes of r, delivered exactly by src. Missing bytes are io.ErrUnexpectedEOF, extra bytes ErrTooLong
// (before the last segment is released), and wrong bytes ErrAuthentication.
func (k Keys) Open(l *Layout, r Range, src io.Reader) (*OpenReader, error) {
	if err := l.check(k.Layers()); err != nil {
		return nil, err
	}
	if l.Range(r.plain.off, r.plain.n) != r {
		return nil, errors.New("sse: the range is of another layout")
	}
	o := &OpenReader{keys: func() *Keys { return &k }, layout: l, src: src, spans: partSpans{plain: r.plain}}
	lo, hi := l.cover(r.plain, l.Size())
	for o.part < lo {
		o.spans.next(l.Parts[o.part].Size)
		o.part++
	}
	o.last = hi
	return o, nil
}

// Prime authenticates the first segment, so that a caller can still respond with an error before the first byte of
// its response.
func (o *OpenReader) Prime() error {
	if o.err != nil {
		return o.err
	}
	if len(o.out) > 0 || o.done {
		return nil
	}
	if err := o.next(); err != nil {
		return o.fail(err)
	}
	return nil
}

// Read implements io.Reader.
func (o *OpenReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := o.fill(); err != nil {
		return 0, err
	}
	n := copy(b, o.out)
	o.out = o.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo; it saves Read's copy.
func (o *OpenReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if err := o.fill(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(o.out)
		total += int64(n)
		o.out = o.out[n:]
		if err != nil {
			return total, err
		}
	}
}

// Close gives the buffers back and wipes the keys. Reads after it fail unless
// the end was reached.
func (o *OpenReader) Close() error {
	o.fail(ErrClosed)
	return nil
}

// fill opens segments until out is not empty.
func (o *OpenReader) fill() error {
	for o.err == nil && len(o.out) == 0 {
		if o.done {
			return o.fail(io.EOF)
		}
		if err := o.next(); err != nil {
			return o.fail(err)
		}
	}
	return o.err
}

// next opens a segment of the top layer. Before it releases the very last segment, the source must have ended.
func (o *OpenReader) next() error {
	if o.top == nil {
		o.begin()
	}
	if err := o.top.next(); err != nil {
		return err
	}
	out := o.top.out
	o.top.out = nil
	if o.top.finished() {
		o.top = nil
		o.part++
		if o.part > o.last {
			if err := expectEnd(o.src, o.scratch[:]); err != nil {
				return err
			}
			o.done = true
		}
	}
	o.out = out
	return nil
}

// begin sets the layers to the share of the next part in the range.
func (o *OpenReader) begin() {
	keys, p := o.keys(), &o.layout.Parts[o.part]
	want := o.spans.next(p.Size)
	inner := &o.layers[0]
	inner.set(newSegmentCipher(keys.Data, &p.Headers.Data, labelPart, p.Number), &p.Headers.Data, want, p.Size)
	inner.part, inner.src = p.Number, o.src
	o.top = inner
	if keys.Double {
		outer := &o.layers[1]
		outer.set(newSegmentCipher(keys.Outer, &p.Headers.Outer, labelOuter, p.Number), &p.Headers.Outer,
			covering(want, p.Size), CiphertextSize(p.Size))
		outer.part, outer.src = p.Number, o.src
		inner.src = outer
	}
}

func (o *OpenReader) fail(err error) error {
	if o.err == nil {
		o.err = err
	}
	o.keys().Zero()
	o.out = nil
	for i := range o.layers {
		o.layers[i].release()
	}
	return o.err
}

// opener is a layer of a part: it reads the segments of a plaintext range and returns the range.
type opener struct {
	cipher segmentCipher
	header *StreamHeader
	part   int
	src    io.Reader
	size   int64 // of the stream's ciphertext
	index  int64 // next segment
	last   int64 // last segment wanted
	final  int64 // last segment of the stream
	skip   int64 // plaintext of the first segment before the range
	take   int64 // plaintext to give
	buf    *[SegmentSize]byte
	out    []byte
}

func (s *opener) set(c segmentCipher, h *StreamHeader, want span, size int64) {
	s.cipher, s.header = c, h
	s.size = CiphertextSize(size)
	s.final = segments(size) - 1
	s.index, s.last = segmentRange(want, size)
	s.skip = want.off - segmentStart(s.index)
	s.take = want.n
	s.out = nil
}

func (s *opener) finished() bool { return s.index > s.last }

// Read serves the layer below the top. It fails only as a whole: the reader above keeps the error.
func (s *opener) Read(b []byte) (int, error) {
	for len(s.out) == 0 {
		if s.finished() {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *opener) next() error {
	if s.buf == nil {
		s.buf = segmentBuffers.Get().(*[SegmentSize]byte)
	}
	sealed := s.buf[:min(SegmentSize, s.size-s.index*SegmentSize)]
	if err := readExactly(s.src, sealed); err != nil {
		return err
	}
	if s.index == 0 {
		if sealed[0] != StreamHeaderSize || !bytes.Equal(sealed[1:StreamHeaderSize], s.header[:]) {
			return fmt.Errorf("%w: header of part %d", ErrAuthentication, s.part)
		}
		sealed = sealed[StreamHeaderSize:]
	}
	plain, err := s.cipher.open(sealed, s.index, s.index == s.final)
	if err != nil {
		return fmt.Errorf("%w: segment %d of part %d", err, s.index, s.part)
	}
	plain = plain[s.skip:]
	plain = plain[:min(s.take, int64(len(plain)))]
	s.out = plain
	s.take -= int64(len(plain))
	s.skip = 0
	s.index++
	return nil
}

func (s *opener) release() {
	if s.buf != nil {
		segmentBuffers.Put(s.buf)
		s.buf, s.out = nil, nil
	}
}
