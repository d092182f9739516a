package local

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

var errUnwrap = errors.New("key unwrap failed")

// kwpIV is the alternative initial value of AES key wrap with padding (RFC 5649, section 3).
var kwpIV = []byte{0xa6, 0x59, 0x59, 0xa6}

// unwrapKWP opens an AES key wrap with padding (RFC 5649): the second half of RSA_AES_KEY_WRAP_*. Go's standard library
// has no key wrap, and the import contract has no other form for keys longer than an RSA block.
func unwrapKWP(kek, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 16 || len(wrapped)%8 != 0 {
		return nil, errUnwrap
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, errUnwrap
	}
	buf := bytes.Clone(wrapped)
	if len(buf) == 16 {
		block.Decrypt(buf, buf)
	} else {
		unwrapRounds(block.Decrypt, buf)
	}
	size := int(binary.BigEndian.Uint32(buf[4:8]))
	padded := buf[8:]
	good := subtle.ConstantTimeCompare(buf[:4], kwpIV)
	if good != 1 || size > len(padded) || size <= len(padded)-8 {
		return nil, errUnwrap
	}
	for _, b := range padded[size:] {
		if b != 0 {
			return nil, errUnwrap
		}
	}
	return padded[:size], nil
}

// unwrapRounds is the W^-1 of RFC 3394, in place: register A in buf[:8], the semiblocks behind it.
func unwrapRounds(decrypt func(dst, src []byte), buf []byte) {
	n := uint64(len(buf)/8 - 1)
	var b [16]byte
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			t := n*uint64(j) + i
			binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(buf[:8])^t)
			copy(b[8:], buf[8*i:8*i+8])
			decrypt(b[:], b[:])
			copy(buf[:8], b[:8])
			copy(buf[8*i:], b[8:])
		}
	}
}
