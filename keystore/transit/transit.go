// Package transit is a Transit engine of HashiCorp Vault or OpenBao as a keystore.Provider, over plain HTTP.
//
// Transit cannot bind its data keys to a context, so this package makes data keys: 32 random bytes, sealed by
//
//	POST <mount>/encrypt/<key>  {"plaintext": base64(data key), "associated_data": base64(encryption context, encoded)}
//
// The blob is Transit's ciphertext ("vault:v1:..."): with the encryption context, `bao write transit/decrypt/<key>`
// opens it. Only AEAD keys bind associated data; keys of all other types are refused by name.
//
// Key names are shown as ARNs, the form expected by S3 and KMS clients: arn:aws:kms:<region>:<account>:key/<name of
// the Transit key>.
//
// The token needs update on encrypt/<key> and decrypt/<key>, and read on keys/<key>. It must not have create on
// encrypt/<key>: with this capability an encrypt makes an absent key.
//
// The engine sees a single principal, the token's. The requester is authenticated and authorized before a call to the
// engine.
package transit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"waxseal/keystore"
)

// Config is the configuration of a Provider. Zero fields have defaults.
type Config struct {
	Address   string // URL of the server
	Namespace string // of Vault Enterprise or OpenBao; empty: none
	Mount     string // of the engine. Default "transit"
	// Token, or TokenFile: read again when the token is refused, as an agent may keep the file fresh.
	Token, TokenFile string
	// CAFile has the certificates, in PEM, of the CAs to trust for the server; empty: the system's.
	CAFile string
	// AllowPlaintext allows an http address beyond this machine. Data keys then travel in clear.
	AllowPlaintext bool
	// Region and Account are parts of the keys' ARNs. Defaults us-east-1 and 000000000000.
	Region, Account string
	// Timeout bounds a call with all its retries. Default 5 s.
	Timeout time.Duration
	// MaxAttempts is how often a call is tried when it was throttled or not answered. Default 3.
	MaxAttempts int
	// MaxConns bounds the connections. Default 64.
	MaxConns int
	// DescribeTTL is how long the kind of a key is remembered. Its use is refused by the engine itself, at once. Default
	// 1 minute.
	DescribeTTL time.Duration
	// Warn is told when the token cannot be renewed. May be nil.
	Warn func(msg string, err error)
}

// aeadTypes are the Transit key types with associated data.
var aeadTypes = map[string]bool{
	"aes128-gcm96": true, "aes256-gcm96": true, "chacha20-poly1305": true, "xchacha20-poly1305": true,
}

// keyName matches Transit's key names, and nothing that could become another path.
var keyName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// Provider is a keystore.Provider.
type Provider struct {
	cfg    Config
	client *client
	tokens *tokens

	mu   sync.Mutex
	keys map[string]described
}

type described struct {
	key  key
	when time.Time
}

// key is the used part of the response to GET keys/<name>.
type key struct {
	Type        string `json:"type"`
	Derived     bool   `json:"derived"`
	SoftDeleted bool   `json:"soft_deleted"`
	Encrypts    bool   `json:"supports_encryption"`
	Imported    bool   `json:"imported_key"`
	Latest      int    `json:"latest_version"`
}

var (
	_ keystore.Provider    = (*Provider)(nil)
	_ keystore.KeyVersions = (*Provider)(nil)
)

// New returns a provider without waiting for the engine: the service can start while the engine is away.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	t, err := newTokens(cfg, c)
	if err != nil {
		return nil, err
	}
	c.token = t.current
	p := &Provider{cfg: cfg, client: c, tokens: t, keys: make(map[string]described)}
	t.start()
	return p, nil
}

func (c Config) withDefaults() Config {
	def := func(s *string, or string) {
		if *s == "" {
			*s = or
		}
	}
	def(&c.Mount, "transit")
	def(&c.Region, "us-east-1")
	def(&c.Account, "000000000000")
	c.Mount = strings.Trim(c.Mount, "/")
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.MaxAttempts <= 0 {
		c.MaxAttempts = 3
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 64
	}
	if c.DescribeTTL <= 0 {
		c.DescribeTTL = time.Minute
	}
	if c.Warn == nil {
		c.Warn = func(string, error) {}
	}
	return c
}

// Resolve implements keystore.Provider. An alias is another way to name the key: Transit has none of its own.
func (p *Provider) Resolve(ctx context.Context, _ keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	name, err := p.name(keyID)
	if err != nil {
		return keystore.KeyInfo{}, err
	}
	k, err := p.describe(ctx, name, 0)
	if err != nil {
		return keystore.KeyInfo{}, err
	}
	info := keystore.KeyInfo{
		ARN: p.arn(name), AccountID: p.cfg.Account, State: keystore.StateEnabled,
		Symmetric: k.unfit() == "", Usage: "ENCRYPT_DECRYPT", Spec: k.Type, Manager: "CUSTOMER", Origin: "EXTERNAL_KEY_STORE",
	}
	if k.SoftDeleted {
		info.State = keystore.StateDisabled
	}
	if info.Symmetric {
		info.Spec = "SYMMETRIC_DEFAULT"
	}
	if !k.Encrypts {
		info.Usage = "SIGN_VERIFY"
	}
	return info, nil
}

// GenerateDataKey implements keystore.Provider.
func (p *Provider) GenerateDataKey(ctx context.Context, _ keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	name, err := p.name(keyID)
	if err != nil {
		return keystore.DataKey{}, err
	}
	// The key is looked up first: the engine's encrypt would make an absent key.
	if err := p.usable(ctx, name, p.cfg.DescribeTTL); err != nil {
		return keystore.DataKey{}, err
	}
	secret := keystore.RandomSecret()
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	err = p.client.call(ctx, "POST", p.path("encrypt", name), map[string]string{
		"plaintext":       base64.StdEncoding.EncodeToString(secret.Bytes()),
		"associated_data": associatedData(ec),
	}, &out)
	if err == nil && !strings.HasPrefix(out.Ciphertext, "vault:v") {
		err = &keystore.Error{Kind: keystore.Internal, KeyARN: p.arn(name), Err: errors.New("transit: encrypt returned no ciphertext")}
	}
	if err != nil {
		secret.Zero()
		return keystore.DataKey{}, p.explain(ctx, name, err, keystore.Internal)
	}
	blob := []byte(out.Ciphertext)
	return keystore.DataKey{Plaintext: secret, Blob: blob, KeyARN: p.arn(name), MaterialID: version(blob)}, nil
}

// Decrypt implements keystore.Provider.
func (p *Provider) Decrypt(ctx context.Context, _ keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	name, err := p.name(keyARN)
	if err != nil {
		return keystore.DataKey{}, err
	}
	invalid := &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: p.arn(name)}
	if !wellFormed(blob) {
		return keystore.DataKey{}, invalid
	}
	if err := p.usable(ctx, name, p.cfg.DescribeTTL); err != nil {
		return keystore.DataKey{}, err
	}
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err = p.client.call(ctx, "POST", p.path("decrypt", name), map[string]string{
		"ciphertext": string(blob), "associated_data": associatedData(ec),
	}, &out)
	if err != nil {
		return keystore.DataKey{}, p.explain(ctx, name, err, keystore.InvalidCiphertext)
	}
	defer clear(out.Plaintext)
	secret, err := keystore.NewSecret(out.Plaintext)
	if err != nil {
		invalid.Err = err
		return keystore.DataKey{}, invalid
	}
	return keystore.DataKey{Plaintext: secret, Blob: blob, KeyARN: p.arn(name), MaterialID: version(blob)}, nil
}

// Version implements keystore.Provider: min_decryption_version ends the use of older versions.
func (p *Provider) Version(blob []byte) string { return version(blob) }

// versionTTL is how long the newest version of a key is remembered. A rotation asks to be seen at once.
const versionTTL = time.Second

// KeyVersion implements keystore.KeyVersions.
func (p *Provider) KeyVersion(ctx context.Context, keyARN string, blob []byte) (of, newest string, err error) {
	name, err := p.name(keyARN)
	if err != nil {
		return "", "", err
	}
	if !wellFormed(blob) {
		return "", "", &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: p.arn(name)}
	}
	k, err := p.describe(ctx, name, versionTTL)
	if err != nil || k.Latest == 0 {
		return "", "", err
	}
	return version(blob), fmt.Sprintf("v%d", k.Latest), nil
}

// Authorize implements keystore.Provider with the call itself, and discards the result.
func (p *Provider) Authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, keyARN string, blob []byte, ec keystore.Context) error {
	var dk keystore.DataKey
	var err error
	if action == keystore.Decrypt {
		dk, err = p.Decrypt(ctx, caller, blob, keyARN, ec)
	} else {
		dk, err = p.GenerateDataKey(ctx, caller, keyARN, ec)
	}
	dk.Plaintext.Zero()
	return err
}

// Health implements keystore.Provider: the server is unsealed, and is active or a standby that forwards requests.
func (p *Provider) Health(ctx context.Context) error { return p.client.health(ctx) }

// Close implements keystore.Provider.
func (p *Provider) Close() error {
	p.tokens.stop()
	p.client.http.CloseIdleConnections()
	return nil
}

// usable refuses a key of an unfit type, a disabled key, and an absent key, from a description at most ttl old.
func (p *Provider) usable(ctx context.Context, name string, ttl time.Duration) error {
	k, err := p.describe(ctx, name, ttl)
	if err != nil {
		return err
	}
	arn := p.arn(name)
	switch why := k.unfit(); {
	case k.SoftDeleted:
		return keystore.Errorf(keystore.Disabled, arn, "%s is disabled.", arn)
	case why != "":
		return keystore.Errorf(keystore.InvalidKeyUsage, arn, "%s %s.", arn, why)
	}
	return nil
}

// unfit returns why a key cannot seal data keys, or "" if it can.
func (k key) unfit() string {
	switch {
	case !aeadTypes[k.Type]:
		return "has the Transit type " + k.Type + ", which binds no encryption context: use aes256-gcm96, chacha20-poly1305 or xchacha20-poly1305"
	case k.Derived:
		return "is a derived Transit key: use one without derivation"
	}
	return ""
}

// describe looks a key up, unless a description younger than ttl is cached.
func (p *Provider) describe(ctx context.Context, name string, ttl time.Duration) (key, error) {
	p.mu.Lock()
	d, ok := p.keys[name]
	p.mu.Unlock()
	if ok && time.Since(d.when) < ttl {
		return d.key, ctx.Err()
	}
	d = described{when: time.Now()}
	err := p.client.call(ctx, "GET", p.path("keys", name), nil, &d.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keys, name)
	var h *httpError
	switch {
	case errors.As(err, &h) && h.status == 404:
		return key{}, keystore.Errorf(keystore.NotFound, "", "Key '%s' does not exist", p.arn(name))
	case err != nil:
		return key{}, h.orElse(err, p.arn(name), keystore.Internal)
	}
	if !d.key.SoftDeleted { // a soft delete may be undone at any moment
		p.keys[name] = d // any name can be asked for, but only existing keys are kept
	}
	return d.key, nil
}

// explain looks the key up again after a refusal, because the engine has one status for a bad ciphertext, an absent
// key and a disabled key. other is the error's kind when the key is usable.
func (p *Provider) explain(ctx context.Context, name string, err error, other keystore.Kind) error {
	var h *httpError
	if !errors.As(err, &h) || h.status == 403 || h.status == 429 || h.status == 503 || ctx.Err() != nil {
		return h.orElse(err, p.arn(name), other)
	}
	if why := p.usable(ctx, name, 0); why != nil {
		return why
	}
	if other == keystore.InvalidCiphertext && h.tooOld() {
		return &keystore.Error{
			Kind: keystore.InvalidState, KeyARN: p.arn(name), Err: err,
			Message: "The key's version is older than its min_decryption_version.",
		}
	}
	return h.orElse(err, p.arn(name), other)
}

// name returns the name of the Transit key for a key id, ARN, alias or alias ARN.
func (p *Provider) name(keyID string) (string, error) {
	name := keyID
	if strings.HasPrefix(keyID, "arn:") {
		rest, ok := strings.CutPrefix(keyID, fmt.Sprintf("arn:aws:kms:%s:%s:", p.cfg.Region, p.cfg.Account))
		if !ok {
			return "", keystore.Errorf(keystore.NotFound, "", "Invalid arn %s", keyID)
		}
		name = strings.TrimPrefix(rest, "key/")
	}
	name = strings.TrimPrefix(name, "alias/")
	if !keyName.MatchString(name) {
		return "", keystore.Errorf(keystore.NotFound, "", "Invalid keyId '%s'", keyID)
	}
	return name, nil
}

func (p *Provider) arn(name string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", p.cfg.Region, p.cfg.Account, name)
}

func (p *Provider) path(op, name string) string { return p.cfg.Mount + "/" + op + "/" + name }

// associatedData returns the encoded context. It is never empty, even for an empty context, so that the engine always
// binds it.
func associatedData(ec keystore.Context) string {
	return base64.StdEncoding.EncodeToString(ec.Encode())
}

// wellFormed reports whether blob has the form of a Transit ciphertext; any other blob is refused without a call.
func wellFormed(blob []byte) bool {
	prefix, box, ok := strings.Cut(strings.TrimPrefix(string(blob), "vault:v"), ":")
	if !ok || prefix == "" || strings.Trim(prefix, "0123456789") != "" || !strings.HasPrefix(string(blob), "vault:v") {
		return false
	}
	_, err := base64.StdEncoding.Strict().DecodeString(box)
	return err == nil && box != ""
}

// version returns the key version of a well-formed blob.
func version(blob []byte) string {
	v, _, _ := strings.Cut(strings.TrimPrefix(string(blob), "vault:"), ":")
	return v
}
