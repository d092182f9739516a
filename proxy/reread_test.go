package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// uploadParts makes an object whose manifest is longer than what is read of it at first.
func (k *kit) uploadParts(t *testing.T, path string) {
	t.Helper()
	u := k.rawUpload(t, path, map[string]string{"x-amz-checksum-algorithm": "SHA256"})
	u.sums = make(map[int]string)
	for n := 1; n <= 5; n++ {
		data := noise(uint64(n), 5*mib)
		if n == 5 {
			data = data[:100]
		}
		digest := sha256.Sum256(data)
		sum := base64.StdEncoding.EncodeToString(digest[:])
		u.mustPut(n, map[string]string{"x-amz-checksum-sha256": sum}, data)
		u.sums[n] = "<ChecksumSHA256>" + sum + "</ChecksumSHA256>"
	}
	if resp, body := u.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("complete: %s %s", resp.Status, body)
	}
}

// blockRead holds up the n-th GET of a key at the store.
func blockRead(u *proxytest.Upstream, key string, n int32) (at chan struct{}, release func()) {
	var count atomic.Int32
	at, block := make(chan struct{}), make(chan struct{})
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetObject" && op.Key == key && count.Add(1) == n {
			close(at)
			return proxytest.Fault{Block: block}
		}
		return proxytest.Fault{}
	})
	return at, func() { close(block) }
}

// TestOverwrittenBetweenTwoReads: a read that takes two requests to the store answers from one version of the object,
// and never with the store's refusal of waxseal's own pin.
func TestOverwrittenBetweenTwoReads(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for _, c := range []struct {
		name, method, target string
		header               map[string]string
	}{
		{"GET", "GET", "/bkt/a", nil},
		{"HEAD", "HEAD", "/bkt/a", map[string]string{"x-amz-checksum-mode": "ENABLED"}},
		{"copy", "PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/bkt/a"}},
		{"attributes", "GET", "/bkt/a?attributes", map[string]string{"x-amz-object-attributes": "ObjectParts"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, u := overMemory(t, proxytest.Options{}, nil)
			k.uploadParts(t, "/bkt/a")
			k.mustDo(t, "GET", "/bkt/a", nil, nil) // the manifest's end is known now
			at, release := blockRead(u, "a", 2)
			done := k.asyncDo(t, c.method, c.target, c.header, nil)
			<-at
			k.mustDo(t, "PUT", "/bkt/a", nil, []byte("new"))
			release()
			if a := <-done; !strings.HasPrefix(a, "200") {
				t.Errorf("an unconditional %s: %.300s", c.name, a)
			}
		})
	}
}

// TestEmptyOverwrittenBetweenTwoReads: what was empty and is no more is not taken for a cut body.
func TestEmptyOverwrittenBetweenTwoReads(t *testing.T) {
	for name, key := range map[string]string{"folder marker": "dir/", "empty plaintext": "empty"} {
		t.Run(name, func(t *testing.T) {
			k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.ReadThrough = []string{"bkt"} })
			if key == "empty" {
				u.PutObject("bkt", key, nil, nil)
			} else {
				k.mustDo(t, "PUT", "/bkt/"+key, nil, nil)
			}
			at, release := blockFirst(u, "HeadObject")
			done := k.asyncDo(t, "HEAD", "/bkt/"+key, nil, nil)
			<-at
			k.mustDo(t, "PUT", "/bkt/"+key, nil, []byte("new"))
			release()
			if a := <-done; !strings.HasPrefix(a, "200") {
				t.Errorf("HEAD while it is overwritten: %s", a)
			}
		})
	}
}

// TestHeadOfArchived: S3 shows the headers of an object that has to be restored before it can be read.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func TestHeadOfArchived(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("four"))
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetObject" {
			return proxytest.Fault{Before: &s3.Error{Code: s3.InvalidObjectState, HTTPStatus: 403}}
		}
		return proxytest.Fault{Header: func(h http.Header) {
			h.Set("X-Amz-Storage-Class", "GLACIER")
			h.Set("X-Amz-Restore", `ongoing-request="true"`)
		}}
	})
	head, _ := k.mustDo(t, "HEAD", "/bkt/a", nil, nil)
	if h := head.Header; head.ContentLength != 4 || h.Get("X-Amz-Storage-Class") != "GLACIER" || h.Get("X-Amz-Restore") != `ongoing-request="true"` {
		t.Errorf("HEAD of an archived object: %d bytes, %v", head.ContentLength, h)
	}
	if resp, _ := k.do(t, "GET", "/bkt/a", nil, nil); resp.StatusCode != 403 {
		t.Errorf("GET of an archived object: %s", resp.Status)
	}
}

// TestUpdateOfLockedWhereOnlyHeadShowsLocks: UpdateObjectEncryption refuses a locked object in front of a store that shows
// locks to HEAD alone, as versitygw does.
func TestUpdateOfLockedWhereOnlyHeadShowsLocks(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	versioning := `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`
	k.mustDo(t, "PUT", "/bkt?versioning", withMD5(versioning), []byte(versioning))
	locks := `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`
	k.mustDo(t, "PUT", "/bkt?object-lock", withMD5(locks), []byte(locks))
	k.mustDo(t, "PUT", "/bkt/a", map[string]string{"X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2999-01-01T00:00:00Z"}, []byte("x"))
	caps := k.server.up.Capabilities()
	caps.LockInHeadOnly = true
	k.server.up.Assume(caps)
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name != "GetObject" {
			return proxytest.Fault{}
		}
		return proxytest.Fault{Header: func(h http.Header) {
			h.Del("X-Amz-Object-Lock-Mode")
			h.Del("X-Amz-Object-Lock-Retain-Until-Date")
		}}
	})
	doc := `<ObjectEncryption><SSE-KMS><KMSKeyArn>` + testKeyARN + `</KMSKeyArn></SSE-KMS></ObjectEncryption>`
	if resp, body := k.do(t, "PUT", "/bkt/a?encryption", withMD5(doc), []byte(doc)); resp.StatusCode != 403 {
		t.Errorf("update of a locked object: %s %s", resp.Status, body)
	}
	head, _ := k.mustDo(t, "HEAD", "/bkt/a", nil, nil)
	if mode := head.Header.Get("X-Amz-Object-Lock-Mode"); mode != "COMPLIANCE" {
		t.Errorf("its lock is now %q", mode)
	}
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name != "HeadObject" {
			return proxytest.Fault{Header: func(h http.Header) { h.Del("X-Amz-Object-Lock-Mode") }}
		}
		return proxytest.Fault{Before: &s3.Error{Code: s3.AccessDenied, HTTPStatus: 403}}
	})
	head, _ = k.mustDo(t, "HEAD", "/bkt/a", nil, nil)
	if mode := head.Header.Get("X-Amz-Object-Lock-Mode"); mode != "" {
		t.Errorf("who may not see the lock sees %q", mode)
	}
	if resp, body := k.do(t, "PUT", "/bkt/a?encryption", withMD5(doc), []byte(doc)); resp.StatusCode != 403 {
		t.Errorf("update of an object whose lock cannot be seen: %s %s", resp.Status, body)
	}
}
