package proxy

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/s3"
)

// TestOperations: which operation takes and returns what.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html and its siblings.
func TestOperations(t *testing.T) {
	k := startContract(t, nil)
	k.forEachMode(t, func(t *testing.T, m mode) {
		t.Run("PutObject", func(t *testing.T) {
			a := k.ask("PUT", k.object("o"), m.write, "hello").ok(t).echoes(t, m.echo)
			if a.Header.Get("x-amz-checksum-crc64nvme") == "" || a.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
				t.Errorf("no checksum of its own: %v", a.Header)
			}
			a = k.ask("PUT", k.object("o"), with(m.write, hdr{"x-amz-checksum-crc32": "NhCmhg=="}), "hello").ok(t).echoes(t, m.echo)
			if a.Header.Get("x-amz-checksum-crc32") != "NhCmhg==" || a.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
				t.Errorf("the checksum sent is not confirmed: %v", a.Header)
			}
		})
		t.Run("GetObject", func(t *testing.T) {
			a := k.ask("GET", k.object("o"), m.part, "").ok(t).echoes(t, m.echo)
			if string(a.body) != "hello" {
				t.Errorf("read %q", a.body)
			}
			if a.Header.Get("x-amz-checksum-crc32") != "" {
				t.Error("a checksum without x-amz-checksum-mode")
			}
			a = k.ask("GET", k.object("o"), with(m.part, hdr{"x-amz-checksum-mode": "ENABLED"}), "").ok(t).echoes(t, m.echo)
			if a.Header.Get("x-amz-checksum-crc32") != "NhCmhg==" || a.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
				t.Errorf("checksum mode: %v", a.Header)
			}
		})
		t.Run("HeadObject", func(t *testing.T) {
			a := k.ask("HEAD", k.object("o"), m.part, "").ok(t).echoes(t, m.echo)
			if a.ContentLength != 5 {
				t.Errorf("Content-Length %d", a.ContentLength)
			}
			a = k.ask("HEAD", k.object("o"), with(m.part, hdr{"x-amz-checksum-mode": "ENABLED"}), "").ok(t)
			if a.Header.Get("x-amz-checksum-crc32") != "NhCmhg==" {
				t.Errorf("checksum mode: %v", a.Header)
			}
		})
		t.Run("GetObjectAttributes has no encryption headers", func(t *testing.T) {
			a := k.ask("GET", k.object("o")+"?attributes=", with(m.part, hdr{"x-amz-object-attributes": "ETag,ObjectSize,Checksum"}), "").ok(t)
			a.echoes(t, hdr{})
			tag := k.ask("HEAD", k.object("o"), m.part, "").ok(t).etag()
			if body := string(a.body); !strings.Contains(body, "<ETag>"+tag+"</ETag>") || !strings.Contains(body, "<ObjectSize>5</ObjectSize>") {
				t.Errorf("attributes %s", body)
			}
		})
		t.Run("CopyObject", func(t *testing.T) {
			a := k.ask("PUT", k.object("copy"), with(m.write, m.source, hdr{"x-amz-copy-source": k.object("o")}), "").ok(t).echoes(t, m.echo)
			doc := reply[s3.CopyObjectResult](t, a.body)
			if doc.ChecksumCRC32 != "NhCmhg==" || doc.ChecksumType != "FULL_OBJECT" {
				t.Errorf("the copy's checksum: %s", a.body)
			}
			if got := k.ask("GET", k.object("copy"), m.part, "").ok(t).echoes(t, m.echo); string(got.body) != "hello" {
				t.Errorf("the copy reads %q", got.body)
			}
		})
		t.Run("multipart upload", func(t *testing.T) { k.contractUpload(t, m) })
		t.Run("PostObject", func(t *testing.T) { k.contractPost(t, m) })
		t.Run("listings have no encryption field and the plaintext's size", func(t *testing.T) {
			a := k.ask("GET", "/"+k.bucket+"?list-type=2&prefix=o", nil, "").ok(t).echoes(t, hdr{})
			if body := string(a.body); !strings.Contains(body, "<Size>5</Size>") || strings.Contains(body, "ncryption") {
				t.Errorf("the list: %s", body)
			}
		})
		t.Run("DeleteObject needs no key", func(t *testing.T) {
			if a := k.ask("DELETE", k.object("o"), nil, "").ok(t); a.StatusCode != http.StatusNoContent {
				t.Error(a.Status)
			}
		})
	})
}

// contractUpload is a multipart upload of two parts, the second copied from an object.
func (k *contractKit) contractUpload(t *testing.T, m mode) {
	created, id := k.startUpload("mp", m.write)
	created.echoes(t, m.echo)
	part := func(n int) string { return fmt.Sprintf("%s?partNumber=%d&uploadId=%s", k.object("mp"), n, id) }

	big := string(noise(7, 5*mib))
	first := k.ask("PUT", part(1), m.part, big).ok(t).echoes(t, m.echo)
	k.ask("PUT", k.object("source"), nil, "the rest").ok(t)
	a := k.ask("PUT", part(2), with(m.part, hdr{"x-amz-copy-source": k.object("source")}), "").ok(t).echoes(t, m.echo)
	second := reply[s3.CopyPartResult](t, a.body).ETag
	if sum := md5.Sum([]byte(big)); m.etagIsMD5 != (first.etag() == hex.EncodeToString(sum[:])) {
		t.Errorf("the part's ETag is %s, the MD5 %x", first.etag(), sum)
	}
	k.ask("GET", k.object("mp")+"?uploadId="+id, m.part, "").ok(t).echoes(t, hdr{})

	// The answer of Complete has no SSE-C headers: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
	echo := m.echo
	if m.part != nil {
		echo = hdr{}
	}
	k.ask("POST", k.object("mp")+"?uploadId="+id, m.part, completeBody(first.Header.Get("Etag"), second)).ok(t).echoes(t, echo)
	got := k.ask("GET", k.object("mp"), m.part, "").ok(t).echoes(t, m.echo)
	if string(got.body) != big+"the rest" {
		t.Errorf("%d bytes read back", len(got.body))
	}
}

// TestPermissions: what KMS is asked for, and as whom.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
func TestPermissions(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	for _, m := range modes(key) {
		if m.write[hdrKMSKey] == "" || m.write[hdrBucket] != "" {
			continue
		}
		k.run(t, m.name, func(t *testing.T) {
			k.run(t, "PutObject asks for GenerateDataKey", func(t *testing.T) {
				r := k.wantCalls(func() { k.askAs("alice", "PUT", k.object("o"), m.write, "x").ok(t) }, "GenerateDataKey")
				if r[0].UserIdentity.ARN != "arn:aws:iam::"+testAccount+":user/alice" || r[0].UserIdentity.InvokedBy != "AWS Internal" {
					t.Errorf("as %+v", r[0].UserIdentity)
				}
				if r[0].SourceIPAddress != "AWS Internal" || r[0].UserAgent != "AWS Internal" || r[0].Resources[0].ARN != key {
					t.Errorf("record %+v", r[0])
				}
			})
			k.run(t, "GetObject asks for Decrypt", func(t *testing.T) {
				k.wantCalls(func() { k.askAs("bob", "GET", k.object("o"), nil, "").ok(t) }, "Decrypt")
			})
			k.run(t, "HeadObject asks for nothing", func(t *testing.T) {
				k.wantCalls(func() { k.ask("HEAD", k.object("o"), nil, "").ok(t) })
			})
			k.run(t, "HeadObject in checksum mode asks for Decrypt", func(t *testing.T) {
				k.wantCalls(func() { k.ask("HEAD", k.object("o"), hdr{"x-amz-checksum-mode": "ENABLED"}, "").ok(t) }, "Decrypt")
			})
			k.run(t, "listing and deleting ask for nothing", func(t *testing.T) {
				k.wantCalls(func() {
					k.ask("GET", "/"+k.bucket+"?list-type=2", nil, "").ok(t)
					k.ask("DELETE", k.object("o"), nil, "").ok(t)
				})
			})
			k.run(t, "multipart upload", func(t *testing.T) { k.uploadPermissions(t, m) })
		})
	}
}

func (k *contractKit) uploadPermissions(t *testing.T, m mode) {
	var id, tag string
	k.run(t, "CreateMultipartUpload asks for GenerateDataKey", func(t *testing.T) {
		k.wantCalls(func() { _, id = k.startUpload("mp", m.write) }, "GenerateDataKey")
	})
	k.run(t, "UploadPart asks for Decrypt", func(t *testing.T) {
		k.wantCalls(func() {
			tag = k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, nil, "part").ok(t).Header.Get("Etag")
		}, "Decrypt")
	})
	k.run(t, "ListParts asks for Decrypt", func(t *testing.T) {
		k.wantCalls(func() { k.ask("GET", k.object("mp")+"?uploadId="+id, nil, "").ok(t) }, "Decrypt")
	})
	k.run(t, "CompleteMultipartUpload asks for Decrypt", func(t *testing.T) {
		k.wantCalls(func() { k.ask("POST", k.object("mp")+"?uploadId="+id, nil, completeBody(tag)).ok(t) }, "Decrypt")
	})
}

// TestEncryptionContextHeader: it is stored, used, and never returned.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-kms-encryption.html
func TestEncryptionContextHeader(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	ec := contextHeader(`{"department":"10103.0","Name":"Wert"}`)
	bucket, object := "arn:aws:s3:::"+k.bucket, "arn:aws:s3:::"+k.bucket+"/o"
	for _, row := range []struct {
		name  string
		write hdr
		arn   string
	}{
		{"without a Bucket Key the object's ARN stands next to it", with(sseKMS(key), ec), object},
		{"with a Bucket Key the bucket's ARN stands next to it", with(sseKMS(key), ec, bucketKeyOn()), bucket},
		{"DSSE-KMS has the object's ARN next to it", with(dsse(key), ec), object},
	} {
		k.run(t, row.name, func(t *testing.T) {
			want := fmt.Sprint(map[string]string{"aws:s3:arn": row.arn, "department": "10103.0", "Name": "Wert"})
			for _, r := range k.wantCalls(func() {
				a := k.askAs("alice", "PUT", k.object("o"), row.write, "x").ok(t)
				if a.Header.Get(hdrContext) != "" {
					t.Error("PUT returned it")
				}
			}, "GenerateDataKey") {
				if got := fmt.Sprint(r.RequestParameters["encryptionContext"]); got != want {
					t.Errorf("%s with the context %s, want %s", r.EventName, got, want)
				}
			}
			for _, r := range k.wantCalls(func() {
				if a := k.askAs("bob", "GET", k.object("o"), nil, "").ok(t); a.Header.Get(hdrContext) != "" {
					t.Error("GET returned it")
				}
			}, "Decrypt") {
				if got := fmt.Sprint(r.RequestParameters["encryptionContext"]); got != want {
					t.Errorf("%s with the context %s, want %s", r.EventName, got, want)
				}
			}
			if k.ask("HEAD", k.object("o"), nil, "").ok(t).Header.Get(hdrContext) != "" {
				t.Error("HEAD returned it")
			}
			if k.store.Saw(ec[hdrContext]) {
				t.Error("the store was shown the header")
			}
		})
	}
	for name, send := range map[string]func(hdr){
		"PostObject": func(h hdr) { k.post(t, with(h, hdr{"key": "o"}), "x").ok(t) },
		"CopyObject": func(h hdr) {
			k.ask("PUT", k.object("o"), with(h, hdr{"x-amz-copy-source": k.object("plain")}), "").ok(t)
		},
		"CreateMultipartUpload": func(h hdr) { k.ask("POST", k.object("o")+"?uploads=", h, "").ok(t) },
	} {
		k.run(t, name, func(t *testing.T) {
			k.ask("PUT", k.object("plain"), nil, "x").ok(t)
			want := fmt.Sprint(map[string]string{"aws:s3:arn": object, "department": "10103.0", "Name": "Wert"})
			r := k.wantCalls(func() { send(with(sseKMS(key), ec)) }, "GenerateDataKey")
			if got := fmt.Sprint(r[0].RequestParameters["encryptionContext"]); got != want {
				t.Errorf("GenerateDataKey with the context %s, want %s", got, want)
			}
		})
	}
	k.run(t, "a copy does not take it over", func(t *testing.T) {
		for _, r := range k.wantCalls(func() {
			k.ask("PUT", k.object("copy"), with(sseKMS(key), hdr{"x-amz-copy-source": k.object("o")}), "").ok(t)
		}, "Decrypt", "GenerateDataKey")[1:] {
			if got, want := fmt.Sprint(r.RequestParameters["encryptionContext"]), fmt.Sprint(map[string]string{"aws:s3:arn": object[:len(object)-1] + "copy"}); got != want {
				t.Errorf("%s with the context %s, want %s", r.EventName, got, want)
			}
		}
	})
}
