package proxy

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

const toTestKey = "<ObjectEncryption><SSE-KMS><KMSKeyArn>" + testKeyARN + "</KMSKeyArn></SSE-KMS></ObjectEncryption>"

// replaceMetadata is a copy of an object onto itself.
func replaceMetadata(target, n string) map[string]string {
	return map[string]string{"x-amz-copy-source": target, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-n": n}
}

// TestChangesInPlaceTakeTurns: the store's ETag of a small object is the same after each change in place, and says
// nothing of tags. Neither metadata nor tags that were acknowledged meanwhile are lost for all that.
func TestChangesInPlaceTakeTurns(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	const tags = "<Tagging><TagSet><Tag><Key>class</Key><Value>acknowledged</Value></Tag></TagSet></Tagging>"
	for name, c := range map[string]struct {
		target string
		header map[string]string
		body   string
		shows  string
	}{
		"metadata": {"/bkt/a", replaceMetadata("/bkt/a", "acknowledged"), "", "HEAD"},
		"tags":     {"/bkt/a?tagging", withMD5(tags), tags, "GET"},
	} {
		for _, by := range []string{"rewrapped", "sealed anew"} {
			t.Run(name+" while "+by, func(t *testing.T) {
				k, u := overMemory(t, proxytest.Options{}, nil)
				k.mustDo(t, "PUT", "/bkt/a", nil, []byte("data"))
				k.mustDo(t, "PUT", "/bkt/a", replaceMetadata("/bkt/a", "0"), nil)
				last, change := "CompleteMultipartUpload", k.asyncDo
				header, target, body := withMD5(toTestKey), "/bkt/a?encryption", []byte(toTestKey)
				if by == "sealed anew" {
					last, target, body = "PutObject", "/bkt/a", nil
					header = map[string]string{"x-amz-copy-source": "/bkt/a", "x-amz-checksum-algorithm": "SHA256", hdrSSE: algAES256}
				}
				at, release := blockFirst(u, last)
				first := change(t, "PUT", target, header, body)
				<-at
				second := k.asyncDo(t, "PUT", c.target, c.header, []byte(c.body))
				time.Sleep(200 * time.Millisecond) // time enough for the second, did it not wait
				release()
				t.Log(<-first)
				if answer := <-second; !strings.HasPrefix(answer, "200") {
					t.Error(answer)
				}
				resp, got := k.mustDo(t, c.shows, c.target, nil, nil)
				if resp.Header.Get("X-Amz-Meta-N") != "acknowledged" && !strings.Contains(string(got), "acknowledged") {
					t.Errorf("what was acknowledged is lost: %v %s", resp.Header, got)
				}
			})
		}
	}
}

// TestChangesInPlaceLookAgain: a change by another replica that has come before is seen although the ETag is the same.
func TestChangesInPlaceLookAgain(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	other := start(t, k.server.cfg.Upstream, func(c *Config) {
		c.Root, c.Provider, c.Keys, c.State = k.server.cfg.Root, k.server.cfg.Provider, k.server.cfg.Keys, k.state
	})
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("data"))
	k.mustDo(t, "PUT", "/bkt/a", replaceMetadata("/bkt/a", "0"), nil)
	at, release := blockFirst(u, "UploadPartCopy")
	first := k.asyncDo(t, "PUT", "/bkt/a?encryption", withMD5(toTestKey), []byte(toTestKey))
	<-at
	other.mustDo(t, "PUT", "/bkt/a", replaceMetadata("/bkt/a", "acknowledged"), nil)
	release()
	if answer := <-first; !strings.HasPrefix(answer, "200") {
		t.Error(answer)
	}
	resp, _ := k.mustDo(t, "HEAD", "/bkt/a", nil, nil)
	if resp.Header.Get("X-Amz-Meta-N") != "acknowledged" || resp.Header.Get(hdrKMSKey) != testKeyARN {
		t.Errorf("one of both changes is lost: %v", resp.Header)
	}
}

// TestChangesInPlaceETags: each change in place gives an object of any size a store ETag of its own, to which conditional
// writes of other clients and replicas are pinned.
func TestChangesInPlaceETags(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		bucket := k.bucket(t)
		for _, size := range []int{0, 1, 1000, 5<<20 - 100, 5 << 20, 7 << 20} {
			for _, mode := range []map[string]string{nil, {hdrSSE: algKMS, hdrKMSKey: testKeyARN}} {
				target, data := "/"+bucket+"/a", noise(1, size)
				k.mustDo(t, "PUT", target, mode, data)
				seen := make(map[string]bool)
				for _, n := range []string{"1", "2", "3"} {
					header := replaceMetadata(target, n)
					maps.Copy(header, mode)
					k.mustDo(t, "PUT", target, header, nil)
					resp, err := k.server.up.Send(t.Context(), &store.Request{Method: "HEAD", Bucket: bucket, Key: "a"})
					if err != nil {
						t.Fatal(err)
					}
					store.Drain(resp)
					if etag := store.ETagOf(resp.Header); seen[etag] {
						t.Errorf("%d bytes, %v: the ETag %s came twice", size, mode, etag)
					} else {
						seen[etag] = true
					}
				}
				if _, got := k.mustDo(t, "GET", target, nil, nil); string(got) != string(data) {
					t.Error("the object is another one")
				}
			}
		}
	})
}

// TestCutChangeLeavesNoUpload: what the end of waxseal cuts is given up at the store before it ends.
func TestCutChangeLeavesNoUpload(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	at, release := blockFirst(u, "UploadPartCopy")
	defer release()
	done := k.asyncDo(t, "PUT", "/bkt/a?encryption", withMD5(toTestKey), []byte(toTestKey))
	<-at
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.server.Shutdown(ended); err == nil {
		t.Error("nothing was cut")
	}
	if n := u.Uploads(); n != 0 {
		t.Errorf("%d uploads stay at the store", n)
	}
	nothingLeft(t, k)
	<-done
}

// TestSweepOfCopies: the upload of a copy that was broken off by a crash is aborted a day after its last part was begun.
func TestSweepOfCopies(t *testing.T) {
	now := time.Now()
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Now = func() time.Time { return now } })
	left := func(when string, atStore, notes int) {
		t.Helper()
		if err := k.server.sweepOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		entries, err := k.state.Range(t.Context(), uploads.CopyPrefix, "", 0)
		if n := u.Uploads(); n != atStore || len(entries) != notes || err != nil {
			t.Errorf("%s: %d uploads and %d notes, not %d and %d; %v", when, n, len(entries), atStore, notes, err)
		}
	}
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	k.mustDo(t, "PUT", "/bkt/a?encryption", withMD5(toTestKey), []byte(toTestKey))
	left("after a copy", 0, 0)
	// As after a kill: no part gets an answer, nor an Abort.
	u.SetHook(proxytest.Hooks(proxytest.FailNotPersist("UploadPartCopy", 0), proxytest.FailNotPersist("AbortMultipartUpload", 0)))
	resp, _ := k.do(t, "PUT", "/bkt/a?encryption", withMD5(toTestKey), []byte(toTestKey))
	if resp.StatusCode < 500 {
		t.Fatal(resp.Status)
	}
	left("at once", 1, 1)
	now = now.Add(uploads.CopyOrphan)
	left("while the store fails", 1, 1)
	u.SetHook(nil)
	left("later", 0, 0)
}
