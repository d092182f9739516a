package keystoretest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"waxseal/keystore"
)

// Account and Region are parts of the ARNs of a Fake's keys.
const (
	Account = "000000000000"
	Region  = "us-east-1"
)

// Op is a method of a Provider.
type Op string

// Ops; Authorize has an Op for each action.
const (
	OpResolve           Op = "Resolve"
	OpGenerateDataKey   Op = "GenerateDataKey"
	OpDecrypt           Op = "Decrypt"
	OpAuthorizeGenerate Op = "Authorize:GenerateDataKey"
	OpAuthorizeDecrypt  Op = "Authorize:Decrypt"
)

// Call is a call to a Fake.
type Call struct {
	Op      Op
	Caller  keystore.Caller
	Key     string // as the caller named it
	Context keystore.Context
}

// Fake is a key service in memory. It counts its calls, and fails on demand. It is safe for concurrent use.
type Fake struct {
	// Hook runs at the begin of each call; its error fails the call. It may block, as in a slow key service. Set it
	// before use.
	Hook func(ctx context.Context, c Call) error

	mu      sync.Mutex
	keys    map[string]*fakeKey // by ARN
	aliases map[string]string   // alias/name -> ARN
	denied  map[string]bool     // caller ARN + " " + action
	calls   []Call
	closed  bool

	version  string            // of new blobs
	material string            // of new blobs
	under    map[string]string // material, by blob
	versions map[string]string // by blob
	revoked  map[string]bool   // by version
}

type fakeKey struct {
	info keystore.KeyInfo
	aead cipher.AEAD
}

var _ keystore.Provider = (*Fake)(nil)

// NewFake returns a key service without keys.
func NewFake() *Fake {
	return &Fake{keys: make(map[string]*fakeKey), aliases: make(map[string]string), denied: make(map[string]bool),
		material: "1", under: make(map[string]string), versions: make(map[string]string), revoked: make(map[string]bool)}
}

// AddKey makes a symmetric key and returns its ARN.
func (f *Fake) AddKey() string { return f.add(true) }

// AddAsymmetricKey makes a key of the wrong kind for data keys.
func (f *Fake) AddAsymmetricKey() string { return f.add(false) }

func (f *Fake) add(symmetric bool) string {
	var raw [16 + 32]byte
	rand.Read(raw[:])
	h := hex.EncodeToString(raw[:16])
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s-%s-%s-%s-%s", Region, Account, h[:8], h[8:12], h[12:16], h[16:20], h[20:])
	block, err := aes.NewCipher(raw[16:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	info := keystore.KeyInfo{
		ARN: arn, AccountID: Account, State: keystore.StateEnabled, Symmetric: symmetric,
		Usage: "ENCRYPT_DECRYPT", Spec: "SYMMETRIC_DEFAULT", Manager: "CUSTOMER", Origin: "AWS_KMS",
	}
	if !symmetric {
		info.Spec = "RSA_2048"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[arn] = &fakeKey{info: info, aead: aead}
	return arn
}

// SetState changes a key's state.
func (f *Fake) SetState(arn, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[arn].info.State = state
}

// SetAlias makes "alias/..." name a key.
func (f *Fake) SetAlias(name, arn string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aliases[name] = arn
}

// Deny refuses an action to a caller, or allows it again.
func (f *Fake) Deny(callerARN string, action keystore.Action, denied bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied[callerARN+" "+string(action)] = denied
}

// Calls returns the calls since the last Reset.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Count returns the number of calls of some ops since the last Reset; of all but Resolve when none is named.
func (f *Fake) Count(ops ...Op) int {
	n := 0
	for _, c := range f.Calls() {
		if len(ops) == 0 && c.Op != OpResolve {
			n++
		}
		for _, op := range ops {
			if c.Op == op {
				n++
			}
		}
	}
	return n
}

// Reset forgets the calls.
func (f *Fake) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

func (f *Fake) begin(ctx context.Context, c Call) error {
	f.mu.Lock()
	f.calls = append(f.calls, c)
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return keystore.Errorf(keystore.Unavailable, "", "The key service is closed.")
	}
	if f.Hook != nil {
		if err := f.Hook(ctx, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// find returns a key by any of its names.
func (f *Fake) find(keyID string) (*fakeKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	prefix := fmt.Sprintf("arn:aws:kms:%s:%s:", Region, Account)
	name := strings.TrimPrefix(keyID, prefix)
	if strings.HasPrefix(name, "alias/") {
		if k, ok := f.keys[f.aliases[name]]; ok {
			return k, nil
		}
		return nil, keystore.Errorf(keystore.NotFound, "", "Alias %s%s is not found.", prefix, name)
	}
	arn := prefix + "key/" + strings.TrimPrefix(name, "key/")
	if k, ok := f.keys[arn]; ok {
		return k, nil
	}
	return nil, keystore.Errorf(keystore.NotFound, "", "Key '%s' does not exist", arn)
}

// usable finds a key and checks its state, its kind and the caller's right, in the order of AWS KMS.
func (f *Fake) usable(caller keystore.Caller, action keystore.Action, keyID string) (*fakeKey, error) {
	k, err := f.find(keyID)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	info, denied := k.info, f.denied[caller.ARN+" "+string(action)]
	f.mu.Unlock()
	switch {
	case denied:
		return nil, keystore.Errorf(keystore.AccessDenied, info.ARN,
			"User: %s is not authorized to perform: kms:%s on resource: %s", caller.ARN, action, info.ARN)
	case info.State == keystore.StateDisabled:
		return nil, keystore.Errorf(keystore.Disabled, info.ARN, "%s is disabled.", info.ARN)
	case info.State != keystore.StateEnabled:
		return nil, keystore.Errorf(keystore.InvalidState, info.ARN, "%s is %s.", info.ARN, info.State)
	case !info.Symmetric:
		return nil, keystore.Errorf(keystore.InvalidKeyUsage, info.ARN, "%s key spec is %s.", info.ARN, info.Spec)
	}
	return k, nil
}

// Resolve implements keystore.Provider.
func (f *Fake) Resolve(ctx context.Context, caller keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	if err := f.begin(ctx, Call{OpResolve, caller, keyID, nil}); err != nil {
		return keystore.KeyInfo{}, err
	}
	k, err := f.find(keyID)
	if err != nil {
		return keystore.KeyInfo{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return k.info, nil
}

// GenerateDataKey implements keystore.Provider.
func (f *Fake) GenerateDataKey(ctx context.Context, caller keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	if err := f.begin(ctx, Call{OpGenerateDataKey, caller, keyID, ec}); err != nil {
		return keystore.DataKey{}, err
	}
	k, err := f.usable(caller, keystore.GenerateDataKey, keyID)
	if err != nil {
		return keystore.DataKey{}, err
	}
	key := keystore.RandomSecret()
	// be16 length || ARN || nonce || box
	blob := binary.BigEndian.AppendUint16(nil, uint16(len(k.info.ARN)))
	blob = append(blob, k.info.ARN...)
	nonce := make([]byte, k.aead.NonceSize())
	rand.Read(nonce)
	blob = append(blob, nonce...)
	blob = k.aead.Seal(blob, nonce, key.Bytes(), ec.Encode())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.under[string(blob)] = f.material
	if f.version != "" {
		f.versions[string(blob)], f.under[string(blob)] = f.version, f.version
	}
	return keystore.DataKey{Plaintext: key, Blob: blob, KeyARN: k.info.ARN, MaterialID: f.under[string(blob)]}, nil
}

// Decrypt implements keystore.Provider.
func (f *Fake) Decrypt(ctx context.Context, caller keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	if err := f.begin(ctx, Call{OpDecrypt, caller, keyARN, ec}); err != nil {
		return keystore.DataKey{}, err
	}
	return f.decrypt(caller, blob, keyARN, ec)
}

func (f *Fake) decrypt(caller keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	k, err := f.usable(caller, keystore.Decrypt, keyARN)
	if err != nil {
		return keystore.DataKey{}, err
	}
	invalid := &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: keyARN}
	if len(blob) < 2 {
		return keystore.DataKey{}, invalid
	}
	n := int(binary.BigEndian.Uint16(blob))
	if len(blob) < 2+n+k.aead.NonceSize() {
		return keystore.DataKey{}, invalid
	}
	if string(blob[2:2+n]) != k.info.ARN {
		return keystore.DataKey{}, keystore.Errorf(keystore.IncorrectKey, keyARN,
			"The key ID in the request does not identify a CMK that can perform this operation.")
	}
	f.mu.Lock()
	revoked, material := f.revoked[f.versions[string(blob)]], f.under[string(blob)]
	f.mu.Unlock()
	if revoked {
		return keystore.DataKey{}, keystore.Errorf(keystore.InvalidState, keyARN, "The key's version is older than its min_decryption_version.")
	}
	box := blob[2+n:]
	plain, err := k.aead.Open(nil, box[:k.aead.NonceSize()], box[k.aead.NonceSize():], ec.Encode())
	if err != nil {
		return keystore.DataKey{}, invalid
	}
	key, err := keystore.NewSecret(plain)
	if err != nil {
		return keystore.DataKey{}, invalid
	}
	return keystore.DataKey{Plaintext: key, Blob: blob, KeyARN: k.info.ARN, MaterialID: material}, nil
}

// Version implements keystore.Provider.
func (f *Fake) Version(blob []byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.versions[string(blob)]
}

// SetMaterial sets the material of blobs from now on, as a rotation does. An empty one is not told.
func (f *Fake) SetMaterial(material string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.material = material
}

// SetVersion sets the key version, and so the material, of blobs from now on. RevokeVersion ends it.
func (f *Fake) SetVersion(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version = version
}

// RevokeVersion makes Decrypt refuse blobs under a version.
func (f *Fake) RevokeVersion(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked[version] = true
}

// Authorize implements keystore.Provider.
func (f *Fake) Authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, keyARN string, blob []byte, ec keystore.Context) error {
	if err := f.begin(ctx, Call{Op("Authorize:" + string(action)), caller, keyARN, ec}); err != nil {
		return err
	}
	if action == keystore.Decrypt {
		_, err := f.decrypt(caller, blob, keyARN, ec)
		return err
	}
	_, err := f.usable(caller, action, keyARN)
	return err
}

// Health implements keystore.Provider.
func (f *Fake) Health(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return keystore.Errorf(keystore.Unavailable, "", "The key service is closed.")
	}
	return ctx.Err()
}

// Close implements keystore.Provider.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// Clock is a settable clock for tests. The zero Clock begins at the present.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.t.IsZero() {
		c.t = time.Now().Round(0)
	}
	return c.t
}

// Advance sets the clock forward, or back.
func (c *Clock) Advance(d time.Duration) {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = now.Add(d)
}
