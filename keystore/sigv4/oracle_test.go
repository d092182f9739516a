package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/sigv4"
)

var oracleKeys = []string{
	"plain.txt", "with space", "two  spaces", "a//b", "//leading", "trailing/", "a/../b", "./dot", "plus+plus", "per%cent", "%2F",
	"ünïcödé/日本語", "~tilde*star(paren)!bang'quote", "semi;colon:at@and&eq=dollar$comma,q?hash#", "back\\slash", "\"quoted\"", "[b]{c}|^`",
	"a\x01b", "long/" + strings.Repeat("x", 900),
}

var oracleQueries = []string{
	"", "acl", "uploads", "list-type=2&prefix=a%20b&delimiter=%2F", "prefix=a+b", "prefix=a%2Bb", "b=2&a=1&b=1&a=", "versionId=%E3%81%82",
	"response-content-disposition=attachment%3B%20filename%3D%22x%20y.txt%22", "x=~*()!'", "partNumber=1&uploadId=a.b-c_d~e", "A=1&a=2&B=3",
	"key%20with%20space=1", "tagging=", "a=%3D%3D&a=%26", "prefix=%e3%81%82",
}

// encodeKey spells a key as the AWS SDKs put it on the wire.
func encodeKey(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if c == '/' || c == '-' || c == '.' || c == '_' || c == '~' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// request makes a client request with a key spelt strictly, or as net/url spells it.
func request(t testing.TB, method, key, query string, strict bool, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, "http://127.0.0.1:9800/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL = &url.URL{Scheme: "http", Host: "127.0.0.1:9800", Path: "/bucket/" + key, RawQuery: query}
	if strict {
		req.URL.RawPath = "/bucket/" + encodeKey(key)
	}
	if body == nil {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("X-Amz-Meta-Spaces", "  a   b  ")
	req.Header.Add("X-Amz-Meta-Many", "one")
	req.Header.Add("X-Amz-Meta-Many", "two")
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return req
}

func nowVerifier() *sigv4.Verifier {
	v := docVerifier()
	v.Now = time.Now
	return v
}

func s3Signer() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

var oracleCredentials = aws.Credentials{AccessKeyID: docKey, SecretAccessKey: docSecret}

// everyCase runs fn for every key with the same query, and for every query with the same key.
func everyCase(t *testing.T, fn func(t *testing.T, key, query string)) {
	for i, key := range oracleKeys {
		t.Run(fmt.Sprintf("key%d", i), func(t *testing.T) { fn(t, key, oracleQueries[i%len(oracleQueries)]) })
	}
	for i, query := range oracleQueries {
		t.Run(fmt.Sprintf("query%d", i), func(t *testing.T) { fn(t, "with space/+", query) })
	}
}

func mustVerify(t *testing.T, v *sigv4.Verifier, r *sigv4.Request, kind sigv4.Kind) *sigv4.Auth {
	t.Helper()
	a, err := v.Verify(r)
	if err != nil {
		e := wantCode(t, err, "SignatureDoesNotMatch")
		t.Fatalf("%v\npath %q query %q\n%s", err, r.RawPath, r.RawQuery, e.Field("CanonicalRequest"))
	}
	if a.Kind != kind || a.AccessKey != docKey {
		t.Fatalf("got %+v", a)
	}
	return a
}

func TestOracleSDKHeader(t *testing.T) {
	v := nowVerifier()
	everyCase(t, func(t *testing.T, key, query string) {
		body := []byte("content of " + key)
		sum := sha256.Sum256(body)
		for _, payload := range []string{hex.EncodeToString(sum[:]), "UNSIGNED-PAYLOAD"} {
			req := request(t, "PUT", key, query, true, body)
			req.Header.Set("X-Amz-Content-Sha256", payload)
			if err := s3Signer().SignHTTP(t.Context(), oracleCredentials, req, payload, "s3", "us-east-1", time.Now()); err != nil {
				t.Fatal(err)
			}
			r, sent := wire(t, req)
			a := mustVerify(t, v, r, sigv4.HeaderV4)
			if got, _, err := readBody(t, a, sent); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%q, %v", got, err)
			}
			refuseChanges(t, v, r)
		}
	})
}

func TestOracleSDKPresign(t *testing.T) {
	v := nowVerifier()
	everyCase(t, func(t *testing.T, key, query string) {
		req := request(t, "GET", key, query, true, nil)
		q := req.URL.Query()
		q.Set("X-Amz-Expires", "600")
		req.URL.RawQuery = q.Encode()
		uri, signed, err := s3Signer().PresignHTTP(t.Context(), oracleCredentials, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.NewRequest("GET", uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range signed {
			got.Header[name] = values
		}
		r, _ := wire(t, got)
		mustVerify(t, v, r, sigv4.PresignedV4)
		refuseChanges(t, v, r)
	})
}

func repeats(query string) bool {
	values, err := url.ParseQuery(query)
	return err != nil || len(values["a"]) > 1
}

func TestOracleMinioHeader(t *testing.T) {
	v := nowVerifier()
	everyCase(t, func(t *testing.T, key, query string) {
		if repeats(query) {
			t.Skip("minio-go does not sort the values of one name")
		}
		for _, strict := range []bool{true, false} {
			req := request(t, "PUT", key, query, strict, []byte("x"))
			req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			r, _ := wire(t, signer.SignV4(*req, docKey, docSecret, "", "us-east-1"))
			mustVerify(t, v, r, sigv4.HeaderV4)
			refuseChanges(t, v, r)
		}
	})
}

func TestOracleMinioPresign(t *testing.T) {
	v := nowVerifier()
	everyCase(t, func(t *testing.T, key, query string) {
		if repeats(query) {
			t.Skip("minio-go does not sort the values of one name")
		}
		req := request(t, "GET", key, query, true, nil)
		req.Header = http.Header{}
		r, _ := wire(t, signer.PreSignV4(*req, docKey, docSecret, "", "us-east-1", 600))
		mustVerify(t, v, r, sigv4.PresignedV4)
		refuseChanges(t, v, r)
	})
}

func TestOracleMinioV2(t *testing.T) {
	v := nowVerifier()
	v.AllowV2 = true
	everyCase(t, func(t *testing.T, key, query string) {
		req := request(t, "PUT", key, query, true, []byte("x"))
		req.Header.Set("X-Amz-Meta-Spaces", "a   b") // minio-go signs the spaces around a value; HTTP drops them
		r, _ := wire(t, signer.SignV2(*req, docKey, docSecret, false))
		mustVerify(t, v, r, sigv4.HeaderV2)
		req = request(t, "GET", key, query, true, nil)
		req.Header = http.Header{}
		r, _ = wire(t, signer.PreSignV2(*req, docKey, docSecret, 600, false))
		mustVerify(t, v, r, sigv4.PresignedV2)
		_, err := (&sigv4.Verifier{Service: "s3", Lookup: v.Lookup}).Verify(r)
		wantCode(t, err, "InvalidRequest")
		_, err = v.Verify(set(r, "x-amz-acl", "public-read"))
		wantCode(t, err, "SignatureDoesNotMatch")
	})
}

type sha256Hasher struct{ hash.Hash }

func (sha256Hasher) Close() {}

var chunkedSizes = []int{1, 1000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000}

func TestOracleMinioChunks(t *testing.T) {
	v := nowVerifier()
	for _, size := range chunkedSizes {
		for _, trailer := range []bool{false, true} {
			t.Run(fmt.Sprint(size, trailer), func(t *testing.T) {
				body := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
				req := request(t, "PUT", "key", "", true, body)
				if trailer {
					req.Trailer = http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}
				}
				req = signer.StreamingSignV4(req, docKey, docSecret, "", "us-east-1", int64(size), time.Now().UTC(), sha256Hasher{sha256.New()})
				r, sent := wire(t, req)
				a := mustVerify(t, v, r, sigv4.HeaderV4)
				got, b, err := readBody(t, a, sent)
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if trailer != (b.Trailer("x-amz-checksum-crc32c") == "sOO8/Q==") {
					t.Fatalf("trailers %v", b.Trailers())
				}
				refuseBodies(t, a, sent, body)
			})
		}
	}
}

func TestOracleMinioUnsignedTrailer(t *testing.T) {
	v := nowVerifier()
	for _, size := range chunkedSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			body := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
			req := request(t, "PUT", "key", "", true, body)
			req.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			req = signer.SignV4Trailer(*req, docKey, docSecret, "", "us-east-1", http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}})
			r, sent := wire(t, req)
			a := mustVerify(t, v, r, sigv4.HeaderV4)
			if a.Payload != sigv4.StreamingUnsignedTrailer {
				t.Fatalf("got %+v", a)
			}
			got, b, err := readBody(t, a, sent)
			if err != nil || !bytes.Equal(got, body) || b.Trailer("x-amz-checksum-crc32c") != "sOO8/Q==" {
				t.Fatalf("%d bytes, %v, %v", len(got), b.Trailers(), err)
			}
			for cut := range min(len(sent), 40) {
				if _, _, err := readBody(t, a, sent[:len(sent)-1-cut]); err == nil {
					t.Fatalf("a body cut by %d passed", cut+1)
				}
			}
		})
	}
}

// refuseChanges alters each part of a valid request and wants every altered request to be refused.
func refuseChanges(t *testing.T, v *sigv4.Verifier, r *sigv4.Request) {
	t.Helper()
	change := func(what string, r *sigv4.Request) {
		if a, err := v.Verify(r); err == nil && a.Kind != sigv4.Anonymous {
			t.Fatalf("a request with another %s passed", what)
		}
	}
	c := clone(r)
	c.Method = "DELETE"
	change("method", c)
	c = clone(r)
	c.RawPath += "x"
	change("path", c)
	c = clone(r)
	c.RawPath = "/" + r.RawPath
	if v.Service == "s3" { // services other than S3 normalise paths
		change("path", c)
	}
	c = clone(r)
	c.RawQuery += "&x=1"
	change("query", c)
	c = clone(r)
	c.Host = "127.0.0.2:9800"
	change("host", c)
	change("amz header", set(r, "X-Amz-Acl", "public-read"))
	if strings.Contains(r.RawQuery, "X-Amz-Signature=") {
		i := strings.Index(r.RawQuery, "X-Amz-Signature=") + len("X-Amz-Signature=")
		c = clone(r)
		c.RawQuery = r.RawQuery[:i] + flip(r.RawQuery[i:i+1]) + r.RawQuery[i+1:]
		change("signature", c)
		return
	}
	authorization := get(r, "Authorization")
	change("signature", set(r, "Authorization", authorization[:len(authorization)-1]+flip(authorization[len(authorization)-1:])))
	change("date", set(r, "X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z")))
	change("metadata", set(r, "X-Amz-Meta-Many", "one"))
	change("hash", set(r, "X-Amz-Content-Sha256", strings.Repeat("0", 64)))
}

func flip(digit string) string {
	if digit == "0" {
		return "1"
	}
	return "0"
}

// refuseBodies alters a valid aws-chunked body and wants no altered byte to be released, nor io.EOF.
func refuseBodies(t *testing.T, a *sigv4.Auth, sent, content []byte) {
	t.Helper()
	try := func(what string, body []byte) {
		t.Helper()
		got, _, err := readBody(t, a, body)
		if err == nil {
			t.Fatalf("%s passed", what)
		}
		if !bytes.HasPrefix(content, got) {
			t.Fatalf("%s released bytes that were not signed", what)
		}
	}
	step := max(1, len(sent)/97)
	for i := 0; i < len(sent); i += step {
		// Line ends carry no meaning of their own where nothing else can follow.
		if sent[i] == '\r' || sent[i] == '\n' {
			continue
		}
		altered := bytes.Clone(sent)
		altered[i] ^= 1
		try(fmt.Sprintf("byte %d", i), altered)
		try(fmt.Sprintf("cut at %d", i), sent[:i])
	}
	open := *a
	open.ContentLength = -1
	a = &open
	try("an added byte", append(bytes.Clone(sent), 'x'))
}

func TestBodyReadsInSmallSteps(t *testing.T) {
	r, body := trailerExample()
	a, err := docVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Body(iotestOneByte{bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for p := make([]byte, 7); ; {
		n, err := b.Read(p)
		got.Write(p[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Trailers() != nil {
			t.Fatal("trailers before the end")
		}
	}
	if got.Len() != 66560 || len(b.Trailers()) != 1 {
		t.Fatalf("%d bytes, %v", got.Len(), b.Trailers())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("%d, %v after the end", n, err)
	}
	if b.Trailer("x-amz-checksum-crc32c") == "" {
		t.Fatal("Close dropped the trailers")
	}
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }
