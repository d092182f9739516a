package sse

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
)

// Labels keep the uses of a key apart.
const (
	labelPart           = "waxseal/v1/part"
	labelOuter          = "waxseal/v1/outer"
	labelCommit         = "waxseal/v1/commit"
	labelWrap           = "waxseal/v1/wrap"
	labelWrapOuter      = "waxseal/v1/wrap/outer"
	labelEnvelopeFacts  = "waxseal/v1/envelope/facts"
	labelEnvelopePublic = "waxseal/v1/envelope/public"
	labelTable          = "waxseal/v1/manifest/table"
	labelFacts          = "waxseal/v1/manifest/facts"
	labelPublic         = "waxseal/v1/manifest/public"
	labelVerifier       = "waxseal/v1/ssec/verifier"
)

const (
	keySize  = 32
	saltSize = 32
)

// Key is a 256-bit secret that does not print. An exception remains: fmt calls no methods on unexported fields, so a
// struct with a Key (or a pointer to a Key) in an unexported field must not be printed, or must have a Format of its
// own, or keep a closure.
type Key struct{ b [keySize]byte }

// NewKey returns a random key.
func NewKey() Key {
	var k Key
	rand.Read(k.b[:])
	return k
}

// KeyFrom copies a key of exactly 32 bytes.
func KeyFrom(b []byte) (Key, error) {
	var k Key
	if len(b) != keySize {
		return k, fmt.Errorf("sse: a key has %d bytes, not %d", keySize, len(b))
	}
	copy(k.b[:], b)
	return k, nil
}

// Zero wipes the key. Ciphers made from it keep their own schedule.
func (k *Key) Zero() { clear(k.b[:]) }

// IsZero reports whether the key was wiped, or never made.
func (k Key) IsZero() bool {
	var zero Key
	return subtle.ConstantTimeCompare(k.b[:], zero.b[:]) == 1
}

// Derive returns HKDF-SHA256(k, salt, label).
func (k Key) Derive(salt []byte, label string) Key {
	return derive(k.b[:], salt, label)
}

// Commitment returns a public value that fixes the key: AES-GCM alone lets a forger make a ciphertext that opens
// under two keys.
func (k Key) Commitment() [32]byte {
	return derive(k.b[:], nil, labelCommit).b
}

const redacted = "sse.Key(redacted)"

// Format implements fmt.Formatter for every verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText serves encoding/json and log/slog.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Keys are an object's data keys: one layer, or two.
type Keys struct {
	Data   Key
	Outer  Key
	Double bool
}

// NewKeys returns random data keys.
func NewKeys(double bool) Keys {
	k := Keys{Data: NewKey(), Double: double}
	if double {
		k.Outer = NewKey()
	}
	return k
}

// Layers is how many times a part is sealed.
func (k Keys) Layers() int {
	if k.Double {
		return 2
	}
	return 1
}

// Zero wipes both keys.
func (k *Keys) Zero() {
	k.Data.Zero()
	k.Outer.Zero()
}

// Commitment fixes all of the object's keys; with a single layer it is Data's.
func (k Keys) Commitment() [32]byte { return k.derive(nil, labelCommit).b }

// derive makes the keys of boxes; with two layers it needs both keys.
func (k Keys) derive(salt []byte, label string) Key {
	if !k.Double {
		return k.Data.Derive(salt, label)
	}
	var both [2 * keySize]byte
	copy(both[:], k.Data.b[:])
	copy(both[keySize:], k.Outer.b[:])
	defer clear(both[:])
	return derive(both[:], salt, label)
}

// usable returns ErrNoKey for a key wiped while in use: nothing is sealed under a zero key.
func (k Keys) usable() error {
	if k.Data.IsZero() || k.Double && k.Outer.IsZero() {
		return ErrNoKey
	}
	return nil
}

func derive(secret, salt []byte, label string) Key {
	var k Key
	if len(secret) > hkdfRoom || len(label) >= hkdfRoom || len(salt) > sha256.BlockSize {
		b, err := hkdf.Key(sha256.New, secret, salt, label, keySize)
		if err != nil {
			panic("sse: internal error: HKDF of 32 bytes: " + err.Error())
		}
		copy(k.b[:], b)
		clear(b)
		return k
	}
	prk := hmac256(salt, secret)
	k.b = hmac256(prk[:], append(make([]byte, 0, hkdfRoom), label+"\x01"...))
	clear(prk[:])
	return k
}

// hkdfRoom is the longest message of hmac256: two keys, or a label.
const hkdfRoom = 128

// hmac256 returns the HMAC-SHA256 of a short message under a key of at most one block, on the stack. HKDF of one
// block is two HMACs; crypto/hkdf allocates some 25 times for each, and every request derives several keys.
func hmac256(key, message []byte) [sha256.Size]byte {
	var inner [sha256.BlockSize + hkdfRoom]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(inner[:], key)
	copy(outer[:], key)
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := copy(inner[sha256.BlockSize:], message)
	sum := sha256.Sum256(inner[:sha256.BlockSize+n])
	copy(outer[sha256.BlockSize:], sum[:])
	out := sha256.Sum256(outer[:])
	clear(inner[:])
	clear(outer[:])
	return out
}

func (k Key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.b[:])
	if err != nil {
		panic("sse: internal error: AES key of 32 bytes: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("sse: internal error: GCM over AES: " + err.Error())
	}
	return aead
}

// A box is one AES-256-GCM message. Its key seals nothing else, so its nonce can be zero.
var boxNonce [12]byte

func (k Key) sealBox(plain, aad []byte) []byte {
	return k.aead().Seal(nil, boxNonce[:], plain, aad)
}

func (k Key) openBox(box, aad []byte) ([]byte, error) {
	plain, err := k.aead().Open(nil, boxNonce[:], box, aad)
	if err != nil {
		return nil, ErrAuthentication
	}
	return plain, nil
}

// verifierSalt is the salt's part of verifierSize, the blob size of a customer-provided key.
const (
	verifierSalt = 16
	verifierSize = 32
)

// NewVerifier returns salt || verifier for a customer-provided key: its owner sends it again with each request.
func NewVerifier(kek Key) []byte {
	blob := make([]byte, verifierSalt, verifierSize)
	rand.Read(blob)
	return appendVerifier(blob, kek)
}

// CheckVerifier reports, in constant time, whether kek is the key of the blob.
func CheckVerifier(blob []byte, kek Key) bool {
	if len(blob) != verifierSize {
		return false
	}
	want := appendVerifier(append([]byte(nil), blob[:verifierSalt]...), kek)
	return subtle.ConstantTimeCompare(blob, want) == 1
}

func appendVerifier(salt []byte, kek Key) []byte {
	v := kek.Derive(salt, labelVerifier)
	return append(salt, v.b[:verifierSize-verifierSalt]...)
}
