package server

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
)

// secretRig is a whole waxseal with its log.
type secretRig struct {
	t      *testing.T
	s3     string
	kms    string
	admin  string
	root   Credentials
	log    *lockedBuffer
	secret string // as a client's 32 bytes
}

func newSecretRig(t *testing.T) *secretRig {
	t.Helper()
	_, store := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	c := Default()
	c.UpstreamEndpoint, c.DataDir, c.AllowInsecureSSEC, c.SigV2, c.Anonymous = store, t.TempDir(), true, true, true
	r := &secretRig{t: t, log: new(lockedBuffer), secret: "0SECRET>OF?A~CLIENT-0123456789ab"}
	p, err := Assemble(t.Context(), &c, slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Probed
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Log(err)
		}
	})
	listen := func(serve func(net.Listener)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go serve(l)
		return "http://" + l.Addr().String()
	}
	r.s3 = listen(func(l net.Listener) { _ = p.S3.Serve(l, nil) }) // ends with the parts
	r.kms = listen(func(l net.Listener) { _ = p.kms.Serve(l) })
	admin := httptest.NewServer(p.admin.Handler)
	t.Cleanup(admin.Close)
	r.admin, r.root = admin.URL, p.root
	return r
}

// wantNone looks for the secrets as sent, and in the forms of them in errors.
func (r *secretRig) wantNone(where, text string) {
	r.t.Helper()
	for _, secret := range []string{r.secret, r.root.SecretKey} {
		encoded := base64.StdEncoding.EncodeToString([]byte(secret))
		for _, form := range []string{secret[1:20], encoded[1:24], hex.EncodeToString([]byte(secret))[:24], hex.EncodeToString([]byte(encoded))[:24],
			url.QueryEscape(secret)[1:20], spacedHex(secret[1:20]), spacedHex(encoded[1:20]), base64.StdEncoding.EncodeToString([]byte(encoded))[:24]} {
			if strings.Contains(text, form) {
				r.t.Errorf("%s: %q is in %.600s", where, form, text)
				return
			}
		}
	}
}

func spacedHex(s string) string { return strings.TrimSpace(fmt.Sprintf("% x", s)) }

func (r *secretRig) do(where string, req *http.Request) int {
	r.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s: %v", where, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s: %v", where, err)
	}
	r.wantNone(where, fmt.Sprint(resp.Status, resp.Header, string(body)))
	return resp.StatusCode
}

// signings are the ways to sign a request, or not to.
func (r *secretRig) signings() map[string]func(*http.Request) *http.Request {
	wrong := func(secret string) string { return secret[:len(secret)-1] + "x" }
	return map[string]func(*http.Request) *http.Request{
		"unsigned": func(q *http.Request) *http.Request { return q },
		"V4": func(q *http.Request) *http.Request {
			return signer.SignV4(*q, r.root.AccessKey, r.root.SecretKey, "", "us-east-1")
		},
		"wrong V4": func(q *http.Request) *http.Request {
			return signer.SignV4(*q, r.root.AccessKey, wrong(r.root.SecretKey), "", "us-east-1")
		},
		"V2": func(q *http.Request) *http.Request {
			return signer.SignV2(*q, r.root.AccessKey, r.root.SecretKey, false)
		},
		"wrong V2": func(q *http.Request) *http.Request {
			return signer.SignV2(*q, r.root.AccessKey, wrong(r.root.SecretKey), false)
		},
		"presigned": func(q *http.Request) *http.Request {
			return signer.PreSignV4(*q, r.root.AccessKey, r.root.SecretKey, "", "us-east-1", 600)
		},
		"wrongly presigned": func(q *http.Request) *http.Request {
			return signer.PreSignV4(*q, r.root.AccessKey, wrong(r.root.SecretKey), "", "us-east-1", 600)
		},
		"wrongly presigned V2": func(q *http.Request) *http.Request {
			return signer.PreSignV2(*q, r.root.AccessKey, wrong(r.root.SecretKey), 600, false)
		},
		"bearer":              func(q *http.Request) *http.Request { q.Header.Set("Authorization", "Bearer "+r.secret); return q },
		"secret for a scheme": func(q *http.Request) *http.Request { q.Header.Set("Authorization", r.secret); return q },
		"secret for components": func(q *http.Request) *http.Request {
			q.Header.Set("Authorization", "AWS4-HMAC-SHA256 "+r.secret)
			return q
		},
		"secret for a signature": func(q *http.Request) *http.Request { q.Header.Set("Authorization", "AWS "+r.secret); return q },
	}
}

// places are where a secret stands in a request, right and wrong.
func (r *secretRig) places() map[string]func(*http.Request) {
	key := base64.StdEncoding.EncodeToString([]byte(r.secret))
	sum := md5.Sum([]byte(r.secret))
	headers := func(prefix, key, sum string) func(*http.Request) {
		return func(q *http.Request) {
			q.Header.Set(prefix+"-Algorithm", "AES256")
			q.Header.Set(prefix+"-Key", key)
			q.Header.Set(prefix+"-Key-MD5", sum)
		}
	}
	query := func(name, value string) func(*http.Request) {
		return func(q *http.Request) {
			v := q.URL.Query()
			v.Set(name, value)
			q.URL.RawQuery = v.Encode()
		}
	}
	const target, source = "X-Amz-Server-Side-Encryption-Customer", "X-Amz-Copy-Source-Server-Side-Encryption-Customer"
	right := base64.StdEncoding.EncodeToString(sum[:])
	return map[string]func(*http.Request){
		"a key":                    headers(target, key, right),
		"a key with another MD5":   headers(target, key, base64.StdEncoding.EncodeToString(make([]byte, 16))),
		"a key in the clear":       headers(target, r.secret, right),
		"a key that is too long":   headers(target, key+key, right),
		"a key for its MD5":        headers(target, key, key),
		"a source's key":           headers(source, key, right),
		"a source's wrong key":     headers(source, key+"!", "x"),
		"a token":                  func(q *http.Request) { q.Header.Set("X-Amz-Security-Token", r.secret) },
		"a token in the query":     query("X-Amz-Security-Token", r.secret),
		"a key in the query":       query(strings.ToLower(target)+"-key", key),
		"a key and a line break":   query(strings.ToLower(target)+"-key", key+"\n"),
		"a source's in the query":  query(strings.ToLower(source)+"-key", key+"\x01"),
		"a cookie":                 func(q *http.Request) { q.Header.Set("Cookie", r.secret) },
		"credentials in the query": query("X-Amz-Signature", r.secret),
	}
}

// TestNoSecretLeaves sends secrets in every part of a request, signed in every way, to every kind of operation. No
// response, log line or metric shows them.
func TestNoSecretLeaves(t *testing.T) {
	r := newSecretRig(t)
	refused := 0
	for _, op := range []string{
		"GET /photos", "PUT /photos/k", "GET /photos/k", "HEAD /photos/k", "POST /photos/k?uploads", "PUT /photos/k?uploadId=x&partNumber=1",
		"POST /photos?delete", "PUT /photos/k?tagging", "GET /photos/k?attributes", "PATCH /photos/k", "GET /photos/k?uploadId=x", "GET /photos/%zz",
		"PUT /photos?policy", "PUT /photos/k COPY",
	} {
		method, rest, _ := strings.Cut(op, " ")
		path, copied := strings.CutSuffix(rest, " COPY")
		for how, sign := range r.signings() {
			for where, place := range r.places() {
				q := &http.Request{Method: method, Header: http.Header{}, Body: http.NoBody}
				u, err := url.Parse(r.s3)
				if err != nil {
					t.Fatal(err)
				}
				u.Opaque = ""
				u.RawQuery = ""
				u.Path, u.RawQuery, _ = strings.Cut(path, "?")
				q.URL, q.Host = u, u.Host
				if copied {
					q.Header.Set("X-Amz-Copy-Source", "/photos/other")
				}
				place(q)
				if status := r.do(op+", "+how+", "+where, sign(q)); status >= 400 {
					refused++
				}
			}
		}
	}
	if refused < 1000 {
		t.Errorf("only %d requests were refused", refused)
	}
	r.forms()
	r.others()
	r.wantNone("log", r.log.String())
}

// forms sends POST forms with secrets in policies and fields.
func (r *secretRig) forms() {
	key := base64.StdEncoding.EncodeToString([]byte(r.secret))
	policy := func(conditions string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[` + conditions + `]}`))
	}
	for _, conditions := range []string{
		`{"bucket":"photos"},{"x-amz-server-side-encryption-customer-key":"` + key + `"}`,
		`["eq","$x-amz-server-side-encryption-customer-key","` + key + `"]`, `["eq","$x-amz-server-side-encryption-customer-key"`, "x",
	} {
		for _, value := range []string{key, r.secret, key + "\x01", "other"} {
			for _, secret := range []string{r.root.SecretKey, "wrong"} {
				text := policy(conditions)
				now := time.Now().UTC()
				fields := [][2]string{
					{"key", "k"}, {"policy", text}, {"x-amz-algorithm", "AWS4-HMAC-SHA256"}, {"x-amz-date", now.Format("20060102T150405Z")},
					{"x-amz-credential", signer.GetCredential(r.root.AccessKey, "us-east-1", now, "s3")},
					{"x-amz-signature", signer.PostPresignSignatureV4(text, now, secret, "us-east-1")},
					{"x-amz-server-side-encryption-customer-key", value}, {"x-amz-security-token", ""},
				}
				if value == "other" {
					fields[7][1] = r.secret
				}
				var b strings.Builder
				for _, f := range fields {
					if f[1] != "" {
						fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", f[0], f[1])
					}
				}
				b.WriteString("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n")
				q, err := http.NewRequest("POST", r.s3+"/photos", strings.NewReader(b.String()))
				if err != nil {
					r.t.Fatal(err)
				}
				q.Header.Set("Content-Type", "multipart/form-data; boundary=b")
				r.do("a form", q)
			}
		}
	}
}

// others sends secrets to the KMS and admin ports, in headers and in bodies without JSON.
func (r *secretRig) others() {
	for _, port := range []string{r.kms, r.admin, r.admin + "/metrics", r.admin + "/nothing"} {
		for how, authorization := range map[string]string{
			"none": "", "bearer": "Bearer " + r.secret, "a scheme": r.secret, "components": "AWS4-HMAC-SHA256 " + r.secret,
			"a component": "AWS4-HMAC-SHA256 Credential=a, " + r.secret + "=b",
		} {
			for _, body := range []string{"", r.secret, `{"Plaintext":"` + r.secret + `"`, `{"` + r.secret + `":1}`} {
				q, err := http.NewRequest("POST", port, strings.NewReader(body))
				if err != nil {
					r.t.Fatal(err)
				}
				q.Header.Set("X-Amz-Target", "TrentService.Encrypt")
				q.Header.Set("X-Amz-Security-Token", r.secret)
				if authorization != "" {
					q.Header.Set("Authorization", authorization)
				}
				r.do(port+", "+how, q)
			}
		}
	}
	q, err := http.NewRequest("GET", r.admin+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.do("metrics", q)
}
