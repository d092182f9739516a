package webidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"waxseal/keystore/strictjson"
)

// How key sets are read.
const (
	fetchApart    = 30 * time.Second // at least, between two fetches from an issuer
	refreshAfter  = time.Hour        // a key that the issuer removed is dropped by then
	keepUnrenewed = 24 * time.Hour   // while the issuer does not answer
	fetchTime     = 5 * time.Second
	maxDocument   = 1 << 20
	maxKeys       = 64
	minRSABits    = 2048
)

// Source replaces discovery for the keys of an issuer.
type Source struct {
	JWKSFile  string // the key set itself, read instead of the network
	CAFile    string // certificate authorities of the issuer; "": the system's
	TokenFile string // a bearer token for the issuer's documents, as Kubernetes' API asks for
}

// KeySets are the key sets of issuers.
type KeySets struct {
	Sources map[string]Source // by issuer
	Now     func() time.Time  // nil: time.Now

	mu   sync.Mutex
	sets map[string]*keySet
}

// keySet caches the keys of an issuer.
type keySet struct {
	mu      sync.Mutex // held during a fetch: there is at most one at a time
	keys    []key
	read    time.Time // when keys were read
	tried   time.Time // when they were last asked for
	failure error     // of the last time
}

type key struct {
	id        string
	algorithm string
	public    crypto.PublicKey
}

func (s *KeySets) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *KeySets) set(issuer string) *keySet {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		s.sets = make(map[string]*keySet)
	}
	if s.sets[issuer] == nil {
		s.sets[issuer] = new(keySet)
	}
	return s.sets[issuer]
}

// keys returns an issuer's keys. It fetches them if they are an hour old or lack the id. It never fetches more often
// than every half minute, with any ids in tokens.
func (s *KeySets) keys(ctx context.Context, issuer, id string) ([]key, error) {
	set := s.set(issuer)
	set.mu.Lock()
	defer set.mu.Unlock()
	now := s.now()
	stale := set.read.IsZero() || now.Sub(set.read) >= refreshAfter
	if (stale || id != "" && !set.has(id)) && (set.tried.IsZero() || now.Sub(set.tried) >= fetchApart) {
		set.tried = now
		keys, err := s.read(ctx, issuer)
		set.failure = err
		if err == nil {
			set.keys, set.read = keys, now
		}
	}
	if set.read.IsZero() || now.Sub(set.read) >= keepUnrenewed {
		return nil, errors.Join(ErrKeys, set.failure)
	}
	return set.keys, nil
}

func (s *keySet) has(id string) bool {
	for _, k := range s.keys {
		if k.id == id {
			return true
		}
	}
	return false
}

// read reads an issuer's key set: from a file, or by discovery.
func (s *KeySets) read(ctx context.Context, issuer string) ([]key, error) {
	source := s.Sources[issuer]
	if source.JWKSFile != "" {
		document, err := readFile(source.JWKSFile)
		if err != nil {
			return nil, err
		}
		return parseKeys(document)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	client, err := source.client()
	if err != nil {
		return nil, err
	}
	document, err := source.get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var about struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &about); err != nil {
		return nil, fmt.Errorf("the issuer's configuration is not JSON")
	}
	if about.Issuer != issuer {
		return nil, errors.New("the issuer's configuration names another issuer")
	}
	if document, err = source.get(ctx, client, about.JWKSURI); err != nil {
		return nil, err
	}
	return parseKeys(document)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	document, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(document) > maxDocument {
		err = errors.New("the document is too large")
	}
	return document, err
}

// client returns a client that follows no redirect: the issuer's own document names the place of the keys, and a server
// at that place may not name another.
func (s Source) client() (*http.Client, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	if s.CAFile != "" {
		pem, err := readFile(s.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", s.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func (s Source) get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	if !strings.HasPrefix(url, "https://") {
		return nil, errors.New("the issuer's documents must be at https URLs")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if s.TokenFile != "" {
		bearer, err := readFile(s.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(bearer)))
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return readBounded(resp.Body)
}

// parseKeys reads a JSON Web Key Set. It skips keys for other algorithms or uses.
func parseKeys(document []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, errors.New("the issuer's keys are not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the issuer has more than %d keys", maxKeys)
	}
	var keys []key
	for _, raw := range set.Keys {
		k, ok := parseKey(raw)
		if !ok {
			continue
		}
		for _, other := range keys {
			if k.id != "" && other.id == k.id {
				return nil, errors.New("the issuer has two keys of one id")
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer has no key for RS256 or ES256")
	}
	return keys, nil
}

func parseKey(raw json.RawMessage) (key, bool) {
	members, ok := strictjson.Object(raw)
	if !ok {
		return key{}, false
	}
	fields := map[string]string{}
	for _, m := range members {
		var text string
		if json.Unmarshal(m.Value, &text) == nil {
			fields[m.Name] = text
		}
	}
	if use := fields["use"]; use != "" && use != "sig" {
		return key{}, false
	}
	k := key{id: fields["kid"]}
	switch fields["kty"] {
	case "RSA":
		k.algorithm, k.public = "RS256", rsaKey(fields["n"], fields["e"])
	case "EC":
		k.algorithm, k.public = "ES256", ecKey(fields["crv"], fields["x"], fields["y"])
	}
	if named := fields["alg"]; k.public == nil || named != "" && named != k.algorithm {
		return key{}, false
	}
	return k, true
}

// rsaKey returns nil for an untrustworthy key, such as a short key.
func rsaKey(n, e string) crypto.PublicKey {
	modulus, errN := base64.RawURLEncoding.DecodeString(n)
	exponent, errE := base64.RawURLEncoding.DecodeString(e)
	if errN != nil || errE != nil || len(exponent) == 0 || len(exponent) > 4 || len(modulus) > 1024 {
		return nil
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	if k.N.BitLen() < minRSABits || k.E < 3 || k.E%2 == 0 {
		return nil
	}
	return k
}

func ecKey(curve, x, y string) crypto.PublicKey {
	const half = 32
	rawX, errX := base64.RawURLEncoding.DecodeString(x)
	rawY, errY := base64.RawURLEncoding.DecodeString(y)
	if curve != "P-256" || errX != nil || errY != nil || len(rawX) != half || len(rawY) != half {
		return nil
	}
	point := append([]byte{4}, append(rawX, rawY...)...)
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil // not on the curve
	}
	return k
}
