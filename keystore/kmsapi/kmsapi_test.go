package kmsapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
)

const (
	testAccount = "111122223333"
	testRegion  = "ap-northeast-2"
)

// endpoint is a whole key service behind a socket.
type endpoint struct {
	url     string
	host    string
	service *local.Service
	audit   *audit.Memory
}

func testUsers(t *testing.T) *iam.Directory {
	t.Helper()
	one := func(name, account, key string) iam.User {
		return iam.User{Name: name, ARN: iam.UserARN(account, name), AccountID: account, AccessKey: key, Secret: iam.NewSecret("secret-of-" + name), Everything: true}
	}
	root := iam.User{Name: "root", ARN: iam.RootARN(testAccount), AccountID: testAccount, AccessKey: "AKIAROOT", Secret: iam.NewSecret("secret-of-root"), Root: true}
	users, err := iam.NewDirectory([]iam.User{
		root, one("alice", testAccount, "AKIAALICE"), one("bob", testAccount, "AKIABOB"), one("eve", "444455556666", "AKIAEVE"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func start(t *testing.T) *endpoint {
	t.Helper()
	return startTLS(t, nil)
}

// startTLS starts an endpoint, with TLS if conf is not nil.
func startTLS(t *testing.T, conf *tls.Config) *endpoint {
	t.Helper()
	users := testUsers(t)
	e := &endpoint{audit: new(audit.Memory)}
	service, err := local.Open(context.Background(), local.Config{
		State: state.NewMemory(), Secrets: rootkey.New(keystore.RandomSecret()), Audit: e.audit,
		Region: testRegion, AccountID: testAccount, Identities: users, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.service = service
	h := &Handler{
		Service: service, Log: slog.New(slog.DiscardHandler),
		Authenticate: SigV4(&sigv4.Verifier{Service: "kms", Lookup: users.Resolve}, nil),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener = Listen(listener)
	e.url, e.host = "http://"+listener.Addr().String(), listener.Addr().String()
	if conf != nil {
		e.url, listener = "https://"+e.host, tls.NewListener(listener, conf)
	}
	server := h.Server()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		ended := server.Shutdown()
		listener.Close() // Shutdown leaves a listener open whose Serve has not begun
		if err := errors.Join(ended, <-served, service.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// client returns an AWS SDK for Go client for a user.
func (e *endpoint) client(name string) *kms.Client {
	keys := map[string]string{"root": "AKIAROOT", "alice": "AKIAALICE", "eve": "AKIAEVE"}
	// The certificate is the test's own.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	return kms.New(kms.Options{
		BaseEndpoint: aws.String(e.url), Region: testRegion, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keys[name], "secret-of-"+name, ""),
		HTTPClient:  &http.Client{Transport: transport, Timeout: time.Minute},
	})
}

func must[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func wantException(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || message != "" && api.ErrorMessage() != message {
		t.Errorf("got %v, want %s %q", err, code, message)
	}
}

var background = context.Background()

// post sends an unsigned request that no SDK would send: the handler under test authenticates every request as alice.
func post(t *testing.T, url, target, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest("POST", url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", target)
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(out), res.Header
}

type auditRecord = audit.Record

func dataKeyInput(id *string) *kms.GenerateDataKeyInput {
	return &kms.GenerateDataKeyInput{KeyId: id, NumberOfBytes: aws.Int32(32)}
}
