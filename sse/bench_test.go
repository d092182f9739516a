package sse

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

var benchSizes = []int{0, 1, 4 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 64 << 20}

func benchName(double bool, n int) string {
	if double {
		return fmt.Sprintf("double/%d", n)
	}
	return fmt.Sprintf("single/%d", n)
}

func BenchmarkSeal(b *testing.B) {
	for _, double := range []bool{false, true} {
		for _, n := range benchSizes {
			b.Run(benchName(double, n), func(b *testing.B) {
				k, plain := NewKeys(double), make([]byte, n)
				src := bytes.NewReader(plain)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					src.Reset(plain)
					p := k.SealPart(1, src, int64(n))
					p.WriteTo(io.Discard)
					p.Close()
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, double := range []bool{false, true} {
		for _, n := range benchSizes {
			b.Run(benchName(double, n), func(b *testing.B) {
				o := sealObject(b, double, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				src := bytes.NewReader(nil)
				for b.Loop() {
					src.Reset(o.body)
					r, _ := o.keys.Open(o.layout, o.layout.Range(0, int64(n)), src)
					if _, err := r.WriteTo(io.Discard); err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
			})
		}
	}
}

// BenchmarkRange reads 1000 bytes from the middle of 64 MiB.
func BenchmarkRange(b *testing.B) {
	for _, double := range []bool{false, true} {
		b.Run(benchName(double, 1000), func(b *testing.B) {
			o := sealObject(b, double, 64<<20)
			b.ReportAllocs()
			for b.Loop() {
				if got, err := o.open(32<<20, 1000, o.body); err != nil || len(got) != 1000 {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCopySeal reads as an HTTP client does, through a 32 KiB buffer.
func BenchmarkCopySeal(b *testing.B) {
	k, plain, buf := NewKeys(false), make([]byte, 1<<20), make([]byte, 32<<10)
	b.SetBytes(1 << 20)
	for b.Loop() {
		p := k.SealPart(1, bytes.NewReader(plain), 1<<20)
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{p}, buf)
		p.Close()
	}
}

func BenchmarkEnvelope(b *testing.B) {
	s := envelopes(b)["kms"]
	s.facts, s.tag = md5Facts(CRC64NVME), new(Tag)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Seal(s.keys, KEKs{Inner: s.kek, Outer: s.outer}, s.svc, testBinding, s.facts, s.tag); err != nil {
				b.Fatal(err)
			}
			s.text(b)
		}
	})
	text := s.text(b)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseEnvelope(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := s.Open(s.kek, s.outer, testBinding); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tag", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.OpenTag(s.service, testBinding); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkManifest(b *testing.B) {
	for _, parts := range []int{1, 100, MaxParts} {
		k := NewKeys(false)
		sealed := sealManifest(b, testManifest(parts, false), k)
		b.Run(fmt.Sprintf("open/%d", parts), func(b *testing.B) {
			b.SetBytes(int64(len(sealed)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := OpenManifest(sealed, k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLayoutRange(b *testing.B) {
	l := testManifest(MaxParts, false).Layout(1)
	for b.Loop() {
		l.Range(20<<30, 1<<20)
	}
}

func BenchmarkDerive(b *testing.B) {
	k, salt := NewKey(), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		k.Derive(salt, labelPart)
	}
}

func BenchmarkCompress(b *testing.B) {
	plain := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog "), 1<<20/45)
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		Compress(plain)
	}
}
