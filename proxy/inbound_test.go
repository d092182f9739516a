package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// patience bounds the wait of a test. Only a fault makes a test wait that long.
const patience = 20 * time.Second

// conn is a client that writes its own bytes.
type conn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (k *kit) dial(t testing.TB) *conn {
	t.Helper()
	c, err := net.Dial("tcp", k.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * patience))
	return &conn{c, t, bufio.NewReader(c)}
}

func (c *conn) send(text string) *conn {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads one answer to a request of the method.
func (c *conn) answer(method string) (*http.Response, []byte) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	resp.Request = &http.Request{Method: method}
	return resp, body
}

// ended checks that the connection is closed, and that nothing more came before it was.
func (c *conn) ended() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		c.t.Errorf("another answer came: %q", rest)
	}
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		c.t.Error("the connection stays open")
	}
}

// head is a signed request's head, without the empty line that ends it.
func (k *kit) head(method, target string, header map[string]string) string {
	return k.headFor(k.endpoint, method, target, header)
}

func (k *kit) headFor(host, method, target string, header map[string]string) string {
	req, err := http.NewRequest(method, "http://"+host+target, nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", s3.UnsignedPayload)
	for n, v := range header {
		req.Header.Set(n, v)
	}
	req = signer.SignV4(*req, testAccess, testSecret, "", "us-east-1")
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for n, v := range req.Header {
		text += n + ": " + v[0] + "\r\n"
	}
	return text
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n", n) }

// spoilt makes a signature wrong.
func spoilt(head string) string {
	i := strings.Index(head, "Signature=") + len("Signature=")
	return head[:i] + strings.Repeat("0", 64) + head[i+64:]
}

func TestHeaderTooLarge(t *testing.T) {
	k, up := memoryKit(t, nil)
	c := k.dial(t).send(k.head("GET", "/", nil) + "X-Padding: " + strings.Repeat("p", maxHeaderBytes) + "\r\n\r\n")
	resp, body := c.answer("GET")
	wantError(t, withURL(resp), body, http.StatusBadRequest, s3.RequestHeaderSectionTooLarge)
	c.ended()
	if len(up.Operations()) > 0 {
		t.Error("the store was asked")
	}
}

func withURL(r *http.Response) *http.Response {
	r.Request.URL = mustURL("/")
	return r
}

// TestBodyFraming: a body whose end is not clear is refused, and so is all that follows it.
func TestBodyFraming(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	smuggled := k.head("PUT", "/"+bucket+"/smuggled", nil) + "Content-Length: 0\r\n\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	put := k.head("PUT", "/"+bucket+"/object", nil)
	for _, tc := range []struct {
		name, text string
		status     int
		code       s3.Code
	}{
		{"chunked without a length", put + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 411, s3.MissingContentLength},
		{"no length", put + "\r\n" + smuggled, 411, s3.MissingContentLength},
		{"length and chunked", put + "Transfer-Encoding: chunked\r\n" + length(len(chunked)) + chunked, 400, s3.InvalidRequest},
		{"chunked and length", put + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 400, s3.InvalidRequest},
		{"two lengths", put + "Content-Length: 4\r\n" + length(len(smuggled)) + smuggled, 400, s3.InvalidRequest},
		{"a negative length", put + length(-5) + smuggled, 400, s3.InvalidRequest},
		{"a signed length", put + "Content-Length: +5\r\n\r\n" + smuggled, 400, s3.InvalidRequest},
		{"a length that is none", put + "Content-Length: 5x\r\n\r\n" + smuggled, 400, s3.InvalidRequest},
		{"another transfer encoding", put + "Transfer-Encoding: gzip\r\n\r\n" + smuggled, 400, s3.InvalidRequest},
		{"a chunk size that is none", put + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + smuggled, 411, s3.MissingContentLength},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up.ClearRequests()
			c := k.dial(t).send(tc.text)
			resp, body := c.answer("PUT")
			if e := s3.ParseError(resp.StatusCode, body); tc.status == 400 && resp.StatusCode == 411 {
				t.Logf("refused as %d %s", resp.StatusCode, e.Code)
			} else if resp.StatusCode != tc.status || e.Code != tc.code {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, e.Code, tc.status, tc.code)
			}
			c.Conn.(*net.TCPConn).CloseWrite()
			for {
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					break
				}
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode < 300 {
					t.Errorf("something was answered with %s", resp.Status)
				}
			}
			if ops := up.Operations(); count(ops, "PutObject") > 0 {
				t.Errorf("the store was asked: %v", ops)
			}
		})
	}
}

// TestLeftoversAreNoRequest: what is left of a refused request's body is never taken for the next request, and the
// next request, if the connection is kept, is answered as what it is.
func TestLeftoversAreNoRequest(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	k.mustDo(t, "PUT", "/"+bucket+"/there", nil, []byte("there"))
	smuggled := k.head("PUT", "/"+bucket+"/smuggled", nil) + "Content-Length: 0\r\n\r\n"
	for _, size := range []int{len(smuggled), 20_000, 300_000, 3 << 20} {
		text := smuggled + strings.Repeat("\r\n"+smuggled, size/len(smuggled))
		for name, head := range map[string]string{
			"wrong signature":  spoilt(k.head("PUT", "/"+bucket+"/object", nil)),
			"no such bucket":   k.head("PUT", "/nobody-has-this-bucket/object", nil),
			"wrong digest":     k.head("PUT", "/"+bucket+"/object", map[string]string{"Content-Md5": s3.Base64(md5Sum(nil))}),
			"unknown header":   k.head("PUT", "/"+bucket+"/object", map[string]string{"X-Amz-Frobnicate": "1"}),
			"unknown op":       k.head("POST", "/"+bucket+"/object?frobnicate=", nil),
			"GET with a body":  k.head("GET", "/"+bucket+"/there", nil),
			"HEAD with a body": k.head("HEAD", "/"+bucket+"/there", nil),
			"DELETE with body": k.head("DELETE", "/"+bucket+"/object", nil),
			"LIST with a body": k.head("GET", "/"+bucket, nil),
			"copy with a body": k.head("PUT", "/"+bucket+"/copy", map[string]string{"X-Amz-Copy-Source": "/" + bucket + "/there"}),
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				c := k.dial(t)
				go io.WriteString(c.Conn, head+length(len(text))+text+k.head("GET", "/"+bucket+"/there", nil)+"\r\n")
				method, _, _ := strings.Cut(head, " ")
				c.answer(method)
				if resp, err := http.ReadResponse(c.r, nil); err == nil {
					got, _ := io.ReadAll(resp.Body)
					if string(got) != "there" {
						t.Errorf("the next request was answered %s %q", resp.Status, got)
					}
				}
			})
		}
	}
	if up.Saw("smuggled") {
		t.Error("a smuggled request was done")
	}
}

// TestEarlyErrorIsReceived: a client that sends a body without waiting reads the error all the same.
func TestEarlyErrorIsReceived(t *testing.T) {
	k, _ := memoryKit(t, nil)
	bucket := k.bucket(t)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	for _, tc := range []struct{ size, times int }{{200 << 10, 20}, {50 << 20, 20}} {
		body := make([]byte, tc.size)
		for i := range tc.times {
			req, err := http.NewRequest(http.MethodPut, "http://"+k.endpoint+"/"+bucket+"/object", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Content-Sha256", s3.UnsignedPayload)
			req = signer.SignV4(*req, testAccess, "wrong", "", "us-east-1")
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatalf("%d bytes, try %d: %v", tc.size, i, err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("%d bytes, try %d: %v", tc.size, i, err)
			}
			resp.Request = req
			wantError(t, resp, got, http.StatusForbidden, s3.SignatureDoesNotMatch)
		}
	}
}

// TestExpectContinue: a refusal comes before the body is asked for.
func TestExpectContinue(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	head := k.head("PUT", "/"+bucket+"/object", map[string]string{"Expect": "100-continue"})
	c := k.dial(t).send(spoilt(head) + length(50<<20))
	resp, body := c.answer("PUT")
	wantError(t, withURL(resp), body, http.StatusForbidden, s3.SignatureDoesNotMatch)
	c.ended()
	c = k.dial(t).send(head + length(4))
	if resp, _ := http.ReadResponse(c.r, nil); resp == nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("no 100: %v", resp)
	}
	c.send("body")
	if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusOK {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if o, ok := up.Object(bucket, "object"); !ok || len(o.Body) == 0 {
		t.Error("it was not stored")
	}
}

// TestPipelined: requests that come in one piece are answered in their order, bodiless answers without bodies.
func TestPipelined(t *testing.T) {
	k, _ := memoryKit(t, nil)
	bucket := k.bucket(t)
	resp, _ := k.mustDo(t, "PUT", "/"+bucket+"/object", nil, []byte("first"))
	path := "/" + bucket + "/object"
	c := k.dial(t).send(k.head("GET", path, nil) + "\r\n" +
		k.head("HEAD", path, nil) + "\r\n" +
		k.head("HEAD", path+"-not-there", nil) + "\r\n" +
		k.head("GET", path, map[string]string{"If-None-Match": resp.Header.Get("Etag")}) + "\r\n" +
		k.head("PUT", path, nil) + length(6) + "second" +
		k.head("DELETE", path+"2", nil) + "\r\n" +
		k.head("GET", path, nil) + "\r\n")
	for i, want := range []struct {
		method string
		status int
		body   string
	}{{"GET", 200, "first"}, {"HEAD", 200, ""}, {"HEAD", 404, ""}, {"GET", 304, ""}, {"PUT", 200, ""}, {"DELETE", 204, ""}, {"GET", 200, "second"}} {
		resp, body := c.answer(want.method)
		if resp.StatusCode != want.status || string(body) != want.body {
			t.Errorf("answer %d: %s %q, want %d %q", i+1, resp.Status, body, want.status, want.body)
		}
	}
}

// TestAddressing: the forms in which a request can name a bucket and a key.
func TestAddressing(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.Domain = "s3.test" })
	if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil {
		t.Fatal(err)
	}
	bucket := k.bucket(t)
	k.mustDo(t, "PUT", "/"+bucket+"/dir/object", nil, []byte("here"))
	get := func(text string) (*http.Response, []byte) { return k.dial(t).send(text + "\r\n").answer("GET") }
	for name, text := range map[string]string{
		"path":                  k.head("GET", "/"+bucket+"/dir/object", nil),
		"virtual host":          k.headFor(bucket+".s3.test", "GET", "/dir/object", nil),
		"virtual host and port": k.headFor(bucket+".s3.test:9800", "GET", "/dir/object", nil),
		"upper case host":       k.headFor(strings.ToUpper(bucket)+".S3.test", "GET", "/dir/object", nil),
		"the domain itself":     k.headFor("s3.test", "GET", "/"+bucket+"/dir/object", nil),
		"absolute form":         strings.Replace(k.head("GET", "/"+bucket+"/dir/object", nil), "GET /", "GET http://"+k.endpoint+"/", 1),
		"HTTP/1.0":              strings.Replace(k.head("GET", "/"+bucket+"/dir/object", nil), "HTTP/1.1", "HTTP/1.0", 1),
	} {
		if resp, body := get(text); resp.StatusCode != http.StatusOK || string(body) != "here" {
			t.Errorf("%s: %s %q", name, resp.Status, body)
		}
	}
	for name, text := range map[string]string{
		"bucket":                  k.head("GET", "/"+bucket, nil),
		"trailing slash":          k.head("GET", "/"+bucket+"/", nil),
		"slash and query":         k.head("GET", "/"+bucket+"/?list-type=2", nil),
		"virtual host":            k.headFor(bucket+".s3.test", "GET", "/", nil),
		"virtual host, the query": k.headFor(bucket+".s3.test", "GET", "/?list-type=2&prefix=dir", nil),
	} {
		if resp, body := get(text); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<Key>dir/object</Key>")) {
			t.Errorf("list by %s: %s %q", name, resp.Status, body)
		}
	}
	for _, path := range []string{"/" + bucket + "/%zz", "/" + bucket + "/%2", "/" + bucket + "/a%ff", "/" + bucket + "/a?prefix=%zz", "/%zz/a"} {
		text := strings.Replace(k.head("GET", "/"+bucket+"/a", nil), "/"+bucket+"/a", path, 1)
		if resp, body := get(text); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	for _, b := range []string{"..", ".", "a%2Fb", "%00", "a%20b"} {
		if resp, body := k.do(t, "GET", "/"+b+"/object", nil, nil); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("bucket %s: %s %s", b, resp.Status, body)
		}
	}
	up.ClearRequests()
	long := strings.Repeat("ü", 512)
	k.mustDo(t, "PUT", "/"+bucket+"/"+s3.EscapePath(long), nil, []byte("long"))
	if _, body := k.mustDo(t, "GET", "/"+bucket+"/"+s3.EscapePath(long), nil, nil); string(body) != "long" {
		t.Errorf("key of 1,024 bytes: %q", body)
	}
	resp, body := k.do(t, "PUT", "/"+bucket+"/"+s3.EscapePath(long+"x"), nil, []byte("long"))
	wantError(t, resp, body, http.StatusBadRequest, s3.KeyTooLongError)
	for _, key := range []string{"%00", "a%00b", "a%0Ab", "%2F", "%2F%2F", "..", "a/../b", "./a", "a//b", "+", "%25"} {
		k.mustDo(t, "PUT", "/"+bucket+"/"+key, nil, []byte(key))
	}
	for _, key := range []string{"%00", "a%00b", "a%0Ab", "%2F", "%2F%2F", "..", "a/../b", "./a", "a//b", "+", "%25"} {
		// Different keys are different objects.
		if resp, body := k.do(t, "GET", "/"+bucket+"/"+key, nil, nil); resp.StatusCode != 200 || string(body) != key {
			t.Errorf("key %s: %s %q", key, resp.Status, body)
		}
	}
}

// TestSlowClients: a client that holds a connection without using it loses it.
func TestSlowClients(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.IdleTimeout, c.RateWindow, c.MinRate = 2*time.Second, 3*time.Second, 1000 })
	bucket := k.bucket(t)
	put := k.head("PUT", "/"+bucket+"/object", nil) + length(1<<20)
	trickle := func(c *conn, text string, every time.Duration) {
		go func() {
			for i := range len(text) {
				if _, err := c.Conn.Write([]byte(text[i : i+1])); err != nil {
					return
				}
				time.Sleep(every)
			}
		}()
	}
	for name, begin := range map[string]func(c *conn){
		"says nothing":      func(*conn) {},
		"stops in the head": func(c *conn) { c.send(put[:100]) },
		"stops in the body": func(c *conn) { c.send(put + "some") },
		"stops in a streamed body": func(c *conn) {
			io.WriteString(c.Conn, strings.Replace(put, length(1<<20), length(9<<20), 1)+strings.Repeat("x", 2<<20))
		},
		"trickles its head":          func(c *conn) { trickle(c, put, 50*time.Millisecond) },
		"trickles its body":          func(c *conn) { c.send(put); trickle(c, strings.Repeat("x", 1000), 50*time.Millisecond) },
		"reads nothing of an answer": func(c *conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(name, "reads") {
				k.mustDo(t, "PUT", "/"+bucket+"/large", nil, make([]byte, 32<<20))
				c := k.dial(t).send(k.head("GET", "/"+bucket+"/large", nil) + "\r\n")
				if _, err := c.r.Peek(1); err != nil {
					t.Fatal(err)
				}
				k.settles(t, "a place stays taken", func() bool { return k.server.places.taken() == 0 })
				if n, _ := io.Copy(io.Discard, c.r); n >= 32<<20 {
					t.Error("all of the answer came")
				}
				return
			}
			c := k.dial(t)
			began := time.Now()
			begin(c)
			io.Copy(io.Discard, c.r) // ends when the server closes
			if time.Since(began) > patience {
				t.Error("the connection was kept")
			}
		})
	}
	t.Run("a slow one that keeps up", func(t *testing.T) {
		t.Parallel()
		c := k.dial(t).send(k.head("PUT", "/"+bucket+"/kept", nil) + length(40*200))
		for range 40 {
			c.send(strings.Repeat("k", 200))
			time.Sleep(50 * time.Millisecond)
		}
		if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusOK {
			t.Errorf("%s\n%s", resp.Status, body)
		}
	})
	t.Cleanup(func() {
		if _, there := up.Object(bucket, "object"); there {
			t.Error("an upload that was not finished became an object")
		}
	})
}

// settles waits until what must become true has.
func (k *kit) settles(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// idle checks that nothing is left of the calls so far.
func (k *kit) idle(t testing.TB, goroutines int) {
	t.Helper()
	k.settles(t, "a place among those in flight stays taken", func() bool { return k.server.places.taken() == 0 })
	k.settles(t, "an inline buffer is missing", func() bool {
		k.server.inline.mu.Lock()
		defer k.server.inline.mu.Unlock()
		return k.server.inline.lent == 0
	})
	k.settles(t, "goroutines are left", func() bool {
		k.server.up.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		return runtime.NumGoroutine() <= goroutines+3
	})
}

// chunkedUpload is an aws-chunked body with an unsigned trailer.
func chunkedUpload(data string) (header map[string]string, body string) {
	sum := crc32cOf(data)
	body = fmt.Sprintf("%x\r\n%s\r\n0\r\nx-amz-checksum-crc32c:%s\r\n\r\n", len(data), data, sum)
	return map[string]string{"X-Amz-Content-Sha256": s3.StreamingUnsignedTrailer, "X-Amz-Trailer": "x-amz-checksum-crc32c",
		"X-Amz-Decoded-Content-Length": fmt.Sprint(len(data)), "Content-Encoding": "aws-chunked"}, body
}

// TestCutUploads: an upload that is cut anywhere, in any frame and in any way, changes nothing and leaves nothing.
func TestCutUploads(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	k.mustDo(t, "PUT", "/"+bucket+"/object", nil, []byte("before"))
	up.ClearRequests()
	goroutines := runtime.NumGoroutine()
	for _, size := range []int{1000, inlineLimit + 300_000} {
		data := strings.Repeat("d", size)
		header, framed := chunkedUpload(data)
		bodies := map[string]struct {
			head, body string
		}{
			"plain":   {k.head("PUT", "/"+bucket+"/object", nil), data},
			"chunked": {k.head("PUT", "/"+bucket+"/object", header), framed},
		}
		for name, b := range bodies {
			cuts := map[string]int{"at once": 0, "in a chunk's head": 2, "in the middle": len(b.body) / 2, "before the last byte": len(b.body) - 1,
				"in the last lines": len(b.body) - 12, "before the trailer": len(b.body) - 37, "after the data": len(b.body) - 44}
			for where, at := range cuts {
				for how, end := range map[string]func(*net.TCPConn){
					"close":      func(c *net.TCPConn) { c.Close() },
					"half-close": func(c *net.TCPConn) { c.CloseWrite() },
					"reset":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
				} {
					c := k.dial(t)
					io.WriteString(c.Conn, b.head+length(len(b.body))+b.body[:at])
					end(c.Conn.(*net.TCPConn))
					if how == "half-close" {
						if resp, err := http.ReadResponse(c.r, nil); err == nil && resp.StatusCode < 400 {
							t.Errorf("%s %d cut %s: answered %s", name, size, where, resp.Status)
						}
					}
					c.Close()
				}
			}
		}
	}
	k.idle(t, goroutines)
	if _, got := k.mustDo(t, "GET", "/"+bucket+"/object", nil, nil); string(got) != "before" {
		t.Errorf("a cut upload became an object of %d bytes", len(got))
	}
	// The frames themselves are right.
	header, framed := chunkedUpload("whole")
	if resp, body := k.dial(t).send(k.head("PUT", "/"+bucket+"/object", header) + length(len(framed)) + framed).answer("PUT"); resp.StatusCode != 200 {
		t.Errorf("%s\n%s", resp.Status, body)
	}
}

// TestUploadLongerThanDeclared: what is more than was declared is no part of the object.
func TestUploadLongerThanDeclared(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	header, framed := chunkedUpload("twelve bytes")
	for _, declared := range []string{"11", "13", "0", "99999999999"} {
		header["X-Amz-Decoded-Content-Length"] = declared
		c := k.dial(t).send(k.head("PUT", "/"+bucket+"/object", header) + length(len(framed)) + framed)
		if resp, body := c.answer("PUT"); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("declared %s: %s\n%s", declared, resp.Status, body)
		}
	}
	if _, there := up.Object(bucket, "object"); there {
		t.Error("it became an object")
	}
	c := k.dial(t).send(k.head("PUT", "/"+bucket+"/object", nil) + length(4) + "four and more")
	if resp, _ := c.answer("PUT"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if _, got := k.mustDo(t, "GET", "/"+bucket+"/object", nil, nil); string(got) != "four" {
		t.Errorf("the object is %q", got)
	}
}

// TestClientGone: nothing stays behind of a client that went away.
func TestClientGone(t *testing.T) {
	k, _ := memoryKit(t, nil)
	bucket := k.bucket(t)
	k.mustDo(t, "PUT", "/"+bucket+"/large", nil, make([]byte, 24<<20))
	k.mustDo(t, "PUT", "/"+bucket+"/small", nil, make([]byte, 100))
	k.server.up.Close()
	goroutines := runtime.NumGoroutine()
	for range 10 {
		for _, text := range []string{
			k.head("GET", "/"+bucket+"/large", nil) + "\r\n",
			k.head("GET", "/"+bucket+"/small", nil) + "\r\n",
			k.head("GET", "/"+bucket+"/large", map[string]string{"Range": "bytes=100-20000000"}) + "\r\n",
			k.head("PUT", "/"+bucket+"/object", nil) + length(inlineLimit) + strings.Repeat("x", 5000),
			k.head("PUT", "/"+bucket+"/object", nil) + length(20<<20) + strings.Repeat("x", 3<<20),
			k.head("GET", "/"+bucket+"?list-type=2", nil) + "\r\n",
		} {
			c := k.dial(t).send(text)
			if strings.HasPrefix(text, "GET") {
				io.CopyN(io.Discard, c.r, 100)
			}
			c.Close()
		}
	}
	k.idle(t, goroutines)
}

// TestOverload: what is more than can be worked on is turned away, at once and with a retryable error.
func TestOverload(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.MaxInFlight = 2 })
	bucket := k.bucket(t)
	release := make(chan struct{})
	up.SetHook(proxytest.Nth("PutObject", 0, proxytest.Fault{Block: release}))
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { k.mustDo(t, "PUT", fmt.Sprintf("/%s/%d", bucket, i), nil, []byte("x")) })
	}
	k.settles(t, "the places are not taken", func() bool { return k.server.places.taken() == 2 })
	for _, body := range []int{0, 100, 2 << 20} {
		resp, got := k.do(t, "PUT", "/"+bucket+"/more", nil, make([]byte, body))
		wantError(t, resp, got, http.StatusServiceUnavailable, s3.SlowDown)
		if resp.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
	}
	close(release)
	all.Wait()
	k.mustDo(t, "PUT", "/"+bucket+"/more", nil, []byte("x"))
}

// TestShutdown finishes what is in flight and takes nothing new.
func TestShutdown(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	release := make(chan struct{})
	up.SetHook(proxytest.Nth("PutObject", 0, proxytest.Fault{Block: release}))
	data := noise(1, 2<<20)
	answered := make(chan error, 1)
	c := k.dial(t)
	go func() {
		io.WriteString(c.Conn, k.head("PUT", "/"+bucket+"/object", nil)+length(len(data)))
		c.Conn.Write(data)
		resp, err := http.ReadResponse(c.r, nil)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		answered <- err
	}()
	k.settles(t, "the request did not come", func() bool { return count(up.Operations(), "PutObject") == 1 })
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- k.server.Shutdown(ctx)
	}()
	k.settles(t, "new connections are taken", func() bool {
		n, err := net.DialTimeout("tcp", k.endpoint, time.Second)
		if err == nil {
			n.Close()
		}
		return err != nil
	})
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if o, ok := up.Object(bucket, "object"); !ok || len(o.Body) < len(data) {
		t.Error("the request in flight was not finished")
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
