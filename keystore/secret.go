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
// and fmt, slog and encoding/json call the methods below in its place. A copy is a second secret, to be
// zeroed by itself.
//
// A limit: fmt calls no methods on values behind a private field. A struct with a key in a private field has a *Secret
// there, and fmt shows its address.
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

// Bytes returns a view of the key, not a copy: it is zero after Zero.
func (s *Secret) Bytes() []byte { return s.b[:] }

// Zero erases the key.
func (s *Secret) Zero() { clear(s.b[:]) }

// IsZero reports, in constant time, whether there is no key here.
func (s *Secret) IsZero() bool {
	var none [SecretSize]byte
	return subtle.ConstantTimeCompare(s.b[:], none[:]) == 1
}

// Equal compares in constant time.
func (s *Secret) Equal(other *Secret) bool {
	return subtle.ConstantTimeCompare(s.b[:], other.b[:]) == 1
}

// Format implements fmt.Formatter: no verb prints the secret.
func (Secret) Format(f fmt.State, _ rune) {
	// fmt gives a Formatter no way to report a failed write; the writer's owner sees it on its own next write.
	_, _ = io.WriteString(f, redacted)
}

// LogValue implements slog.LogValuer: the log never has the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText refuses: a key goes into a file or onto a wire only sealed.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("keystore: a secret cannot be marshalled")
}
