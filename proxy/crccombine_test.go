package proxy

import (
	"bytes"
	"testing"

	"waxseal/sse"
)

func TestCombineCRC(t *testing.T) {
	for _, alg := range []uint8{sse.CRC32, sse.CRC32C, sse.CRC64NVME} {
		for _, sizes := range [][]int{{0}, {1}, {0, 0}, {1, 0}, {0, 5}, {3, 1, 4, 1, 5, 9, 2, 6}, {5<<20 + 1, 7}, {100, 5 << 20, 0, 31}} {
			whole := newChecksum(alg)
			var parts []*part
			for i, n := range sizes {
				data := noise(uint64(i), n)
				whole.Write(data)
				h := newChecksum(alg)
				h.Write(data)
				parts = append(parts, &part{Number: i + 1, Size: int64(n), Sums: []sse.Checksum{{Algorithm: alg, Value: h.Sum(nil)}}})
			}
			got, err := combineCRC(alg, parts)
			if err != nil || !bytes.Equal(got, whole.Sum(nil)) {
				t.Errorf("%s of %v: %x, %v, want %x", checksumName(alg), sizes, got, err, whole.Sum(nil))
			}
		}
	}
	if _, err := combineCRC(sse.SHA1, nil); err == nil {
		t.Error("SHA1 cannot be combined")
	}
	if _, err := combineCRC(sse.CRC32, []*part{{Number: 1}}); err == nil {
		t.Error("a part without a checksum was combined")
	}
}

func BenchmarkCombineCRC(b *testing.B) {
	f := crcFields[sse.CRC64NVME]
	for b.Loop() {
		f.combine(0x1234567890abcdef, 0xfedcba0987654321, 5<<30)
	}
}
