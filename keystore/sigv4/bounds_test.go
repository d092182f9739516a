package sigv4_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
)

// many joins the numbered names of n things.
func many(n int, form, separator string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(form, i))
	}
	return strings.Join(all, separator)
}

// TestBounds: the work before a signature is checked has a limit in every form of signature, and costs little below
// the limit.
func TestBounds(t *testing.T) {
	const over = 7500
	credential := docKey + "/" + docScope
	authorization := func(names string) string {
		return "AWS4-HMAC-SHA256 Credential=" + credential + ",SignedHeaders=" + names + ",Signature=" + strings.Repeat("0", 64)
	}
	presigned := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + strings.ReplaceAll(credential, "/", "%2F") +
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-Signature=" + strings.Repeat("0", 64) + "&X-Amz-SignedHeaders="
	headers := func(r *sigv4.Request, n int, form string) *sigv4.Request {
		c := *r
		for i := range n {
			c.Headers = append(c.Headers, sigv4.Header{Name: fmt.Sprintf(form, i), Value: "v"})
		}
		return &c
	}
	query := func(q string) *sigv4.Request { c := *plainRequest(); c.RawQuery = q; return &c }
	v2 := func(r *sigv4.Request) *sigv4.Request {
		return set(set(r, "Authorization", "AWS "+docKey+":c2ln"), "X-Amz-Date", "20130524T000000Z")
	}
	dated := func() *sigv4.Request {
		return set(set(plainRequest(), "X-Amz-Date", "20130524T000000Z"), "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	}
	signedNames := "host;x-amz-content-sha256;x-amz-date"
	for _, test := range []struct {
		name   string
		build  func(n int) *sigv4.Request
		within string // the code of a request within the limit
	}{
		{"signed headers", func(n int) *sigv4.Request {
			return set(dated(), "Authorization", authorization(signedNames+";"+many(n, "y%05d", ";")))
		}, "SignatureDoesNotMatch"},
		{"signed headers in any order", func(n int) *sigv4.Request {
			return set(dated(), "Authorization", authorization(many(n, "y%05d", ";")+";"+signedNames))
		}, "SignatureDoesNotMatch"},
		{"signed headers that are there", func(n int) *sigv4.Request {
			return set(headers(dated(), n, "y%05d"), "Authorization", authorization(signedNames+";"+many(n, "y%05d", ";")))
		}, "SignatureDoesNotMatch"},
		{"headers that must be signed", func(n int) *sigv4.Request {
			return set(headers(dated(), n, "x-amz-%05d"), "Authorization", authorization(signedNames))
		}, "AccessDenied"},
		{"signed headers of a presigned URL", func(n int) *sigv4.Request { return query(presigned + "host%3B" + many(n, "y%05d", "%3B")) }, "SignatureDoesNotMatch"},
		{"parameters of a presigned URL", func(n int) *sigv4.Request { return query(presigned + "host&" + many(n, "y%05d", "&")) }, "SignatureDoesNotMatch"},
		{"parameters", func(n int) *sigv4.Request { return query(many(n, "y%05d", "&")) }, ""},
		{"headers", func(n int) *sigv4.Request { return headers(plainRequest(), n, "y%05d") }, ""},
		{"headers of Version 2", func(n int) *sigv4.Request { return v2(headers(plainRequest(), n, "x-amz-%05d")) }, "SignatureDoesNotMatch"},
		{"parameters of Version 2", func(n int) *sigv4.Request {
			return query("AWSAccessKeyId=" + docKey + "&Signature=c2ln&Expires=1369440000&" + many(n, "x-amz-%05d=v", "&"))
		}, "SignatureDoesNotMatch"},
		{"trailers", func(n int) *sigv4.Request {
			r := set(plainRequest(), "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			return set(set(r, "X-Amz-Decoded-Content-Length", "0"), "X-Amz-Trailer", many(min(n, 16)+n/over, "x-amz-checksum-%05d", ","))
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := docVerifier()
			v.AllowV2 = true
			begin := time.Now()
			_, err := v.Verify(test.build(over))
			if e, ok := sigv4.AsError(err); !ok || e.Status != 400 || e.Code != "InvalidRequest" && e.Code != "MalformedTrailerError" {
				t.Errorf("%d: %v", over, err)
			}
			within := test.build(1000)
			for range 20 {
				_, err = v.Verify(within)
			}
			if code := codeOf(err); code != test.within {
				t.Errorf("1000: %v, want %q", err, test.within)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func codeOf(err error) string {
	if e, ok := sigv4.AsError(err); ok {
		return e.Code
	}
	return ""
}

// TestBoundsKMS: the key service has the same bounds.
func TestBoundsKMS(t *testing.T) {
	r := plainRequest()
	for i := range 2000 {
		r.Headers = append(r.Headers, sigv4.Header{Name: fmt.Sprint("y", i), Value: "v"})
	}
	v := &sigv4.Verifier{Service: "kms", Lookup: docVerifier().Lookup}
	if code := codeOf(v.VerifyHead(r)); code != "IncompleteSignatureException" {
		t.Error(code)
	}
}
