package sigv4_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
)

const (
	tokenKey    = "ASIAIOSFODNN7EXAMPLE"
	tokenSecret = "temporary/secret"
	goodToken   = "FwoGZXIvYXdzEXAMPLE=="
)

// tokenVerifier knows a temporary credential beside AWS's example.
func tokenVerifier(service string) *sigv4.Verifier {
	longTerm := lookup(map[string]string{docKey: docSecret})
	return &sigv4.Verifier{Service: service, Region: "us-east-1", Now: at(docTime), Lookup: func(key, token string) (iam.Credential, error) {
		switch {
		case key != tokenKey:
			return longTerm(key, token)
		case token == "expired":
			return iam.Credential{}, iam.ErrExpiredToken
		case token != goodToken:
			return iam.Credential{}, iam.ErrInvalidToken
		}
		return iam.Credential{Secret: iam.NewSecret(tokenSecret), Owner: &iam.Requester{AccessKey: key, ARN: "arn:aws:sts::1:assumed-role/r/s"}}, nil
	}}
}

// tokenForm returns a POST form with a token in its signed policy, or without a token.
func tokenForm(key, secret, token string) []sigv4.Header {
	condition := ""
	if token != "" {
		condition = `,{"x-amz-security-token":"` + token + `"}`
	}
	policy := base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2030-01-01T00:00:00.000Z","conditions":[{"bucket":"b"},{"key":"k"},["starts-with","$x-amz-algorithm",""],["starts-with","$x-amz-credential",""],["starts-with","$x-amz-date",""]` + condition + `]}`))
	scope := "20130524/us-east-1/s3/aws4_request"
	form := headers("key", "k", "bucket", "b", "policy", policy, "x-amz-algorithm", "AWS4-HMAC-SHA256", "x-amz-credential", key+"/"+scope,
		"x-amz-date", "20130524T000000Z", "x-amz-signature", hex.EncodeToString(mac(scopeKey(secret, scope), policy)))
	if token != "" {
		form = append(form, sigv4.Header{Name: "x-amz-security-token", Value: token})
	}
	return form
}

// TestSessionTokens: a session token is accepted with every kind of Version 4 signature, for every service, if it
// belongs to the access key, comes once, and is signed.
func TestSessionTokens(t *testing.T) {
	for _, place := range []string{"header of s3", "header of kms", "header of sts", "header of iam", "presigned", "post"} {
		ask := func(key, secret, token string) (*sigv4.Auth, error) {
			service, where := "s3", place
			if of, ok := strings.CutPrefix(place, "header of "); ok {
				service, where = of, "header"
			}
			v := tokenVerifier(service)
			r := &sigv4.Request{Method: "POST", RawPath: "/b", Host: "localhost", BodySHA256: emptySum, ContentLength: 0}
			switch where {
			case "post":
				a, policy, err := v.VerifyPost(tokenForm(key, secret, token))
				if err == nil {
					err = policy.Check("b", tokenForm(key, secret, token), -1)
				}
				return a, err
			case "presigned":
				r.RawQuery = presign(t, key, secret, token)
			default:
				h := headers("host", "localhost", "x-amz-content-sha256", emptySum, "x-amz-date", sigv4.Timestamp(docTime))
				if token != "" {
					h = append(h, sigv4.Header{Name: "x-amz-security-token", Value: token})
				}
				s := &sigv4.Signer{Service: service, Region: "us-east-1"}
				auth := s.Sign(key, secret, sigv4.Timestamp(docTime), &sigv4.Outgoing{Method: "POST", Path: "/b", Headers: h, Payload: emptySum})
				r.Headers = append(h, sigv4.Header{Name: "Authorization", Value: auth})
			}
			return v.Verify(r)
		}
		t.Run(place, func(t *testing.T) {
			a, err := ask(tokenKey, tokenSecret, goodToken)
			if err != nil || a.Owner == nil || a.Owner.ARN != "arn:aws:sts::1:assumed-role/r/s" || a.AccessKey != tokenKey {
				t.Fatalf("a good token: %+v, %v", a, err)
			}
			if a, err := ask(docKey, docSecret, ""); err != nil || a.Owner == nil || a.Owner.AccessKey != docKey {
				t.Errorf("a long-term key: %+v, %v", a, err)
			}
			invalid, expired := "InvalidToken", "ExpiredToken"
			if strings.HasPrefix(place, "header of ") && place != "header of s3" {
				invalid, expired = "UnrecognizedClientException", "ExpiredTokenException"
			}
			for _, row := range []struct{ name, key, secret, token, code string }{
				{"ASIA without a token", tokenKey, tokenSecret, "", invalid},
				{"a token beside a long-term key", docKey, docSecret, goodToken, invalid},
				{"another token", tokenKey, tokenSecret, "x" + goodToken, invalid},
				{"an expired token", tokenKey, tokenSecret, "expired", expired},
				{"a token of more than 4 KiB", tokenKey, tokenSecret, strings.Repeat("a", sigv4.MaxToken+1), invalid},
			} {
				_, err := ask(row.key, row.secret, row.token)
				if e, ok := sigv4.AsError(err); !ok || e.Code != row.code {
					t.Errorf("%s: %v, want %s", row.name, err, row.code)
				}
			}
			if _, err := ask(tokenKey, docSecret, goodToken); err == nil {
				t.Error("a token without the secret was taken")
			}
		})
	}
}

// presign returns the query of a presigned POST of /b.
func presign(t *testing.T, key, secret, token string) string {
	t.Helper()
	query := url.Values{"X-Amz-Algorithm": {"AWS4-HMAC-SHA256"}, "X-Amz-Credential": {key + "/20130524/us-east-1/s3/aws4_request"},
		"X-Amz-Date": {"20130524T000000Z"}, "X-Amz-Expires": {"60"}, "X-Amz-SignedHeaders": {"host"}}
	if token != "" {
		query.Set("X-Amz-Security-Token", token)
	}
	encoded := strings.ReplaceAll(query.Encode(), "+", "%20")
	canonical := "POST\n/b\n" + encoded + "\nhost:localhost\n\nhost\nUNSIGNED-PAYLOAD"
	scope := "20130524/us-east-1/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	toSign := "AWS4-HMAC-SHA256\n20130524T000000Z\n" + scope + "\n" + hex.EncodeToString(sum[:])
	return encoded + "&X-Amz-Signature=" + hex.EncodeToString(mac(scopeKey(secret, scope), toSign))
}

// TestTokenElsewhere: a token where the signature is not, twice, or beside Version 2, is refused and never passed over.
func TestTokenElsewhere(t *testing.T) {
	v := tokenVerifier("s3")
	v.AllowV2 = true
	plain := func(query string, h ...string) *sigv4.Request {
		return &sigv4.Request{Method: "POST", RawPath: "/b", Host: "localhost", RawQuery: query, Headers: headers(h...)}
	}
	signed := presign(t, tokenKey, tokenSecret, goodToken)
	req, err := http.NewRequest("POST", "http://localhost/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	v2 := signer.SignV2(*req, docKey, docSecret, false)
	for name, r := range map[string]*sigv4.Request{
		"a header without a signature":    plain("", "x-amz-security-token", goodToken),
		"a query without a signature":     plain("X-Amz-Security-Token=x"),
		"a header beside a presigned one": plain(signed, "x-amz-security-token", goodToken),
		"twice in the query":              plain(signed + "&X-Amz-Security-Token=x"),
		"in another case":                 plain(signed + "&x-amz-security-token=x"),
		"twice in the head":               plain("", "x-amz-security-token", "a", "x-amz-security-token", "b"),
		"beside Version 2":                plain("", "Authorization", v2.Header.Get("Authorization"), "Date", v2.Header.Get("Date"), "x-amz-security-token", goodToken),
	} {
		if a, err := v.Verify(r); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
