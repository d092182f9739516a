package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"waxseal/keystore"
	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestStoreAnswersEarly: a store may answer before it has read a body. Its answer reaches the client, and what is
// left of the body is nobody's: the buffers that it came through serve other requests by then.
func TestStoreAnswersEarly(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	up.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "PutObject" && op.Key == "refused" {
			return proxytest.Fault{Early: s3.NewError(s3.PreconditionFailed)}
		}
		return proxytest.Fault{}
	})
	var all sync.WaitGroup
	for i := range 4 {
		refused, kept := noise(1, 6<<20), noise(uint64(i), inlineLimit+100_000*i)
		all.Go(func() {
			for range 5 {
				resp, body := k.do(t, http.MethodPut, "/"+bucket+"/refused", nil, refused)
				wantError(t, resp, body, http.StatusPreconditionFailed, s3.PreconditionFailed)
			}
		})
		all.Go(func() {
			path := "/" + bucket + "/" + string(rune('a'+i))
			for range 5 {
				k.mustDo(t, http.MethodPut, path, nil, kept)
				if _, got := k.mustDo(t, http.MethodGet, path, nil, nil); !bytes.Equal(got, kept) {
					t.Errorf("%s: read back %d others", path, len(got))
				}
			}
		})
	}
	all.Wait()
}

// TestCutAnswers: an answer that the store breaks off is the store's fault, which clients try again, and not theirs.
func TestCutAnswers(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/src", nil, noise(1, 8<<20))
	for _, c := range []struct{ operation, method, target string }{
		{"GetObject", "HEAD", "/bkt/src"},
		{"GetObject", "GET", "/bkt/src?partNumber=1"},
		{"GetObjectAcl", "GET", "/bkt/src?acl"},
		{"ListObjectsV2", "GET", "/bkt?list-type=2"},
	} {
		u.SetHook(proxytest.Nth(c.operation, 0, proxytest.Fault{CutBodyAfter: 20}))
		if resp, body := k.do(t, c.method, c.target, nil, nil); resp.StatusCode < 500 {
			t.Errorf("%s %s: %s %s", c.method, c.target, resp.Status, body)
		}
	}
	u.SetHook(nil)
	_, body := k.mustDo(t, "POST", "/bkt/mp?uploads", nil, nil)
	id := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetObject" && !strings.HasPrefix(op.Header.Get("Range"), "bytes=-") {
			return proxytest.Fault{CutBodyAfter: 3 << 20}
		}
		return proxytest.Fault{}
	})
	for target, header := range map[string]map[string]string{
		"/bkt/mp?partNumber=1&uploadId=" + id: {"x-amz-copy-source": "/bkt/src"},
		"/bkt/copy":                           {"x-amz-copy-source": "/bkt/src", "x-amz-checksum-algorithm": "SHA256"},
	} {
		resp, body := k.do(t, "PUT", target, header, nil)
		wantError(t, resp, body, http.StatusServiceUnavailable, s3.ServiceUnavailable)
	}
}

// TestEarlySuccess: a store that answers 200 before it has the whole body acknowledges what nobody has verified.
func TestEarlySuccess(t *testing.T) {
	early := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"00112233445566778899aabbccddeeff"`)
	}))
	t.Cleanup(early.Close)
	k := start(t, store.Config{Endpoint: early.URL, AccessKey: "a", SecretKey: "b"}, nil)
	resp, body := k.do(t, "PUT", "/bkt/a", map[string]string{"Content-MD5": s3.Base64(make([]byte, 16))}, noise(3, 40<<20))
	if resp.StatusCode < 400 {
		t.Errorf("a body with a wrong digest: %s %s", resp.Status, body)
	}
}

// faultyProvider has a fault of its own.
type faultyProvider struct{ keystore.Provider }

func (faultyProvider) GenerateDataKey(context.Context, keystore.Caller, string, keystore.Context) (keystore.DataKey, error) {
	panic("a key's bytes")
}

// TestFaultInOneRequest: a panic is an InternalError of its own request, before the body and behind "100 Continue", and the
// server serves on.
func TestFaultInOneRequest(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.Provider = faultyProvider{c.Provider} })
	for _, header := range []map[string]string{{hdrSSE: algKMS}, {hdrSSE: algKMS, "Expect": "100-continue"}} {
		resp, body := k.do(t, "PUT", "/bkt/a", header, []byte("x"))
		if resp.StatusCode != 500 || !strings.Contains(string(body), "<Code>InternalError</Code>") || strings.Contains(string(body), "bytes") {
			t.Errorf("%v: %s %s", header, resp.Status, body)
		}
	}
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	if n := k.server.places.taken(); n != 0 {
		t.Errorf("%d requests count as in flight", n)
	}
}

// faultyRoot has a fault of its own, at times.
type faultyRoot struct {
	keystore.Root
	faulty atomic.Bool
}

func (r *faultyRoot) ServiceKeyByID(id uint32) (keystore.Secret, bool) {
	if r.faulty.Load() {
		panic("a key's bytes")
	}
	return r.Root.ServiceKeyByID(id)
}

// TestFaultInLook: a panic in a goroutine that a listing looks at an object in is an InternalError of that listing.
func TestFaultInLook(t *testing.T) {
	var root faultyRoot
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { root.Root, c.Root = c.Root, &root })
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	root.faulty.Store(true)
	resp, body := k.do(t, "GET", "/bkt", nil, nil)
	wantError(t, resp, body, 500, s3.InternalError)
	root.faulty.Store(false)
	k.mustDo(t, "GET", "/bkt", nil, nil)
	if n := len(k.server.looks); n != 0 {
		t.Errorf("%d looks are still going on", n)
	}
}

// faultyBody panics after its first bytes.
type faultyBody struct{ sent bool }

func (b *faultyBody) Read(p []byte) (int, error) {
	if b.sent {
		panic("a key's bytes")
	}
	b.sent = true
	return copy(p, "first"), nil
}

func (*faultyBody) Close() error { return nil }

// TestFaultInAnswer: a panic while an answer is sent cuts that answer.
func TestFaultInAnswer(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	b := &answerBody{call: &call{s: k.server, Session: objects.Session{Up: context.Background()}}, body: &faultyBody{}, left: 10}
	text, err := io.ReadAll(b)
	if string(text) != "first" || err == nil || strings.Contains(err.Error(), "bytes") {
		t.Errorf("%q, %v", text, err)
	}
}

// TestShutdownOfWhatJustStarts: a Serve that has hardly begun, or begins later, ends with the server.
func TestShutdownOfWhatJustStarts(t *testing.T) {
	for range 20 {
		k, _ := overMemory(t, proxytest.Options{}, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- k.server.Serve(l, nil) }()
		if err := k.server.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Error("it still listens")
		}
	}
}
