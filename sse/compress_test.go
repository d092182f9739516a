package sse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCompress(t *testing.T) {
	for name, plain := range map[string][]byte{
		"short": []byte(strings.Repeat("waxseal ", 10)),
		"text":  []byte(strings.Repeat("the quick brown fox jumps over the lazy dog. ", 100000)),
		"zeros": make([]byte, MaxCompressible),
	} {
		packed, ok := Compress(plain)
		if !ok || len(packed) > len(plain)-len(plain)/16 {
			t.Fatalf("%s: %d of %d bytes", name, len(packed), len(plain))
		}
		size := int64(len(plain))
		if got, err := io.ReadAll(NewDecompressor(bytes.NewReader(packed), size)); err != nil || !bytes.Equal(got, plain) {
			t.Fatal(name, err)
		}
		for fault, c := range map[string]struct {
			packed []byte
			size   int64
			want   error
		}{
			"one byte less":   {packed, size - 1, ErrTooLong},
			"nothing":         {packed, 0, ErrTooLong},
			"one byte more":   {packed, size + 1, io.ErrUnexpectedEOF},
			"cut":             {packed[:len(packed)-1], size, nil},
			"empty":           {nil, size, io.ErrUnexpectedEOF},
			"flipped":         {flipped(packed, len(packed)-3), size, nil},
			"followed by its": {append(bytes.Clone(packed), packed...), size, ErrTooLong},
		} {
			d := NewDecompressor(bytes.NewReader(c.packed), c.size)
			got, err := io.ReadAll(d)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || int64(len(got)) > c.size {
				t.Errorf("%s, %s: %d bytes, %v", name, fault, len(got), err)
			}
			if _, again := d.Read(make([]byte, 1)); again != err {
				t.Errorf("%s, %s: the error does not stick: %v", name, fault, again)
			}
		}
	}
}

func TestCompressReader(t *testing.T) {
	plain := []byte(strings.Repeat("waxseal ", 5000))
	packed, _ := Compress(plain)
	if err := iotest.TestReader(NewDecompressor(iotest.HalfReader(bytes.NewReader(packed)), int64(len(plain))), plain); err != nil {
		t.Fatal(err)
	}
}

func TestCompressDeclines(t *testing.T) {
	for name, plain := range map[string][]byte{
		"empty": nil, "one byte": {1}, "random": pattern(100000), "too long": make([]byte, MaxCompressible+1),
		"one part in twenty": append(pattern(95000), make([]byte, 5000)...),
	} {
		if packed, ok := Compress(plain); ok || packed != nil {
			t.Errorf("%s: %d of %d bytes", name, len(packed), len(plain))
		}
	}
	// A declined compressor goes back to the pool in order.
	plain := make([]byte, 1000)
	packed, ok := Compress(plain)
	got, err := io.ReadAll(NewDecompressor(bytes.NewReader(packed), 1000))
	if !ok || err != nil || !bytes.Equal(got, plain) {
		t.Error(ok, err)
	}
}

// TestSealedDecompression: a reader of a compressed object gets no byte after a failed authentication.
func TestSealedDecompression(t *testing.T) {
	plain := append(pattern(140000), make([]byte, 70000)...)
	packed, ok := Compress(plain)
	if !ok || len(packed) < 2*SegmentSize {
		t.Fatal(len(packed), ok)
	}
	k := NewKeys(false)
	body, info := sealPart(t, k, 1, packed)
	l := &Layout{Layers: 1, Parts: []PartInfo{info}}
	read := func(body []byte) ([]byte, error) {
		r, err := k.Open(l, l.Range(0, info.Size), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(NewDecompressor(r, int64(len(plain))))
	}
	if got, err := read(body); err != nil || !bytes.Equal(got, plain) {
		t.Fatal(err)
	}
	if got, err := read(flipped(body, len(body)-1)); !errors.Is(err, ErrAuthentication) || len(got) == len(plain) {
		t.Fatal(len(got), err)
	}
}
