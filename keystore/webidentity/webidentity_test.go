package webidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var now = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// issuer is an OpenID Connect provider of a test.
type issuer struct {
	*httptest.Server
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	keys    atomic.Pointer[string] // the published key set
	name    string                 // of itself in its configuration; "": its URL
	fetched atomic.Int64
	clock   time.Time
	sets    *KeySets
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{clock: now}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	i.show(i.rsaJWK("r1"), i.ecJWK("e1"))
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			name := i.name
			if name == "" {
				name = i.URL
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": name, "jwks_uri": i.URL + "/keys"})
		case "/keys":
			i.fetched.Add(1)
			keys := *i.keys.Load()
			if strings.HasPrefix(keys, "http") {
				http.Redirect(w, r, keys, http.StatusFound)
				return
			}
			_, _ = w.Write([]byte(keys))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(i.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	i.sets = &KeySets{Sources: map[string]Source{i.URL: {CAFile: ca}}, Now: func() time.Time { return i.clock }}
	return i
}

func (i *issuer) show(keys ...string) {
	set := `{"keys":[` + strings.Join(keys, ",") + `]}`
	i.keys.Store(&set)
}

func (i *issuer) rsaJWK(id string) string {
	return `{"kty":"RSA","use":"sig","alg":"RS256","kid":"` + id + `","n":"` + b64(i.rsa.N.Bytes()) + `","e":"AQAB"}`
}

func (i *issuer) ecJWK(id string) string {
	x, y := make([]byte, 32), make([]byte, 32)
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	copy(x, point[1:33])
	copy(y, point[33:])
	return `{"kty":"EC","crv":"P-256","kid":"` + id + `","x":"` + b64(x) + `","y":"` + b64(y) + `"}`
}

// sign makes a token of a header and claims, signed as alg says.
func (i *issuer) sign(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := b64(h) + "." + b64(c)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch header["alg"] {
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, i.rsa, crypto.SHA256, sum[:])
	case "ES256":
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, i.ec, sum[:])
		if err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "HS256":
		mac := hmac.New(sha256.New, i.rsa.N.Bytes()) // the public key as a shared secret
		mac.Write([]byte(text))
		signature = mac.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

func (i *issuer) claims() map[string]any {
	return map[string]any{"iss": i.URL, "sub": "system:serviceaccount:a:b", "aud": "sts.amazonaws.com", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix()}
}

func (i *issuer) verify(token string) (Claims, error) {
	return i.sets.Verify(context.Background(), token, i.clock, func(name string) (Provider, bool) {
		return Provider{Issuer: i.URL, ClientIDs: []string{"sts.amazonaws.com", "other"}}, name == i.URL
	})
}

// TestTokens: valid tokens of both algorithms are accepted; any token with a wrong issuer, audience, time or form is
// refused.
func TestTokens(t *testing.T) {
	i := newIssuer(t)
	rs, es := map[string]any{"alg": "RS256", "kid": "r1"}, map[string]any{"alg": "ES256", "kid": "e1"}
	for _, header := range []map[string]any{rs, es, {"alg": "RS256"}} {
		if c, err := i.verify(i.sign(t, header, i.claims())); err != nil || c.Subject != "system:serviceaccount:a:b" {
			t.Fatalf("%v: %+v, %v", header, c, err)
		}
	}
	with := func(name string, value any) map[string]any {
		c := i.claims()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	good := i.sign(t, rs, i.claims())
	parts := strings.Split(good, ".")
	other := newIssuer(t)
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"none":                       {i.sign(t, map[string]any{"alg": "none"}, i.claims()), ErrMalformed},
		"none, no signature":         {b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", ErrMalformed},
		"HS256 with the public key":  {i.sign(t, map[string]any{"alg": "HS256", "kid": "r1"}, i.claims()), ErrMalformed},
		"RS512":                      {i.sign(t, map[string]any{"alg": "RS512", "kid": "r1"}, i.claims()), ErrMalformed},
		"an ES256 key by RS256":      {i.sign(t, map[string]any{"alg": "RS256", "kid": "e1"}, i.claims()), ErrSignature},
		"an RS256 key by ES256":      {i.sign(t, map[string]any{"alg": "ES256", "kid": "r1"}, i.claims()), ErrSignature},
		"a critical extension":       {i.sign(t, map[string]any{"alg": "RS256", "kid": "r1", "crit": []string{"b64"}}, i.claims()), ErrMalformed},
		"a key of its own":           {other.sign(t, map[string]any{"alg": "RS256", "kid": "r1", "jwk": json.RawMessage(other.rsaJWK("r1"))}, i.claims()), ErrSignature},
		"another issuer's key":       {other.sign(t, rs, i.claims()), ErrSignature},
		"a key id that is not there": {i.sign(t, map[string]any{"alg": "RS256", "kid": "r9"}, i.claims()), ErrSignature},
		"another issuer":             {other.sign(t, rs, other.claims()), ErrIssuer},
		"an issuer with a slash":     {i.sign(t, rs, with("iss", i.URL+"/")), ErrIssuer},
		"an issuer in capitals":      {i.sign(t, rs, with("iss", strings.ToUpper(i.URL))), ErrIssuer},
		"no issuer":                  {i.sign(t, rs, with("iss", nil)), ErrMalformed},
		"no subject":                 {i.sign(t, rs, with("sub", nil)), ErrMalformed},
		"an empty subject":           {i.sign(t, rs, with("sub", "")), ErrMalformed},
		"another audience":           {i.sign(t, rs, with("aud", "someone")), ErrAudience},
		"no audience":                {i.sign(t, rs, with("aud", nil)), ErrMalformed},
		"an empty audience":          {i.sign(t, rs, with("aud", []string{})), ErrMalformed},
		"one audience of two":        {i.sign(t, rs, with("aud", []string{"sts.amazonaws.com", "someone"})), ErrAudience},
		"a null audience":            {i.sign(t, rs, with("aud", []any{"sts.amazonaws.com", nil})), ErrMalformed},
		"another party":              {i.sign(t, rs, with("azp", "someone")), ErrAudience},
		"expired this second":        {i.sign(t, rs, with("exp", now.Unix())), ErrExpired},
		"no expiry":                  {i.sign(t, rs, with("exp", nil)), ErrMalformed},
		"an expiry that is a text":   {i.sign(t, rs, with("exp", "never")), ErrMalformed},
		"an expiry without end":      {i.sign(t, rs, with("exp", 1e300)), ErrMalformed},
		"not yet":                    {i.sign(t, rs, with("nbf", now.Add(time.Minute).Unix())), ErrExpired},
		"issued in the future":       {i.sign(t, rs, with("iat", now.Add(time.Minute).Unix())), ErrExpired},
		"other claims":               {parts[0] + "." + b64([]byte(`{"iss":"`+i.URL+`","sub":"root","aud":"other","exp":9999999999}`)) + "." + parts[2], ErrSignature},
		"a claim twice":              {parts[0] + "." + b64([]byte(`{"iss":"`+i.URL+`","sub":"a","sub":"b","aud":"other","exp":9999999999}`)) + "." + parts[2], ErrMalformed},
		"padding":                    {parts[0] + "." + parts[1] + "." + parts[2] + "=", ErrMalformed},
		"four parts":                 {good + ".x", ErrMalformed},
		"nothing":                    {"", ErrMalformed},
		"too long":                   {good + strings.Repeat("A", MaxToken), ErrMalformed},
	} {
		i.clock = now
		if c, err := i.verify(row.token); !errors.Is(err, row.want) {
			t.Errorf("%s: %+v, %v; want %v", name, c, err, row.want)
		}
	}
	for _, claims := range []map[string]any{with("exp", now.Unix()+1), with("aud", []string{"other", "sts.amazonaws.com"}), with("azp", "other"), with("nbf", now.Unix()+10)} {
		if _, err := i.verify(i.sign(t, rs, claims)); err != nil {
			t.Errorf("%v: %v", claims, err)
		}
	}
}

// TestKeySets: within half a minute an issuer is asked once, for any number of key ids. Keys that the issuer removed
// end with the next hour. While the issuer does not answer, its last key set stays valid for a day.
func TestKeySets(t *testing.T) {
	i := newIssuer(t)
	token := func(id string) string {
		return i.sign(t, map[string]any{"alg": "RS256", "kid": id}, map[string]any{
			"iss": i.URL, "sub": "s", "aud": "other", "exp": now.Add(100 * time.Hour).Unix()})
	}
	for range 20 {
		if _, err := i.verify(token(rand.Text())); !errors.Is(err, ErrSignature) {
			t.Fatal(err)
		}
	}
	if n := i.fetched.Load(); n != 1 {
		t.Errorf("unknown key ids made %d fetches", n)
	}
	i.show(i.rsaJWK("r2"))
	i.clock = now.Add(fetchApart)
	if _, err := i.verify(token("r2")); err != nil || i.fetched.Load() != 2 {
		t.Errorf("a key that was added: %v, %d fetches", err, i.fetched.Load())
	}
	if _, err := i.verify(token("r1")); !errors.Is(err, ErrSignature) {
		t.Errorf("a key that was removed: %v", err)
	}
	for name, keys := range map[string]string{
		"no key set": "x", "a redirect": i.URL + "/elsewhere", "a megabyte": `{"keys":[` + strings.Repeat(" ", maxDocument) + `]}`,
		"no keys": `{"keys":[]}`, "two of one id": `{"keys":[` + i.rsaJWK("a") + `,` + i.rsaJWK("a") + `]}`,
	} {
		i.keys.Store(&keys)
		i.clock = i.clock.Add(refreshAfter)
		if _, err := i.verify(token("r2")); err != nil {
			t.Errorf("%s: the last good keys are not used: %v", name, err)
		}
	}
	i.clock = now.Add(fetchApart + keepUnrenewed + time.Hour)
	if _, err := i.verify(token("r2")); !errors.Is(err, ErrKeys) {
		t.Errorf("after a day: %v", err)
	}
	i.name = "https://someone.example"
	i.show(i.rsaJWK("r2"))
	i.clock = i.clock.Add(refreshAfter)
	if _, err := i.verify(token("r2")); !errors.Is(err, ErrKeys) {
		t.Errorf("a configuration of another issuer: %v", err)
	}
}

// TestKeyFile: keys may come from a file, and then no network is asked.
func TestKeyFile(t *testing.T) {
	i := newIssuer(t)
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(*i.keys.Load()), 0o600); err != nil {
		t.Fatal(err)
	}
	i.sets.Sources[i.URL] = Source{JWKSFile: file}
	if _, err := i.verify(i.sign(t, map[string]any{"alg": "ES256", "kid": "e1"}, i.claims())); err != nil || i.fetched.Load() != 0 {
		t.Errorf("%v, %d fetches", err, i.fetched.Load())
	}
}

// TestWeakKeys: untrustworthy keys are skipped.
func TestWeakKeys(t *testing.T) {
	i := newIssuer(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it is refused
	if err != nil {
		t.Skip(err)
	}
	for _, jwk := range []string{
		`{"kty":"RSA","kid":"w","n":"` + b64(small.N.Bytes()) + `","e":"AQAB"}`,
		strings.Replace(i.rsaJWK("w"), "AQAB", "AQ", 1), strings.Replace(i.rsaJWK("w"), `"sig"`, `"enc"`, 1),
		strings.Replace(i.rsaJWK("w"), "RS256", "HS256", 1), strings.Replace(i.ecJWK("w"), `"x":"`, `"x":"AAAA`, 1),
		strings.Replace(i.ecJWK("w"), "P-256", "P-384", 1), `{"kty":"oct","kid":"w","k":"c2VjcmV0"}`,
	} {
		if keys, err := parseKeys([]byte(`{"keys":[` + jwk + `]}`)); err == nil {
			t.Errorf("%s: %+v", jwk, keys)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(`eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIiwic3ViIjoiYiIsImF1ZCI6ImMiLCJleHAiOjF9.AA`)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := parse(text)
		if err == nil && (tok.algorithm != "RS256" && tok.algorithm != "ES256" || tok.claims.Issuer == "" || tok.claims.Subject == "" || tok.expires.IsZero()) {
			t.Errorf("%q: %+v", text, tok)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := parseKeys(document)
		if err == nil && (len(keys) == 0 || keys[0].public == nil) {
			t.Errorf("%q: %+v", document, keys)
		}
	})
}
