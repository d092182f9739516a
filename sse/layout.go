package sse

import (
	"errors"
	"fmt"
)

// PartInfo is a part's entry of a layout, needed to open the part.
type PartInfo struct {
	Number  int
	Size    int64 // of plaintext
	Headers Headers
}

// Layout maps an object's plaintext to its body.
type Layout struct {
	Layers int
	Parts  []PartInfo
}

// Range is a run of body bytes to fetch, with the requested plaintext in it.
type Range struct {
	Offset, Length int64 // of the body
	plain          span
}

// Plain returns the plaintext range, clamped to the object.
func (r Range) Plain() (off, n int64) { return r.plain.off, r.plain.n }

// Size is the plaintext size of all parts.
func (l *Layout) Size() int64 {
	var n int64
	for i := range l.Parts {
		n += l.Parts[i].Size
	}
	return n
}

// BodySize is the size of the sealed parts, without a manifest.
func (l *Layout) BodySize() int64 {
	var n int64
	for i := range l.Parts {
		n += SealedSize(l.Parts[i].Size, l.Layers)
	}
	return n
}

// Part gives the plaintext range of the part at an index of Parts.
func (l *Layout) Part(index int) (off, n int64) {
	for i := range index {
		off += l.Parts[i].Size
	}
	return off, l.Parts[index].Size
}

// Range returns the run of body bytes to fetch for plaintext [off, off+n), clamped to the object. It always holds at
// least a whole segment, and for a full read the whole body, so that an empty object or part is authenticated too.
func (l *Layout) Range(off, n int64) Range {
	if len(l.Parts) == 0 {
		return Range{}
	}
	size := l.Size()
	plain := span{off: min(max(off, 0), size)}
	plain.n = min(max(n, 0), size-plain.off)
	var r Range
	var body int64
	lo, hi := l.cover(plain, size)
	local := partSpans{plain: plain}
	for i := 0; i <= hi; i++ {
		in := local.next(l.Parts[i].Size)
		sealed := SealedSize(l.Parts[i].Size, l.Layers)
		if i >= lo {
			c := l.covering(in, l.Parts[i].Size)
			if i == lo {
				r.Offset = body + c.off
			}
			r.Length = body + c.end() - r.Offset
		}
		body += sealed
	}
	r.plain = plain
	return r
}

// cover returns the first and the last part to open for plain. Empty parts at an end of the object belong to the
// ranges up to this end.
func (l *Layout) cover(plain span, size int64) (lo, hi int) {
	last := len(l.Parts) - 1
	lo = last
	if plain.off == 0 {
		lo = 0
	} else if plain.off < size {
		lo = l.holding(plain.off)
	}
	switch {
	case plain.end() == size:
		return lo, last
	case plain.n == 0:
		return lo, lo
	}
	return lo, l.holding(plain.end() - 1)
}

// holding returns the index of the part with the plaintext byte at off, below Size.
func (l *Layout) holding(off int64) int {
	for i := range l.Parts {
		if off < l.Parts[i].Size {
			return i
		}
		off -= l.Parts[i].Size
	}
	panic("sse: internal error: offset beyond the layout")
}

// covering composes the layers: the plaintext of the outer layer is the ciphertext of the inner layer.
func (l *Layout) covering(s span, size int64) span {
	for range l.Layers {
		s = covering(s, size)
		size = CiphertextSize(size)
	}
	return s
}

// check refuses an unusable layout. Layouts come from authenticated bytes, so this is about a caller's mistakes and
// arithmetic overflow.
func (l *Layout) check(layers int) error {
	if l.Layers != layers {
		return fmt.Errorf("sse: the layout has %d layers, the keys are for %d", l.Layers, layers)
	}
	if len(l.Parts) == 0 {
		return errors.New("sse: the layout has no parts")
	}
	var total int64
	for i := range l.Parts {
		p := &l.Parts[i]
		if err := checkPart(p.Number, p.Size); err != nil {
			return err
		}
		if total += p.Size; total > MaxPlaintext {
			return errors.New("sse: the layout's size is out of range")
		}
	}
	return nil
}

// partSpans walks the parts and gives the share of each in a plaintext range.
type partSpans struct {
	plain span
	start int64
}

func (w *partSpans) next(size int64) span {
	from := min(max(w.plain.off-w.start, 0), size)
	to := min(max(w.plain.end()-w.start, from), size)
	w.start += size
	return span{from, to - from}
}
