package keystore

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// SecretSize is the length of every key in this package.
const SecretSize = 32

const redacted = "keystore.Secret(redacted)"

// Secret is a 256-bit key. However it is printed, logged or marshalled, the key does not show: the field is private,
// and the methods below are what fmt, slog and encoding/json call in its place. A copy is a second secret, to be
// zeroed by itself.
//
// What cannot be helped here: fmt calls no methods on what it reaches through a private field. A struct that has a key
// in a private field has a *Secret there, of which fmt shows the address.
type Secret struct{ b [SecretSize]byte }

// NewSecret copies a key of exactly SecretSize bytes; the caller zeroes the original.
func NewSecret(key []byte) (Secret, error) {
	if len(key) != SecretSize {
		return Secret{}, fmt.Errorf("keystore: key of %d bytes, %d are needed", len(key), SecretSize)
	}
	return Secret{b: [SecretSize]byte(key)}, nil
}

// RandomSecret makes a new key.
func RandomSecret() Secret {
	var s Secret
	rand.Read(s.b[:]) // never fails: the program ends when the system has no randomness
	return s
}

// Bytes is a view of the key, not a copy: it is zero after Zero.
func (s *Secret) Bytes() []byte { return s.b[:] }

// Zero erases the key.
func (s *Secret) Zero() { clear(s.b[:]) }

// IsZero says, in constant time, that there is no key here.
func (s *Secret) IsZero() bool {
	var none [SecretSize]byte
	return subtle.ConstantTimeCompare(s.b[:], none[:]) == 1
}

// Equal compares in constant time.
func (s *Secret) Equal(other *Secret) bool {
	return subtle.ConstantTimeCompare(s.b[:], other.b[:]) == 1
}

// Format is what every verb of fmt prints.
func (Secret) Format(f fmt.State, _ rune) {
	// fmt gives a Formatter no way to report a failed write; the writer's owner sees it on its own next write.
	_, _ = io.WriteString(f, redacted)
}

// LogValue is what slog prints.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText refuses: a key goes into a file or onto a wire only sealed.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("keystore: a secret cannot be marshalled")
}
