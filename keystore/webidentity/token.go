// Package webidentity verifies the tokens of OpenID Connect providers: JSON Web Tokens from an issuer named by an
// administrator, signed with RS256 or ES256 under a key of the issuer's own key set. Token and header choose nothing:
// issuers are compared before any network access, algorithms are fixed here, and a key is used for its own algorithm
// only. The package needs only two algorithms and four claims of the format, so it uses the standard library's
// cryptography and no JWT library.
package webidentity

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"time"

	"waxseal/keystore/strictjson"
)

// MaxToken bounds a token: AWS's own limit.
const MaxToken = 20000

// Errors of a token. Their texts are for the client.
var (
	ErrMalformed = errors.New("the token is not a JSON Web Token signed with RS256 or ES256")
	ErrIssuer    = errors.New("no OpenID Connect provider is registered for the token's issuer")
	ErrAudience  = errors.New("the token's audience is none of the provider's client ids")
	ErrExpired   = errors.New("the token has expired or is not valid yet")
	ErrSignature = errors.New("the token's signature is not one of the issuer's keys")
	ErrKeys      = errors.New("the issuer's keys could not be read")
)

// leeway is how far the issuer's clock may be ahead of this clock, for a token's "not before" and "issued at". An
// expired token has no leeway.
const leeway = 30 * time.Second

// Claims are the claims of a token in use here.
type Claims struct {
	Issuer   string
	Subject  string
	Audience []string
	Party    string // azp
}

// token is a parsed token, not yet verified.
type token struct {
	algorithm string
	keyID     string
	claims    Claims
	expires   time.Time
	notBefore time.Time
	issued    time.Time
	signed    []byte
	signature []byte
}

// parse takes a token apart, strictly: three parts of base64url without padding, two of them JSON objects without a
// repeated name.
func parse(text string) (*token, error) {
	if len(text) > MaxToken {
		return nil, ErrMalformed
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, ErrMalformed
	}
	var raw [3][]byte
	for i, part := range parts {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(decoded) == 0 {
			return nil, ErrMalformed
		}
		raw[i] = decoded
	}
	t := &token{signed: []byte(parts[0] + "." + parts[1]), signature: raw[2]}
	if err := errors.Join(t.parseHeader(raw[0]), t.parseClaims(raw[1])); err != nil {
		return nil, ErrMalformed
	}
	return t, nil
}

func (t *token) parseHeader(document []byte) error {
	members, ok := strictjson.Object(document)
	if !ok {
		return ErrMalformed
	}
	for _, m := range members {
		var err error
		switch m.Name {
		case "alg":
			err = json.Unmarshal(m.Value, &t.algorithm)
		case "kid":
			err = json.Unmarshal(m.Value, &t.keyID)
		case "crit": // an extension the reader must understand
			err = ErrMalformed
		}
		if err != nil {
			return err
		}
	}
	if t.algorithm != "RS256" && t.algorithm != "ES256" {
		return ErrMalformed
	}
	return nil
}

func (t *token) parseClaims(document []byte) error {
	members, ok := strictjson.Object(document)
	if !ok {
		return ErrMalformed
	}
	var failed error
	for _, m := range members {
		var err error
		switch m.Name {
		case "iss":
			err = json.Unmarshal(m.Value, &t.claims.Issuer)
		case "sub":
			err = json.Unmarshal(m.Value, &t.claims.Subject)
		case "azp":
			err = json.Unmarshal(m.Value, &t.claims.Party)
		case "aud":
			t.claims.Audience, err = audience(m.Value)
		case "exp":
			t.expires, err = instant(m.Value)
		case "nbf":
			t.notBefore, err = instant(m.Value)
		case "iat":
			t.issued, err = instant(m.Value)
		}
		failed = errors.Join(failed, err)
	}
	if t.claims.Issuer == "" || t.claims.Subject == "" || len(t.claims.Audience) == 0 || t.expires.IsZero() {
		return ErrMalformed
	}
	return failed
}

// maxAudiences bounds an audience.
const maxAudiences = 32

// audience reads aud: a text, or a list of them.
func audience(raw json.RawMessage) ([]string, error) {
	if bytes.HasPrefix(raw, []byte("[")) {
		var list []*string
		if err := json.Unmarshal(raw, &list); err != nil || len(list) > maxAudiences {
			return nil, ErrMalformed
		}
		var out []string
		for _, one := range list {
			if one == nil || *one == "" {
				return nil, ErrMalformed
			}
			out = append(out, *one)
		}
		return out, nil
	}
	var one string
	if err := json.Unmarshal(raw, &one); err != nil || one == "" {
		return nil, ErrMalformed
	}
	return []string{one}, nil
}

// instant reads a NumericDate between 1970 and 9999.
func instant(raw json.RawMessage) (time.Time, error) {
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err != nil || bytes.Equal(raw, []byte("null")) || seconds <= 0 || seconds > 253402300799 {
		return time.Time{}, ErrMalformed
	}
	return time.Unix(int64(seconds), 0), nil
}

// Provider is the configuration of a token's issuer.
type Provider struct {
	Issuer    string // "https://token.example.com/path"
	ClientIDs []string
}

// Verify checks a token. find returns the provider of an issuer, compared to the letter; no network is asked for another.
func (s *KeySets) Verify(ctx context.Context, text string, now time.Time, find func(issuer string) (Provider, bool)) (Claims, error) {
	t, err := parse(text)
	if err != nil {
		return Claims{}, err
	}
	p, ok := find(t.claims.Issuer)
	if !ok || p.Issuer != t.claims.Issuer {
		return Claims{}, ErrIssuer
	}
	if !t.isFor(p.ClientIDs) {
		return Claims{}, ErrAudience
	}
	if !now.Before(t.expires) || now.Add(leeway).Before(t.notBefore) || now.Add(leeway).Before(t.issued) {
		return Claims{}, ErrExpired
	}
	keys, err := s.keys(ctx, p.Issuer, t.keyID)
	if err != nil {
		return Claims{}, err
	}
	for _, k := range keys {
		if (t.keyID == "" || k.id == t.keyID) && k.verify(t) {
			return t.claims, nil
		}
	}
	return Claims{}, ErrSignature
}

// isFor reports whether a token is for a client of the provider. If a token has several audiences, all must be the
// provider's clients: another audience could pass the token on. An authorized party must be a client as well.
func (t *token) isFor(clients []string) bool {
	has := func(id string) bool {
		for _, c := range clients {
			if c == id {
				return true
			}
		}
		return false
	}
	for _, a := range t.claims.Audience {
		if !has(a) {
			return false
		}
	}
	return t.claims.Party == "" || has(t.claims.Party)
}

// verify checks a signature under a key, with the key's algorithm.
func (k *key) verify(t *token) bool {
	if k.algorithm != t.algorithm {
		return false
	}
	sum := sha256.Sum256(t.signed)
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], t.signature) == nil
	case *ecdsa.PublicKey:
		const half = 32
		if len(t.signature) != 2*half {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:half]), new(big.Int).SetBytes(t.signature[half:])
		return ecdsa.Verify(public, sum[:], r, s)
	}
	return false
}
