package sse

import (
	"bytes"
	"math"
	mrand "math/rand/v2"
	"testing"
)

// shapes returns part sizes of objects: single parts of every length, and parts of every kind together.
func shapes() [][]int {
	s := [][]int{
		{0, 0}, {0, 5}, {5, 0}, {0, 70000, 0, 0, 1, 0},
		{firstPlain, firstPlain + segmentPlain, 1},
		{5 << 20, 5<<20 + 1, 17},
		{1, 2, 3, 4, 5, 65536, 65536},
	}
	for _, n := range lengths {
		s = append(s, []int{n})
	}
	return s
}

func TestRandomRanges(t *testing.T) {
	for _, double := range []bool{false, true} {
		for _, sizes := range shapes() {
			o := sealObject(t, double, sizes...)
			for range 40 {
				o.randomRange(t)
			}
		}
	}
}

// TestEdgeRanges takes every pair of edges of parts and segments, of both
// layers, and their neighbours.
func TestEdgeRanges(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 0, 70000, 0, 131000, 1, 0)
		size := o.layout.Size()
		edges := map[int64]bool{}
		for i := range o.layout.Parts {
			start, n := o.layout.Part(i)
			for s := range segments(n) {
				for d := int64(-1); d <= 1; d++ {
					edges[min(max(start+segmentStart(s)+d, 0), size)] = true
					edges[min(max(start+n+d, 0), size)] = true
				}
			}
		}
		for a := range edges {
			for b := range edges {
				if a > b {
					continue
				}
				got, err := o.open(a, b-a, o.body)
				if err != nil || !bytes.Equal(got, o.plain[a:b]) {
					t.Fatalf("double %v [%d, %d): %v", double, a, b, err)
				}
			}
		}
	}
}

func TestRangeIsClamped(t *testing.T) {
	o := sealObject(t, false, 70000, 100)
	for _, c := range []struct{ off, n, wantOff, wantN int64 }{
		{0, math.MaxInt64, 0, 70100},
		{70000, math.MaxInt64, 70000, 100},
		{math.MaxInt64, math.MaxInt64, 70100, 0},
		{-5, 10, 0, 10},
		{3, -1, 3, 0},
	} {
		r := o.layout.Range(c.off, c.n)
		if off, n := r.Plain(); off != c.wantOff || n != c.wantN {
			t.Errorf("Range(%d, %d) is of [%d, +%d)", c.off, c.n, off, n)
		}
		if r.Length < StreamHeaderSize+TagSize || r.Offset+r.Length > o.layout.BodySize() {
			t.Errorf("Range(%d, %d) fetches [%d, +%d)", c.off, c.n, r.Offset, r.Length)
		}
	}
	if r := o.layout.Range(0, 70100); r.Offset != 0 || r.Length != o.layout.BodySize() {
		t.Errorf("a full read fetches [%d, +%d)", r.Offset, r.Length)
	}
	if r := (&Layout{Layers: 1}).Range(0, 1); r != (Range{}) {
		t.Errorf("a layout without parts has range %v", r)
	}
}

// TestRangeIsTight: every fetched segment holds a byte of the range.
func TestRangeIsTight(t *testing.T) {
	l := &Layout{Layers: 1, Parts: []PartInfo{{Number: 1, Size: 10 << 20}, {Number: 2, Size: 10 << 20}}}
	for _, c := range []struct{ off, n, segments int64 }{
		{0, 1, 1}, {firstPlain - 1, 1, 1}, {firstPlain - 1, 2, 2}, {firstPlain, segmentPlain, 1}, {firstPlain + 5, segmentPlain, 2},
	} {
		if r := l.Range(c.off, c.n); r.Length != c.segments*SegmentSize {
			t.Errorf("[%d, +%d) fetches %d bytes", c.off, c.n, r.Length)
		}
	}
	// A single byte of the second part: its segment, not its header.
	r := l.Range(10<<20+firstPlain, 1)
	if want := CiphertextSize(10<<20) + SegmentSize; r.Offset != want {
		t.Errorf("starts at %d, not %d", r.Offset, want)
	}
	// With two layers at most one segment more at each end.
	l.Layers = 2
	if r := l.Range(5<<20, 1); r.Length > 3*SegmentSize {
		t.Errorf("one byte under two layers fetches %d bytes", r.Length)
	}
}

// TestSpeculativeRange: the store's response to the speculative range, cut at the object's end, equals the layout's
// range for a single part.
func TestSpeculativeRange(t *testing.T) {
	sizes := []int64{1, 1000, 5 << 30}
	for k := int64(1); k < 4; k++ {
		for d := int64(-2); d <= 2; d++ {
			sizes = append(sizes, firstPlain+k*segmentPlain+d)
		}
	}
	check := func(size, off, n int64, layers int) {
		t.Helper()
		l := &Layout{Layers: layers, Parts: []PartInfo{{Number: 1, Size: size}}}
		guess, length := SpeculativeRange(off, n, layers)
		answer := min(length, l.BodySize()-guess)
		if r := l.Range(off, n); r.Offset != guess || r.Length != answer {
			t.Fatalf("size %d, [%d, +%d), %d layers: guess answered [%d, +%d), range is [%d, +%d)",
				size, off, n, layers, guess, answer, r.Offset, r.Length)
		}
	}
	for _, layers := range []int{1, 2} {
		for _, size := range sizes {
			for range 300 {
				off := mrand.Int64N(size)
				check(size, off, mrand.Int64N(2*size), layers)
				check(size, off, math.MaxInt64, layers)
				check(size, size-1, 1, layers)
			}
		}
		if off, n := SpeculativeRange(0, 0, layers); off != 0 || n < SealedSize(0, layers) {
			t.Errorf("nothing of an empty object: [%d, +%d)", off, n)
		}
		check(0, 0, 1, layers)
		SpeculativeRange(math.MaxInt64, math.MaxInt64, layers)
		SpeculativeRange(-1, -1, layers)
	}
}

func TestOpenRefusesOtherLayouts(t *testing.T) {
	o := sealObject(t, false, 100, 200)
	r := o.layout.Range(50, 100)
	other := &Layout{Layers: 1, Parts: o.layout.Parts[1:]}
	doubled := &Layout{Layers: 2, Parts: o.layout.Parts}
	huge := &Layout{Layers: 1, Parts: []PartInfo{{Number: 1, Size: MaxPlaintext}, {Number: 2, Size: MaxPlaintext}}}
	for name, l := range map[string]*Layout{"range of another": other, "two layers": doubled, "huge": huge, "no parts": {Layers: 1}} {
		if _, err := o.keys.Open(l, r, bytes.NewReader(o.body)); err == nil {
			t.Error(name, ": opened")
		}
	}
}
