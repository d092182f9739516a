// Package keystoretest is the contract suite of keystore.Provider, and a key service in memory for tests of a
// provider's callers.
package keystoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"waxseal/keystore"
)

// Fixture describes the provider under test to the suite. Keys are enabled when a test begins. Tests of an empty or
// nil field are skipped.
type Fixture struct {
	Key      string // id of a symmetric key
	OtherKey string // id of another
	Alias    string // "alias/...", of Key
	AliasARN string // the same as an ARN
	// Missing is the id of an absent key, well-formed for this provider.
	Missing string
	// Asymmetric is the id of a key of the wrong kind for data keys.
	Asymmetric string
	// Caller may use all keys; Denied may use none.
	Caller keystore.Caller
	Denied *keystore.Caller

	// SetEnabled enables and disables a key.
	SetEnabled func(t *testing.T, keyID string, enabled bool)
	// ScheduleDeletion brings OtherKey into the state PendingDeletion, for good.
	ScheduleDeletion func(t *testing.T, keyID string)
	// Rotate gives a key new material; earlier blobs must still open.
	Rotate func(t *testing.T, keyID string)
	// SetDown takes the key service away and brings it back.
	SetDown func(t *testing.T, down bool)
}

// suite is a provider under test.
type suite struct {
	keystore.Provider
	Fixture
	arn      string // of Key
	otherARN string
}

var tests = []struct {
	name string
	run  func(*suite, *testing.T)
}{
	{"Resolve", (*suite).testResolve},
	{"RoundTrip", (*suite).testRoundTrip},
	{"Contexts", (*suite).testContexts},
	{"WrongKey", (*suite).testWrongKey},
	{"CorruptedBlob", (*suite).testCorruptedBlob},
	{"Authorize", (*suite).testAuthorize},
	{"Missing", (*suite).testMissing},
	{"Asymmetric", (*suite).testAsymmetric},
	{"Denied", (*suite).testDenied},
	{"Disabled", (*suite).testDisabled},
	{"Rotate", (*suite).testRotate},
	{"Concurrent", (*suite).testConcurrent},
	{"CancelledContext", (*suite).testCancelled},
	{"Down", (*suite).testDown},
	{"PendingDeletion", (*suite).testPendingDeletion},
}

// Run runs the suite; open is called once for each of its tests.
func Run(t *testing.T, open func(t *testing.T) (keystore.Provider, Fixture)) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, f := open(t)
			t.Cleanup(func() {
				if err := p.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			s := &suite{Provider: p, Fixture: f}
			s.arn, s.otherARN = s.resolve(t, f.Key).ARN, s.resolve(t, f.OtherKey).ARN
			test.run(s, t)
		})
	}
}

func (s *suite) resolve(t *testing.T, keyID string) keystore.KeyInfo {
	t.Helper()
	info, err := s.Resolve(t.Context(), s.Caller, keyID)
	if err != nil {
		t.Fatalf("Resolve(%q): %v", keyID, err)
	}
	return info
}

func (s *suite) generate(t *testing.T, keyID string, ec keystore.Context) keystore.DataKey {
	t.Helper()
	dk, err := s.GenerateDataKey(t.Context(), s.Caller, keyID, ec)
	if err != nil {
		t.Fatalf("GenerateDataKey: %v", err)
	}
	return dk
}

// opens checks that a blob opens to its key.
func (s *suite) opens(t *testing.T, dk keystore.DataKey, ec keystore.Context) {
	t.Helper()
	got, err := s.Decrypt(t.Context(), s.Caller, dk.Blob, dk.KeyARN, ec)
	if err != nil {
		t.Fatalf("Decrypt: %v", err)
	}
	if !got.Plaintext.Equal(&dk.Plaintext) {
		t.Error("another key came back")
	}
	if got.KeyARN != dk.KeyARN {
		t.Errorf("got the KMS key %s, want %s", got.KeyARN, dk.KeyARN)
	}
	if got.MaterialID != dk.MaterialID {
		t.Errorf("got the material %q, want %q", got.MaterialID, dk.MaterialID)
	}
}

// refused checks an error's kind, and that no key came with it.
func refused(t *testing.T, what string, dk keystore.DataKey, err error, kinds ...keystore.Kind) {
	t.Helper()
	if !dk.Plaintext.IsZero() || dk.Blob != nil {
		t.Errorf("%s: a key came with the error", what)
	}
	for _, k := range kinds {
		if keystore.KindOf(err) == k {
			var e *keystore.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v is not a *keystore.Error", what, err)
			}
			return
		}
	}
	t.Errorf("%s: got %v, want one of %v", what, err, kinds)
}

var bucketContext = keystore.Context{"aws:s3:arn": "arn:aws:s3:::photos"}

func (s *suite) testResolve(t *testing.T) {
	if s.arn == s.otherARN {
		t.Fatal("two keys have one ARN")
	}
	for _, name := range []string{s.Key, s.arn, s.Alias, s.AliasARN} {
		if name == "" {
			continue
		}
		info := s.resolve(t, name)
		if info.ARN != s.arn {
			t.Errorf("Resolve(%q): got %s, want %s", name, info.ARN, s.arn)
		}
		if info.State != keystore.StateEnabled || !info.Symmetric {
			t.Errorf("Resolve(%q): got %+v", name, info)
		}
	}
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("Health: %v", err)
	}
}

func (s *suite) testRoundTrip(t *testing.T) {
	for _, keyID := range []string{s.Key, s.arn, s.Alias, s.AliasARN} {
		if keyID == "" {
			continue
		}
		dk := s.generate(t, keyID, bucketContext)
		if dk.KeyARN != s.arn {
			t.Errorf("got the KMS key %s, want the ARN %s", dk.KeyARN, s.arn)
		}
		if dk.Plaintext.IsZero() || len(dk.Blob) == 0 || len(dk.Blob) > 6144 {
			t.Errorf("got a blob of %d bytes", len(dk.Blob))
		}
		if bytes.Contains(dk.Blob, dk.Plaintext.Bytes()) {
			t.Error("the key is in its blob")
		}
		s.opens(t, dk, bucketContext)
		s.opens(t, dk, maps.Clone(bucketContext))
	}
	a, b := s.generate(t, s.Key, bucketContext), s.generate(t, s.Key, bucketContext)
	if a.Plaintext.Equal(&b.Plaintext) || bytes.Equal(a.Blob, b.Blob) {
		t.Error("the same data key was made twice")
	}
}

func (s *suite) testContexts(t *testing.T) {
	contexts := []keystore.Context{
		nil,
		{"a": "bc"},
		{"ab": "c"},
		{"A": "bc"},
		{"a": "bc", "d": "e"},
		{"a": "b", "c": "d"},
		{"a": "bcd"},
		{"a": "", "b": ""},
		{"aws:s3:arn": "arn:aws:s3:::photos", "Größe": "大 \x01\n\"\\"},
	}
	for i, made := range contexts {
		dk := s.generate(t, s.Key, made)
		for j, given := range contexts {
			if i == j {
				s.opens(t, dk, given)
				continue
			}
			got, err := s.Decrypt(t.Context(), s.Caller, dk.Blob, s.arn, given)
			refused(t, fmt.Sprintf("made for %v, opened for %v", made, given), got, err, keystore.InvalidCiphertext)
		}
	}
}

func (s *suite) testWrongKey(t *testing.T) {
	dk := s.generate(t, s.Key, bucketContext)
	got, err := s.Decrypt(t.Context(), s.Caller, dk.Blob, s.otherARN, bucketContext)
	refused(t, "another key", got, err, keystore.IncorrectKey, keystore.InvalidCiphertext)
}

func (s *suite) testCorruptedBlob(t *testing.T) {
	dk := s.generate(t, s.Key, bucketContext)
	corrupt := map[string][]byte{
		"empty":    {},
		"cut":      dk.Blob[:len(dk.Blob)-1],
		"half":     dk.Blob[:len(dk.Blob)/2],
		"extended": append(bytes.Clone(dk.Blob), 'A'),
		"garbage":  []byte("not a blob"),
	}
	for _, i := range []int{0, len(dk.Blob) / 2, len(dk.Blob) - 5} {
		flipped := bytes.Clone(dk.Blob)
		flipped[i] ^= 0x04
		corrupt[fmt.Sprint("bit flipped in byte ", i)] = flipped
	}
	for name, blob := range corrupt {
		got, err := s.Decrypt(t.Context(), s.Caller, blob, s.arn, bucketContext)
		// A blob with a changed key id belongs to another key.
		refused(t, name, got, err, keystore.InvalidCiphertext, keystore.IncorrectKey)
	}
}

func (s *suite) testAuthorize(t *testing.T) {
	if err := s.Authorize(t.Context(), s.Caller, keystore.GenerateDataKey, s.arn, nil, bucketContext); err != nil {
		t.Errorf("GenerateDataKey: %v", err)
	}
	dk := s.generate(t, s.Key, bucketContext)
	if err := s.Authorize(t.Context(), s.Caller, keystore.Decrypt, s.arn, dk.Blob, bucketContext); err != nil {
		t.Errorf("Decrypt: %v", err)
	}
}

func (s *suite) testMissing(t *testing.T) {
	if s.Missing == "" {
		t.Skip("the fixture names no missing key")
	}
	_, err := s.Resolve(t.Context(), s.Caller, s.Missing)
	refused(t, "Resolve", keystore.DataKey{}, err, keystore.NotFound)
	dk, err := s.GenerateDataKey(t.Context(), s.Caller, s.Missing, bucketContext)
	refused(t, "GenerateDataKey", dk, err, keystore.NotFound)
	_, err = s.Resolve(t.Context(), s.Caller, "alias/there-is-no-such-alias")
	refused(t, "Resolve an alias", keystore.DataKey{}, err, keystore.NotFound)
}

func (s *suite) testAsymmetric(t *testing.T) {
	if s.Asymmetric == "" {
		t.Skip("the fixture names no asymmetric key")
	}
	if info := s.resolve(t, s.Asymmetric); info.Symmetric {
		t.Errorf("got %+v", info)
	}
	dk, err := s.GenerateDataKey(t.Context(), s.Caller, s.Asymmetric, bucketContext)
	refused(t, "GenerateDataKey", dk, err, keystore.InvalidKeyUsage)
}

// unusable checks that neither a new data key nor the blob made before is available.
func (s *suite) unusable(t *testing.T, caller keystore.Caller, made keystore.DataKey, kinds ...keystore.Kind) {
	t.Helper()
	dk, err := s.GenerateDataKey(t.Context(), caller, made.KeyARN, bucketContext)
	refused(t, "GenerateDataKey", dk, err, kinds...)
	dk, err = s.Decrypt(t.Context(), caller, made.Blob, made.KeyARN, bucketContext)
	refused(t, "Decrypt", dk, err, kinds...)
	err = s.Authorize(t.Context(), caller, keystore.GenerateDataKey, made.KeyARN, nil, bucketContext)
	refused(t, "Authorize GenerateDataKey", keystore.DataKey{}, err, kinds...)
	err = s.Authorize(t.Context(), caller, keystore.Decrypt, made.KeyARN, made.Blob, bucketContext)
	refused(t, "Authorize Decrypt", keystore.DataKey{}, err, kinds...)
}

func (s *suite) testDenied(t *testing.T) {
	if s.Denied == nil {
		t.Skip("the fixture denies nobody")
	}
	s.unusable(t, *s.Denied, s.generate(t, s.Key, bucketContext), keystore.AccessDenied)
}

func (s *suite) testDisabled(t *testing.T) {
	if s.SetEnabled == nil {
		t.Skip("the fixture cannot disable a key")
	}
	made := s.generate(t, s.Key, bucketContext)
	s.SetEnabled(t, s.Key, false)
	if info := s.resolve(t, s.Key); info.State != keystore.StateDisabled {
		t.Errorf("got the state %s", info.State)
	}
	s.unusable(t, s.Caller, made, keystore.Disabled)
	s.generate(t, s.OtherKey, bucketContext)
	s.SetEnabled(t, s.Key, true)
	s.opens(t, made, bucketContext)
}

func (s *suite) testPendingDeletion(t *testing.T) {
	if s.ScheduleDeletion == nil {
		t.Skip("the fixture cannot schedule a deletion")
	}
	made := s.generate(t, s.OtherKey, bucketContext)
	s.ScheduleDeletion(t, s.OtherKey)
	s.unusable(t, s.Caller, made, keystore.InvalidState)
}

func (s *suite) testRotate(t *testing.T) {
	if s.Fixture.Rotate == nil {
		t.Skip("the fixture cannot rotate a key")
	}
	before := s.generate(t, s.Key, bucketContext)
	s.Fixture.Rotate(t, s.Key)
	after := s.generate(t, s.Key, bucketContext)
	if before.MaterialID == after.MaterialID && before.MaterialID != "" {
		t.Errorf("the material is still %s", before.MaterialID)
	}
	s.opens(t, before, bucketContext)
	s.opens(t, after, bucketContext)
}

func (s *suite) testConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ec := keystore.Context{"n": fmt.Sprint(i)}
			for range 5 {
				dk, err := s.GenerateDataKey(t.Context(), s.Caller, s.Key, ec)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := s.Decrypt(t.Context(), s.Caller, dk.Blob, dk.KeyARN, ec)
				if err != nil || !got.Plaintext.Equal(&dk.Plaintext) {
					t.Errorf("Decrypt: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func (s *suite) testCancelled(t *testing.T) {
	made := s.generate(t, s.Key, bucketContext)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if dk, err := s.GenerateDataKey(ctx, s.Caller, s.Key, bucketContext); !errors.Is(err, context.Canceled) || !dk.Plaintext.IsZero() {
		t.Errorf("GenerateDataKey: got %v", err)
	}
	if dk, err := s.Decrypt(ctx, s.Caller, made.Blob, s.arn, bucketContext); !errors.Is(err, context.Canceled) || !dk.Plaintext.IsZero() {
		t.Errorf("Decrypt: got %v", err)
	}
	if err := s.Authorize(ctx, s.Caller, keystore.GenerateDataKey, s.arn, nil, bucketContext); !errors.Is(err, context.Canceled) {
		t.Errorf("Authorize: got %v", err)
	}
	s.opens(t, made, bucketContext)
}

func (s *suite) testDown(t *testing.T) {
	if s.SetDown == nil {
		t.Skip("the fixture cannot take the key service away")
	}
	made := s.generate(t, s.Key, bucketContext)
	s.SetDown(t, true)
	s.unusable(t, s.Caller, made, keystore.Unavailable)
	if err := s.Health(t.Context()); !keystore.Transient(err) {
		t.Errorf("Health: got %v", err)
	}
	s.SetDown(t, false)
	s.opens(t, made, bucketContext)
}
