package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/iam"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// memoryRoot is a keystore.Root that lives as long as a test.
type memoryRoot struct {
	kek, service keystore.Secret
	serviceID    uint32
}

func newMemoryRoot() *memoryRoot {
	return &memoryRoot{keystore.RandomSecret(), keystore.RandomSecret(), sse.CountedServiceKeys + 1}
}

// forget puts another service key in the place of the one that there was, as after a loss of the state. A counted id
// stays what it was: every deployment counted from 1.
func (r *memoryRoot) forget() {
	r.service = keystore.RandomSecret()
	if r.serviceID >= sse.CountedServiceKeys {
		r.serviceID++
	}
}

// serviceIDs are of both kinds.
var serviceIDs = []uint32{1, sse.CountedServiceKeys + 1}

func (r *memoryRoot) Current(context.Context) (*keystore.Handle, []byte, error) {
	return keystore.NewHandle(r.kek, "", []byte("root-1")), []byte("root-1"), nil
}

func (r *memoryRoot) Open(_ context.Context, id []byte) (*keystore.Handle, error) {
	if string(id) != "root-1" {
		return nil, keystore.Errorf(keystore.NotFound, "", "no root key %q", id)
	}
	return keystore.NewHandle(r.kek, "", id), nil
}

func (r *memoryRoot) ServiceKey(context.Context) (uint32, keystore.Secret, error) {
	return r.serviceID, r.service, nil
}

func (r *memoryRoot) ServiceKeyByID(id uint32) (keystore.Secret, bool) {
	return r.service, id == r.serviceID
}

// memoryKMS is a provider whose blobs are sealed under a hash of key and context; it counts its calls.
type memoryKMS struct {
	mu     sync.Mutex
	keys   map[string]keystore.Secret // data keys by blob
	calls  map[keystore.Action]int
	failed error // answers every call, when set
}

const testKeyARN = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-4333-8444-555555555555"

func newMemoryKMS() *memoryKMS {
	return &memoryKMS{keys: map[string]keystore.Secret{}, calls: map[keystore.Action]int{}}
}

func (m *memoryKMS) Resolve(_ context.Context, _ keystore.Caller, id string) (keystore.KeyInfo, error) {
	if err := m.failure(); err != nil {
		return keystore.KeyInfo{}, err
	}
	if id != testKeyARN && id != objects.ManagedKey && !strings.HasPrefix(id, "arn:aws:kms:") {
		return keystore.KeyInfo{}, keystore.Errorf(keystore.NotFound, id, "Invalid keyId '%s'", id)
	}
	arn := id
	if id == objects.ManagedKey {
		arn = testKeyARN
	}
	return keystore.KeyInfo{ARN: arn, State: keystore.StateEnabled, Symmetric: true}, nil
}

// fail makes every call fail with err, or none.
func (m *memoryKMS) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = err
}

func (m *memoryKMS) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

func (m *memoryKMS) count(a keystore.Action) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[a]++
	return m.failed
}

func (m *memoryKMS) GenerateDataKey(_ context.Context, _ keystore.Caller, id string, ec keystore.Context) (keystore.DataKey, error) {
	if err := m.count(keystore.GenerateDataKey); err != nil {
		return keystore.DataKey{}, err
	}
	k, nonce := keystore.RandomSecret(), keystore.RandomSecret()
	blob := blobOf(id, ec, nonce.Bytes())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[string(blob)] = k
	return keystore.DataKey{Plaintext: k, Blob: blob, KeyARN: id}, nil
}

func blobOf(id string, ec keystore.Context, nonce []byte) []byte {
	h := sha256.New()
	io.WriteString(h, id)
	h.Write(ec.Encode())
	h.Write(nonce)
	return append(h.Sum(nil), nonce...)
}

func (m *memoryKMS) Decrypt(_ context.Context, _ keystore.Caller, blob []byte, id string, ec keystore.Context) (keystore.DataKey, error) {
	if err := m.count(keystore.Decrypt); err != nil {
		return keystore.DataKey{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[string(blob)]
	if !ok || len(blob) != 64 || string(blobOf(id, ec, blob[32:])) != string(blob) {
		return keystore.DataKey{}, &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: id}
	}
	return keystore.DataKey{Plaintext: k, Blob: blob, KeyARN: id}, nil
}

func (m *memoryKMS) Authorize(_ context.Context, _ keystore.Caller, a keystore.Action, _ string, _ []byte, _ keystore.Context) error {
	return m.count(a)
}

func (m *memoryKMS) Version([]byte) string        { return "" }
func (m *memoryKMS) Health(context.Context) error { return m.failure() }
func (m *memoryKMS) Close() error                 { return nil }

func newSealer() state.Sealer {
	return rootkey.New(keystore.RandomSecret()).Sealer("bucket-keys")
}

const (
	testAccess = "AKIATESTTESTTESTTEST"
	testSecret = "test-secret-test-secret-test-secret-test"
)

// kit is a whole proxy in front of a store.
type kit struct {
	server   *Server
	endpoint string
	root     *memoryRoot
	kms      *memoryKMS
	state    state.Store
}

// start runs a proxy in front of the store at up until the test ends. change may change its configuration.
func start(t testing.TB, up store.Config, change func(*Config)) *kit {
	t.Helper()
	users, err := iam.NewDirectory([]iam.User{{
		Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess,
		Secret: iam.NewSecret(testSecret), Root: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{root: newMemoryRoot(), kms: newMemoryKMS(), state: state.NewMemory()}
	cfg := Config{
		Upstream: up, Users: users, Provider: k.kms, Root: k.root, State: k.state, HeldDir: t.TempDir(),
		Keys: bucketkey.New(k.kms, k.state, newSealer(), bucketkey.Config{}),
		Log:  slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&cfg)
	}
	k.server, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.endpoint = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- k.server.Serve(l, nil) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := k.server.Shutdown(ctx); err != nil {
			t.Log(err)
		}
		<-done
	})
	return k
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	if os.Getenv("WAXSEAL_TEST_LOG") != "" {
		os.Stderr.Write(p)
	}
	return len(p), nil
}

// withoutPolicies has the kit's store hold no policies, for stores that answer every request alike.
func (k *kit) withoutPolicies() *kit {
	k.server.buckets.atStore.read = func(context.Context, string) (*iam.Policy, error) { return nil, nil }
	return k
}

// asked are the operations that a store was asked for, but for waxseal's own reading of policies.
func asked(u *proxytest.Upstream) []string {
	return slices.DeleteFunc(u.Operations(), func(name string) bool { return name == "GetBucketPolicy" })
}

func hexSum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}
