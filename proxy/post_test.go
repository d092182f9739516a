package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// testForm is a browser's form: fields in their order, then the file.
type testForm struct {
	fields     [][2]string
	conditions []any // beside those for the fields
	file       []byte
	fileName   string
	end        string // behind the last boundary
	behind     string // whole parts behind the file
	plain      bool   // not signed
	expired    bool
}

const testBoundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

func newForm(file []byte, fields ...string) *testForm {
	f := &testForm{file: file, fileName: "photo.jpg", end: "\r\n"}
	for i := 0; i < len(fields); i += 2 {
		f.fields = append(f.fields, [2]string{fields[i], fields[i+1]})
	}
	return f
}

// sign adds policy and signature, with an exact condition for each field.
func (f *testForm) sign() {
	now := time.Now().UTC()
	credential := testAccess + "/" + now.Format("20060102") + "/us-east-1/s3/aws4_request"
	f.fields = append(f.fields, [2]string{"x-amz-algorithm", "AWS4-HMAC-SHA256"}, [2]string{"x-amz-credential", credential},
		[2]string{"x-amz-date", now.Format("20060102T150405Z")})
	conditions := append([]any{map[string]string{"bucket": "bkt"}}, f.conditions...)
	for _, field := range f.fields {
		conditions = append(conditions, map[string]string{field[0]: strings.ReplaceAll(field[1], "${filename}", f.fileName)})
	}
	expires := now.Add(time.Hour)
	if f.expired {
		expires = now.Add(-time.Hour)
	}
	policy, _ := json.Marshal(map[string]any{"expiration": expires.Format("2006-01-02T15:04:05Z"), "conditions": conditions})
	key := []byte("AWS4" + testSecret)
	for _, step := range []string{now.Format("20060102"), "us-east-1", "s3", "aws4_request", s3.Base64(policy)} {
		h := hmac.New(sha256.New, key)
		io.WriteString(h, step)
		key = h.Sum(nil)
	}
	f.fields = append(f.fields, [2]string{"policy", s3.Base64(policy)}, [2]string{"x-amz-signature", hex.EncodeToString(key)})
}

func (f *testForm) body() []byte {
	var b bytes.Buffer
	for _, field := range f.fields {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", testBoundary, field[0], field[1])
	}
	if f.file != nil {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\nContent-Type: image/jpeg\r\n\r\n", testBoundary, f.fileName)
		b.Write(f.file)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "%s--%s--%s", f.behind, testBoundary, f.end)
	return b.Bytes()
}

func (k *kit) post(t testing.TB, f *testForm) (*http.Response, []byte) {
	t.Helper()
	if !f.plain {
		f.sign()
	}
	req, err := http.NewRequest("POST", "http://"+k.endpoint+"/bkt", bytes.NewReader(f.body()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary="+testBoundary)
	return roundTrip(t, req)
}

// TestPost uploads files of all sizes and endings, in every mode, and reads them back.
func TestPost(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	for mode, header := range encryptionHeaders() {
		for _, size := range []int{0, 5, inlineLimit, 3*inlineLimit + 1} {
			for _, end := range []string{"\r\n", "", "\r\nepilogue"} {
				file := noise(uint64(size), size)
				f := newForm(file, "key", "a b/${filename}", "Content-Type", "text/x-form", "x-amz-meta-colour", "blue")
				f.fileName, f.end = "fü.bin", end
				read := map[string]string{}
				for name, value := range header {
					f.fields = append(f.fields, [2]string{name, value})
					if mode == "SSE-C" {
						read[name] = value
					}
				}
				resp, body := k.post(t, f)
				if resp.StatusCode != http.StatusNoContent || resp.Header.Get(hdrSSE) != header[hdrSSE] ||
					resp.Header.Get("Location") != "http://"+k.endpoint+"/bkt/a%20b/f%C3%BC.bin" {
					t.Fatalf("%s of %d, end %q: %s %v\n%s", mode, size, end, resp.Status, resp.Header, body)
				}
				got, data := k.mustDo(t, "GET", "/bkt/a%20b/f%C3%BC.bin", read, nil)
				if !bytes.Equal(data, file) || got.Header.Get("Content-Type") != "text/x-form" || got.Header.Get("x-amz-meta-colour") != "blue" ||
					got.Header.Get("Etag") != resp.Header.Get("Etag") {
					t.Errorf("%s of %d, end %q: %d bytes, %v", mode, size, end, len(data), got.Header)
				}
				if sum := md5.Sum(file); mode == "SSE-S3" && s3.Unquote(got.Header.Get("Etag")) != hex.EncodeToString(sum[:]) {
					t.Errorf("ETag %s", got.Header.Get("Etag"))
				}
				if len(file) > 0 && u.Contains(file[:5]) {
					t.Error("plaintext at the store")
				}
			}
		}
	}
	if k.server.uploads.Space.Used() != 0 {
		t.Errorf("%d bytes stay reserved", k.server.uploads.Space.Used())
	}
	if left, _ := os.ReadDir(k.server.cfg.HeldDir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPostOfAnyLength: a policy that allows any length, up to the largest number that there is, allows no file in memory
// that does not fit there.
func TestPostOfAnyLength(t *testing.T) {
	for _, high := range []int64{0, 10, inlineLimit - 1, inlineLimit, maxPut - 1, maxPut, maxPut + 1, math.MaxInt64 - 1, math.MaxInt64} {
		for _, left := range []int64{0, 10, inlineLimit, inlineLimit + 1, maxPut, 2 * maxPut} {
			document := fmt.Sprintf(`{"expiration": "2100-01-01T00:00:00Z", "conditions": [["content-length-range", 0, %d]]}`, high)
			policy, err := sigv4.ParsePostPolicy(s3.Base64([]byte(document)))
			if err != nil {
				t.Fatal(err)
			}
			most := (&form{body: &formBody{left: left}}).mostOfFile(policy)
			if want := min(left, high, maxPut); most != want && most != want+1 || most < 0 {
				t.Errorf("of a form of %d with a file of at most %d: %d", left, high, most)
			}
		}
	}
}

func TestPostAnswers(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	etag := `"` + hexMD5Of("bar") + `"`
	resp, body := k.post(t, newForm([]byte("bar"), "key", "f/oo", "success_action_status", "201"))
	if doc := reply[s3.PostResponse](t, body); resp.StatusCode != 201 || doc.Key != "f/oo" || doc.Bucket != "bkt" || doc.ETag != etag || !strings.HasSuffix(doc.Location, "/bkt/f/oo") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	for status, want := range map[string]int{"200": 200, "204": 204, "404": 204} {
		if resp, body := k.post(t, newForm([]byte("bar"), "key", "foo", "success_action_status", status)); resp.StatusCode != want || len(body) > 0 {
			t.Errorf("%s: %s %s", status, resp.Status, body)
		}
	}
	for to, want := range map[string]string{
		"http://example.com/done":     "http://example.com/done?bucket=bkt&key=f%2Foo&etag=" + s3.EscapeQuery(etag),
		"http://example.com/done?x=y": "http://example.com/done?x=y&bucket=bkt&key=f%2Foo&etag=" + s3.EscapeQuery(etag),
		"not an address":              "",
	} {
		resp, _ := k.post(t, newForm([]byte("bar"), "key", "f/oo", "success_action_redirect", to))
		if want == "" && resp.StatusCode != 204 || want != "" && (resp.StatusCode != 303 || resp.Header.Get("Location") != want) {
			t.Errorf("%s: %s %s", to, resp.Status, resp.Header.Get("Location"))
		}
	}
}

func hexMD5Of(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }

func TestPostFields(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	tags := "<Tagging><TagSet><Tag><Key>a</Key><Value>x &amp; y</Value></Tag></TagSet></Tagging>"
	sum := sha256.Sum256([]byte("bar"))
	resp, body := k.post(t, newForm([]byte("bar"), "key", "k", "tagging", tags, "x-amz-storage-class", "STANDARD_IA", "Cache-Control", "no-store",
		"x-amz-checksum-sha256", s3.Base64(sum[:]), "x-ignore-me", "1", "acl", "private"))
	if resp.StatusCode != 204 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	o, _ := u.Object("bkt", "k")
	if len(o.Tags) != 1 || o.Tags[0].Value != "x & y" || o.Header.Get("X-Amz-Storage-Class") != "STANDARD_IA" || o.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v", o)
	}
	if got, _ := k.mustDo(t, "HEAD", "/bkt/k", map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil); got.Header.Get("x-amz-checksum-sha256") != s3.Base64(sum[:]) {
		t.Errorf("%v", got.Header)
	}
}

func TestPostRefused(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	bar := []byte("bar")
	with := func(f *testForm, change func(*testForm)) *testForm { change(f); return f }
	for name, c := range map[string]struct {
		form   *testForm
		status int
		code   s3.Code
	}{
		"anonymous":       {&testForm{fields: [][2]string{{"key", "k"}}, file: bar, end: "\r\n", plain: true}, 403, s3.AccessDenied},
		"no key":          {newForm(bar, "acl", "private"), 400, s3.InvalidArgumentCode},
		"empty key":       {newForm(bar, "key", ""), 400, s3.InvalidArgumentCode},
		"no file":         {newForm(nil, "key", "k"), 400, s3.InvalidArgumentCode},
		"two keys":        {newForm(bar, "key", "k", "key", "k"), 400, s3.InvalidArgumentCode},
		"expired":         {with(newForm(bar, "key", "k"), func(f *testForm) { f.expired = true }), 403, s3.AccessDenied},
		"condition fails": {with(newForm(bar, "key", "k"), func(f *testForm) { f.conditions = []any{[]any{"starts-with", "$key", "other"}} }), 403, s3.AccessDenied},
		"uncovered field": {with(newForm(bar, "key", "k"), func(f *testForm) {
			f.sign()
			f.fields = append(f.fields, [2]string{"x-amz-meta-a", "b"})
			f.plain = true
		}), 403, s3.AccessDenied},
		"too long":            {with(newForm(bar, "key", "k"), func(f *testForm) { f.conditions = []any{[]any{"content-length-range", 0, 2}} }), 400, s3.EntityTooLarge},
		"too short":           {with(newForm(bar, "key", "k"), func(f *testForm) { f.conditions = []any{[]any{"content-length-range", 4, 9}} }), 400, s3.EntityTooSmall},
		"wrong checksum":      {newForm(bar, "key", "k", "x-amz-checksum-crc32", "AAAAAA=="), 400, s3.BadDigest},
		"malformed checksum":  {newForm(bar, "key", "k", "x-amz-checksum-sha256", "sailorjerry"), 400, s3.InvalidRequest},
		"envelope":            {newForm(bar, "key", "k", s3.HeaderEnvelope, "x"), 400, s3.InvalidRequest},
		"unknown field":       {newForm(bar, "key", "k", "x-amz-new-thing", "x"), 501, s3.NotImplemented},
		"unknown checksum":    {newForm(bar, "key", "k", "x-amz-checksum-blake3", "x"), 501, s3.NotImplemented},
		"header injection":    {newForm(bar, "key", "k", "Content-Type", "a\r\nx-amz-acl: public-read"), 400, s3.InvalidArgumentCode},
		"bad tagging":         {newForm(bar, "key", "k", "tagging", "a=b"), 400, s3.MalformedXML},
		"bad encryption":      {newForm(bar, "key", "k", hdrSSE, "ROT13"), 400, s3.InvalidArgumentCode},
		"KMS key not found":   {newForm(bar, "key", "k", hdrSSE, algKMS, hdrKMSKey, "nope"), 400, s3.KMSNotFoundException},
		"key over 1024 bytes": {newForm(bar, "key", strings.Repeat("k", 1025)), 400, s3.KeyTooLongError},
		"no name":             {newForm(bar, "key", "k", "", "x"), 400, s3.MalformedPOSTRequest},
		"33 KB without name":  {newForm(bar, "key", "k", "", strings.Repeat("a", 33<<10)), 400, s3.MalformedPOSTRequest},
		"20 KB of fields":     {newForm(bar, "key", "k", "x-amz-meta-a", strings.Repeat("a", 20<<10)), 400, s3.MaxPostPreDataLengthExceeded},
		"1 MB of fields":      {newForm(bar, "key", "k", "x-amz-meta-a", strings.Repeat("a", 1<<20)), 400, s3.MaxPostPreDataLengthExceeded},
	} {
		resp, body := k.post(t, c.form)
		if wantError(t, resp, body, c.status, c.code); t.Failed() {
			t.Fatal(name)
		}
	}
	for kind, code := range map[string]s3.Code{"text/plain": s3.PreconditionFailed, "multipart/form-data": s3.PreconditionFailed, "multipart/form-data; boundary=other": s3.MalformedPOSTRequest} {
		req, _ := http.NewRequest("POST", "http://"+k.endpoint+"/bkt", strings.NewReader("junk"))
		req.Header.Set("Content-Type", kind)
		if resp, body := roundTrip(t, req); s3.ParseError(resp.StatusCode, body).Code != code {
			t.Errorf("%s: %s %s", kind, resp.Status, body)
		}
	}
	if keys := u.Keys("bkt"); len(keys) > 0 {
		t.Errorf("stored: %q", keys)
	}
}

// TestPostPartsBehindTheFile: S3 passes over what stands behind the file.
func TestPostPartsBehindTheFile(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, size := range []int{3, inlineLimit * 2} {
		f := newForm(noise(1, size), "key", "k")
		f.behind = "--" + testBoundary + "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n"
		if resp, body := k.post(t, f); resp.StatusCode != 204 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		if _, data := k.mustDo(t, "GET", "/bkt/k", nil, nil); !bytes.Equal(data, f.file) {
			t.Errorf("%d bytes of %d", len(data), size)
		}
	}
}

// TestPostCutShort: a form whose connection ends early leaves nothing behind.
func TestPostCutShort(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{CommitShortBody: true}, nil)
	for _, size := range []int{100, 2 * inlineLimit} {
		f := newForm(noise(1, size), "key", "k")
		f.sign()
		body := f.body()
		for _, cut := range []int{1, 10, len(testBoundary) + 8, size / 2, size + 200} {
			conn, err := net.Dial("tcp", k.endpoint)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "POST /bkt HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n", testBoundary, len(body)+5)
			conn.Write(body[:len(body)-cut])
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, conn)
			conn.Close()
			if keys := u.Keys("bkt"); len(keys) > 0 {
				t.Fatalf("cut %d of %d: stored", cut, size)
			}
		}
	}
}

// TestPostAnonymous: an unsigned form is for deployments that let anyone in.
func TestPostAnonymous(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.Anonymous = true })
	f := newForm([]byte("bar"), "key", "k", "submit", "Upload")
	f.plain = true
	if resp, body := k.post(t, f); resp.StatusCode != 204 {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	f = newForm([]byte("bar"), "key", "k", hdrSSE, algKMS)
	f.plain = true
	resp, body := k.post(t, f)
	wantError(t, resp, body, 400, s3.InvalidArgumentCode)
}
