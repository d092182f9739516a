package transit_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/transit"
)

const arnPrefix = "arn:aws:kms:us-east-1:000000000000:"

func start(t *testing.T, e *engine, change ...func(*transit.Config)) *transit.Provider {
	t.Helper()
	h := httptest.NewServer(e)
	t.Cleanup(h.Close)
	return connect(t, h.URL, change...)
}

func connect(t *testing.T, url string, change ...func(*transit.Config)) *transit.Provider {
	t.Helper()
	cfg := transit.Config{Address: url, Token: "s.first", Timeout: 2 * time.Second, MaxAttempts: 2}
	for _, c := range change {
		c(&cfg)
	}
	p, err := transit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// unclosed leaves closing to the suite.
func unclosed(t *testing.T, e *engine) keystore.Provider {
	t.Helper()
	h := httptest.NewServer(e)
	t.Cleanup(h.Close)
	p, err := transit.New(transit.Config{Address: h.URL, Token: "s.first", Timeout: 2 * time.Second, MaxAttempts: 2})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProvider(t *testing.T) {
	for _, kind := range []string{"aes256-gcm96", "chacha20-poly1305"} {
		t.Run(kind, func(t *testing.T) {
			keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
				e := newEngine()
				e.mayCreate = true
				photos := e.add("photos", kind)
				e.add("archive.2", kind)
				e.add("signing", "rsa-2048")
				return unclosed(t, e), keystoretest.Fixture{
					Key: "photos", OtherKey: "archive.2", Alias: "alias/photos", AliasARN: arnPrefix + "alias/photos",
					Missing: "nonesuch", Asymmetric: "signing",
					SetEnabled: func(_ *testing.T, _ string, enabled bool) { e.set(func() { photos.softDeleted = !enabled }) },
					Rotate:     func(*testing.T, string) { e.set(photos.rotate) },
					SetDown:    func(_ *testing.T, down bool) { e.set(func() { e.down = down }) },
				}
			})
		})
	}
}

// TestKinds: keys without associated data are refused by name, and no data key is ever sent to them.
func TestKinds(t *testing.T) {
	e := newEngine()
	e.add("rsa", "rsa-4096")
	e.add("ec", "ecdsa-p256")
	e.add("derived", "aes256-gcm96").derived = true
	p := start(t, e)
	for name, want := range map[string]string{
		"rsa":     "has the Transit type rsa-4096, which binds no encryption context",
		"ec":      "has the Transit type ecdsa-p256",
		"derived": "is a derived Transit key",
	} {
		_, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, name, nil)
		if keystore.KindOf(err) != keystore.InvalidKeyUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", name, err)
		}
		info, err := p.Resolve(t.Context(), keystore.Caller{}, name)
		if err != nil || info.Symmetric {
			t.Errorf("%s: got %+v, %v", name, info, err)
		}
	}
	e.set(func() {
		for _, r := range e.requests {
			if strings.Contains(r, "encrypt") {
				t.Errorf("%s was called", r)
			}
		}
	})
}

// TestNames: a name is never more than a single path element of the engine.
func TestNames(t *testing.T) {
	e := newEngine()
	p := start(t, e)
	for _, name := range []string{
		"", "../photos", "a/b", "photos/../../sys/seal", "photos?x=1", "photos%2f", "-x", ".", "..", "photos.",
		"alias/aws/s3", "arn:aws:kms:eu-west-1:000000000000:key/photos", "arn:aws:kms:us-east-1:111111111111:key/photos",
		arnPrefix + "key/../photos",
	} {
		if _, err := p.Resolve(t.Context(), keystore.Caller{}, name); keystore.KindOf(err) != keystore.NotFound {
			t.Errorf("%q: got %v", name, err)
		}
	}
	e.set(func() {
		if n := slices.IndexFunc(e.requests, func(r string) bool { return strings.Contains(r, "transit/") }); n >= 0 {
			t.Errorf("%s was called", e.requests[n])
		}
	})
}

// TestBlobIsTransits: the blob can be opened with the tools of Vault and OpenBao alone.
func TestBlobIsTransits(t *testing.T) {
	e := newEngine()
	e.add("photos", "aes256-gcm96")
	dk, err := start(t, e).GenerateDataKey(t.Context(), keystore.Caller{}, "photos", nil)
	if err != nil || !strings.HasPrefix(string(dk.Blob), "vault:v1:") || dk.MaterialID != "v1" || dk.KeyARN != arnPrefix+"key/photos" {
		t.Errorf("got %s, %s, %s, %v", dk.Blob, dk.MaterialID, dk.KeyARN, err)
	}
}

func TestOldVersion(t *testing.T) {
	e := newEngine()
	k := e.add("photos", "aes256-gcm96")
	p := start(t, e)
	dk, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, "photos", nil)
	if err != nil {
		t.Fatal(err)
	}
	e.set(func() { k.rotate(); k.minDecrypt = 2 })
	if _, err := p.Decrypt(t.Context(), keystore.Caller{}, dk.Blob, dk.KeyARN, nil); keystore.KindOf(err) != keystore.InvalidState {
		t.Errorf("got %v", err)
	}
}

// TestKeyVersion: a rotation is seen within a second, at no more than a call a second to the engine.
func TestKeyVersion(t *testing.T) {
	e := newEngine()
	k := e.add("photos", "aes256-gcm96")
	p := start(t, e)
	dk, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, "photos", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := func(of, newest string) {
		t.Helper()
		v, n, err := keystore.KeyVersion(t.Context(), p, dk.KeyARN, dk.Blob)
		if err != nil || v != of || n != newest {
			t.Errorf("it is under %q of %q, %v; want %q of %q", v, n, err, of, newest)
		}
	}
	want("v1", "v1")
	e.set(func() { k.rotate(); e.requests = nil })
	time.Sleep(1100 * time.Millisecond)
	for range 20 {
		want("v1", "v2")
	}
	e.set(func() {
		if len(e.requests) > 2 {
			t.Errorf("it asked %v", e.requests)
		}
	})
	for name, row := range map[string]struct {
		keyARN, blob string
		kind         keystore.Kind
	}{
		"another key":   {arnPrefix + "key/others", string(dk.Blob), keystore.NotFound},
		"not a name":    {"arn:aws:kms:eu-west-1:1:key/photos", string(dk.Blob), keystore.NotFound},
		"no ciphertext": {dk.KeyARN, "vault:v1", keystore.InvalidCiphertext},
	} {
		if v, n, err := p.KeyVersion(t.Context(), row.keyARN, []byte(row.blob)); v != "" || n != "" || keystore.KindOf(err) != row.kind {
			t.Errorf("%s: %q, %q, %v", name, v, n, err)
		}
	}
}

func TestTokens(t *testing.T) {
	e := newEngine()
	e.add("photos", "aes256-gcm96")
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("s.first")
	p := start(t, e, func(c *transit.Config) { c.Token, c.TokenFile = "", file })
	use := func() error {
		_, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, "photos", nil)
		return err
	}
	if err := use(); err != nil {
		t.Error(err)
	}
	e.set(func() { e.token = "s.second" })
	if err := use(); keystore.KindOf(err) != keystore.Unavailable || strings.Contains(err.Error(), "s.first") {
		t.Errorf("a refused token: got %v", err)
	}
	write("s.second")
	if err := use(); err != nil {
		t.Errorf("after the file was changed: %v", err)
	}
	e.set(func() { e.denied = true })
	if err := use(); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("without a capability: got %v", err)
	}
}

func TestRenewal(t *testing.T) {
	e := newEngine()
	e.ttl = 1
	var mu sync.Mutex
	var warned []string
	start(t, e, func(c *transit.Config) {
		c.Warn = func(msg string, _ error) {
			mu.Lock()
			defer mu.Unlock()
			warned = append(warned, msg)
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for renewed := 0; renewed < 2; e.set(func() { renewed = e.renewals }) {
		if time.Now().After(deadline) {
			t.Fatal("the token was not renewed twice")
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.set(func() { e.token = "s.other" })
	for n := 0; n == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody was warned")
		}
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		n = len(warned)
		mu.Unlock()
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status   int
		body     string
		location string
		kind     keystore.Kind
	}{
		{429, `{"errors":["request path rate limit quota exceeded"]}`, "", keystore.Throttled},
		{503, `{"errors":["Vault is sealed"]}`, "", keystore.Unavailable},
		{502, "bad gateway", "", keystore.Unavailable},
		{307, "", "http://elsewhere.example.com/v1/transit", keystore.Unavailable},
		{200, "not json", "", keystore.Unavailable},
		{200, `{"data":"x"}`, "", keystore.Unavailable},
		{403, `{"errors":["permission denied"]}`, "", keystore.AccessDenied},
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.location != "" {
				w.Header().Set("Location", c.location)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		t.Cleanup(h.Close)
		p := connect(t, h.URL, func(cfg *transit.Config) { cfg.MaxAttempts = 1 })
		_, err := p.Resolve(t.Context(), keystore.Caller{}, "photos")
		var e *keystore.Error
		if !errors.As(err, &e) || e.Kind != c.kind {
			t.Errorf("%d %s: got %v, want %s", c.status, c.body, err, c.kind)
		}
	}
}

// TestRetry: a single lost response does not reach the requester; the time limit holds over all attempts.
func TestRetry(t *testing.T) {
	e := newEngine()
	e.add("photos", "aes256-gcm96")
	var mu sync.Mutex
	lose := true
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		lost := lose && strings.Contains(r.URL.Path, "encrypt")
		if lost {
			lose = false
		}
		mu.Unlock()
		if lost {
			panic(http.ErrAbortHandler)
		}
		e.ServeHTTP(w, r)
	}))
	defer h.Close()
	if _, err := connect(t, h.URL).GenerateDataKey(t.Context(), keystore.Caller{}, "photos", nil); err != nil {
		t.Error(err)
	}
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	for _, url := range []string{hangs.URL, "http://127.0.0.1:1"} {
		p := connect(t, url, func(c *transit.Config) { c.Timeout = 200 * time.Millisecond })
		began := time.Now()
		_, err := p.Resolve(t.Context(), keystore.Caller{}, "photos")
		if keystore.KindOf(err) != keystore.Unavailable || time.Since(began) > 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if err := p.Health(t.Context()); keystore.KindOf(err) != keystore.Unavailable {
			t.Errorf("Health: got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := connect(t, hangs.URL).Health(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTLSAndNamespace(t *testing.T) {
	e := newEngine()
	e.namespace = "team/a"
	e.add("photos", "aes256-gcm96")
	h := httptest.NewUnstartedServer(e)
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // silences the expected TLS handshake errors
	h.StartTLS()
	defer h.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := connect(t, h.URL, func(c *transit.Config) { c.CAFile, c.Namespace = ca, "team/a" })
	if _, err := p.Resolve(t.Context(), keystore.Caller{}, "photos"); err != nil {
		t.Error(err)
	}
	strange := connect(t, h.URL, func(c *transit.Config) { c.MaxAttempts = 1 })
	if _, err := strange.Resolve(t.Context(), keystore.Caller{}, "photos"); keystore.KindOf(err) != keystore.Unavailable {
		t.Errorf("an unknown CA: got %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const here = "http://127.0.0.1:8200"
	for want, cfg := range map[string]transit.Config{
		"is not an http or https URL":     {Address: "bao.example.com:8200", Token: "x"},
		"data keys would travel in clear": {Address: "http://bao.example.com:8200", Token: "x"},
		"no token is configured":          {Address: here},
		"is empty":                        {Address: here, TokenFile: empty},
		"no such file":                    {Address: here, TokenFile: empty + "x"},
		"has no certificate in it":        {Address: here, Token: "x", CAFile: empty},
	} {
		if _, err := transit.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
