package proxytest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"
)

// start serves a store with bucket "bkt" and returns a minio-go client for it.
func start(t *testing.T, o Options) (*Upstream, *minio.Core) {
	t.Helper()
	u, address := StartUpstream(t, o, "bkt")
	target, _ := url.Parse(address)
	c, err := minio.NewCore(target.Host, &minio.Options{Creds: credentials.NewStaticV4("AKIATEST", "secret", ""), Region: "us-east-1", TrailingHeaders: true, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return u, c
}

func code(err error) string { return minio.ToErrorResponse(err).Code }

func put(t *testing.T, c *minio.Core, key, body string) minio.UploadInfo {
	t.Helper()
	info, err := c.Client.PutObject(t.Context(), "bkt", key, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func get(t *testing.T, c *minio.Core, key string, o minio.GetObjectOptions) string {
	t.Helper()
	r, _, _, err := c.GetObject(t.Context(), "bkt", key, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestObjectRoundTrip(t *testing.T) {
	u, c := start(t, Options{})
	for _, checksum := range []minio.ChecksumType{minio.ChecksumNone, minio.ChecksumCRC32C, minio.ChecksumCRC32, minio.ChecksumSHA1, minio.ChecksumSHA256, minio.ChecksumCRC64NVME} {
		body := strings.Repeat("plain ", 50000)
		_, err := c.Client.PutObject(t.Context(), "bkt", "dir/a b+c?é", strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{
			UserMetadata: map[string]string{"own": "value"}, ContentType: "text/plain", CacheControl: "no-store", Checksum: checksum, UserTags: map[string]string{"k": "v"}})
		if err != nil {
			t.Fatalf("%s: %v", checksum, err)
		}
		if got := get(t, c, "dir/a b+c?é", minio.GetObjectOptions{}); got != body {
			t.Fatalf("%s: read %d bytes", checksum, len(got))
		}
		info, err := c.StatObject(t.Context(), "bkt", "dir/a b+c?é", minio.StatObjectOptions{Checksum: true})
		if err != nil || info.Size != int64(len(body)) || info.UserMetadata["Own"] != "value" || info.ContentType != "text/plain" || info.UserTagCount != 1 ||
			info.ETag != md5Hex([]byte(body)) || info.Metadata.Get("Cache-Control") != "no-store" || info.Metadata.Get("Content-Encoding") != "" {
			t.Errorf("%s: %+v, %v", checksum, info, err)
		}
	}
	if !u.Contains([]byte("plain plain")) || !u.Contains([]byte("value")) || u.Contains([]byte("absent")) || u.Contains(nil) {
		t.Error("Contains")
	}
	if r := u.Requests()[0]; r.AccessKey != "AKIATEST" || r.Operation != "PutObject" || r.Key != "dir/a b+c?é" || r.Status != 200 {
		t.Errorf("%+v", r)
	}
}

func TestRangesWithClient(t *testing.T) {
	_, c := start(t, Options{})
	put(t, c, "k", "0123456789")
	for _, test := range []struct {
		from, to int64
		want     string
	}{{0, 0, "0"}, {2, 4, "234"}, {7, 100, "789"}, {0, -3, "789"}, {5, 0, "56789"}} {
		var o minio.GetObjectOptions
		if err := o.SetRange(test.from, test.to); err != nil {
			t.Fatal(err)
		}
		if got := get(t, c, "k", o); got != test.want {
			t.Errorf("%d-%d: %q", test.from, test.to, got)
		}
	}
	var o minio.GetObjectOptions
	_ = o.SetRange(10, 12)
	if _, _, _, err := c.GetObject(t.Context(), "bkt", "k", o); code(err) != "InvalidRange" {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	_, c := start(t, Options{})
	ctx := t.Context()
	if _, err := c.StatObject(ctx, "bkt", "k", minio.StatObjectOptions{}); code(err) != "NoSuchKey" {
		t.Error(err)
	}
	if _, _, _, err := c.GetObject(ctx, "none", "k", minio.GetObjectOptions{}); code(err) != "NoSuchBucket" {
		t.Error(err)
	}
	if err := c.Client.RemoveObject(ctx, "bkt", "k", minio.RemoveObjectOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Client.GetBucketPolicy(ctx, "none"); code(err) != "NoSuchBucket" {
		t.Error(err)
	}
	if err := c.MakeBucket(ctx, "bkt", minio.MakeBucketOptions{ObjectLocking: true}); code(err) != "BucketAlreadyOwnedByYou" {
		t.Error(err)
	}
	put(t, c, "k", "x")
	if err := c.RemoveBucket(ctx, "bkt"); code(err) != "BucketNotEmpty" {
		t.Error(err)
	}
}

func TestVersions(t *testing.T) {
	u, c := start(t, Options{})
	ctx := t.Context()
	put(t, c, "k", "before")
	if err := c.EnableVersioning(ctx, "bkt"); err != nil {
		t.Fatal(err)
	}
	one := put(t, c, "k", "one").VersionID
	two := put(t, c, "k", "two").VersionID
	if err := c.Client.RemoveObject(ctx, "bkt", "k", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(ctx, "bkt", "k", minio.StatObjectOptions{}); code(err) != "NoSuchKey" {
		t.Error(err)
	}
	for id, want := range map[string]string{one: "one", two: "two", "null": "before"} {
		if got := get(t, c, "k", minio.GetObjectOptions{VersionID: id}); got != want {
			t.Errorf("%s: %q", id, got)
		}
	}
	all := u.Versions("bkt", "k")
	if len(all) != 4 || !all[3].DeleteMarker {
		t.Fatalf("%+v", all)
	}
	if _, _, _, err := c.GetObject(ctx, "bkt", "k", minio.GetObjectOptions{VersionID: all[3].VersionID}); code(err) != "MethodNotAllowed" {
		t.Error(err)
	}
	// Removing the marker brings the object back.
	if err := c.Client.RemoveObject(ctx, "bkt", "k", minio.RemoveObjectOptions{VersionID: all[3].VersionID}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "k", minio.GetObjectOptions{}); got != "two" {
		t.Error(got)
	}
	if err := c.SuspendVersioning(ctx, "bkt"); err != nil {
		t.Fatal(err)
	}
	put(t, c, "k", "suspended")
	if all := u.Versions("bkt", "k"); len(all) != 3 || all[2].VersionID != "null" || string(all[2].Body) != "suspended" {
		t.Errorf("%+v", all)
	}
	var ids []string
	for o := range c.Client.ListObjects(ctx, "bkt", minio.ListObjectsOptions{WithVersions: true, Recursive: true, MaxKeys: 1}) {
		ids = append(ids, fmt.Sprint(o.VersionID, o.IsLatest))
	}
	if want := []string{"nulltrue", two + "false", one + "false"}; !slices.Equal(ids, want) {
		t.Errorf("listed %q, want %q", ids, want)
	}
}

func TestListings(t *testing.T) {
	_, c := start(t, Options{})
	var want []string
	for _, key := range []string{"a", "a/b", "a/c/d", "b &<é", "b+", "b/", "b/x", "c"} {
		put(t, c, key, key)
		want = append(want, key)
	}
	slices.Sort(want)
	for _, v1 := range []bool{false, true} {
		for _, size := range []int{1, 2, 3, 100} {
			var got []string
			for o := range c.Client.ListObjects(t.Context(), "bkt", minio.ListObjectsOptions{Recursive: true, MaxKeys: size, UseV1: v1}) {
				if o.Err != nil {
					t.Fatal(o.Err)
				}
				got = append(got, o.Key)
			}
			if !slices.Equal(got, want) {
				t.Errorf("v1 %v, pages of %d: %q", v1, size, got)
			}
			got = nil
			for o := range c.Client.ListObjects(t.Context(), "bkt", minio.ListObjectsOptions{MaxKeys: size, UseV1: v1}) {
				got = append(got, o.Key)
			}
			slices.Sort(got)
			if flat := []string{"a", "a/", "b &<é", "b+", "b/", "c"}; !slices.Equal(got, flat) {
				t.Errorf("v1 %v, pages of %d, with delimiter: %q", v1, size, got)
			}
			got = nil
			for o := range c.Client.ListObjects(t.Context(), "bkt", minio.ListObjectsOptions{Prefix: "b/", MaxKeys: size, UseV1: v1}) {
				got = append(got, o.Key)
			}
			if !slices.Equal(got, []string{"b/", "b/x"}) {
				t.Errorf("v1 %v, pages of %d, with prefix: %q", v1, size, got)
			}
		}
	}
	result, err := c.ListObjectsV2("bkt", "", "b/", "", "", 10)
	if err != nil || len(result.Contents) != 2 {
		t.Errorf("start-after: %+v, %v", result.Contents, err)
	}
	if result, err = c.ListObjectsV2("bkt", "", "", "", "", 0); err != nil {
		t.Error(err)
	}
}

func TestListMetadata(t *testing.T) {
	u, c := start(t, Options{ListMetadata: true})
	u.PutObject("bkt", "k", []byte("x"), http.Header{"x-amz-meta-own": {"v"}})
	for o := range c.Client.ListObjects(t.Context(), "bkt", minio.ListObjectsOptions{WithMetadata: true, Recursive: true}) {
		if o.UserMetadata["X-Amz-Meta-Own"] != "v" {
			t.Errorf("%+v", o)
		}
	}
}

func TestCopies(t *testing.T) {
	u, c := start(t, Options{})
	ctx := t.Context()
	_, err := c.Client.PutObject(ctx, "bkt", "src k", strings.NewReader("data"), 4, minio.PutObjectOptions{UserMetadata: map[string]string{"a": "1"}, UserTags: map[string]string{"t": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	src := minio.CopySrcOptions{Bucket: "bkt", Object: "src k"}
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "kept"}, src); err != nil {
		t.Fatal(err)
	}
	if o, _ := u.Object("bkt", "kept"); string(o.Body) != "data" || o.Header.Get("X-Amz-Meta-A") != "1" || len(o.Tags) != 1 || o.ETag != md5Hex([]byte("data")) {
		t.Errorf("%+v", o)
	}
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "replaced", UserMetadata: map[string]string{"b": "2"}, ReplaceMetadata: true}, src); err != nil {
		t.Fatal(err)
	}
	if o, _ := u.Object("bkt", "replaced"); o.Header.Get("X-Amz-Meta-A") != "" || o.Header.Get("X-Amz-Meta-B") != "2" {
		t.Errorf("%+v", o)
	}
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "src k"}, src); code(err) != "InvalidRequest" {
		t.Error(err)
	}
	src.MatchETag = "other"
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "x"}, src); code(err) != "PreconditionFailed" {
		t.Error(err)
	}
	src.MatchETag, src.NoMatchETag = "", md5Hex([]byte("data"))
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "x"}, src); code(err) != "PreconditionFailed" {
		t.Error(err)
	}
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bkt", Object: "x"}, minio.CopySrcOptions{Bucket: "bkt", Object: "none"}); code(err) != "NoSuchKey" {
		t.Error(err)
	}
}

func TestMultipartWithClient(t *testing.T) {
	u, c := start(t, Options{})
	body := bytes.Repeat([]byte("0123456789abcdef"), 12<<20/16)
	info, err := c.Client.PutObject(t.Context(), "bkt", "big", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{PartSize: 5 << 20})
	if err != nil || !strings.HasSuffix(info.ETag, "-3") {
		t.Fatalf("%+v, %v", info, err)
	}
	if got := get(t, c, "big", minio.GetObjectOptions{}); got != string(body) {
		t.Error("read something else")
	}
	if got := get(t, c, "big", minio.GetObjectOptions{PartNumber: 3}); len(got) != 2<<20 {
		t.Errorf("part 3 has %d bytes", len(got))
	}
	if o, _ := u.Object("bkt", "big"); !slices.Equal(o.PartSizes, []int64{5 << 20, 5 << 20, 2 << 20}) {
		t.Errorf("%v", o.PartSizes)
	}
	attrs, err := c.GetObjectAttributes(t.Context(), "bkt", "big", minio.ObjectAttributesOptions{})
	if err != nil || attrs.ObjectSize != len(body) || attrs.ObjectParts.PartsCount != 3 {
		t.Errorf("%+v, %v", attrs, err)
	}
	// A copy shares the bytes of its source, and therefore its parts.
	if _, err := c.Client.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: "bkt", Object: "copy"}, minio.CopySrcOptions{Bucket: "bkt", Object: "big"}); err != nil {
		t.Fatal(err)
	}
	if o, _ := u.Object("bkt", "copy"); string(o.Body) != string(body) || len(o.PartSizes) != 3 {
		t.Errorf("copy has %s, %v", o.ETag, o.PartSizes)
	}
}

func TestMultipartRules(t *testing.T) {
	u, c := start(t, Options{MinPartSize: 10, ForgetCompleted: true})
	ctx := t.Context()
	id, err := c.NewMultipartUpload(ctx, "bkt", "k", minio.PutObjectOptions{UserMetadata: map[string]string{"secret": "m3ta"}})
	if err != nil {
		t.Fatal(err)
	}
	if !u.Contains([]byte("m3ta")) || u.Uploads() != 1 {
		t.Error("an open upload's metadata is not found")
	}
	part := func(n int, body string) minio.CompletePart {
		p, err := c.PutObjectPart(ctx, "bkt", "k", id, n, strings.NewReader(body), int64(len(body)), minio.PutObjectPartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return minio.CompletePart{PartNumber: n, ETag: p.ETag}
	}
	complete := func(parts ...minio.CompletePart) string {
		_, err := c.CompleteMultipartUpload(ctx, "bkt", "k", id, parts, minio.PutObjectOptions{})
		return code(err)
	}
	stale := part(1, "old old old")
	one, two, seven := part(1, "0123456789"), part(2, "tiny"), part(7, "end")
	if !u.Contains([]byte("tiny")) {
		t.Error("a part's bytes are not found")
	}
	for name, test := range map[string]struct {
		parts []minio.CompletePart
		want  string
	}{
		"stale":   {[]minio.CompletePart{stale, seven}, "InvalidPart"},
		"missing": {[]minio.CompletePart{one, {PartNumber: 5, ETag: one.ETag}}, "InvalidPart"},
		"order":   {[]minio.CompletePart{seven, one}, "InvalidPartOrder"},
		"twice":   {[]minio.CompletePart{one, one}, "InvalidPartOrder"},
		"small":   {[]minio.CompletePart{one, two, seven}, "EntityTooSmall"},
		"empty":   {nil, "MalformedXML"},
	} {
		if got := complete(test.parts...); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	page, err := c.ListObjectParts(ctx, "bkt", "k", id, 1, 1)
	if err != nil || !page.IsTruncated || len(page.ObjectParts) != 1 || page.ObjectParts[0].PartNumber != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	if uploads, err := c.ListMultipartUploads(ctx, "bkt", "", "", "", "", 10); err != nil || len(uploads.Uploads) != 1 || uploads.Uploads[0].UploadID != id {
		t.Errorf("%+v, %v", uploads, err)
	}
	if got := complete(one, seven); got != "" {
		t.Fatal(got)
	}
	if o, _ := u.Object("bkt", "k"); string(o.Body) != "0123456789end" || u.Uploads() != 0 {
		t.Errorf("%q", o.Body)
	}
	if got := complete(one, seven); got != "NoSuchUpload" {
		t.Errorf("repeated: %q", got)
	}
	u.ForgetCompleted = false
	if got := complete(one, seven); got != "" {
		t.Errorf("repeated, as on AWS: %q", got)
	}
	if err := c.AbortMultipartUpload(ctx, "bkt", "k", id); code(err) != "NoSuchUpload" {
		t.Error(err)
	}
}

func TestUploadPartCopy(t *testing.T) {
	u, c := start(t, Options{MinPartSize: -1})
	ctx := t.Context()
	put(t, c, "src", "0123456789")
	id, err := c.NewMultipartUpload(ctx, "bkt", "k", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := c.CopyObjectPart(ctx, "bkt", "src", "bkt", "k", id, 1, 2, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.CopyObjectPart(ctx, "bkt", "src", "bkt", "k", id, 2, 0, -1, map[string]string{"x-amz-copy-source-if-match": md5Hex([]byte("0123456789"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CopyObjectPart(ctx, "bkt", "src", "bkt", "k", id, 3, 0, -1, map[string]string{"x-amz-copy-source-if-match": "x"}); code(err) != "PreconditionFailed" {
		t.Error(err)
	}
	if _, err := c.CopyObjectPart(ctx, "bkt", "src", "bkt", "k", id, 3, 5, 20, nil); code(err) != "InvalidArgument" {
		t.Error(err)
	}
	if _, err := c.CompleteMultipartUpload(ctx, "bkt", "k", id, []minio.CompletePart{one, two}, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if o, _ := u.Object("bkt", "k"); string(o.Body) != "234560123456789" {
		t.Errorf("%q", o.Body)
	}
}

func TestTagsAndDocuments(t *testing.T) {
	_, c := start(t, Options{})
	ctx := t.Context()
	put(t, c, "k", "x")
	set, _ := tags.NewTags(map[string]string{"a": "1", "b": "2"}, true)
	if err := c.PutObjectTagging(ctx, "bkt", "k", set, minio.PutObjectTaggingOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetObjectTagging(ctx, "bkt", "k", minio.GetObjectTaggingOptions{}); err != nil || got.ToMap()["b"] != "2" {
		t.Errorf("%v %v", got, err)
	}
	if err := c.RemoveObjectTagging(ctx, "bkt", "k", minio.RemoveObjectTaggingOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Client.GetBucketLifecycle(ctx, "bkt"); code(err) != "NoSuchLifecycleConfiguration" {
		t.Error(err)
	}
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/x"}]}`
	if err := c.SetBucketPolicy(ctx, "bkt", policy); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Client.GetBucketPolicy(ctx, "bkt"); err != nil || got != policy {
		t.Errorf("%q %v", got, err)
	}
	if info, err := c.GetObjectACL(ctx, "bkt", "k"); err != nil || len(info.Grant) != 1 {
		t.Errorf("%+v %v", info, err)
	}
	if list, err := c.ListBuckets(ctx); err != nil || len(list) != 1 || list[0].Name != "bkt" {
		t.Errorf("%+v %v", list, err)
	}
}

func TestDeleteMany(t *testing.T) {
	u, c := start(t, Options{})
	objects := make(chan minio.ObjectInfo, 3)
	for _, key := range []string{"a", "b<&", "c"} {
		put(t, c, key, "x")
		objects <- minio.ObjectInfo{Key: key}
	}
	close(objects)
	for e := range c.Client.RemoveObjects(t.Context(), "bkt", objects, minio.RemoveObjectsOptions{}) {
		t.Error(e)
	}
	if keys := u.Keys("bkt"); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}
