package embedded

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// A key of an object is written so that the index sorts it as S3 does, byte by byte, with whatever stands behind it
// sorted within: the bucket's id, the key with each 00 as 00 ff, then 00 01. No key's encoding is the beginning of
// another's: "a" is 61 00 01, "a\x00" is 61 00 ff 00 01, "a/" is 61 2f 00 01.

func appendID(b []byte, id uint64) []byte { return binary.BigEndian.AppendUint64(b, id) }

func idOf(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func idKey(id uint64) []byte { return appendID(nil, id) }

// prefixKey is what the index keys of all keys with a prefix begin with.
func prefixKey(bucket uint64, prefix string) []byte {
	b := appendID(make([]byte, 0, 8+len(prefix)+18), bucket)
	for {
		i := strings.IndexByte(prefix, 0)
		if i < 0 {
			return append(b, prefix...)
		}
		b = append(b, prefix[:i]...)
		b = append(b, 0, 0xff)
		prefix = prefix[i+1:]
	}
}

// objectKey is the index key of a key's current object.
func objectKey(bucket uint64, key string) []byte { return append(prefixKey(bucket, key), 0, 1) }

// versionKey is the index key of a noncurrent version: newer versions come first.
func versionKey(bucket uint64, key string, seq uint64) []byte {
	return appendID(objectKey(bucket, key), ^seq)
}

// uploadKey is the index key of an upload: older uploads come first.
func uploadKey(bucket uint64, key string, seq uint64) []byte {
	return appendID(objectKey(bucket, key), seq)
}

func partKey(upload uint64, number int) []byte {
	return binary.BigEndian.AppendUint16(idKey(upload), uint16(number))
}

// keyOf gives the key in an index key, and what stands behind it.
func keyOf(index []byte) (key string, rest []byte) {
	b := index[8:]
	i := bytes.IndexByte(b, 0)
	if i >= 0 && b[i+1] == 1 { // no NUL in it: nearly every key
		return string(b[:i]), b[i+2:]
	}
	var out []byte
	for {
		out = append(out, b[:i]...)
		if b[i+1] == 1 {
			return string(out), b[i+2:]
		}
		out = append(out, 0)
		b = b[i+2:]
		i = bytes.IndexByte(b, 0)
	}
}

// behind is the first index key that is behind everything that begins with prefix.
func behind(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	for len(b) > 0 {
		if last := len(b) - 1; b[last] < 0xff {
			b[last]++
			return b
		}
		b = b[:len(b)-1]
	}
	return nil
}
