package proxy

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestUnlessETag: If-None-Match with an ETag on a write is Ceph's alone; S3 answers NotImplemented.
func TestUnlessETag(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
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
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil {
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

// TestFormChecksumConditions: in compat=ceph too, a policy's condition on a checksum holds for the form's.
func TestFormChecksumConditions(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.CompatCeph = true })
	file := []byte("file")
	sum := s3.Base64(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(file)))
	for _, step := range []struct {
		condition string
		want      int
	}{{"", http.StatusNoContent}, {sum, http.StatusNoContent}, {"AAAAAA==", http.StatusForbidden}} {
		f := newForm(file, "key", "k")
		if step.condition != "" {
			f.conditions = append(f.conditions, map[string]string{"x-amz-checksum-crc32": step.condition})
		}
		f.sign()
		f.plain = true // as it is now
		f.fields = append(f.fields, [2]string{"x-amz-checksum-crc32", sum})
		if resp, body := k.post(t, f); resp.StatusCode != step.want {
			t.Errorf("%+v: %s\n%s", step, resp.Status, body)
		}
	}
}

// TestIgnoredWriteConditions: a condition that the store was seen to pass over is refused by name, and nothing is written.
func TestIgnoredWriteConditions(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{IgnoreWriteConditions: true}, nil)
	if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil {
		t.Fatal(err)
	}
	put, _ := k.mustDo(t, "PUT", "/bkt/a", nil, []byte("first"))
	_, body := k.mustDo(t, "POST", "/bkt/a?uploads", nil, nil)
	upload := "/bkt/a?uploadId=" + reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	part, _ := k.mustDo(t, "PUT", upload+"&partNumber=1", nil, []byte("part"))
	k.mustDo(t, "PUT", "/bkt/source", nil, []byte("source"))
	before, _ := u.Object("bkt", "a")
	for _, condition := range []map[string]string{{"If-None-Match": "*"}, {"If-Match": put.Header.Get("Etag")}} {
		resp, body := k.do(t, "PUT", "/bkt/a", condition, []byte("second"))
		wantError(t, resp, body, http.StatusNotImplemented, s3.NotImplemented)
		resp, body = k.do(t, "POST", upload, condition, []byte(completeBody(part.Header.Get("Etag"))))
		wantError(t, resp, body, http.StatusNotImplemented, s3.NotImplemented)
		resp, body = k.do(t, "PUT", "/bkt/a", with(condition, hdr{"x-amz-copy-source": "/bkt/source"}), nil)
		wantError(t, resp, body, http.StatusNotImplemented, s3.NotImplemented)
	}
	if after, _ := u.Object("bkt", "a"); after.ETag != before.ETag {
		t.Errorf("the object was overwritten: %q", after.Body)
	}
	k.mustDo(t, "POST", upload, nil, []byte(completeBody(part.Header.Get("Etag"))))
}

// TestUnpinnedCopy: in front of a store that does not hold a copy to its source, the proxy copies itself.
func TestUnpinnedCopy(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{IgnoreSourceConditions: true}, nil)
	if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil {
		t.Fatal(err)
	}
	if k.server.up.Capabilities().CopySourcePinned {
		t.Fatal("the probe takes the source for pinned")
	}
	k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-meta-n": "1", "x-amz-tagging": "a=b"}, []byte("data"))
	u.ClearRequests()
	k.mustDo(t, "PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/bkt/a"}, nil)
	for _, operation := range []string{"CopyObject", "UploadPartCopy"} {
		if n := count(u.Operations(), operation); n > 0 {
			t.Errorf("%d %s at the store", n, operation)
		}
	}
	resp, got := k.mustDo(t, "GET", "/bkt/b", nil, nil)
	if string(got) != "data" || resp.Header.Get("X-Amz-Meta-N") != "1" {
		t.Errorf("the copy is %q with %v", got, resp.Header)
	}
	if _, tags := k.mustDo(t, "GET", "/bkt/b?tagging", nil, nil); !strings.Contains(string(tags), "<Key>a</Key>") {
		t.Errorf("the copy's tags are %s", tags)
	}
}
