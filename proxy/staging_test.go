package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

const testStaging = "wax-staging"

// stagingPair are two proxies with the same keys over one state, one store and one staging bucket.
func stagingPair(t *testing.T) (a, b *kit, u *proxytest.Upstream) {
	t.Helper()
	u, up := memoryStore(t, proxytest.Options{})
	s := state.NewMemory()
	staged := func(c *Config) { c.State, c.StagingBucket, c.Deployment = s, testStaging, "d1" }
	a = start(t, up, staged)
	b = start(t, up, func(c *Config) {
		staged(c)
		c.Root, c.Provider = a.root, a.kms
	})
	for _, k := range []*kit{a, b} {
		if err := k.server.AdoptStaging(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.mustDo(t, "PUT", "/bkt", nil, nil)
	return a, b, u
}

func (k *kit) bucketStaging() *uploads.Bucket { return k.server.uploads.Staged.(*uploads.Bucket) }

// stagedObjects are the names of what lies in the staging bucket.
func stagedObjects(t *testing.T, k *kit) (names []string) {
	t.Helper()
	resp, err := k.server.up.Send(t.Context(), k.bucketStaging().Request("GET", "", "list-type=2"))
	if err != nil {
		t.Fatal(err)
	}
	var list uploads.BucketList
	if err := store.Result(resp, &list); err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		if o.Key != uploads.StagingMarker {
			names = append(names, o.Key)
		}
	}
	return names
}

// TestUploadAcrossReplicas: Create, parts, ListParts, Complete and Abort of one upload on different replicas. Nothing
// stays in the staging bucket.
func TestUploadAcrossReplicas(t *testing.T) {
	a, b, _ := stagingPair(t)
	u := a.upload(t, "bkt", "k", nil)
	on := func(k *kit) { u.core = minio.Core{Client: k.client(t)} }
	on(b)
	u.mustPut(1, noise(1, 5*mib+3))
	on(a)
	u.mustPut(2, noise(9, 300)) // is replaced
	on(b)
	u.mustPut(2, noise(2, 1000))
	if n := len(stagedObjects(t, a)); n != 1 {
		t.Errorf("%d objects are staged, want 1", n)
	}
	on(a)
	list, err := u.core.ListObjectParts(t.Context(), "bkt", "k", u.id, 0, 10)
	if err != nil || len(list.ObjectParts) != 2 {
		t.Fatalf("%d parts, %v", len(list.ObjectParts), err)
	}
	u.mustComplete()
	on(b)
	u.check()
	if left := stagedObjects(t, a); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	u = b.upload(t, "bkt", "aborted", nil)
	on(a)
	u.mustPut(1, noise(1, 1000))
	on(b)
	if err := u.core.AbortMultipartUpload(t.Context(), "bkt", "aborted", u.id); err != nil {
		t.Fatal(err)
	}
	if left := stagedObjects(t, a); len(left) > 0 {
		t.Errorf("after Abort: %v", left)
	}
}

// TestStagingIsWaxsealsOwn: clients neither see the staging bucket nor reach anything in it, by any way of naming it.
func TestStagingIsWaxsealsOwn(t *testing.T) {
	a, _, _ := stagingPair(t)
	if _, body := a.mustDo(t, "GET", "/", nil, nil); strings.Contains(string(body), testStaging) || !strings.Contains(string(body), "bkt") {
		t.Errorf("the list of buckets: %s", body)
	}
	for _, request := range []struct {
		method, path string
		header       map[string]string
	}{
		{"GET", "/" + testStaging, nil}, {"HEAD", "/" + testStaging + "/" + uploads.StagingMarker, nil}, {"GET", "/" + testStaging + "?versioning", nil},
		{"PUT", "/" + testStaging + "/x", nil}, {"DELETE", "/" + testStaging + "/" + uploads.StagingMarker, nil}, {"DELETE", "/" + testStaging, nil},
		{"PUT", "/" + testStaging, nil}, {"POST", "/" + testStaging + "/x?uploads", nil}, {"GET", "/wax%2Dstaging/x", nil},
		{"PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": "/" + testStaging + "/" + uploads.StagingMarker}},
		{"PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": testStaging + "/" + uploads.StagingMarker}},
	} {
		if resp, body := a.do(t, request.method, request.path, request.header, nil); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s %v: %s %s", request.method, request.path, request.header, resp.Status, body)
		}
	}
	u := a.upload(t, "bkt", "k", nil)
	resp, body := a.do(t, "PUT", "/bkt/k?partNumber=1&uploadId="+u.id, map[string]string{"x-amz-copy-source": "/" + testStaging + "/" + uploads.StagingMarker}, nil)
	wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
}

// TestSweptWhileRecorded (attack R3): the record of a part comes after the sweeper of another replica has given the part
// up, however long ago that was: the part is refused, and no acknowledged part is lost.
func TestSweptWhileRecorded(t *testing.T) {
	a, b, _ := stagingPair(t)
	up := a.upload(t, "bkt", "k", nil)
	u, err := a.server.uploads.Get(t.Context(), "bkt", "k", up.id)
	if err != nil {
		t.Fatal(err)
	}
	p := &uploads.Part{Number: 1, Size: 4, Sealed: 4, Staged: u.Name + "-00001-x-owner"}
	if err := a.bucketStaging().Stage(t.Context(), p, strings.NewReader("body")); err != nil {
		t.Fatal(err)
	}
	sweeper := b.bucketStaging()
	now := time.Now()
	sweeper.Mono = func() time.Time { return now }
	sweep := func() {
		t.Helper()
		if err := sweeper.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if n := len(stagedObjects(t, a)); n != 1 {
		t.Fatalf("a part that is on its way was swept: %d left", n)
	}
	now = now.Add(uploads.StagedAfter)
	sweep()
	if n := len(stagedObjects(t, a)); n != 0 {
		t.Fatalf("%d left", n)
	}
	if err := a.server.uploads.AddPart(t.Context(), u, p); !errors.Is(err, uploads.ErrStagingGone) {
		t.Errorf("the late record: %v", err)
	}
}

// TestSweeperKeepsWhatCounts (attack R3): what a record names stays, what nobody names goes, what is another
// deployment's stays, whatever the clock says; a state without its records (restored, lost) is another deployment's.
func TestSweeperKeepsWhatCounts(t *testing.T) {
	a, _, _ := stagingPair(t)
	u := a.upload(t, "bkt", "k", nil)
	u.mustPut(1, noise(1, 1000))
	put := func(key string) {
		req := a.bucketStaging().Request("PUT", key, "")
		req.Body = []byte("x")
		resp, err := a.server.up.Send(t.Context(), req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		store.Drain(resp)
	}
	put("d2/0123-00001-a-b")
	put("d1/0123-00001-a-b")
	s := a.bucketStaging()
	now := time.Now().Add(1000 * time.Hour)
	s.Mono = func() time.Time { return now }
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := stagedObjects(t, a)
	if len(left) != 2 || !strings.HasPrefix(left[0], "d1/") || strings.Contains(left[0], "0123") || left[1] != "d2/0123-00001-a-b" {
		t.Errorf("left: %v", left)
	}
	u.mustComplete()
	u.check()
}

// TestStagedPartTampered: a staged part that the store gives back otherwise than it was given is refused, and the upload
// is not completed with it.
func TestStagedPartTampered(t *testing.T) {
	a, _, _ := stagingPair(t)
	u := a.upload(t, "bkt", "k", nil)
	u.mustPut(1, noise(1, 1000))
	req := a.bucketStaging().Request("PUT", stagedObjects(t, a)[0], "")
	req.Body = make([]byte, 1000+64)
	resp, err := a.server.up.Send(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	store.Drain(resp)
	if _, err := u.complete(); err == nil {
		t.Error("completed")
	}
}

// TestStagingBucketMustBeOurs: only a bucket that waxseal has made is adopted, and none whose settings keep or remove
// objects behind its back.
func TestStagingBucketMustBeOurs(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	s := state.NewMemory()
	with := func(bucket string) *kit {
		return start(t, up, func(c *Config) { c.State, c.StagingBucket, c.Deployment = s, bucket, "d1" })
	}
	plain := start(t, up, nil)
	plain.mustDo(t, "PUT", "/theirs", nil, nil)
	plain.mustDo(t, "PUT", "/theirs/photo", nil, []byte("x"))
	if err := with("theirs").server.AdoptStaging(t.Context()); err == nil || !strings.Contains(err.Error(), uploads.StagingMarker) {
		t.Errorf("a bucket with a user's objects: %v", err)
	}
	ours := with("ours")
	for range 2 {
		if err := ours.server.AdoptStaging(t.Context()); err != nil {
			t.Errorf("a bucket of our own: %v", err)
		}
	}
	versioned := `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`
	plain.mustDo(t, "PUT", "/ours?versioning", nil, []byte(versioned))
	if err := ours.server.AdoptStaging(context.Background()); err == nil || !strings.Contains(err.Error(), "versioning") {
		t.Errorf("a versioned bucket: %v", err)
	}
}
