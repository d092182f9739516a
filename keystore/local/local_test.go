package local

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

const (
	testAccount  = "111122223333"
	otherAccount = "444455556666"
	testRegion   = "us-east-1"
)

// rig is a key service for a test, with a clock to turn.
type rig struct {
	*Service
	t     *testing.T
	store state.Store
	audit *audit.Memory
	root  *rootkey.Secret

	mu  sync.Mutex
	now time.Time
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// turn turns the clock, and nothing looks at it yet.
func (r *rig) turn(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
}

func (r *rig) advance(d time.Duration) {
	r.turn(d)
	if err := r.Sweep(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{
		t: t, store: state.NewMemory(), audit: new(audit.Memory), root: rootkey.New(keystore.RandomSecret()),
		now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	}
	r.open(change...)
	t.Cleanup(func() { r.Close() })
	return r
}

// everybody knows each principal, as a user of its account without a policy.
type everybody struct{}

func (everybody) ByARN(arn string) (*iam.User, bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return nil, false
	}
	return &iam.User{Name: path.Base(parts[5]), ARN: arn, AccountID: parts[4], Root: parts[5] == "root", Everything: true}, true
}

func (everybody) PrincipalID(arn string) (string, bool) {
	u, ok := everybody{}.ByARN(arn)
	if !ok {
		return "", false
	}
	return u.ID(), true
}

func (everybody) HasID(string) bool { return false }

// andEverybody is a directory beside everybody.
type andEverybody struct{ *iam.Directory }

func (d andEverybody) PrincipalID(arn string) (string, bool) {
	if id, ok := d.Directory.PrincipalID(arn); ok {
		return id, true
	}
	return everybody{}.PrincipalID(arn)
}

func (r *rig) open(change ...func(*Config)) {
	r.t.Helper()
	cfg := Config{
		State: r.store, Secrets: r.root, Audit: r.audit, Region: testRegion, AccountID: testAccount, Now: r.clock,
		Log: slog.New(slog.DiscardHandler), Identities: everybody{},
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Service = s
}

// people are the requesters of the tests by ARN. Each may do everything, until a test gives it policies: see directory.
var people = map[string]*iam.Requester{}

// who returns the caller with an ARN.
func who(arn string) keystore.Caller {
	if people[arn] == nil {
		u, _ := everybody{}.ByARN(arn)
		u.AccessKey = "AKIA" + u.Name
		people[arn] = u.Requester()
	}
	return keystore.CallerOf(people[arn])
}

func user(account, name string) keystore.Caller {
	c := who(iam.UserARN(account, name))
	c.SourceIP, c.UserAgent = "192.0.2.7", "test/1"
	return c
}

func rootOf(account string) keystore.Caller { return who(iam.RootARN(account)) }

var alice = user(testAccount, "alice")

func viaS3(c keystore.Caller) keystore.Caller {
	c.ViaService = "s3." + testRegion + ".amazonaws.com"
	return c
}

func ptr[T any](v T) *T { return &v }

// must returns the result of a call that has to succeed.
func must[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// wantCode fails unless err is the exception.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *Error
	switch {
	case code == "" && err != nil:
		t.Fatalf("failed: %v", err)
	case code != "" && (!errors.As(err, &e) || e.Code != code):
		t.Fatalf("got %v, want %s", err, code)
	}
}

var background = context.Background()

func (r *rig) newKey(in *CreateKeyRequest) KeyMetadata {
	r.t.Helper()
	if in == nil {
		in = &CreateKeyRequest{}
	}
	return must(r.CreateKey(background, alice, in))(r.t).KeyMetadata
}

func TestEncryptDecrypt(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	ec := map[string]string{"a": "1", "b": "2"}
	enc := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("hello"), EncryptionContext: ec}))(t)
	if got := len(enc.CiphertextBlob) - 5; got != blobOverhead || got >= 160 {
		t.Errorf("overhead is %d", got)
	}
	dec := must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: ec}))(t)
	if string(dec.Plaintext) != "hello" || dec.KeyId != md.Arn || dec.KeyMaterialId != md.CurrentKeyMaterialId {
		t.Errorf("got %+v", dec)
	}
	for name, wrong := range map[string]map[string]string{
		"none": nil, "less": {"a": "1"}, "more": {"a": "1", "b": "2", "c": "3"}, "other": {"a": "1", "b": "3"}, "moved": {"a": "1b", "": "2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: wrong})
			wantCode(t, err, codeInvalidCiphertext)
			if e := err.(*Error); e.Message != "" {
				t.Errorf("message %q, want none", e.Message)
			}
		})
	}
	other := r.newKey(nil)
	_, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob, EncryptionContext: ec, KeyId: other.KeyId})
	wantCode(t, err, codeIncorrectKey)
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	blob := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: make([]byte, 32)}))(t).CiphertextBlob
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 0x40
		if _, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: bad}); err == nil {
			t.Fatalf("byte %d flipped and still opened", i)
		}
	}
	for i := range blob {
		if _, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: blob[:i+1][:i]}); i > 0 && err == nil {
			t.Fatalf("cut to %d bytes and still opened", i)
		}
	}
}

func TestProvider(t *testing.T) {
	r := newRig(t)
	p := r.Provider()
	info, err := p.Resolve(background, alice, "alias/aws/s3")
	if err != nil || info.Manager != "AWS" || !info.Symmetric {
		t.Fatalf("Resolve: %+v, %v", info, err)
	}
	ec := keystore.Context{"aws:s3:arn": "arn:aws:s3:::b"}
	if _, err := p.GenerateDataKey(background, alice, info.ARN, ec); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("direct use of the managed key: %v", err)
	}
	dk, err := p.GenerateDataKey(background, viaS3(alice), info.ARN, ec)
	if err != nil {
		t.Fatal(err)
	}
	back, err := p.Decrypt(background, viaS3(user(testAccount, "bob")), dk.Blob, info.ARN, ec)
	if err != nil || !back.Plaintext.Equal(&dk.Plaintext) {
		t.Fatalf("Decrypt: %v", err)
	}
	if _, err := p.Decrypt(background, viaS3(user(otherAccount, "eve")), dk.Blob, info.ARN, ec); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("another account: %v", err)
	}
	if err := p.Authorize(background, viaS3(alice), keystore.Decrypt, info.ARN, dk.Blob, ec); err != nil {
		t.Error(err)
	}
	if _, err := p.Decrypt(background, keystore.Caller{Service: true}, dk.Blob, info.ARN, ec); err != nil {
		t.Error(err)
	}
	last := r.audit.Records()[r.audit.Count("")-2]
	if last.UserIdentity.InvokedBy != "AWS Internal" || last.SourceIPAddress != "AWS Internal" || last.EventName != "Decrypt" {
		t.Errorf("record %+v", last)
	}
}

func TestRoot(t *testing.T) {
	r := newRig(t)
	ring, err := rootkey.OpenRing(background, r.store, r.root.Sealer("servicekey"))
	if err != nil {
		t.Fatal(err)
	}
	root := r.Root(ring)
	first, id, err := root.Current(background)
	if err != nil {
		t.Fatal(err)
	}
	r.advance(366 * day)
	second, id2, err := root.Current(background)
	if err != nil || bytes.Equal(id, id2) || bytes.Equal(first.Key(), second.Key()) {
		t.Fatalf("not rotated after a year: %x %x %v", id, id2, err)
	}
	r.Close()
	r.open()
	again, err := r.Root(ring).Open(background, id)
	if err != nil || !bytes.Equal(again.Key(), first.Key()) {
		t.Fatalf("the old version does not open: %v", err)
	}
	if _, err := r.Root(ring).Open(background, []byte("nonsense")); keystore.KindOf(err) != keystore.InvalidCiphertext {
		t.Errorf("got %v", err)
	}
	keys := must(r.ListKeys(background, alice, &ListKeysRequest{}))(t)
	if len(keys.Keys) != 0 {
		t.Errorf("the root is listed: %v", keys.Keys)
	}
}
