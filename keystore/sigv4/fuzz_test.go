package sigv4_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"waxseal/keystore/sigv4"
)

// FuzzVerify looks for a crash, and for an unsigned request that passes.
func FuzzVerify(f *testing.F) {
	v := docVerifier()
	v.AllowV2 = true
	names := "host;x-amz-content-sha256;x-amz-date"
	good := signed(f, v, plainRequest(), docScope, docTime, names)
	f.Add(good.Method, good.RawPath, good.RawQuery, good.Host, get(good, "Authorization"), emptySum, "20130524T000000Z", "", "")
	f.Add("GET", "/test.txt", presignedQuery, "examplebucket.s3.amazonaws.com", "", "", "", "", "")
	f.Add("GET", "/a//../%2f%zz", "a=+&b&&=&a=%", "h", "AWS a:b", "UNSIGNED-PAYLOAD", "Tue, 27 Mar 2007 19:36:42 +0000", "x-amz-acl", "b  c")
	f.Add("PUT", "", "AWSAccessKeyId=a&Signature=b&Expires=1", "h", "", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", "x-amz-decoded-content-length", "5")
	f.Fuzz(func(t *testing.T, method, path, query, host, auth, sum, date, name, value string) {
		r := &sigv4.Request{Method: method, RawPath: path, RawQuery: query, Host: host, ContentLength: -1}
		for _, h := range headers("Authorization", auth, "X-Amz-Content-Sha256", sum, "X-Amz-Date", date, name, value) {
			if h.Name != "" && h.Value != "" {
				r.Headers = append(r.Headers, h)
			}
		}
		a, err := v.Verify(r)
		if err != nil {
			if _, ok := sigv4.AsError(err); !ok || a != nil {
				t.Fatalf("%v, %T: %v", a, err, err)
			}
			return
		}
		if a.Kind == sigv4.Anonymous {
			if auth != "" {
				t.Fatal("an Authorization header was not looked at")
			}
			return
		}
		// A request that passes must equal one of the two signed requests.
		same := func(want *sigv4.Request) bool {
			return r.Method == want.Method && decodes(r.RawPath) == decodes(want.RawPath) && strings.TrimSpace(r.Host) == want.Host
		}
		if !same(good) && !same(&sigv4.Request{Method: "GET", RawPath: "/test.txt", Host: "examplebucket.s3.amazonaws.com"}) {
			t.Fatalf("passed: %+v", r)
		}
	})
}

// decodes undoes percent-encoding.
func decodes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			var c byte
			for _, d := range strings.ToLower(s[i+1 : i+3]) {
				c = c<<4 | byte(strings.IndexRune("0123456789abcdef", d))
			}
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// FuzzChunked: an altered signed body is never accepted, and no byte of it released. A body of any form causes no crash
// and no successful end with a length other than declared.
func FuzzChunked(f *testing.F) {
	v := docVerifier()
	auth := func(payload, decoded, trailers string, parts [][]byte) (*sigv4.Auth, string) {
		r, body := streamed(f, v, payload, decoded, trailers, parts)
		a, err := v.Verify(r)
		if err != nil {
			f.Fatal(err)
		}
		return a, body
	}
	hello := [][]byte{[]byte("hel"), []byte("lo"), nil}
	signedAuth, signedBody := auth("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "5", "", hello)
	trailerAuth, trailerBody := auth("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "5", "x-amz-checksum-crc32", hello)
	unsignedAuth, _ := auth("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "5", "x-amz-checksum-crc32", nil)
	f.Add(uint8(0), []byte(signedBody))
	f.Add(uint8(1), []byte(trailerBody+"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:0000\r\n\r\n"))
	f.Add(uint8(2), []byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"))
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		a := []*sigv4.Auth{signedAuth, trailerAuth, unsignedAuth}[which%3]
		b, err := a.Body(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		got, err := io.ReadAll(b)
		if which%3 != 2 && !strings.HasPrefix("hello", string(got)) {
			t.Fatalf("released %q", got)
		}
		if len(got) > 5 {
			t.Fatalf("released %d bytes", len(got))
		}
		if err == nil && (len(got) != 5 || which%3 == 1) {
			t.Fatalf("accepted %q", body)
		}
		if err != nil {
			if _, ok := sigv4.AsError(err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
		}
	})
}

// FuzzPostPolicy parses policies and holds forms against them.
func FuzzPostPolicy(f *testing.F) {
	f.Add([]byte(`{"expiration": "2013-05-24T01:00:00Z", "conditions": [{"bucket": "b"}, ["starts-with", "$key", "foo"], ["content-length-range", 0, 10]]}`), "key", "foo", int64(5))
	f.Add([]byte(`{"conditions":[[],{},null,"",0],"expiration":""}`), "x-ignore-a", "", int64(-1))
	f.Fuzz(func(t *testing.T, document []byte, name, value string, length int64) {
		p, err := sigv4.ParsePostPolicy(base64.StdEncoding.EncodeToString(document))
		if err != nil {
			if _, ok := sigv4.AsError(err); !ok || p != nil {
				t.Fatalf("%v %v", p, err)
			}
			return
		}
		if p.Check("b", headers(name, value), length) == nil {
			if low, high, ok := p.LengthRange(); ok && length >= 0 && (length < low || length > high) {
				t.Fatal("length was not checked")
			}
			if !strings.Contains(strings.ToLower(string(document)), "bucket") && !bytes.Contains(document, []byte("\\")) {
				t.Fatal("passed without a condition on the bucket")
			}
		}
	})
}
