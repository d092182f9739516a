package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// unprovenShapes are requests that hold a connection for as long as they are let, without a signature that is good.
func (k *kit) unprovenShapes(bucket string) map[string]string {
	const fill = prefetchBytes // with this much of its body there, a request comes to its handler
	body, text := length(5<<30), strings.Repeat("x", fill)
	plain := func(method, target string) string { return method + " " + target + " HTTP/1.1\r\nHost: h\r\n" }
	form := plain("POST", "/"+bucket) + "Content-Type: multipart/form-data; boundary=b\r\n" + body + "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n"
	date := time.Now().UTC().Format("20060102T150405Z")
	return map[string]string{
		"silence":              "",
		"half a head":          k.head("GET", "/"+bucket+"/object", nil)[:100],
		"a form without end":   form + text,
		"a form's long field":  form + strings.Repeat("x", 30<<10),
		"a preflight's body":   plain("OPTIONS", "/"+bucket+"/object") + "Origin: http://o\r\nAccess-Control-Request-Method: GET\r\n" + body + text,
		"an unsigned PUT":      plain("PUT", "/"+bucket+"/object") + body + text,
		"an unsigned part":     plain("PUT", "/"+bucket+"/object?uploadId=a&partNumber=1") + body + text,
		"an unsigned document": plain("PUT", "/"+bucket+"?policy") + length(1<<20) + text,
		"a wrong signature":    spoilt(k.head("PUT", "/"+bucket+"/object", nil)) + body + text,
		"an unknown key":       strings.Replace(k.head("PUT", "/"+bucket+"/object", nil), testAccess, "AKIAUNKNOWNUNKNOWN00", 1) + body + text,
		"a presigned URL": plain("PUT", "/"+bucket+"/object?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date="+date+"&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Credential="+
			testAccess+"%2F"+date[:8]+"%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature="+strings.Repeat("0", 64)) + body + text,
		"chunks without end": plain("PUT", "/"+bucket+"/object") + "Transfer-Encoding: chunked\r\n\r\n1000\r\n" + text,
		"no S3 at all":       plain("BREW", "/") + body + text,
		// The sender is known, and the body that was asked for does not come.
		"a body held back": k.head("PUT", "/"+bucket+"/object", map[string]string{"Expect": "100-continue"}) + body,
	}
}

// hold opens connections that send the text and read nothing. They are closed when the test ends.
func hold(t testing.TB, endpoint, text string, connections int) {
	t.Helper()
	for range connections {
		c, err := net.Dial("tcp", endpoint)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(2 * patience))
		_, _ = io.WriteString(c, text) // it may be cut already
	}
}

// TestUnprovenTakesNoPlace: connections of any shape that have not shown who they are, many times more than there are
// places, leave the places to who has.
func TestUnprovenTakesNoPlace(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		k, _ := memoryKit(t, func(c *Config) { c.MaxInFlight, c.MaxUnproven, c.Anonymous = 4, 16, anonymous })
		bucket := k.bucket(t)
		k.mustDo(t, "PUT", "/"+bucket+"/kept", nil, []byte("kept"))
		for name, text := range k.unprovenShapes(bucket) {
			hold(t, k.endpoint, text, 40)
			for range 5 {
				k.mustDo(t, "GET", "/"+bucket+"/kept", nil, nil)
				resp, body := k.post(t, newForm([]byte("file"), "key", "form"))
				if name != "a body held back" { // bkt is not there
					wantError(t, resp, body, http.StatusNotFound, s3.NoSuchBucket)
				}
			}
			k.settles(t, name+" takes a place", func() bool { return k.server.places.taken() == 0 })
			if n := k.server.places.connections.Used(); n > 16 {
				t.Errorf("%s: %d connections are held", name, n)
			}
		}
	}
}

// TestProvenConnectionsStay: a connection whose client was known once is not closed for the sake of newer ones.
func TestProvenConnectionsStay(t *testing.T) {
	k, _ := memoryKit(t, func(c *Config) { c.MaxUnproven = 4 })
	bucket := k.bucket(t)
	k.mustDo(t, "PUT", "/"+bucket+"/kept", nil, []byte("kept"))
	c := k.dial(t)
	for range 3 {
		c.send(k.head("GET", "/"+bucket+"/kept", nil) + "\r\n")
		if resp, body := c.answer("GET"); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		hold(t, k.endpoint, "GET / HT", 20)
	}
}

// TestAnonymousShare: anonymous requests, where they are let in, leave most places to who has a name.
func TestAnonymousShare(t *testing.T) {
	p := newPlaces(8, 1)
	if cap(p.inflight) != 8 || cap(p.anonymous) != 2 {
		t.Errorf("%d places, %d of them for anonymous requests", cap(p.inflight), cap(p.anonymous))
	}
	if p := newPlaces(1, 1); cap(p.anonymous) != 1 {
		t.Error("no anonymous request ever finds a place")
	}
}

// TestRefusedBodyIsReadWithoutPlace: the rest of a refused body is read while its call holds nothing.
func TestRefusedBodyIsReadWithoutPlace(t *testing.T) {
	k, _ := memoryKit(t, func(c *Config) { c.MaxInFlight = 1 })
	bucket := k.bucket(t)
	head := k.head("PUT", "/"+bucket+"/object", map[string]string{"x-amz-server-side-encryption": "nonsense"}) + length(1<<20)
	k.dial(t).send(head + strings.Repeat("x", prefetchBytes))
	time.Sleep(100 * time.Millisecond)
	k.mustDo(t, "GET", "/"+bucket+"?list-type=2", nil, nil)
}

// TestOptionsHasNoBody: it is refused, and the connection with it.
func TestOptionsHasNoBody(t *testing.T) {
	k, _ := memoryKit(t, nil)
	for _, body := range []string{length(3) + "abc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
		c := k.dial(t).send("OPTIONS /bkt/object HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\nAccess-Control-Request-Method: GET\r\n" + body)
		resp, got := c.answer("OPTIONS")
		wantError(t, resp, got, http.StatusBadRequest, s3.InvalidRequest)
		c.ended()
	}
}

// TestFormHeadTakesItsTime: a form whose fields do not come in time is refused.
func TestFormHeadTakesItsTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as a form may")
	}
	t.Parallel()
	k, _ := memoryKit(t, nil)
	c := k.dial(t).send("POST /bkt HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\n" + length(2*prefetchBytes) +
		"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n" + strings.Repeat("x", prefetchBytes))
	resp, body := c.answer("POST")
	wantError(t, resp, body, http.StatusBadRequest, s3.RequestTimeout)
}

// TestCostOfTheUnsigned: a request with more headers or parameters than any client sends is refused before they are looked
// at, and the answer to a long request is short.
func TestCostOfTheUnsigned(t *testing.T) {
	k, _ := memoryKit(t, nil)
	plain := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n" }
	for name, text := range map[string]string{
		"headers":    plain("/bkt/key") + strings.Repeat("y: v\r\n", 2000),
		"parameters": plain("/bkt/key?" + strings.Repeat("y&", 2000)),
		"signed":     strings.Replace(k.head("GET", "/bkt/key", nil), "SignedHeaders=", "SignedHeaders="+strings.Repeat("y;", 7000), 1),
	} {
		c := k.dial(t).send(text + "\r\n")
		resp, body := c.answer("GET")
		if resp.StatusCode != http.StatusBadRequest || len(body) > 8<<10 {
			t.Errorf("%s: %s, %d bytes, %.300s", name, resp.Status, len(body), body)
		}
	}
	long := spoilt(k.head("GET", "/bkt/"+strings.Repeat("k", 1000)+"?"+strings.Repeat("x", 25<<10), nil))
	resp, body := k.dial(t).send(long + "\r\n").answer("GET")
	wantError(t, resp, body, http.StatusForbidden, s3.SignatureDoesNotMatch)
	if len(body) > 8<<10 {
		t.Errorf("the answer to a wrong signature has %d bytes", len(body))
	}
}
