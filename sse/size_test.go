package sse

import (
	"errors"
	"math"
	mrand "math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestWorkedSizes holds the table of FORMAT.md to the code.
func TestWorkedSizes(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$`).FindAllStringSubmatch(string(format), -1)
	if len(rows) != 13 {
		t.Fatalf("%d rows of sizes in FORMAT.md", len(rows))
	}
	for _, row := range rows {
		var n [5]int64
		for i := 1; i < 5; i++ {
			if n[i], err = strconv.ParseInt(strings.ReplaceAll(row[i], ",", ""), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		if got := [3]int64{segments(n[1]), SealedSize(n[1], 1), SealedSize(n[1], 2)}; got != [3]int64(n[2:]) {
			t.Errorf("%s bytes: %v, FORMAT.md says %v", row[1], got, n[2:])
		}
	}
}

// TestWorkedManifests: the sizes in section 5 of FORMAT.md.
func TestWorkedManifests(t *testing.T) {
	lone := &Manifest{Parts: []ManifestPart{{Number: 1, HasMD5: false}}, Facts: Facts{HasMD5: true}, Tag: Tag{Kind: TagMD5}}
	if got := lone.SealedSize(1); got != 216 {
		t.Errorf("one part: %d", got)
	}
	for parts, want := range map[int]int64{3: 392, 10000: 660194} {
		m := &Manifest{UploadID: strings.Repeat("u", 36), Tag: Tag{Kind: TagParts}, Parts: make([]ManifestPart, parts)}
		for i := range m.Parts {
			m.Parts[i].HasMD5 = true
		}
		if got := m.SealedSize(1); got != want {
			t.Errorf("%d parts: %d", parts, got)
		}
	}
}

// TestLargestPut: the largest plaintexts with a sealed part of at most 5 GiB.
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
