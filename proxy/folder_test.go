package proxy

import (
	"context"
	"net/http"
	"testing"

	"github.com/minio/minio-go/v7"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
)

// TestFolderMarker: an empty object whose name ends with a slash goes to any store, is listed, read, copied and
// deleted like another, and its envelope is held to the empty body.
func TestFolderMarker(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		c, bucket := k.client(t), k.bucket(t)
		ctx := context.Background()
		for name, side := range sides(t) {
			key := name + "/"
			info := put(t, c, bucket, key, nil, side)
			opts := minio.StatObjectOptions{Checksum: true}
			if name == "SSE-C" {
				opts.ServerSideEncryption = side
			}
			st, err := c.StatObject(ctx, bucket, key, opts)
			if err != nil || st.Size != 0 || st.ETag != info.ETag || st.UserMetadata["Color"] != "red" {
				t.Fatalf("%s: %+v %v", name, st, err)
			}
			if got := mustRead(t, c, bucket, key, side); len(got) != 0 {
				t.Errorf("%s: %d bytes in an empty object", name, len(got))
			}
		}
		if _, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "copy/"}, minio.CopySrcOptions{Bucket: bucket, Object: "SSE-S3/"}); err != nil {
			t.Error(err)
		}
		n := 0
		for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil || o.Size != 0 {
				t.Errorf("%+v", o)
			}
			n++
		}
		if n != 4 {
			t.Errorf("%d markers are listed", n)
		}
	})
}

// TestFolderMarkerTampered: a marker with a body is refused, and so is its envelope on another object.
func TestFolderMarkerTampered(t *testing.T) {
	k, up := memoryKit(t, nil)
	c, bucket := k.client(t), k.bucket(t)
	put(t, c, bucket, "dir/", nil, nil)
	up.Mutate(bucket, "dir/", func(o *proxytest.Stored) { o.Body = []byte("bytes") })
	if _, err := c.StatObject(context.Background(), bucket, "dir/", minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != http.StatusForbidden {
		t.Error(err)
	}
}

// TestHeadersNeedTheirActions: what a header makes the store do needs its own permission.
func TestHeadersNeedTheirActions(t *testing.T) {
	policy, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	k, _ := memoryKit(t, func(c *Config) {
		users, err := iam.NewDirectory([]iam.User{
			{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: "AKIAROOT", Secret: iam.NewSecret("s"), Root: true},
			{Name: "writer", ARN: iam.UserARN("000000000000", "writer"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Policy: policy},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Users = users
	})
	c := k.client(t)
	for header, opts := range map[string]minio.PutObjectOptions{
		"x-amz-tagging":                {UserTags: map[string]string{"a": "b"}},
		"x-amz-object-lock-legal-hold": {LegalHold: minio.LegalHoldEnabled},
	} {
		opts.DisableMultipart = true
		_, err := c.PutObject(context.Background(), "bucket", "key", http.NoBody, 0, opts)
		if code := minio.ToErrorResponse(err).Code; code != "AccessDenied" {
			t.Errorf("%s: %v", header, err)
		}
	}
}

// TestCopyToFolderMarker: a copy of an empty object under a folder's name has no body either, whatever its source has.
func TestCopyToFolderMarker(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for source, header := range map[string]map[string]string{"s3": nil, "kms": {hdrSSE: algKMS, hdrKMSKey: testKeyARN}} {
		k.mustDo(t, "PUT", "/bkt/"+source, with(header, hdr{"X-Amz-Meta-Colour": "red"}), nil)
		k.mustDo(t, "PUT", "/bkt/"+source+"-dir/", with(header, hdr{"x-amz-copy-source": "/bkt/" + source}), nil)
		if o, there := u.Object("bkt", source+"-dir/"); !there || len(o.Body) != 0 {
			t.Errorf("%s: %d bytes under a folder's name", source, len(o.Body))
		}
		resp, body := k.mustDo(t, "GET", "/bkt/"+source+"-dir/", nil, nil)
		if len(body) != 0 || resp.Header.Get("X-Amz-Meta-Colour") != "red" {
			t.Errorf("%s: %q %v", source, body, resp.Header)
		}
	}
}
