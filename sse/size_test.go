package sse

import (
	"errors"
	"math"
	mrand "math/rand/v2"
	"testing"
)

// TestWorkedSizes holds the numbers of FORMAT.md.
func TestWorkedSizes(t *testing.T) {
	for _, c := range []struct{ plain, one, two int64 }{
		{0, 56, 112},
		{1, 57, 113},
		{1000, 1056, 1112},
		{65424, 65480, 65536},
		{65425, 65481, 65553},
		{65480, 65536, 65608},
		{65481, 65553, 65625},
		{131000, 131072, 131160},
		{131001, 131089, 131177},
		{1 << 20, 1048888, 1049200},
		{5 << 30, 5370020216, 5371331632},
	} {
		if got := SealedSize(c.plain, 1); got != c.one {
			t.Errorf("%d bytes: one layer %d, not %d", c.plain, got, c.one)
		}
		if got := SealedSize(c.plain, 2); got != c.two {
			t.Errorf("%d bytes: two layers %d, not %d", c.plain, got, c.two)
		}
	}
}

// TestLargestPut: the largest plaintexts whose sealed part fits 5 GiB.
func TestLargestPut(t *testing.T) {
	const limit = 5 << 30
	for layers, largest := range map[int]int64{1: 5367398360, 2: 5366087920} {
		if got := SealedSize(largest, layers); got > limit {
			t.Errorf("%d layers: %d seals into %d", layers, largest, got)
		}
		if got := SealedSize(largest+1, layers); got <= limit {
			t.Errorf("%d layers: %d still fits", layers, largest+1)
		}
	}
}

func TestSizesInvert(t *testing.T) {
	check := func(n int64) {
		t.Helper()
		for layers := 1; layers <= 2; layers++ {
			got, err := OpenedSize(SealedSize(n, layers), layers)
			if err != nil || got != n {
				t.Fatalf("%d bytes, %d layers: %d, %v", n, layers, got, err)
			}
		}
	}
	for n := int64(0); n < 200000; n++ {
		check(n)
	}
	for range 100000 {
		check(mrand.Int64N(MaxPlaintext + 1))
	}
	check(MaxPlaintext)
}

// TestPlaintextSize: every ciphertext size either has exactly one plaintext size or is refused.
func TestPlaintextSize(t *testing.T) {
	sizes := map[int64]int64{}
	for n := int64(0); n < 4*SegmentSize; n++ {
		sizes[CiphertextSize(n)] = n
	}
	for c := int64(-1); c < 4*SegmentSize; c++ {
		want, possible := sizes[c]
		got, err := PlaintextSize(c)
		switch {
		case possible && (err != nil || got != want):
			t.Fatalf("%d: %d, %v", c, got, err)
		case !possible && !errors.Is(err, ErrMalformed):
			t.Fatalf("%d is the size of no stream, got %d, %v", c, got, err)
		}
	}
}

func TestSizesOutOfRange(t *testing.T) {
	for layers := 1; layers <= 2; layers++ {
		if got := SealedSize(-1, layers); got != -1 {
			t.Errorf("unknown size seals into %d", got)
		}
		if got := SealedSize(math.MaxInt64, layers); got != math.MaxInt64 {
			t.Errorf("endless size seals into %d", got)
		}
		for _, c := range []int64{math.MinInt64, -1, 0, 55, math.MaxInt64} {
			if n, err := OpenedSize(c, layers); err == nil {
				t.Errorf("%d opens into %d", c, n)
			}
		}
	}
}
