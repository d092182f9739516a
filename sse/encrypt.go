package sse

import (
	"fmt"
	"io"
)

// MaxParts is the highest part number and the most parts of an object.
const MaxParts = 10000

// SealedPart reads as the sealed bytes of a part. It is not safe for concurrent use. After an error it returns the
// same error for ever.
type SealedPart struct {
	layers  [2]sealer
	top     *sealer
	headers Headers
}

// SealPart seals exactly size bytes of src as a part. Fewer bytes are io.ErrUnexpectedEOF, more are ErrTooLong, and
// an error of src instead of io.EOF passes through; in each case the last segment, and with it the part, is never
// finished.
func (k Keys) SealPart(number int, src io.Reader, size int64) *SealedPart {
	p := new(SealedPart)
	p.headers.Data = newStreamHeader()
	if k.Double {
		p.headers.Outer = newStreamHeader()
	}
	p.seal(k, number, src, size)
	return p
}

// seal is SealPart with the headers given, for vectors with known bytes.
func (p *SealedPart) seal(k Keys, number int, src io.Reader, size int64) {
	p.top = &p.layers[0]
	if err := checkPart(number, size); err != nil {
		p.top.err = err
		return
	}
	if err := k.usable(); err != nil {
		p.top.err = err
		return
	}
	p.top.init(newSegmentCipher(k.Data, &p.headers.Data, labelPart, number), &p.headers.Data, src, size)
	if k.Double {
		inner := p.top
		p.top = &p.layers[1]
		p.top.init(newSegmentCipher(k.Outer, &p.headers.Outer, labelOuter, number), &p.headers.Outer, inner, CiphertextSize(size))
	}
}

func checkPart(number int, size int64) error {
	if number < 1 || number > MaxParts {
		return fmt.Errorf("sse: no part has number %d", number)
	}
	if size < 0 || size > MaxPlaintext {
		return fmt.Errorf("sse: no part has %d bytes", size)
	}
	return nil
}

// Headers are known at once, before a byte is read.
func (p *SealedPart) Headers() Headers { return p.headers }

// Read implements io.Reader.
func (p *SealedPart) Read(b []byte) (int, error) { return p.top.Read(b) }

// WriteTo implements io.WriterTo; it saves Read's copy.
func (p *SealedPart) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if err := p.top.fill(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(p.top.out)
		total += int64(n)
		p.top.out = p.top.out[n:]
		if err != nil {
			return total, err
		}
	}
}

// Close gives the buffers back. Reads after it fail unless the end was reached.
func (p *SealedPart) Close() error {
	for i := range p.layers {
		p.layers[i].fail(ErrClosed)
	}
	return nil
}

// sealer is a layer: it reads plaintext and is read as a Tink stream.
type sealer struct {
	cipher segmentCipher
	header *StreamHeader
	src    io.Reader
	left   int64 // plaintext not read yet
	index  int64
	buf    *[SegmentSize]byte
	out    []byte // sealed, not handed out yet; part of buf
	done   bool   // the last segment was sealed
	err    error
}

func (s *sealer) init(c segmentCipher, h *StreamHeader, src io.Reader, size int64) {
	s.cipher, s.header, s.src, s.left = c, h, src, size
}

func (s *sealer) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

// fill seals segments until out is not empty.
func (s *sealer) fill() error {
	switch {
	case s.err != nil:
		return s.err
	case len(s.out) > 0:
		return nil
	case s.done:
		return s.fail(io.EOF)
	}
	if err := s.next(); err != nil {
		return s.fail(err)
	}
	return nil
}

// next reads and seals a segment. It checks the end of the source before it seals the last segment, not after.
func (s *sealer) next() error {
	if s.buf == nil {
		s.buf = segmentBuffers.Get().(*[SegmentSize]byte)
	}
	start := s.putHeader()
	n := min(s.left, int64(segmentPlain-start))
	plain := s.buf[start : start+int(n)]
	if err := readExactly(s.src, plain); err != nil {
		return err
	}
	s.left -= n
	last := s.left == 0
	if last {
		if err := expectEnd(s.src, s.buf[start+int(n):]); err != nil {
			return err
		}
	}
	sealed := s.cipher.seal(plain, s.index, last)
	s.out = s.buf[:start+len(sealed)]
	s.index++
	s.done = last
	return nil
}

// putHeader writes the stream's header before the first segment and returns its length.
func (s *sealer) putHeader() int {
	if s.index > 0 {
		return 0
	}
	s.buf[0] = StreamHeaderSize
	return 1 + copy(s.buf[1:], s.header[:])
}

// fail keeps the first error and gives the buffer back.
func (s *sealer) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	if s.buf != nil {
		segmentBuffers.Put(s.buf)
		s.buf, s.out = nil, nil
	}
	return s.err
}
