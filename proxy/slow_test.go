package proxy

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// slowUpload is an upload whose Complete takes the store long.
func slowUpload(t *testing.T, fault proxytest.Fault) (*kit, *proxytest.Upstream, *rawUpload) {
	t.Helper()
	store, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, func(c *Config) { c.patience = 20 * time.Millisecond })
	u := k.rawUpload(t, "/"+k.bucket(t)+"/k", map[string]string{hdrSSE: algKMS})
	u.mustPut(1, nil, noise(1, 5*mib))
	fault.Delay = 300 * time.Millisecond
	store.SetHook(proxytest.Nth("CompleteMultipartUpload", 1, fault))
	return k, store, u
}

func TestSlowComplete(t *testing.T) {
	k, _, u := slowUpload(t, proxytest.Fault{})
	resp, body := u.complete(nil)
	if resp.StatusCode != 200 || resp.ContentLength != -1 || resp.Header.Get("Content-Type") != "application/xml" ||
		resp.Header.Get(hdrSSE) != algKMS || resp.Header.Get("X-Amz-Request-Id") == "" {
		t.Errorf("%s, %d bytes, %v", resp.Status, resp.ContentLength, resp.Header)
	}
	if !strings.HasPrefix(string(body), s3.Declaration+"  ") || bytes.Count(body, []byte("<?xml")) != 1 {
		t.Errorf("%q", body)
	}
	want := reply[s3.CompleteMultipartUploadResult](t, body)
	again, body := u.complete(nil) // at once
	if got := reply[s3.CompleteMultipartUploadResult](t, body); *got != *want || again.ContentLength <= 0 || again.Header.Get(hdrSSE) != algKMS {
		t.Errorf("%+v, then %+v, %v", want, got, again.Header)
	}
	head, _ := k.mustDo(t, "HEAD", strings.Split(u.target, "?")[0], nil, nil)
	if head.Header.Get("Etag") != want.ETag {
		t.Errorf("ETag %s, HEAD says %s", want.ETag, head.Header.Get("Etag"))
	}
}

// TestSlowCompleteFails: the error comes after the 200, and is the one that the same request gets when it is quick.
func TestSlowCompleteFails(t *testing.T) {
	_, _, u := slowUpload(t, proxytest.Fault{Before: s3.NewError(s3.EntityTooSmall)})
	resp, body := u.complete(nil)
	wantError(t, resp, body, 200, s3.EntityTooSmall)
	if !strings.HasPrefix(string(body), s3.Declaration+" ") {
		t.Errorf("%q", body)
	}
}

// TestSlowCompleteClients: minio-go reads such answers, of both kinds.
func TestSlowCompleteClients(t *testing.T) {
	for _, fails := range []bool{false, true} {
		fault := proxytest.Fault{}
		if fails {
			fault.Before = s3.NewError(s3.EntityTooSmall)
		}
		k, _, u := slowUpload(t, fault)
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
	_, _, u := slowUpload(t, proxytest.Fault{})
	if resp, body := u.complete(map[string]string{"Origin": "http://example.com"}); resp.StatusCode != 200 || resp.ContentLength <= 0 {
		t.Errorf("%s, %d bytes: %q", resp.Status, resp.ContentLength, body)
	}
}

// TestSlowCompleteClientGone: the upload is completed though nobody waits for the answer any more.
func TestSlowCompleteClientGone(t *testing.T) {
	k, store, u := slowUpload(t, proxytest.Fault{})
	ctx, cancel := context.WithCancel(context.Background())
	store.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "CompleteMultipartUpload" {
			cancel()
			return proxytest.Fault{Delay: 100 * time.Millisecond}
		}
		return proxytest.Fault{}
	})
	bucket := strings.Split(u.target, "/")[1]
	core := &minio.Core{Client: k.client(t)}
	if _, err := core.CompleteMultipartUpload(ctx, bucket, "k", u.id, []minio.CompletePart{{PartNumber: 1, ETag: u.etags[1]}}, minio.PutObjectOptions{}); err == nil {
		t.Fatal("the client was not gone")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, _ := k.do(t, "HEAD", "/"+bucket+"/k", nil, nil)
		if resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the upload was not completed")
		}
	}
	for deadline := time.Now().Add(10 * time.Second); len(k.server.inflight) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the request never ends")
		}
	}
}
