package proxy

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// TestUnlessETag: If-None-Match with an ETag on a write is Ceph's alone; S3 answers NotImplemented.
func TestUnlessETag(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		for _, ceph := range []bool{false, true} {
			k := start(t, up, func(c *Config) { c.CompatCeph = ceph })
			target := "/" + k.bucket(t) + "/object"
			resp, _ := k.mustDo(t, "PUT", target, nil, []byte("one"))
			etag := resp.Header.Get("ETag")
			for _, step := range []struct {
				ifNoneMatch string
				want        int
			}{{etag, http.StatusPreconditionFailed}, {`"0123456789abcdef0123456789abcdef"`, http.StatusOK}, {etag, http.StatusOK}} {
				want := step.want
				if !ceph {
					want = http.StatusNotImplemented
				}
				resp, body := k.do(t, "PUT", target, map[string]string{"If-None-Match": step.ifNoneMatch}, []byte("two"))
				if resp.StatusCode != want {
					t.Errorf("ceph %v, %s: %s\n%s", ceph, step.ifNoneMatch, resp.Status, body)
				}
			}
			if !ceph {
				continue
			}
			k.mustDo(t, "DELETE", target, nil, nil)
			k.mustDo(t, "PUT", target, map[string]string{"If-None-Match": etag}, []byte("three"))
			if _, got := k.mustDo(t, "GET", target, nil, nil); string(got) != "three" {
				t.Errorf("read back %q", got)
			}
		}
	})
}

// TestLockShown: HEAD shows an object's lock also where the store's GET does not.
func TestLockShown(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		if err := k.server.probeOnce(context.Background()); err != nil {
			t.Fatal(err)
		}
		c, bucket := k.client(t), k.bucket(t)+"-lock"
		if err := c.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
		k.mustDo(t, "PUT", "/"+bucket+"/object", map[string]string{
			"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until,
		}, []byte("locked"))
		resp, _ := k.mustDo(t, "HEAD", "/"+bucket+"/object", nil, nil)
		if resp.Header.Get("X-Amz-Object-Lock-Mode") != "GOVERNANCE" {
			t.Errorf("HEAD shows %v", resp.Header)
		}
		k.mustDo(t, "DELETE", "/"+bucket+"/object?versionId="+resp.Header.Get("X-Amz-Version-Id"),
			map[string]string{"x-amz-bypass-governance-retention": "true"}, nil)
		k.mustDo(t, "DELETE", "/"+bucket, nil, nil)
	})
}
