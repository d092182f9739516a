package s3

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestCombineCRC(t *testing.T) {
	for _, alg := range []string{"CRC32", "CRC32C", "CRC64NVME"} {
		for _, sizes := range [][]int{{0}, {1}, {0, 0}, {1, 0}, {0, 5}, {3, 1, 4, 1, 5, 9, 2, 6}, {5<<20 + 1, 7}, {100, 5 << 20, 0, 31}} {
			whole := NewChecksum(alg)
			var sums [][]byte
			var lengths []int64
			for _, n := range sizes {
				data := make([]byte, n)
				for i := range data {
					data[i] = byte(rand.Uint32())
				}
				whole.Write(data)
				h := NewChecksum(alg)
				h.Write(data)
				sums, lengths = append(sums, h.Sum(nil)), append(lengths, int64(n))
			}
			got, err := CombineCRC(alg, sums, lengths)
			if err != nil || !bytes.Equal(got, whole.Sum(nil)) {
				t.Errorf("%s of %v: %x, %v, want %x", alg, sizes, got, err, whole.Sum(nil))
			}
		}
	}
	if _, err := CombineCRC("SHA1", nil, nil); err == nil {
		t.Error("SHA1 cannot be combined")
	}
	if _, err := CombineCRC("CRC32", [][]byte{nil}, []int64{0}); err == nil {
		t.Error("a part without a checksum was combined")
	}
}

func BenchmarkCombineCRC(b *testing.B) {
	f := byName("CRC64NVME").crc
	for b.Loop() {
		f.combine(0x1234567890abcdef, 0xfedcba0987654321, 5<<30)
	}
}
