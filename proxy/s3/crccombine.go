package s3

import (
	"encoding/binary"
	"fmt"
)

// A CRC of two runs of bytes follows from theirs: crc(AB) = crc(A)*x^(8*len(B)) + crc(B), in polynomials over GF(2)
// modulo the CRC's own. (Initial value and final complement of these CRCs cancel out.) So the checksum of a whole
// object is known without reading its parts again.
// https://github.com/madler/zlib/blob/develop/crc32.c does the same for CRC-32.

// crcField is the arithmetic of a CRC. Polynomials are reflected: the highest bit is the lowest power of x.
type crcField struct {
	poly uint64 // without its highest power
	top  uint64 // the polynomial 1
}

// multiply gives a*b modulo the polynomial.
func (f crcField) multiply(a, b uint64) uint64 {
	var p uint64
	for m := f.top; m != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ f.poly
		} else {
			b >>= 1
		}
	}
	return p
}

// shift gives x^(8n).
func (f crcField) shift(n int64) uint64 {
	p, square := f.top, f.top>>8 // 1 and x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p = f.multiply(square, p)
		}
		square = f.multiply(square, square)
	}
	return p
}

// combine returns the CRC of two runs of bytes; the second run has n bytes.
func (f crcField) combine(a, b uint64, n int64) uint64 {
	return f.multiply(f.shift(n), a) ^ b
}

// Combines reports whether the checksum of a whole follows from the checksums of its runs: true for a CRC, false for
// a hash.
func Combines(algorithm string) bool {
	return byName(algorithm).crc != nil
}

// CombineCRC gives the checksum of the whole from its runs' checksums and sizes.
func CombineCRC(algorithm string, sums [][]byte, sizes []int64) ([]byte, error) {
	f := byName(algorithm).crc
	if f == nil {
		return nil, fmt.Errorf("checksums of the algorithm %s do not combine", algorithm)
	}
	size := NewChecksum(algorithm).Size()
	var sum uint64
	for i, value := range sums {
		if len(value) != size {
			return nil, fmt.Errorf("part %d of %d has no %s", i+1, len(sums), algorithm)
		}
		sum = f.combine(sum, bigEndian(value), sizes[i])
	}
	return binary.BigEndian.AppendUint64(nil, sum)[8-size:], nil
}

func bigEndian(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
