package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
)

const mib = 1 << 20

// contents returns the body that belongs to an id: the id, a line feed, and bytes that follow from the id. So a body that
// was read tells whose it is and whether every byte of it is right.
func contents(id string, size int) []byte {
	seed := sha256.Sum256([]byte(id))
	body := make([]byte, max(size, len(id)+1))
	rand.NewChaCha8(seed).Read(body)
	copy(body, id+"\n")
	return body
}

// sizeOf is the size that belongs to an id: mostly small, sometimes above a part of an upload.
func sizeOf(id string) int {
	sum := sha256.Sum256([]byte("size of " + id))
	switch n := int(sum[0]); {
	case n < 180:
		return n * 13
	case n < 250:
		return n * 700
	default:
		return 5*mib + 1000 + n
	}
}

// identify returns the id of a body, or an error when one of its bytes is wrong.
func identify(body []byte) (string, error) {
	id, _, ok := bytes.Cut(body[:min(len(body), 200)], []byte("\n"))
	if !ok {
		return "", fmt.Errorf("a body of %d bytes begins with no id", len(body))
	}
	if want := contents(string(id), sizeOf(string(id))); !bytes.Equal(body, want) {
		return "", fmt.Errorf("body of %s: %d bytes, want %d, first wrong byte at %d", id, len(body), len(want), differAt(body, want))
	}
	return string(id), nil
}

func differAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
