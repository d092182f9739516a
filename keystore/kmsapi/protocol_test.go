package kmsapi

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// gift authenticates every request as alice.
type gift struct{}

func (gift) Head(*fasthttp.RequestCtx) error { return nil }

func (gift) Request(*fasthttp.RequestCtx, []byte) (keystore.Caller, error) {
	alice := iam.User{Name: "alice", ARN: iam.UserARN(testAccount, "alice"), AccountID: testAccount, Everything: true}
	return keystore.CallerOf(alice.Requester()), nil
}

// open starts the handler with gift as its authenticator, for requests that no SDK would make.
func open(t *testing.T, e *endpoint) string {
	t.Helper()
	h := &Handler{Service: e.service, Log: slog.New(slog.DiscardHandler), Authenticate: gift{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := h.Server()
	go server.Serve(listener) //nolint:errcheck // ends with the shutdown below
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

func TestProtocol(t *testing.T) {
	url := open(t, start(t))
	for _, test := range []struct {
		name, target, body string
		status             int
		want               string
	}{
		{"no target", "", "{}", 400, `{"__type":"UnknownOperationException"}`},
		{"another service", "DynamoDB_20120810.ListTables", "{}", 400, `"UnknownOperationException"`},
		{"unknown operation", "TrentService.MakeCoffee", "{}", 400, `"UnknownOperationException"`},
		{"refused by name", "TrentService.CreateCustomKeyStore", `{"CustomKeyStoreName":"x"}`, 400, `"UnsupportedOperationException","message":"Custom key stores are not`},
		{"no body", "TrentService.ListKeys", "", 400, `"SerializationException"`},
		{"half a character", "TrentService.Encrypt", `{"KeyId":"x","Plaintext":"AA==","EncryptionContext":{"a":"\ud800"}}`, 400, `"SerializationException"`},
		{"half a name", "TrentService.Decrypt", `{"CiphertextBlob":"AA==","EncryptionContext":{"\udc00":"a"}}`, 400, `"SerializationException"`},
		{"no UTF-8", "TrentService.Encrypt", "{\"KeyId\":\"x\",\"EncryptionContext\":{\"a\":\"\xff\"}}", 400, `"SerializationException"`},
		{"a context's name twice", "TrentService.Encrypt", `{"KeyId":"x","Plaintext":"AA==","EncryptionContext":{"a":"1","a":"2"}}`, 400, `"SerializationException"`},
		{"a member twice", "TrentService.DescribeKey", `{"KeyId":"x","KeyId":"y"}`, 400, `"SerializationException"`},
		{"text behind it", "TrentService.ListKeys", "{} x", 400, `"SerializationException"`},
		{"a document behind it", "TrentService.ListKeys", "{}{}", 400, `"SerializationException"`},
		{"no object", "TrentService.ListKeys", "[]", 400, `"SerializationException"`},
		{"null", "TrentService.ListKeys", "null", 400, `"SerializationException"`},
		{"two objects", "TrentService.ListKeys", "{}{}", 400, `"SerializationException"`},
		{"number for string", "TrentService.DescribeKey", `{"KeyId":7}`, 400, `"SerializationException"`},
		{"string for number", "TrentService.ListKeys", `{"Limit":"7"}`, 400, `"SerializationException"`},
		{"fraction for integer", "TrentService.ListKeys", `{"Limit":7.5}`, 400, `"SerializationException"`},
		{"huge integer", "TrentService.ListKeys", `{"Limit":99999999999}`, 400, `"SerializationException"`},
		{"string for boolean", "TrentService.CreateKey", `{"MultiRegion":"true"}`, 400, `"SerializationException"`},
		{"bad base64", "TrentService.Decrypt", `{"CiphertextBlob":"*"}`, 400, `"SerializationException"`},
		{"number in context", "TrentService.Decrypt", `{"CiphertextBlob":"AA==","EncryptionContext":{"a":1}}`, 400, `"SerializationException"`},
		{"structure for list", "TrentService.TagResource", `{"KeyId":"a","Tags":{}}`, 400, `"SerializationException"`},
		{"missing member", "TrentService.DescribeKey", `{}`, 400, `"ValidationException","message":"1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"`},
		{"null member", "TrentService.DescribeKey", `{"KeyId":null}`, 400, `Value null at 'keyId'`},
		{"empty member", "TrentService.DescribeKey", `{"KeyId":""}`, 400, `Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1"`},
		{"two faults", "TrentService.GenerateMac", `{"KeyId":"","Message":""}`, 400, `"3 validation errors detected: `},
		{"enum", "TrentService.GenerateMac", `{"KeyId":"a","Message":"AA==","MacAlgorithm":"X"}`, 400, `Value 'X' at 'macAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]"`},
		{"nested member", "TrentService.TagResource", `{"KeyId":"a","Tags":[{"TagKey":"k","TagValue":"v"},{"TagKey":""}]}`, 400, `at 'tags.2.member.tagKey'`},
		{"plaintext not repeated", "TrentService.Encrypt", `{"KeyId":"a","Plaintext":""}`, 400, `Value at 'plaintext' failed`},
		{"no output", "TrentService.ListKeys", `{}`, 200, `{"Keys":[],"Truncated":false}`},
		{"other case is no member", "TrentService.ListKeys", `{"limit":"x"}`, 200, `{"Keys":[],"Truncated":false}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body, header := post(t, url, test.target, test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s", status, body)
			}
			if header.Get("Content-Type") != contentType || len(header.Get("X-Amzn-Requestid")) != 36 {
				t.Errorf("headers %v", header)
			}
		})
	}
}

// An authenticated request is recorded also if it is invalid for its operation.
func TestInvalidRequestsAreRecorded(t *testing.T) {
	e := start(t)
	alice := e.client("alice")
	_, err := alice.DescribeKey(background, &kms.DescribeKeyInput{KeyId: aws.String("")})
	wantException(t, err, "ValidationException", "")
	long := strings.Repeat("é", 5000)
	_, err = alice.DescribeKey(background, &kms.DescribeKeyInput{KeyId: &long})
	wantException(t, err, "ValidationException", "")
	url := open(t, e)
	if status, body, _ := post(t, url, "TrentService.Decrypt", `{"CiphertextBlob":7}`); status != 400 || !strings.Contains(body, "SerializationException") {
		t.Errorf("%d %s", status, body)
	}
	all := e.audit.Records()
	if len(all) != 3 {
		t.Fatalf("%d records", len(all))
	}
	for i, want := range []struct{ op, code string }{
		{"DescribeKey", "ValidationException"}, {"DescribeKey", "ValidationException"}, {"Decrypt", "SerializationException"},
	} {
		got := all[i]
		if got.EventName != want.op || got.ErrorCode != want.code || got.ErrorMessage == "" || len(got.ErrorMessage) > 1024 ||
			!utf8.ValidString(got.ErrorMessage) || got.RequestParameters != nil || got.UserIdentity.ARN != iam.UserARN(testAccount, "alice") {
			t.Errorf("record %+v", got)
		}
	}
	e.audit.Fail(errors.New("disk full"))
	_, err = alice.DescribeKey(background, &kms.DescribeKeyInput{KeyId: aws.String("")})
	wantException(t, err, "KMSInternalException", "")
}

func TestTooLarge(t *testing.T) {
	status, body, _ := post(t, open(t, start(t)), "TrentService.ListKeys", `{"x":"`+strings.Repeat("a", MaxBody)+`"}`)
	if status != 413 || !strings.Contains(body, "RequestEntityTooLargeException") {
		t.Errorf("%d %.100s", status, body)
	}
}

func TestEmptyReply(t *testing.T) {
	url := open(t, start(t))
	_, created, _ := post(t, url, "TrentService.CreateKey", "{}")
	_, id, _ := strings.Cut(created, `"KeyId":"`)
	status, body, _ := post(t, url, "TrentService.DisableKey", `{"KeyId":"`+id[:36]+`"}`)
	if status != 200 || body != "" {
		t.Errorf("%d %q", status, body)
	}
	if !strings.Contains(created, `"CreationDate":1`) || strings.Contains(created, "DeletionDate") {
		t.Errorf("created %s", created)
	}
}

func TestUnsignedAndWrong(t *testing.T) {
	e := start(t)
	status, body, _ := post(t, e.url, "TrentService.ListKeys", "{}")
	if status != 400 || !strings.Contains(body, "MissingAuthenticationTokenException") {
		t.Errorf("unsigned: %d %s", status, body)
	}
	_, err := e.client("nobody").ListKeys(background, nil)
	if err == nil {
		t.Error("an unknown access key was let in")
	}
	if n := e.audit.Count(""); n != 0 {
		t.Errorf("%d records of requests of nobody", n)
	}
}

func TestAuditFailureIsFailure(t *testing.T) {
	e := start(t)
	c := e.client("alice")
	md := newKey(t, c, nil)
	e.audit.Fail(errors.New("disk full"))
	_, err := c.GenerateDataKey(background, dataKeyInput(md.KeyId))
	wantException(t, err, "KMSInternalException", "")
	e.audit.Fail(nil)
	must(c.GenerateDataKey(background, dataKeyInput(md.KeyId)))(t)
}

// TestRecordsSayHowTheRequestCame: tlsDetails as CloudTrail has them, and none where there was no TLS.
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
func TestRecordsSayHowTheRequestCame(t *testing.T) {
	e := startTLS(t, testTLS())
	must(e.client("alice").ListKeys(background, nil))(t)
	got := e.audit.Records()[0].TLSDetails
	if got == nil || got.TLSVersion != "TLSv1.3" || !strings.HasPrefix(got.CipherSuite, "TLS_") || got.ClientProvidedHostHeader != e.host {
		t.Errorf("tlsDetails %+v", got)
	}
	plain := start(t)
	must(plain.client("alice").ListKeys(background, nil))(t)
	if got := plain.audit.Records()[0].TLSDetails; got != nil {
		t.Errorf("tlsDetails without TLS: %+v", got)
	}
}

// TestSecureTransport: AWS's example of a Deny without TLS holds for keys.
func TestSecureTransport(t *testing.T) {
	policy := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + testAccount + `:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	for _, conf := range []*tls.Config{testTLS(), nil} {
		c := startTLS(t, conf).client("alice")
		md := newKey(t, c, &kms.CreateKeyInput{Policy: aws.String(policy)})
		_, err := c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: []byte("x")})
		if conf == nil {
			wantException(t, err, "AccessDeniedException", "")
		} else if err != nil {
			t.Error(err)
		}
	}
}

// testTLS has the certificate of httptest.
func testTLS() *tls.Config {
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	return &tls.Config{Certificates: authority.TLS.Certificates}
}
