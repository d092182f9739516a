package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// slowUpload is an upload whose Complete takes the store long.
func slowUpload(t *testing.T, fault proxytest.Fault, log io.Writer) (*kit, *proxytest.Upstream, *rawUpload) {
	t.Helper()
	store, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, func(c *Config) {
		c.patience = 20 * time.Millisecond
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	u := k.rawUpload(t, "/"+k.bucket(t)+"/k", map[string]string{hdrSSE: algKMS})
	u.mustPut(1, nil, noise(1, 5*mib))
	fault.Delay = 300 * time.Millisecond
	store.SetHook(proxytest.Nth("CompleteMultipartUpload", 1, fault))
	return k, store, u
}

func TestSlowComplete(t *testing.T) {
	k, _, u := slowUpload(t, proxytest.Fault{}, io.Discard)
	resp, body := u.complete(nil)
	if resp.StatusCode != 200 || resp.ContentLength != -1 || resp.Header.Get("Content-Type") != "application/xml" ||
		resp.Header.Get(hdrSSE) != algKMS || resp.Header.Get("X-Amz-Request-Id") == "" {
		t.Errorf("%s, %d bytes, %v", resp.Status, resp.ContentLength, resp.Header)
	}
	if !strings.HasPrefix(string(body), s3.Declaration+"  ") || bytes.Count(body, []byte("<?xml")) != 1 {
		t.Errorf("%q", body)
	}
	want := reply[s3.CompleteMultipartUploadResult](t, body)
	if _, again := u.complete(nil); *reply[s3.CompleteMultipartUploadResult](t, again) != *want {
		t.Errorf("%+v, then %s", want, again)
	}
	head, _ := k.mustDo(t, "HEAD", strings.Split(u.target, "?")[0], nil, nil)
	if head.Header.Get("Etag") != want.ETag {
		t.Errorf("ETag %s, HEAD says %s", want.ETag, head.Header.Get("Etag"))
	}
}

// TestSlowCompleteFails: the error comes after the 200, and is the one that the same request gets when it is quick.
func TestSlowCompleteFails(t *testing.T) {
	refused := proxytest.Fault{Before: s3.NewError(s3.EntityTooSmall)}
	k, store, u := slowUpload(t, refused, io.Discard)
	resp, body := u.complete(nil)
	wantError(t, resp, body, 200, s3.EntityTooSmall)
	if !strings.HasPrefix(string(body), s3.Declaration+" ") {
		t.Errorf("%q", body)
	}
	u.k = k.replica(t, k.server.cfg.Upstream, k.state, k.server.cfg.HeldDir) // with the usual patience
	store.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "CompleteMultipartUpload" {
			return refused
		}
		return proxytest.Fault{}
	})
	quick, document := u.complete(nil)
	wantError(t, quick, document, 400, s3.EntityTooSmall)
	if a, b := s3.ParseError(400, body), s3.ParseError(400, document); a.Message != b.Message {
		t.Errorf("slow %+v, quick %+v", a, b)
	}
}

// TestSlowCompleteClients: minio-go reads such answers, of both kinds.
func TestSlowCompleteClients(t *testing.T) {
	for _, fails := range []bool{false, true} {
		fault := proxytest.Fault{}
		if fails {
			fault.Before = s3.NewError(s3.EntityTooSmall)
		}
		k, _, u := slowUpload(t, fault, io.Discard)
		bucket := strings.Split(u.target, "/")[1]
		core := &minio.Core{Client: k.client(t)}
		info, err := core.CompleteMultipartUpload(context.Background(), bucket, "k", u.id, []minio.CompletePart{{PartNumber: 1, ETag: u.etags[1]}}, minio.PutObjectOptions{})
		if code := minio.ToErrorResponse(err).Code; fails != (err != nil) || fails && code != string(s3.EntityTooSmall) || !fails && info.ETag == "" {
			t.Errorf("%+v, %v", info, err)
		}
	}
}

// TestSlowCompleteNotBegun: who could not read an answer in chunks, or needs headers that come last, waits.
func TestSlowCompleteNotBegun(t *testing.T) {
	t.Run("a browser", func(t *testing.T) {
		_, _, u := slowUpload(t, proxytest.Fault{}, io.Discard)
		if resp, body := u.complete(map[string]string{"Origin": "http://example.com"}); resp.StatusCode != 200 || resp.ContentLength <= 0 {
			t.Errorf("%s, %d bytes: %q", resp.Status, resp.ContentLength, body)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		k, _, u := slowUpload(t, proxytest.Fault{}, io.Discard)
		list := u.list()
		req, err := http.NewRequest("POST", "http://"+k.endpoint+u.target, bytes.NewReader(list))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", hexSum(list))
		var wire bytes.Buffer
		if err := signer.SignV4(*req, testAccess, testSecret, "", "us-east-1").Write(&wire); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", k.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(bytes.Replace(wire.Bytes(), []byte(" HTTP/1.1\r\n"), []byte(" HTTP/1.0\r\n"), 1)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 || resp.ContentLength <= 0 {
			t.Errorf("%s, %d bytes", resp.Status, resp.ContentLength)
		}
	})
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSlowCompleteClientGone: the upload is completed though nobody waits for the answer any more, and the operator
// learns when it is not.
func TestSlowCompleteClientGone(t *testing.T) {
	for _, fails := range []bool{false, true} {
		var log logBuffer
		k, store, u := slowUpload(t, proxytest.Fault{}, &log)
		ctx, cancel := context.WithCancel(context.Background())
		store.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Name != "CompleteMultipartUpload" {
				return proxytest.Fault{}
			}
			cancel()
			f := proxytest.Fault{Delay: 100 * time.Millisecond}
			if fails {
				f.Before = s3.NewError(s3.EntityTooSmall)
			}
			return f
		})
		bucket := strings.Split(u.target, "/")[1]
		core := &minio.Core{Client: k.client(t)}
		if _, err := core.CompleteMultipartUpload(ctx, bucket, "k", u.id, []minio.CompletePart{{PartNumber: 1, ETag: u.etags[1]}}, minio.PutObjectOptions{}); err == nil {
			t.Fatal("the client was not gone")
		}
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "op=CompleteMultipartUpload"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the request never ends")
			}
		}
		if got := strings.Contains(log.String(), "code=EntityTooSmall"); got != fails {
			t.Errorf("fails: %v, log: %s", fails, log.String())
		}
		if resp, _ := k.do(t, "HEAD", "/"+bucket+"/k", nil, nil); resp.StatusCode == http.StatusOK == fails {
			t.Errorf("fails: %v, HEAD: %s", fails, resp.Status)
		}
		if n := k.server.places.taken(); n != 0 {
			t.Errorf("%d requests are still in flight", n)
		}
	}
}
