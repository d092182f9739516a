package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/backend"
)

func start(t *testing.T, dir string) (*Store, *minio.Core) {
	t.Helper()
	s, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, client(t, s)
}

func client(t *testing.T, s *Store) *minio.Core {
	t.Helper()
	c, err := minio.NewCore("embedded.waxseal", &minio.Options{
		Creds:        credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Region:       s.Region,
		Transport:    s.RoundTripper(),
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, c *minio.Core, bucket, key string, data []byte) minio.UploadInfo {
	t.Helper()
	info, err := c.Client.PutObject(context.Background(), bucket, key, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectOptions{DisableMultipart: true, UserMetadata: map[string]string{"Waxseal": "envelope"}})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return info
}

func get(t *testing.T, c *minio.Core, bucket, key string, opts minio.GetObjectOptions) []byte {
	t.Helper()
	r, info, _, err := c.GetObject(context.Background(), bucket, key, opts)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if got := info.UserMetadata["Waxseal"]; got != "envelope" {
		t.Errorf("%s came back with metadata %q", key, got)
	}
	return data
}

func makeBucket(t *testing.T, c *minio.Core, bucket string) {
	t.Helper()
	if err := c.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTripAndRestart(t *testing.T) {
	dir := t.TempDir()
	small, large := random(t, 1000), random(t, 3<<20)
	s, c := start(t, dir)
	makeBucket(t, c, "photos")
	put(t, c, "photos", "a/b/small", small)
	put(t, c, "photos", "large", large)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	_, c = start(t, dir)
	if got := get(t, c, "photos", "a/b/small", minio.GetObjectOptions{}); !bytes.Equal(got, small) {
		t.Error("small object changed")
	}
	if got := get(t, c, "photos", "large", minio.GetObjectOptions{}); !bytes.Equal(got, large) {
		t.Error("large object changed")
	}
	if err := c.RemoveObject(context.Background(), "photos", "a/b/small", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(context.Background(), "photos", "a/b/small", minio.StatObjectOptions{}); err == nil {
		t.Error("deleted object is there")
	}
	if exists(filepath.Join(dir, "data", "photos", "a")) {
		t.Error("empty parent directories stay")
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	_, c := start(t, dir)
	makeBucket(t, c, "photos")
	put(t, c, "photos", "dir/key", random(t, 10))
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRelativeDirectoryIsRefused(t *testing.T) {
	if _, err := Start(context.Background(), Config{Dir: "store"}); err == nil {
		t.Fatal("a relative directory was taken")
	}
}

func TestLongPathsMoveTheSocket(t *testing.T) {
	for _, name := range []string{strings.Repeat("d", 120), "host:80"} {
		dir := filepath.Join(t.TempDir(), name)
		s, c := start(t, dir)
		if strings.HasPrefix(s.socket, dir) {
			t.Errorf("socket is at %s", s.socket)
		}
		makeBucket(t, c, "photos")
		info, err := os.Stat(filepath.Dir(s.socket))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("socket's directory: %v, %v", info, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Dir(s.socket)) {
			t.Error("the socket's directory stays behind")
		}
	}
}

func TestVersions(t *testing.T) {
	_, c := start(t, t.TempDir())
	ctx := context.Background()
	makeBucket(t, c, "photos")
	put(t, c, "photos", "k", []byte("null"))
	if err := c.EnableVersioning(ctx, "photos"); err != nil {
		t.Fatal(err)
	}
	one := put(t, c, "photos", "k", []byte("one"))
	written, err := c.StatObject(ctx, "photos", "k", minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // Last-Modified counts seconds
	two := put(t, c, "photos", "k", []byte("two"))
	old, err := c.StatObject(ctx, "photos", "k", minio.StatObjectOptions{VersionID: one.VersionID})
	if err != nil {
		t.Fatal(err)
	}
	if !old.LastModified.Equal(written.LastModified) {
		t.Errorf("version one was written %v, then %v", written.LastModified, old.LastModified)
	}
	// The current version goes, and the one before it, not "null", is current again.
	if err := c.RemoveObject(ctx, "photos", "k", minio.RemoveObjectOptions{VersionID: two.VersionID}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "photos", "k", minio.GetObjectOptions{}); string(got) != "one" {
		t.Errorf("current is %q", got)
	}
	// A delete marker hides it, and goes again.
	if err := c.RemoveObject(ctx, "photos", "k", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(ctx, "photos", "k", minio.StatObjectOptions{}); err == nil {
		t.Error("delete marker does not hide the object")
	}
	removeMarker(t, c, "photos", "k")
	if got := get(t, c, "photos", "k", minio.GetObjectOptions{}); string(got) != "one" {
		t.Errorf("current is %q", got)
	}
	if err := c.RemoveObject(ctx, "photos", "k", minio.RemoveObjectOptions{VersionID: one.VersionID}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "photos", "k", minio.GetObjectOptions{}); string(got) != "null" {
		t.Errorf("current is %q", got)
	}
}

func removeMarker(t *testing.T, c *minio.Core, bucket, key string) {
	t.Helper()
	for o := range c.Client.ListObjects(bucketContext(t), bucket, minio.ListObjectsOptions{WithVersions: true, Prefix: key}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.IsDeleteMarker {
			opts := minio.RemoveObjectOptions{VersionID: o.VersionID}
			if err := c.RemoveObject(context.Background(), bucket, key, opts); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no delete marker")
}

func bucketContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx
}

func TestCompleteAgain(t *testing.T) {
	_, c := start(t, t.TempDir())
	ctx := context.Background()
	makeBucket(t, c, "photos")
	put(t, c, "photos", "src", random(t, 5<<20))
	id, parts := upload(t, c, "photos", "big", "src")
	info, err := c.CompleteMultipartUpload(ctx, "photos", "big", id, parts, minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.CompleteMultipartUpload(ctx, "photos", "big", id, parts, minio.PutObjectOptions{})
	if err != nil || again.ETag != info.ETag {
		t.Errorf("completed again: %v, %v", again.ETag, err)
	}
	if got := get(t, c, "photos", "big", minio.GetObjectOptions{}); len(got) != 5<<20+4 {
		t.Errorf("%d bytes", len(got))
	}
	put(t, c, "photos", "big", []byte("other"))
	_, err = c.CompleteMultipartUpload(ctx, "photos", "big", id, parts, minio.PutObjectOptions{})
	if code := minio.ToErrorResponse(err).Code; code != "NoSuchUpload" {
		t.Errorf("an upload whose object was replaced: %v", err)
	}
	_, err = c.PutObjectPart(ctx, "photos", "big", id, 3, strings.NewReader("late"), 4, minio.PutObjectPartOptions{})
	if code := minio.ToErrorResponse(err).Code; code != "NoSuchUpload" {
		t.Errorf("a part after Complete: %v", err)
	}
}

// upload sends two parts: a copy of src and four bytes.
func upload(t *testing.T, c *minio.Core, bucket, key, src string) (id string, parts []minio.CompletePart) {
	t.Helper()
	ctx := context.Background()
	id, err := c.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{
		UserMetadata: map[string]string{"Waxseal": "envelope"}})
	if err != nil {
		t.Fatal(err)
	}
	one, err := c.CopyObjectPart(ctx, bucket, src, bucket, key, id, 1, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.PutObjectPart(ctx, bucket, key, id, 2, strings.NewReader("tail"), 4, minio.PutObjectPartOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return id, []minio.CompletePart{{PartNumber: 1, ETag: one.ETag}, {PartNumber: 2, ETag: two.ETag}}
}

func TestUploadRecordStaysSmall(t *testing.T) {
	record := backend.MpUploadMetadata{UploadID: "id", Parts: make([]int64, 10000)}
	for i := range record.Parts {
		record.Parts[i] = int64(i) * 5368709121
	}
	raw, err := backend.MarshalMpUploadMetadata(record, false)
	if err != nil {
		t.Fatal(err)
	}
	trimmed, err := withoutPartTable(raw)
	if err != nil {
		t.Fatal(err)
	}
	back, err := backend.UnmarshalMpUploadMetadata(trimmed, false)
	if err != nil || back.UploadID != "id" || len(trimmed) > 128 {
		t.Errorf("%d bytes, %+v, %v", len(trimmed), back, err)
	}
}

func TestRefusals(t *testing.T) {
	_, c := start(t, t.TempDir())
	ctx := context.Background()
	makeBucket(t, c, "photos")
	put(t, c, "photos", "k", []byte("v"))
	code := func(err error) string { return minio.ToErrorResponse(err).Code }

	_, err := c.CopyObject(ctx, "photos", "k", "photos", "k",
		map[string]string{"x-amz-metadata-directive": "REPLACE"}, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if code(err) != "NotImplemented" {
		t.Errorf("in-place copy: %v", err)
	}
	for _, id := range []string{"..", "../..", "00000000-0000-0000-0000-000000000000"} {
		if err := c.AbortMultipartUpload(ctx, "photos", "k", id); code(err) != "NoSuchUpload" {
			t.Errorf("abort %q: %v", id, err)
		}
		_, err := c.CompleteMultipartUpload(ctx, "photos", "k", id,
			[]minio.CompletePart{{PartNumber: 1, ETag: "0cc175b9c0f1b6a831c399e269772661"}}, minio.PutObjectOptions{})
		if code(err) != "NoSuchUpload" {
			t.Errorf("complete %q: %v", id, err)
		}
	}
	if err := c.RemoveBucket(ctx, "photos"); code(err) != "BucketNotEmpty" {
		t.Errorf("remove bucket: %v", err)
	}
	if got := get(t, c, "photos", "k", minio.GetObjectOptions{}); string(got) != "v" {
		t.Errorf("object is %q", got)
	}
}

func TestFailedSyncIsNotAcknowledged(t *testing.T) {
	s, c := start(t, t.TempDir())
	makeBucket(t, c, "photos")
	ctx := context.Background()
	s.sync.observe = func(path string) error { return fmt.Errorf("no space for %s: %w", path, errors.ErrUnsupported) }
	if _, err := c.PutObject(ctx, "photos", "k", strings.NewReader("v"), 1, "", "", minio.PutObjectOptions{}); err == nil {
		t.Error("put was acknowledged")
	}
	if _, err := c.NewMultipartUpload(ctx, "photos", "k", minio.PutObjectOptions{}); err == nil {
		t.Error("upload was acknowledged")
	}
	if err := c.MakeBucket(ctx, "more", minio.MakeBucketOptions{}); err == nil {
		t.Error("bucket was acknowledged")
	}
	s.sync.observe = nil
	if _, err := c.StatObject(ctx, "photos", "k", minio.StatObjectOptions{}); err == nil {
		t.Error("an object whose bytes could not be synced has its name")
	}
}
