//go:build !race

package sse

import (
	"bytes"
	"io"
	"testing"
)

// TestAllocations: a segment costs no allocation; an object costs the same few, whatever its size.
func TestAllocations(t *testing.T) {
	for _, double := range []bool{false, true} {
		var seal, open [2]float64
		for i, n := range []int{1 << 20, 8 << 20} {
			o := sealObject(t, double, n)
			src := bytes.NewReader(o.plain)
			seal[i] = testing.AllocsPerRun(20, func() {
				src.Reset(o.plain)
				p := o.keys.SealPart(1, src, int64(n))
				p.WriteTo(io.Discard)
				p.Close()
			})
			open[i] = testing.AllocsPerRun(20, func() {
				src.Reset(o.body)
				r, err := o.keys.Open(o.layout, o.layout.Range(0, int64(n)), src)
				if err != nil {
					t.Fatal(err)
				}
				if written, err := r.WriteTo(io.Discard); written != int64(n) || err != nil {
					t.Fatal(written, err)
				}
				r.Close()
			})
		}
		// Fewer than one for all the 112 segments more; the collector may empty the pool once.
		if seal[1]-seal[0] >= 1 || open[1]-open[0] >= 1 {
			t.Errorf("double %v: 1 MiB and 8 MiB cost %v allocations to seal, %v to open", double, seal, open)
		}
		t.Logf("double %v: %v allocations to seal, %v to open", double, seal, open)
	}
}

// TestReadAllocations: Read, used by most callers, costs no allocation per call.
func TestReadAllocations(t *testing.T) {
	o := sealObject(t, true, 16<<20)
	part := o.keys.SealPart(1, bytes.NewReader(o.plain), 16<<20)
	reader, err := o.keys.Open(o.layout, o.layout.Range(0, 16<<20), bytes.NewReader(o.body))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 40000)
	for name, r := range map[string]io.Reader{"seal": part, "open": reader} {
		r.Read(buf) // takes the buffers from the pool
		if n := testing.AllocsPerRun(100, func() {
			if _, err := r.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in a read", name, n)
		}
	}
}
