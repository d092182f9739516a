package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// blockFirst holds the store's first operation of a name back. at is closed when it has come.
func blockFirst(u *proxytest.Upstream, operation string) (at chan struct{}, release func()) {
	return blockNth(u, operation, 1)
}

func blockNth(u *proxytest.Upstream, operation string, n int32) (at chan struct{}, release func()) {
	var seen atomic.Int32
	at, block := make(chan struct{}), make(chan struct{})
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == operation && seen.Add(1) == n {
			close(at)
			return proxytest.Fault{Block: block}
		}
		return proxytest.Fault{}
	})
	return at, func() { close(block) }
}

// asyncDo sends a request and gives its status and body when it has been answered.
func (k *kit) asyncDo(t testing.TB, method, target string, header map[string]string, body []byte) <-chan string {
	done := make(chan string, 1)
	go func() {
		resp, b := k.do(t, method, target, header, body)
		done <- resp.Status + " " + string(b)
	}()
	return done
}

// TestNamedSourceIsPinned: a copy in place loses no write that comes between, by whatever name it calls its source:
// neither "versionId=" in a key nor version null of a bucket without versions makes it another object.
func TestNamedSourceIsPinned(t *testing.T) {
	for _, c := range []struct{ key, source string }{{"a", "a"}, {"a", "a?versionId=null"}, {"versionId=7/a", "versionId=7/a"}} {
		// A small body is sealed anew; a body of two parts is moved by the store.
		for write, size := range map[string]int{"PutObject": 3, "CompleteMultipartUpload": 2 * s3.MinPartSize} {
			t.Run(c.source+" "+write, func(t *testing.T) {
				k, u := overMemory(t, proxytest.Options{}, nil)
				k.mustDo(t, "PUT", "/bkt/"+c.key, nil, make([]byte, size))
				at, release := blockFirst(u, write)
				done := k.asyncDo(t, "PUT", "/bkt/"+c.key, map[string]string{
					"x-amz-copy-source": "/bkt/" + c.source, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-n": "1"}, nil)
				<-at
				k.mustDo(t, "PUT", "/bkt/"+c.key, nil, []byte("new, acknowledged"))
				release()
				answer := <-done
				if _, got := k.mustDo(t, "GET", "/bkt/"+c.key, nil, nil); string(got) != "new, acknowledged" {
					t.Errorf("%s: the acknowledged write is lost: %q", answer, got)
				}
			})
		}
	}
}

// TestPastVersionOverCurrent: an earlier version is copied over the current one, which it need not be.
func TestPastVersionOverCurrent(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	versioning := `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`
	k.mustDo(t, "PUT", "/bkt?versioning", withMD5(versioning), []byte(versioning))
	resp, _ := k.mustDo(t, "PUT", "/bkt/a", nil, []byte("first"))
	first := resp.Header.Get("X-Amz-Version-Id")
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("second"))
	for _, between := range []string{"PUT", "DELETE"} {
		k.mustDo(t, between, "/bkt/a", nil, nil)
		k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-copy-source": "/bkt/a?versionId=" + first}, nil)
		if _, got := k.mustDo(t, "GET", "/bkt/a", nil, nil); string(got) != "first" {
			t.Errorf("after %s and the copy: %q", between, got)
		}
	}
}

// TestSelfCopyUnlessThere: a copy onto itself of what is there fails If-None-Match: * before anything is moved.
func TestSelfCopyUnlessThere(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	u.ClearRequests()
	resp, body := k.do(t, "PUT", "/bkt/a", map[string]string{
		"x-amz-copy-source": "/bkt/a", "x-amz-metadata-directive": "REPLACE", "If-None-Match": "*"}, nil)
	wantError(t, resp, body, http.StatusPreconditionFailed, s3.PreconditionFailed)
	if ops := u.Operations(); len(ops) != 1 {
		t.Errorf("the store was asked for %v", ops)
	}
}

// TestSourceOwner: what the client expects of the source's owner is asked of the source, and of the target's the target.
func TestSourceOwner(t *testing.T) {
	for _, c := range []struct {
		name, target string
		header       map[string]string
	}{
		{"rewrapped", "/other/b", nil},
		{"sealed anew", "/other/b", map[string]string{"x-amz-checksum-algorithm": "SHA256"}},
		{"in place", "/bkt/a", map[string]string{"x-amz-metadata-directive": "REPLACE"}},
	} {
		k, u := overMemory(t, proxytest.Options{}, nil)
		u.CreateBucket("other")
		k.mustDo(t, "PUT", "/bkt/a", nil, noise(1, inlineLimit+1))
		u.ClearRequests()
		header := hdr{"x-amz-copy-source": "/bkt/a", "x-amz-source-expected-bucket-owner": "111111111111"}
		if c.target != "/bkt/a" {
			header["x-amz-expected-bucket-owner"] = "222222222222"
		}
		k.mustDo(t, "PUT", c.target, with(header, c.header), nil)
		for _, r := range u.Requests() {
			want := "111111111111"
			if strings.HasPrefix(r.URI, "/other/") {
				want = "222222222222"
			}
			reads := (r.Method == "GET" || r.Method == "HEAD") && r.Operation != "GetBucketPolicy"
			if got := r.Header.Get(s3.HeaderExpectedOwner); reads && got != want {
				t.Errorf("%s: %s %s expects owner %q, not %q", c.name, r.Method, r.URI, got, want)
			}
			if r.Header.Get("X-Amz-Copy-Source") != "" && r.Header.Get(s3.HeaderSourceExpectedOwner) != "111111111111" {
				t.Errorf("%s: %s copies from whoever's bucket", c.name, r.Operation)
			}
		}
	}
}

// TestCopyThatHappened: a copy that the store has made is a success, even if nobody can look at it then.
func TestCopyThatHappened(t *testing.T) {
	for name, header := range map[string]map[string]string{
		"in place":    replaceMetadata("/bkt/a", "1"),
		"sealed anew": {"x-amz-copy-source": "/bkt/a", "x-amz-checksum-algorithm": "SHA256"},
	} {
		k, u := overMemory(t, proxytest.Options{}, nil)
		k.mustDo(t, "PUT", "/bkt/a", nil, []byte("data"))
		var done atomic.Bool
		u.SetHook(func(op proxytest.Op) proxytest.Fault {
			switch op.Name {
			case "CompleteMultipartUpload", "PutObject":
				done.Store(true)
			case "GetObject":
				if done.Load() {
					return proxytest.Fault{Before: s3.NewError(s3.NoSuchKey)}
				}
			}
			return proxytest.Fault{}
		})
		_, body := k.mustDo(t, "PUT", "/bkt/a", with(header, hdr{hdrSSE: algAES256}), nil)
		if modified := reply[s3.CopyObjectResult](t, body).LastModified; modified == "" {
			t.Errorf("%s: %s", name, body)
		}
	}
}

// TestConditionalCopyOfAChangedSource: a source that is written meanwhile is copied as it is then. The client's condition
// is on the target, and only that fails by it.
func TestConditionalCopyOfAChangedSource(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("old"))
	header := map[string]string{"x-amz-copy-source": "/bkt/a", "If-None-Match": "*"}
	at, release := blockFirst(u, "UploadPartCopy")
	done := k.asyncDo(t, "PUT", "/bkt/b", header, nil)
	<-at
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("new"))
	release()
	if answer := <-done; !strings.HasPrefix(answer, "200") {
		t.Errorf("there is no /bkt/b: %s", answer)
	}
	if _, got := k.mustDo(t, "GET", "/bkt/b", nil, nil); string(got) != "new" {
		t.Errorf("%q was copied", got)
	}
	resp, body := k.do(t, "PUT", "/bkt/b", header, nil)
	wantError(t, resp, body, http.StatusPreconditionFailed, s3.PreconditionFailed)
	if u.Uploads() != 0 {
		t.Errorf("%d uploads are left", u.Uploads())
	}
}

// TestCopiedTagsAreOfTheData: a source that is written between the reads of its data and its tags is copied as it is then.
func TestCopiedTagsAreOfTheData(t *testing.T) {
	for _, versioning := range []string{"", "Enabled"} {
		k, u := overMemory(t, proxytest.Options{}, nil)
		if versioning != "" {
			u.SetVersioning("bkt", versioning)
		}
		k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-tagging": "is=old"}, []byte("old"))
		at, release := blockFirst(u, "GetObjectTagging")
		done := k.asyncDo(t, "PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/bkt/a", hdrSSE: algDSSE, hdrKMSKey: testKeyARN}, nil)
		<-at
		k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-tagging": "is=new"}, []byte("new"))
		release()
		if answer := <-done; !strings.HasPrefix(answer, "200") {
			t.Error(answer)
		}
		_, data := k.mustDo(t, "GET", "/bkt/b", nil, nil)
		_, tags := k.mustDo(t, "GET", "/bkt/b?tagging", nil, nil)
		if string(data) != "new" || !strings.Contains(string(tags), "<Value>new<") {
			t.Errorf("versioning %q: %q with tags %s", versioning, data, tags)
		}
	}
}

// TestCopyOverwrittenBeforeItsManifest: a source that is written before all of its manifest is read is copied as it is then.
func TestCopyOverwrittenBeforeItsManifest(t *testing.T) {
	for name, header := range map[string]map[string]string{"rewrapped": nil, "sealed anew": {"x-amz-checksum-algorithm": "SHA256"}} {
		t.Run(name, func(t *testing.T) {
			k, u := overMemory(t, proxytest.Options{}, nil)
			m := k.rawUpload(t, "/bkt/a", nil)
			for n := 1; n <= 5; n++ { // a manifest longer than what is fetched of one at first
				m.mustPut(n, nil, noise(uint64(n), 5*mib))
			}
			if resp, body := m.complete(nil); resp.StatusCode != 200 {
				t.Fatalf("%s\n%s", resp.Status, body)
			}
			at, release := blockNth(u, "GetObject", 2)
			done := k.asyncDo(t, "PUT", "/bkt/b", with(header, hdr{"x-amz-copy-source": "/bkt/a"}), nil)
			<-at
			k.mustDo(t, "PUT", "/bkt/a", nil, []byte("new"))
			release()
			if answer := <-done; !strings.HasPrefix(answer, "200") {
				t.Error(answer)
			}
			if _, got := k.mustDo(t, "GET", "/bkt/b", nil, nil); string(got) != "new" {
				t.Errorf("%d bytes were copied", len(got))
			}
		})
	}
}
