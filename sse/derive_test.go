package sse

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
)

// TestDeriveIsHKDF compares the derivation on the stack with crypto/hkdf, also for inputs too long for the stack.
func TestDeriveIsHKDF(t *testing.T) {
	for _, secret := range []int{1, 32, 64, 127, 128, 129} {
		for _, salt := range []int{0, 16, 32, 64, 65} {
			for _, label := range []int{0, 1, 23, 127, 128, 200} {
				s, n := make([]byte, secret), make([]byte, salt)
				rand.Read(s)
				rand.Read(n)
				info := strings.Repeat("l", label)
				want, err := hkdf.Key(sha256.New, s, n, info, keySize)
				if err != nil {
					t.Fatal(err)
				}
				if got := derive(s, n, info); !bytes.Equal(got.b[:], want) {
					t.Fatalf("secret of %d, salt of %d, label of %d bytes", secret, salt, label)
				}
			}
		}
	}
}
