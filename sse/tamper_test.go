package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// refused checks that a read failed, after a true prefix of whole segments at most.
func (o *object) refused(t *testing.T, name string, body []byte, want error) {
	t.Helper()
	got, err := o.all(body)
	if err == nil {
		t.Errorf("%s: opened", name)
		return
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("%s: %v, not %v", name, err, want)
	}
	if !bytes.HasPrefix(o.plain, got) || len(got) == len(o.plain) && len(got) > 0 {
		t.Errorf("%s: %d bytes released", name, len(got))
	}
}

func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

func TestBitFlips(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 150000, 70000)
		second := int(SealedSize(150000, o.keys.Layers()))
		spots := map[string]int{
			"length byte": 0, "salt": 1, "end of salt": 32, "prefix": 33, "end of prefix": 39,
			"first segment": 40, "tag of the first": 65535, "second segment": 65536,
			"tag of the second": 131071, "third": 131072, "tag of the last": second - 1,
			"salt of part 2": second + 1, "part 2": second + 40, "segment 2 of part 2": second + 65536,
		}
		for name, at := range spots {
			o.refused(t, name, flipped(o.body, at), ErrAuthentication)
		}
	}
}

// TestEmptyLastPart: all of the plaintext is out when the fault in a last part
// without plaintext shows, but the end is not.
func TestEmptyLastPart(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 70000, 0)
		empty := len(o.body) - int(SealedSize(0, o.keys.Layers()))
		for at := empty; at < len(o.body); at++ {
			if _, err := o.all(flipped(o.body, at)); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("byte %d: %v", at-empty, err)
			}
		}
		if _, err := o.all(o.body[:empty]); err != io.ErrUnexpectedEOF {
			t.Fatal("dropped:", err)
		}
	}
}

func TestEveryBit(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 9)
		for i := range o.body {
			for bit := range 8 {
				b := bytes.Clone(o.body)
				b[i] ^= 1 << bit
				o.refused(t, "bit", b, ErrAuthentication)
			}
		}
	}
}

func TestTruncation(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 150000, 70000)
		for _, n := range []int{0, 1, 39, 40, 56, 65535, 65536, 65537, 131072, int(SealedSize(150000, o.keys.Layers())), len(o.body) - 16, len(o.body) - 1} {
			o.refused(t, "truncated", o.body[:n], io.ErrUnexpectedEOF)
		}
	}
}

// TestTruncationBelievedBySize: a shorter size (from a lying caller) does not make a cut stream whole, because the
// last segment is marked as the last.
func TestTruncationBelievedBySize(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 200000)
		for cut := int64(SegmentSize); cut < int64(len(o.body)); cut += SegmentSize {
			size, err := OpenedSize(cut, o.keys.Layers())
			if err != nil {
				continue
			}
			short := *o
			short.layout = &Layout{Layers: o.layout.Layers, Parts: slices.Clone(o.layout.Parts)}
			short.layout.Parts[0].Size = size
			short.refused(t, "cut at a segment", o.body[:cut], ErrAuthentication)
		}
	}
}

func TestExtension(t *testing.T) {
	for _, double := range []bool{false, true} {
		for _, n := range []int{0, 1, firstPlain, 150000} {
			o := sealObject(t, double, n)
			o.refused(t, "one byte more", append(bytes.Clone(o.body), 0), ErrTooLong)
			o.refused(t, "itself again", append(bytes.Clone(o.body), o.body...), ErrTooLong)
		}
	}
}

func TestSegmentsMoved(t *testing.T) {
	o := sealObject(t, false, 4*SegmentSize)
	seg := func(i int) []byte { return o.body[i*SegmentSize : (i+1)*SegmentSize] }
	rest := o.body[3*SegmentSize:]
	o.refused(t, "swapped", slices.Concat(seg(0), seg(2), seg(1), rest), ErrAuthentication)
	o.refused(t, "repeated", slices.Concat(seg(0), seg(1), seg(1), rest), ErrAuthentication)
	o.refused(t, "dropped", slices.Concat(seg(0), seg(1), rest), nil)
}

func TestPartsMoved(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 70000, 70000, 70000)
		n := int(SealedSize(70000, o.keys.Layers()))
		part := func(i int) []byte { return o.body[i*n : (i+1)*n] }
		o.refused(t, "swapped", slices.Concat(part(1), part(0), part(2)), ErrAuthentication)
		o.refused(t, "last dropped", slices.Concat(part(0), part(1)), io.ErrUnexpectedEOF)
		o.refused(t, "middle dropped", slices.Concat(part(0), part(2)), ErrAuthentication)
		o.refused(t, "repeated", slices.Concat(part(0), part(0), part(2)), ErrAuthentication)
		earlier, _ := sealPart(t, o.keys, 3, o.plain[70000:140000])
		o.refused(t, "earlier send of the same bytes", slices.Concat(part(0), earlier, part(2)), ErrAuthentication)
		// The same, and the header of the present send written over it.
		forged := slices.Concat(part(1)[:StreamHeaderSize], earlier[StreamHeaderSize:])
		o.refused(t, "earlier send under the present header", slices.Concat(part(0), forged, part(2)), ErrAuthentication)
	}
}

// TestMiddleSegmentFromEarlierSend: a range without a header in it still refuses segments of another send.
func TestMiddleSegmentFromEarlierSend(t *testing.T) {
	o := sealObject(t, false, 4*SegmentSize)
	earlier, _ := sealPart(t, o.keys, 1, o.plain)
	if got, err := o.open(2*SegmentSize, 10, earlier); !errors.Is(err, ErrAuthentication) || len(got) > 0 {
		t.Fatal(got, err)
	}
}

func TestWrongKeysAndNumbers(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 70000)
		for name, change := range map[string]func(*object){
			"data key":    func(o *object) { o.keys.Data = NewKey() },
			"outer key":   func(o *object) { o.keys.Outer = NewKey() },
			"keys as one": func(o *object) { o.keys.Data = o.keys.Outer },
			"part number": func(o *object) { o.layout.Parts[0].Number++ },
			"salt":        func(o *object) { o.layout.Parts[0].Headers.Data[0]++ },
			"prefix":      func(o *object) { o.layout.Parts[0].Headers.Data[38]++ },
			"outer salt":  func(o *object) { o.layout.Parts[0].Headers.Outer[0]++ },
		} {
			if !double && (name == "outer key" || name == "outer salt") {
				continue
			}
			bad := *o
			bad.layout = &Layout{Layers: o.layout.Layers, Parts: slices.Clone(o.layout.Parts)}
			change(&bad)
			bad.refused(t, name, o.body, ErrAuthentication)
			// A segment from the middle, where no header is compared.
			r := bad.layout.Range(69000, 5)
			got, err := readRange(bad.keys, bad.layout, r, bytes.NewReader(o.body[r.Offset:r.Offset+r.Length]))
			if !errors.Is(err, ErrAuthentication) || len(got) > 0 {
				t.Errorf("%s: in the middle: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// TestLayersAreNeeded: neither key alone opens a layer's bytes as a single-layer object.
func TestLayersAreNeeded(t *testing.T) {
	o := sealObject(t, true, 1000)
	for _, k := range []Key{o.keys.Data, o.keys.Outer} {
		single := &object{keys: Keys{Data: k}, plain: o.plain, layout: &Layout{Layers: 1, Parts: []PartInfo{{
			Number: 1, Size: 1056, Headers: Headers{Data: o.layout.Parts[0].Headers.Outer}}}}}
		single.refused(t, "outer layer as a part", o.body, ErrAuthentication)
	}
}

func TestPrime(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 150000)
		full := o.layout.Range(0, 150000)
		bad, err := o.keys.Open(o.layout, full, bytes.NewReader(flipped(o.body, 100)))
		if err != nil {
			t.Fatal(err)
		}
		if err := bad.Prime(); !errors.Is(err, ErrAuthentication) {
			t.Fatal(err)
		}
		if n, err := bad.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrAuthentication) {
			t.Fatal("after a failed Prime:", n, err)
		}
		good, err := o.keys.Open(o.layout, full, bytes.NewReader(o.body))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := good.Prime(); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(good); err != nil || !bytes.Equal(got, o.plain) {
			t.Fatal("after Prime:", err)
		}
		if err := good.Prime(); err != io.EOF {
			t.Fatal("Prime at the end:", err)
		}
	}
	empty := sealObject(t, false, 0)
	r, _ := empty.keys.Open(empty.layout, empty.layout.Range(0, 0), bytes.NewReader(flipped(empty.body, 50)))
	if err := r.Prime(); !errors.Is(err, ErrAuthentication) {
		t.Fatal("an empty object that is not ours:", err)
	}
}

// TestNothingAfterFailure: a fault ends the plaintext at a whole segment, and
// for good, however the reader is asked again.
func TestNothingAfterFailure(t *testing.T) {
	o := sealObject(t, false, 4*SegmentSize)
	src := bytes.NewReader(flipped(o.body, 2*SegmentSize+5))
	r, err := o.keys.Open(o.layout, o.layout.Range(0, 4*SegmentSize), src)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if len(got) != firstPlain+segmentPlain || !errors.Is(err, ErrAuthentication) {
		t.Fatal(len(got), err)
	}
	left := src.Len()
	var w bytes.Buffer
	n, again := r.WriteTo(&w)
	if n != 0 || w.Len() != 0 || again != err || r.Prime() != err || src.Len() != left {
		t.Fatal("the reader went on after", err)
	}
	if got, err = o.open(0, firstPlain, o.body); err != nil || len(got) != firstPlain {
		t.Fatal("a range before the fault:", err)
	}
}
