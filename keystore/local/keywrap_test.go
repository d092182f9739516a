package local

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// wrapKWP is the forward direction; imports come wrapped, so only the tests need it.
func wrapKWP(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	padded := (len(key) + 7) / 8 * 8
	buf := make([]byte, 8+padded)
	copy(buf, kwpIV)
	binary.BigEndian.PutUint32(buf[4:8], uint32(len(key)))
	copy(buf[8:], key)
	if padded == 8 {
		block.Encrypt(buf, buf)
		return buf, nil
	}
	n := uint64(padded / 8)
	var b [16]byte
	for j := range uint64(6) {
		for i := uint64(1); i <= n; i++ {
			copy(b[:8], buf[:8])
			copy(b[8:], buf[8*i:8*i+8])
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(buf[:8], binary.BigEndian.Uint64(b[:8])^(n*j+i))
			copy(buf[8*i:], b[8:])
		}
	}
	return buf, nil
}

// The two vectors of RFC 5649, section 6.
func TestUnwrapKWPVectors(t *testing.T) {
	kek, _ := hex.DecodeString("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for _, v := range []struct{ key, wrapped string }{
		{"c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		want, _ := hex.DecodeString(v.key)
		wrapped, _ := hex.DecodeString(v.wrapped)
		got, err := unwrapKWP(kek, wrapped)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("unwrapKWP(%s) = %x, %v, want %s", v.wrapped, got, err, v.key)
		}
		again, err := wrapKWP(kek, want)
		if err != nil || !bytes.Equal(again, wrapped) {
			t.Errorf("wrapKWP(%s) = %x, %v, want %s", v.key, again, err, v.wrapped)
		}
	}
}

func TestUnwrapKWPRefusesEveryFlippedByte(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	for _, size := range []int{1, 7, 8, 9, 32, 48, 1200} {
		wrapped, err := wrapKWP(kek, bytes.Repeat([]byte{3}, size))
		if err != nil {
			t.Fatal(err)
		}
		for i := range wrapped {
			bad := bytes.Clone(wrapped)
			bad[i] ^= 1
			if _, err := unwrapKWP(kek, bad); err == nil {
				t.Fatalf("size %d: byte %d flipped and still unwrapped", size, i)
			}
		}
	}
	for _, n := range []int{0, 8, 15, 17, 23} {
		if _, err := unwrapKWP(kek, make([]byte, n)); err == nil {
			t.Errorf("unwrapped %d bytes", n)
		}
	}
}
