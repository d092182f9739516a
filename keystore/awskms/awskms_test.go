package awskms_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/awskms"
	"waxseal/keystore/keystoretest"
)

// server speaks the AWS KMS JSON protocol over a fake key service.
type server struct {
	*keystoretest.Fake
	down     atomic.Bool
	requests atomic.Int64
	// answer, when set, may answer in place of the key service.
	answer func(w http.ResponseWriter, op string) bool
}

type request struct {
	KeyId, KeySpec    string
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

var exceptions = map[keystore.Kind]string{
	keystore.NotFound: "NotFoundException", keystore.Disabled: "DisabledException",
	keystore.InvalidState: "KMSInvalidStateException", keystore.AccessDenied: "AccessDeniedException",
	keystore.InvalidKeyUsage: "InvalidKeyUsageException", keystore.InvalidCiphertext: "InvalidCiphertextException",
	keystore.IncorrectKey: "IncorrectKeyException",
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.kms#" + code, "message": message})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIATEST/") || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/kms/") {
		fail(w, http.StatusBadRequest, "UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	}
	if s.answer != nil && s.answer(w, op) {
		return
	}
	if s.down.Load() {
		fail(w, http.StatusInternalServerError, "KMSInternalException", "down")
		return
	}
	out, err := s.do(r.Context(), op, in)
	var e *keystore.Error
	if errors.As(err, &e) {
		fail(w, http.StatusBadRequest, exceptions[e.Kind], e.Message)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

func (s *server) do(ctx context.Context, op string, in request) (map[string]any, error) {
	switch op {
	case "ListKeys":
		return map[string]any{"Keys": []any{}}, nil
	case "DescribeKey":
		info, err := s.Resolve(ctx, keystore.Caller{}, in.KeyId)
		return map[string]any{"KeyMetadata": map[string]any{
			"AWSAccountId": info.AccountID, "Arn": info.ARN, "KeyId": info.ARN, "KeyState": info.State,
			"KeyUsage": info.Usage, "KeySpec": info.Spec, "KeyManager": info.Manager, "Origin": info.Origin,
		}}, err
	case "GenerateDataKey", "GenerateDataKeyWithoutPlaintext":
		dk, err := s.GenerateDataKey(ctx, keystore.Caller{}, in.KeyId, in.EncryptionContext)
		out := map[string]any{"CiphertextBlob": dk.Blob, "KeyId": dk.KeyARN, "KeyMaterialId": dk.MaterialID}
		if op == "GenerateDataKey" {
			out["Plaintext"] = dk.Plaintext.Bytes()
		}
		return out, err
	case "Decrypt":
		dk, err := s.Decrypt(ctx, keystore.Caller{}, in.CiphertextBlob, in.KeyId, in.EncryptionContext)
		return map[string]any{"Plaintext": dk.Plaintext.Bytes(), "KeyId": dk.KeyARN, "KeyMaterialId": dk.MaterialID}, err
	}
	return nil, keystore.Errorf(keystore.Internal, "", "no such operation")
}

func start(t *testing.T, change ...func(*awskms.Config)) (*server, *awskms.Provider) {
	t.Helper()
	s := &server{Fake: keystoretest.NewFake()}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, connect(t, h.URL, change...)
}

func connect(t *testing.T, url string, change ...func(*awskms.Config)) *awskms.Provider {
	t.Helper()
	cfg := awskms.Config{
		Endpoint: url, Region: "us-east-1", AccessKeyID: "AKIATEST", SecretAccessKey: "secret", Timeout: 2 * time.Second, MaxAttempts: 2,
	}
	for _, c := range change {
		c(&cfg)
	}
	p, err := awskms.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProvider(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		s, p := start(t)
		key := s.AddKey()
		s.SetAlias("alias/photos", key)
		return p, keystoretest.Fixture{
			Key: key, OtherKey: s.AddKey(), Alias: "alias/photos",
			AliasARN:   "arn:aws:kms:us-east-1:000000000000:alias/photos",
			Missing:    "12345678-1234-1234-1234-123456789012",
			Asymmetric: s.AddAsymmetricKey(),
			SetEnabled: func(_ *testing.T, keyID string, enabled bool) {
				s.SetState(keyID, map[bool]string{true: keystore.StateEnabled, false: keystore.StateDisabled}[enabled])
			},
			ScheduleDeletion: func(_ *testing.T, keyID string) { s.SetState(keyID, keystore.StatePendingDeletion) },
			SetDown:          func(_ *testing.T, down bool) { s.down.Store(down) },
		}
	})
}

func TestErrorKinds(t *testing.T) {
	s, p := start(t)
	key := s.AddKey()
	for _, c := range []struct {
		status  int
		code    string
		message string
		kind    keystore.Kind
		want    string // message; empty: the same
		calls   int64
	}{
		{400, "NotFoundException", "Key 'x' does not exist", keystore.NotFound, "", 1},
		{400, "InvalidArnException", "Invalid arn us-west-2", keystore.NotFound, "", 1},
		{400, "DisabledException", "x is disabled.", keystore.Disabled, "", 1},
		{400, "KMSInvalidStateException", "x is pending deletion.", keystore.InvalidState, "", 1},
		{400, "AccessDeniedException", "User: x is not authorized", keystore.AccessDenied, "", 1},
		{400, "InvalidKeyUsageException", "x key usage is SIGN_VERIFY", keystore.InvalidKeyUsage, "", 1},
		{400, "UnsupportedOperationException", "no", keystore.InvalidKeyUsage, "", 1},
		{400, "ThrottlingException", "You have exceeded the rate", keystore.Throttled, "", 2},
		{500, "KMSInternalException", "oops", keystore.Unavailable, "", 2},
		{503, "DependencyTimeoutException", "slow", keystore.Unavailable, "", 2},
		{500, "KeyUnavailableException", "x is unavailable.", keystore.Unavailable, "", 2},
		{400, "UnrecognizedClientException", "bad token", keystore.Unavailable, "The key service does not accept this service's credentials.", 1},
		{400, "ValidationException", "1 validation error", keystore.Internal, "", 1},
		{502, "BadGateway", "proxy", keystore.Unavailable, "", 2},
	} {
		s.answer = func(w http.ResponseWriter, _ string) bool { fail(w, c.status, c.code, c.message); return true }
		s.requests.Store(0)
		_, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, key, nil)
		var e *keystore.Error
		if !errors.As(err, &e) || e.Kind != c.kind || e.Message != c.message && e.Message != c.want {
			t.Errorf("%s: got %v, want %s", c.code, err, c.kind)
		}
		if e != nil && e.OneKey != (c.code == "KeyUnavailableException") {
			t.Errorf("%s: of one key: %v", c.code, e.OneKey)
		}
		if n := s.requests.Load(); n != c.calls {
			t.Errorf("%s: tried %d times, want %d", c.code, n, c.calls)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the credentials show: %v", err)
		}
	}
}

// TestRetry: a single lost response does not reach the requester.
func TestRetry(t *testing.T) {
	s, p := start(t)
	key, n := s.AddKey(), 0
	s.answer = func(w http.ResponseWriter, _ string) bool {
		if n++; n == 1 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		return false
	}
	if _, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, key, nil); err != nil || n != 2 {
		t.Errorf("got %v after %d tries", err, n)
	}
}

// TestNoAnswer: a hanging or absent key service costs the time limit at most, and is Unavailable.
func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer h.Close()
	defer close(release)
	for name, url := range map[string]string{"hangs": h.URL, "absent": "http://127.0.0.1:1"} {
		p := connect(t, url, func(c *awskms.Config) { c.Timeout = 200 * time.Millisecond })
		began := time.Now()
		_, err := p.Decrypt(t.Context(), keystore.Caller{}, []byte("blob"), "arn:aws:kms:us-east-1:000000000000:key/x", nil)
		if keystore.KindOf(err) != keystore.Unavailable || time.Since(began) > 5*time.Second {
			t.Errorf("%s: got %v after %v", name, err, time.Since(began))
		}
		if err := p.Health(t.Context()); !keystore.Transient(err) {
			t.Errorf("%s: Health: got %v", name, err)
		}
	}
}

// TestImitation: a response without a required field, or from another key than the requested key, yields no data key.
func TestImitation(t *testing.T) {
	s, p := start(t)
	key := s.AddKey()
	var answer map[string]any
	s.answer = func(w http.ResponseWriter, _ string) bool {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		return json.NewEncoder(w).Encode(answer) == nil
	}
	whole := make([]byte, 32)
	for name, c := range map[string]struct {
		answer map[string]any
		kind   keystore.Kind
	}{
		"another key":  {map[string]any{"Plaintext": whole, "KeyId": "arn:other"}, keystore.IncorrectKey},
		"no key":       {map[string]any{"Plaintext": whole}, keystore.IncorrectKey},
		"short":        {map[string]any{"Plaintext": whole[:16], "KeyId": key}, keystore.InvalidCiphertext},
		"no plaintext": {map[string]any{"KeyId": key}, keystore.InvalidCiphertext},
	} {
		answer = c.answer
		if _, err := p.Decrypt(t.Context(), keystore.Caller{}, []byte("blob"), key, nil); keystore.KindOf(err) != c.kind {
			t.Errorf("%s: got %v, want %s", name, err, c.kind)
		}
	}
	answer = map[string]any{"Plaintext": whole, "KeyId": key}
	if _, err := p.GenerateDataKey(t.Context(), keystore.Caller{}, key, nil); keystore.KindOf(err) != keystore.Internal {
		t.Errorf("no blob: got %v", err)
	}
	answer = map[string]any{}
	if _, err := p.Resolve(t.Context(), keystore.Caller{}, key); keystore.KindOf(err) != keystore.Internal {
		t.Errorf("no metadata: got %v", err)
	}
}

func TestTLS(t *testing.T) {
	s := &server{Fake: keystoretest.NewFake()}
	h := httptest.NewUnstartedServer(s)
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // silences the expected TLS handshake errors
	h.StartTLS()
	defer h.Close()
	key := s.AddKey()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := connect(t, h.URL, func(c *awskms.Config) { c.CAFile = ca })
	if _, err := p.Resolve(t.Context(), keystore.Caller{}, key); err != nil {
		t.Error(err)
	}
	strange := connect(t, h.URL, func(c *awskms.Config) { c.MaxAttempts = 1 })
	if _, err := strange.Resolve(t.Context(), keystore.Caller{}, key); keystore.KindOf(err) != keystore.Unavailable {
		t.Errorf("an unknown CA: got %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]awskms.Config{
		"is not an http or https URL":     {Endpoint: "kms.example.com", Region: "us-east-1"},
		"data keys would travel in clear": {Endpoint: "http://kms.example.com", Region: "us-east-1"},
		"has no certificate in it":        {Region: "us-east-1", CAFile: empty},
		"no such file or directory":       {Region: "us-east-1", CAFile: empty + "x"},
	} {
		if _, err := awskms.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestEndpointOfTheEnvironment: an endpoint from the environment of the AWS tools gets no data key in clear either.
func TestEndpointOfTheEnvironment(t *testing.T) {
	cfg := awskms.Config{Region: "us-east-1", AccessKeyID: "AKIA", SecretAccessKey: "secret"}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "http://192.0.2.1:9000")
			if _, err := awskms.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "data keys would travel in clear") {
				t.Errorf("got %v", err)
			}
			t.Setenv(name, "https://192.0.2.1:9000")
			if _, err := awskms.New(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
}
