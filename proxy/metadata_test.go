package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// doSigned sends a request signed over its headers' bytes as they are: minio-go takes all white space for spaces.
func (k *kit) doSigned(t testing.TB, method, path string, header map[string]string, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+k.endpoint+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	now := sigv4.Timestamp(time.Now())
	req.Header.Set("X-Amz-Date", now)
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	out := sigv4.Outgoing{Method: method, Path: path, Payload: "UNSIGNED-PAYLOAD", Headers: []sigv4.Header{{Name: "host", Value: k.endpoint},
		{Name: "x-amz-date", Value: now}, {Name: "x-amz-content-sha256", Value: "UNSIGNED-PAYLOAD"}}}
	for name, value := range header {
		req.Header.Set(name, value)
		out.Headers = append(out.Headers, sigv4.Header{Name: name, Value: value})
	}
	signer := &sigv4.Signer{Service: "s3", Region: "us-east-1"}
	req.Header.Set("Authorization", signer.Sign(testAccess, testSecret, now, &out))
	return roundTrip(t, req)
}

// TestMetadataOutsideASCII compares answers with those recorded of S3, and with what RFC 2047 makes of a value. At the
// store there are US-ASCII characters only.
func TestMetadataOutsideASCII(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for sent, want := range map[string]string{
		"plain a  b":                                "plain a  b",
		"ÄMÄZÕÑ S3":                                 "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=",
		"test_—_file%E2%80%94_é_2?.pdf":             "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?=",
		"=?UTF-8?B?YWJj?=":                          "abc",
		"=?UTF-8?Q?actually-ascii?=":                "actually-ascii",
		"=?UTF-8?B?AAECAw==?=":                      "=?UTF-8?B?AAECAw==?=",
		"=?UTF-8?B?77+977+977+977+977+977+977+9?=":  "=?UTF-8?B?77+977+977+977+977+977+977+9?=",
		"=?utf-8?q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=": "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=",
		"=?UTF-8?Q?a=0D=0Ax-amz-meta-b:_c=C3=A9?=":  "=?UTF-8?Q?a=0D=0Ax-amz-meta-b:_c=C3=A9?=",
		"=?UTF-8?B?=GGG?=":                          "=?UTF-8?B?=GGG?=",
		"=?KOI9?Q?abc?=":                            "=?KOI9?Q?abc?=",
		"caf\xe9":                                   "=?UTF-8?Q?caf=C3=A9?=",
		"a\tb":                                      "a\tb",
		"a\u00a0b":                                  "=?UTF-8?Q?a=C2=A0b?=",
		"a\u3000b":                                  "=?UTF-8?Q?a=E3=80=80b?=",
		"a\u0085b":                                  "=?UTF-8?Q?a=C2=85b?=",
		"hé中":                                       "=?UTF-8?B?aMOp5Lit?=",
		`! "#$%&'()*+,-./09:;<>@AZ[\]^_` + "`az{|}~": `! "#$%&'()*+,-./09:;<>@AZ[\]^_` + "`az{|}~",
	} {
		if resp, body := k.doSigned(t, "PUT", "/bkt/m", map[string]string{"x-amz-meta-a": sent}, "x"); resp.StatusCode != 200 {
			t.Fatalf("%q: %s\n%s", sent, resp.Status, body)
		}
		k.mustDo(t, "PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": "/bkt/m"}, nil)
		for _, key := range []string{"m", "copy"} {
			o, _ := u.Object("bkt", key)
			if at := o.Header.Get("X-Amz-Meta-A"); strings.ContainsFunc(at, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q is %q at the store", sent, at)
			}
			for _, method := range []string{"GET", "HEAD"} {
				resp, _ := k.mustDo(t, method, "/bkt/"+key, nil, nil)
				if got := resp.Header.Get("x-amz-meta-a"); got != want {
					t.Errorf("%s of %s, %q: %q, want %q", method, key, sent, got, want)
				}
			}
		}
	}
}

// TestFormMetadata: a field is Unicode already, and has no encoded words.
func TestFormMetadata(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for sent, want := range map[string]string{
		"ÄMÄZÕÑ S3":                  "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=",
		"\x00\x01\x02\x03\x04":       "=?UTF-8?B?AAECAwQ=?=",
		"=?UTF-8?Q?actually-ascii?=": "=?UTF-8?Q?actually-ascii?=",
		"=?UTF-8?B?YWJj?=":           "=?UTF-8?B?YWJj?=",
		"{|}~\t.":                    "{|}~\t.",
	} {
		resp, body := k.post(t, newForm([]byte("x"), "key", "f", "x-amz-meta-a", sent, "success_action_status", "201"))
		if resp.StatusCode != 201 {
			t.Fatalf("%q: %s\n%s", sent, resp.Status, body)
		}
		if resp, _ := k.mustDo(t, "HEAD", "/bkt/f", nil, nil); resp.Header.Get("x-amz-meta-a") != want {
			t.Errorf("%q: %q, want %q", sent, resp.Header.Get("x-amz-meta-a"), want)
		}
	}
}

// TestMetadataOfOldObjects: what is at the store outside of US-ASCII is answered as S3 does.
func TestMetadataOfOldObjects(t *testing.T) {
	for stored, want := range map[string]string{"hé": "=?UTF-8?B?aMOp?=", "caf\xe9": "=?UTF-8?Q?caf=C3=A9?=", "x": "x", "=?UTF-8?q?h=C3=A9?=": "=?UTF-8?B?aMOp?="} {
		if got := s3.ShownMetadata(stored); got != want {
			t.Errorf("%q: %q, want %q", stored, got, want)
		}
	}
}

// FuzzMetadata: a value survives the store, and nothing but printable characters goes over the wire.
func FuzzMetadata(f *testing.F) {
	for _, v := range []string{"", "a", "é", "=?UTF-8?Q?a?=", "\x00", "a=?", "\xff"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, header string) {
		value := s3.SentMetadata(header)
		stored := s3.StoredMetadata(value)
		if got := s3.SentMetadata(stored); got != value {
			t.Errorf("%q came back as %q", value, got)
		}
		shown := s3.ShownMetadata(stored)
		if strings.ContainsFunc(stored, func(r rune) bool { return r < ' ' || r > '~' }) ||
			strings.ContainsFunc(shown, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
			t.Errorf("%q at the store, %q in an answer", stored, shown)
		}
	})
}

// TestHeadersThatStoresReadOtherwise: a header that would spoil the request to the store is refused by its name.
func TestHeadersThatStoresReadOtherwise(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, name := range []string{"x-amz-website-redirect-location", "x-amz-tagging", "x-amz-acl", "x-amz-storage-class", "x-amz-grant-read", "x-amz-expected-bucket-owner"} {
		for _, value := range []string{"a\tb", "a\u00a0b", "a\u3000b", "a\u0085b", "a\xe9"} {
			resp, body := k.doSigned(t, "PUT", "/bkt/k", map[string]string{name: value}, "x")
			if wantError(t, resp, body, http.StatusBadRequest, s3.InvalidArgumentCode); !strings.Contains(string(body), "<ArgumentName>"+name+"<") {
				t.Errorf("%s: %s", name, body)
			}
		}
	}
}

// TestRequestsThatTheStoreDoesNotTake: a signature that the store refuses is the store's trouble only where it refuses
// others, too.
func TestRequestsThatTheStoreDoesNotTake(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "ListBuckets" {
			return proxytest.Fault{}
		}
		return proxytest.Fault{Before: &s3.Error{Code: s3.SignatureDoesNotMatch, HTTPStatus: 403}}
	})
	resp, body := k.do(t, "PUT", "/bkt/k", nil, []byte("x"))
	wantError(t, resp, body, http.StatusBadRequest, s3.InvalidRequest)
}

// TestCutForms: a form whose end never comes is its client's fault, at whatever byte it is cut.
func TestCutForms(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	f := newForm(noise(1, 3000), "key", "k")
	f.sign()
	whole := f.body()
	for _, n := range []int{0, 1, 100, len(whole) - 3100, len(whole) - 2000, len(whole) - 30, len(whole) - 1} {
		conn, err := net.Dial("tcp", k.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /bkt HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n", k.endpoint, testBoundary, len(whole))
		conn.Write(whole[:n])
		conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			conn.Close()
			continue // closed without an answer: nobody is told to come again
		}
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("cut at byte %d of %d: %s", n, len(whole), resp.Status)
		}
		conn.Close()
	}
}
