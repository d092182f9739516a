package directory

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"waxseal/keystore/iam"
)

// A session token is, in base64url: a version, the id of a key of the ring, a salt, a commitment and a ciphertext of
// the claims under AES-256-GCM. The cipher's key and the commitment are derived from the ring's key and the token's own
// salt. So a token opens under one key only, and no key seals twice. The associated data names the account and the
// deployment.
const (
	tokenVersion  = 1
	tokenKeyBytes = 4
	tokenSalt     = 16
	tokenHead     = 1 + tokenKeyBytes + tokenSalt + sha256.Size
	tokenLabel    = "waxseal session token v1"

	// MaxToken bounds a token: with it in a header or a presigned URL a request fits through proxies.
	MaxToken = 4 << 10

	// MaxSession is IAM's longest session. A key of the ring is kept this long after its replacement.
	MaxSession = 12 * time.Hour

	ringPeriod = 30 * 24 * time.Hour
	// ringSettles is how old a key of the ring is before it seals: every process over the state has it by then.
	ringSettles = time.Minute
	ringSlack   = time.Hour
)

// tokenKey is a key of the ring for sealing session tokens.
type tokenKey struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// Claims are the contents of a session token.
type Claims struct {
	AccessKey string   `json:"k"`
	Secret    string   `json:"s"`
	RoleID    string   `json:"r"`
	Name      string   `json:"n"` // RoleSessionName
	Issued    int64    `json:"i"`
	Expires   int64    `json:"e"`
	Chained   bool     `json:"c,omitempty"` // assumed by a session
	Policy    string   `json:"p,omitempty"` // the inline session policy
	Policies  []string `json:"a,omitempty"` // ARNs of managed session policies
	Issuer    string   `json:"w,omitempty"` // of a web identity
	Audience  string   `json:"u,omitempty"`
	Subject   string   `json:"b,omitempty"`
}

// String shows no secret.
func (c Claims) String() string { return c.AccessKey }

// GoString shows no secret.
func (c Claims) GoString() string { return c.AccessKey }

// tokens caches the opened tokens.
type tokens struct {
	once   sync.Once
	opened *lru.Cache[[sha256.Size]byte, openedToken]

	mu       sync.Mutex
	reloaded time.Time // last read of the ring for an unknown key
}

// openedToken is a session as it was resolved by a snapshot.
type openedToken struct {
	of        *snapshot
	claims    *Claims
	requester *iam.Requester
	secret    iam.Secret
}

const maxOpenedTokens = 4096

// ErrTokenTooLarge is returned for claims too long for a token of MaxToken.
var ErrTokenTooLarge = errors.New("directory: the session policy makes the session token too large")

// NewSession makes the credentials of a session. The claims get an access key, a secret and the time of issue.
func (d *Directory) NewSession(ctx context.Context, c *Claims) (token string, err error) {
	id, key, err := d.sealingKey(ctx)
	if err != nil {
		return "", err
	}
	c.AccessKey, c.Secret = newKeyID("ASIA"), newSecret()
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var salt [tokenSalt]byte
	rand.Read(salt[:]) //nolint:errcheck // it never fails
	token, err = d.sealToken(id, key, salt[:], plain)
	if err == nil && len(token) > MaxToken {
		err = ErrTokenTooLarge
	}
	return token, err
}

func (d *Directory) sealToken(id string, key *tokenKey, salt, plain []byte) (string, error) {
	rawID, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(rawID) != tokenKeyBytes {
		return "", fmt.Errorf("directory: the id %q of a key of session tokens is malformed", id)
	}
	aead, commitment, err := tokenCipher(key, salt)
	if err != nil {
		return "", err
	}
	out := append([]byte{tokenVersion}, rawID...)
	out = append(out, salt...)
	out = append(out, commitment...)
	out = aead.Seal(out, make([]byte, aead.NonceSize()), plain, d.tokenContext())
	return base64.RawURLEncoding.EncodeToString(out), nil
}

// tokenCipher derives the cipher of a single token. Its key is used once, so its nonce is zero.
func tokenCipher(key *tokenKey, salt []byte) (cipher.AEAD, []byte, error) {
	derived, err := hkdf.Key(sha256.New, key.Secret, salt, tokenLabel, 2*sha256.Size)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(derived[:sha256.Size])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	return aead, derived[sha256.Size:], err
}

// tokenContext returns the associated data of every token of this account and deployment.
func (d *Directory) tokenContext() []byte {
	var b []byte
	for _, field := range []string{tokenLabel, d.cfg.Account, d.cfg.Deployment} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}

// openToken returns the claims of a token of this deployment.
func (d *Directory) openToken(s *snapshot, token string) (*Claims, error) {
	if len(token) > MaxToken {
		return nil, iam.ErrInvalidToken
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= tokenHead || raw[0] != tokenVersion {
		return nil, iam.ErrInvalidToken
	}
	id, salt := raw[1:1+tokenKeyBytes], raw[1+tokenKeyBytes:1+tokenKeyBytes+tokenSalt]
	key := s.ring[base64.RawURLEncoding.EncodeToString(id)]
	if key == nil {
		return nil, errUnknownRingKey
	}
	aead, commitment, err := tokenCipher(key, salt)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, raw[tokenHead-sha256.Size:tokenHead]) != 1 {
		return nil, iam.ErrInvalidToken
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), raw[tokenHead:], d.tokenContext())
	if err != nil {
		return nil, iam.ErrInvalidToken
	}
	c := new(Claims)
	if err := json.Unmarshal(plain, c); err != nil {
		return nil, iam.ErrInvalidToken
	}
	return c, nil
}

// errUnknownRingKey means that this process does not have the token's key, perhaps not yet.
var errUnknownRingKey = errors.New("directory: a session token under an unknown key")

// resolveSession resolves an access key of a session. iam.Directory calls it for every access key without a user.
func (d *Directory) resolveSession(accessKey, token string) (iam.Credential, error) {
	if token == "" {
		if isSessionKey(accessKey) {
			return iam.Credential{}, iam.ErrInvalidToken
		}
		return iam.Credential{}, iam.ErrUnknownKey
	}
	s := d.now.Load()
	opened, err := d.opened(s, token)
	if errors.Is(err, errUnknownRingKey) && d.mayReload() {
		if err := d.Reload(context.Background()); err != nil {
			return iam.Credential{}, fmt.Errorf("%w: %w", iam.ErrUnavailable, err)
		}
		s = d.now.Load()
		opened, err = d.opened(s, token)
	}
	switch {
	case errors.Is(err, errUnknownRingKey):
		return iam.Credential{}, iam.ErrInvalidToken
	case err != nil:
		return iam.Credential{}, err
	case subtle.ConstantTimeCompare([]byte(opened.claims.AccessKey), []byte(accessKey)) != 1:
		return iam.Credential{}, iam.ErrInvalidToken
	case !d.cfg.Now().Before(time.Unix(opened.claims.Expires, 0)):
		return iam.Credential{}, iam.ErrExpiredToken
	}
	return iam.Credential{Secret: opened.secret, Owner: opened.requester}, nil
}

func isSessionKey(accessKey string) bool { return len(accessKey) > 4 && accessKey[:4] == "ASIA" }

// mayReload allows one read of the state a second for tokens under unknown keys. So a client with forged tokens cannot
// flood the state.
func (d *Directory) mayReload() bool {
	d.tokens.mu.Lock()
	defer d.tokens.mu.Unlock()
	now := d.cfg.Now()
	if now.Sub(d.tokens.reloaded) < time.Second {
		return false
	}
	d.tokens.reloaded = now
	return true
}

// opened opens a token, or finds its claims in the cache. After any change of the directory a session is resolved anew.
func (d *Directory) opened(s *snapshot, token string) (openedToken, error) {
	d.tokens.once.Do(func() {
		cache, err := lru.New[[sha256.Size]byte, openedToken](maxOpenedTokens)
		if err != nil {
			panic("directory: internal error: " + err.Error())
		}
		d.tokens.opened = cache
	})
	id := sha256.Sum256([]byte(token))
	was, known := d.tokens.opened.Get(id)
	if known && was.of == s {
		return was, nil
	}
	claims := was.claims
	if !known {
		var err error
		if claims, err = d.openToken(s, token); err != nil {
			return was, err
		}
	}
	requester := d.sessionOf(s, claims)
	if requester == nil {
		return was, iam.ErrInvalidToken // the role is gone
	}
	now := openedToken{s, claims, requester, iam.NewSecret(claims.Secret)}
	d.tokens.opened.Add(id, now)
	return now, nil
}

// sessionOf returns the requester of a session, nil if its role is gone. A role made anew under the old name does not
// count: its id differs.
func (d *Directory) sessionOf(s *snapshot, c *Claims) *iam.Requester {
	role := s.roleByID(c.RoleID)
	if role == nil {
		return nil
	}
	rights := iam.Rights{Policies: s.policiesOf(role.Policies)}
	if c.Policy != "" {
		rights.Session = append(rights.Session, s.parse(c.Policy))
	}
	for _, arn := range c.Policies {
		p := denyAll // a deleted session policy did limit the session
		if managed := s.PolicyByARN(arn); managed != nil {
			p = s.parse(managed.Document)
		}
		rights.Session = append(rights.Session, p)
	}
	return iam.Requester{
		Name: c.Name, ARN: SessionARN(d.cfg.Account, role.Name, c.Name), AccountID: d.cfg.Account, ID: role.ID + ":" + c.Name,
		AccessKey: c.AccessKey, Rights: rights,
		Session: &iam.Session{
			RoleARN: role.ARN(d.cfg.Account, "role"), RoleID: role.ID, RoleName: role.Name, Issued: time.Unix(c.Issued, 0).UTC(),
			Expires: time.Unix(c.Expires, 0).UTC(), Federated: c.Issuer, Audience: c.Audience, Subject: c.Subject,
		},
	}.Identify()
}

// SessionARN returns the ARN of a session of a role.
func SessionARN(account, role, session string) string {
	return "arn:aws:sts::" + account + ":assumed-role/" + role + "/" + session
}

func (m *Model) roleByID(id string) *Role {
	for _, r := range m.Roles {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// sealingKey returns the newest key of the ring known to every process. It makes the first key on demand.
func (d *Directory) sealingKey(ctx context.Context) (string, *tokenKey, error) {
	if len(d.Model().ring) == 0 {
		err := d.Change(ctx, func(m *Model) error {
			if len(m.ring) == 0 {
				m.addRingKey(d.cfg.Now())
			}
			return nil
		})
		if err != nil {
			return "", nil, err
		}
	}
	id, key := d.Model().newestRingKey(d.cfg.Now().Add(-ringSettles))
	return id, key, nil
}

func (m *Model) addRingKey(now time.Time) {
	id, secret := make([]byte, tokenKeyBytes), make([]byte, 32)
	rand.Read(id)     //nolint:errcheck // it never fails
	rand.Read(secret) //nolint:errcheck // it never fails
	m.put(tokenPrefix+base64.RawURLEncoding.EncodeToString(id), &tokenKey{secret, now.UTC()})
}

// newestRingKey returns the newest key made before a time, or the oldest if all are newer.
func (m *Model) newestRingKey(before time.Time) (id string, key *tokenKey) {
	for thisID, this := range m.ring {
		switch settled := !this.Created.After(before); {
		case key == nil,
			settled && (key.Created.After(before) || this.Created.After(key.Created)),
			!settled && key.Created.After(before) && this.Created.Before(key.Created):
			id, key = thisID, this
		}
	}
	return id, key
}

// RotateRing adds a key when the newest is a month old, and removes keys after their last token's expiry.
func (d *Directory) RotateRing(ctx context.Context) error {
	now := d.cfg.Now()
	_, newest := d.Model().newestRingKey(now)
	if newest == nil || now.Sub(newest.Created) < ringPeriod && !d.Model().hasDeadKeys(now) {
		return nil
	}
	return d.Change(ctx, func(m *Model) error {
		if _, newest := m.newestRingKey(now); newest != nil && now.Sub(newest.Created) >= ringPeriod {
			m.addRingKey(now)
		}
		for id := range m.ring {
			if m.isDead(id, now) {
				m.remove(tokenPrefix + id)
			}
		}
		return nil
	})
}

func (m *Model) hasDeadKeys(now time.Time) bool {
	for id := range m.ring {
		if m.isDead(id, now) {
			return true
		}
	}
	return false
}

// isDead reports whether all valid tokens were sealed by newer keys.
func (m *Model) isDead(id string, now time.Time) bool {
	for _, other := range m.ring {
		if other.Created.After(m.ring[id].Created) && now.Sub(other.Created) > MaxSession+ringSlack {
			return true
		}
	}
	return false
}
