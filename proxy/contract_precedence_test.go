package proxy

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	embedded "waxseal/keystore/local"
	"waxseal/proxy/s3"
)

// setDefault puts a bucket's encryption.
func (k *contractKit) setDefault(bucket, algorithm, key string, bucketKey bool) {
	k.t.Helper()
	k.putEncryption(bucket, fmt.Sprintf("<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>%s</SSEAlgorithm>%s</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>%v</BucketKeyEnabled></Rule>",
		algorithm, optional("KMSMasterKeyID", key), bucketKey)).ok(k.t)
}

func optional(name, value string) string {
	if value == "" {
		return ""
	}
	return "<" + name + ">" + value + "</" + name + ">"
}

// putEncryption sends a bucket encryption document of the given rules.
func (k *contractKit) putEncryption(bucket, rules string) answer {
	k.t.Helper()
	body := `<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + rules + "</ServerSideEncryptionConfiguration>"
	sum := md5.Sum([]byte(body))
	return k.ask("PUT", "/"+bucket+"?encryption=", hdr{"Content-MD5": s3.Base64(sum[:])}, body)
}

// TestPrecedence: request, then bucket default, then SSE-S3.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html
func TestPrecedence(t *testing.T) {
	k := startContract(t, nil)
	own, other := k.newKey(), k.newKey()
	b := k.newBucket()
	put := func(h hdr) answer {
		k.t.Helper()
		a := k.ask("PUT", "/"+b+"/o", h, "x").ok(k.t)
		head := k.ask("HEAD", "/"+b+"/o", withCustomer(h), "").ok(k.t)
		for _, name := range []string{hdrSSE, hdrKMSKey, hdrBucket} {
			if a.Header.Get(name) != head.Header.Get(name) {
				k.t.Errorf("PUT and HEAD differ in %s: %q, %q", name, a.Header.Get(name), head.Header.Get(name))
			}
		}
		return a
	}
	k.run(t, "nothing anywhere is SSE-S3", func(t *testing.T) { put(nil).echoes(t, sseS3()) })

	k.setDefault(b, algKMS, own, true)
	k.run(t, "the bucket's default applies to a request that names nothing", func(t *testing.T) {
		put(nil).echoes(t, with(sseKMS(own), bucketKeyOn()))
	})
	k.run(t, "a request for SSE-S3 beats the default", func(t *testing.T) { put(sseS3()).echoes(t, sseS3()) })
	k.run(t, "a request for SSE-C beats the default", func(t *testing.T) { put(sseC(1)).echoes(t, withoutKey(sseC(1))) })
	k.run(t, "a request's key beats the default's, and inherits the Bucket Key", func(t *testing.T) {
		put(sseKMS(other)).echoes(t, with(sseKMS(other), bucketKeyOn()))
	})
	k.run(t, "aws:kms without a key is aws/s3, not the bucket's key, and inherits the Bucket Key", func(t *testing.T) {
		arn := put(hdr{hdrSSE: algKMS}).Header.Get(hdrKMSKey)
		if arn == own || arn == "" {
			t.Fatalf("key %q", arn)
		}
		put(hdr{hdrSSE: algKMS}).echoes(t, with(sseKMS(arn), bucketKeyOn()))
		d, err := k.kms.DescribeKey(context.Background(), k.rootCaller(), &embedded.DescribeKeyRequest{KeyId: "alias/aws/s3"})
		if err != nil || d.KeyMetadata.Arn != arn || d.KeyMetadata.Description != "Default key that protects my S3 objects when no other key is defined" || d.KeyMetadata.KeyManager != "AWS" {
			t.Errorf("alias/aws/s3 is %+v, %v", d, err)
		}
	})
	k.run(t, "bucket-key-enabled false beats the default for that object", func(t *testing.T) {
		put(hdr{hdrBucket: "false"}).echoes(t, sseKMS(own))
		put(with(sseKMS(other), hdr{hdrBucket: "false"})).echoes(t, sseKMS(other))
	})
	k.run(t, "DSSE-KMS has no Bucket Key, whatever the default says", func(t *testing.T) {
		put(dsse(own)).echoes(t, dsse(own))
	})
	k.run(t, "a multipart upload's encryption is fixed at Create", func(t *testing.T) { k.fixedAtCreate(t, b, own) })

	k.setDefault(b, algKMS, own, false)
	k.run(t, "bucket-key-enabled true beats the default for that object", func(t *testing.T) {
		put(bucketKeyOn()).echoes(t, with(sseKMS(own), bucketKeyOn()))
	})
	k.setDefault(b, algDSSE, own, false)
	k.run(t, "DSSE-KMS as the default", func(t *testing.T) { put(nil).echoes(t, dsse(own)) })
	k.setDefault(b, algKMS, "", false)
	k.run(t, "aws:kms without a key as the default is aws/s3", func(t *testing.T) {
		arn := put(nil).Header.Get(hdrKMSKey)
		put(hdr{hdrSSE: algKMS}).echoes(t, sseKMS(arn))
	})
	k.setDefault(b, algAES256, "", true)
	k.run(t, "BucketKeyEnabled with AES256 is accepted, and objects report none", func(t *testing.T) {
		put(nil).echoes(t, sseS3())
		put(sseS3()).echoes(t, sseS3())
	})
	k.ask("DELETE", "/"+b+"?encryption=", nil, "").ok(t)
	k.run(t, "after DELETE it is SSE-S3 again", func(t *testing.T) { put(nil).echoes(t, sseS3()) })
}

// withCustomer are the headers of a request about the data.
func withCustomer(h hdr) hdr {
	out := hdr{}
	for name, v := range h {
		if strings.HasPrefix(name, hdrSSEC) {
			out[name] = v
		}
	}
	return out
}

func (k *contractKit) fixedAtCreate(t *testing.T, b, key string) {
	a := k.ask("POST", "/"+b+"/mp?uploads=", nil, "").ok(t).echoes(t, with(sseKMS(key), bucketKeyOn()))
	id := reply[s3.InitiateMultipartUploadResult](t, a.body).UploadID
	k.setDefault(b, algAES256, "", false)
	defer k.setDefault(b, algKMS, key, true)
	echo := with(sseKMS(key), bucketKeyOn())
	tag := k.ask("PUT", "/"+b+"/mp?partNumber=1&uploadId="+id, nil, "x").ok(t).echoes(t, echo).Header.Get("Etag")
	k.ask("POST", "/"+b+"/mp?uploadId="+id, nil, completeBody(tag)).ok(t).echoes(t, echo)
	k.ask("GET", "/"+b+"/mp", nil, "").ok(t).echoes(t, echo)
}

// TestPrecedenceOfCopies: the destination decides, never the source.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func TestPrecedenceOfCopies(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	k.ask("PUT", k.object("kms"), with(sseKMS(key), bucketKeyOn()), "x").ok(t)
	k.ask("PUT", k.object("c"), sseC(1), "x").ok(t)
	from := func(name string) hdr { return hdr{"x-amz-copy-source": k.object(name)} }

	k.run(t, "the source's mode is not copied", func(t *testing.T) {
		k.ask("PUT", k.object("copy"), from("kms"), "").ok(t).echoes(t, sseS3())
		k.ask("PUT", k.object("copy"), with(from("c"), copyC(1)), "").ok(t).echoes(t, sseS3())
	})
	k.run(t, "the destination bucket's default applies", func(t *testing.T) {
		b := k.newBucket()
		k.setDefault(b, algKMS, key, false)
		k.ask("PUT", "/"+b+"/copy", from("kms"), "").ok(t).echoes(t, sseKMS(key))
	})
	k.run(t, "SSE-C to another SSE-C key", func(t *testing.T) {
		k.ask("PUT", k.object("copy"), with(from("c"), copyC(1), sseC(2)), "").ok(t).echoes(t, withoutKey(sseC(2)))
		k.ask("GET", k.object("copy"), sseC(2), "").ok(t)
	})
	k.run(t, "onto itself without a change is refused", func(t *testing.T) {
		k.ask("PUT", k.object("plain"), nil, "x").ok(t)
		k.ask("PUT", k.object("plain"), from("plain"), "").fails(t, 400, s3.InvalidRequest,
			"This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	})
	k.run(t, "onto itself naming any encryption is legal", func(t *testing.T) {
		k.ask("PUT", k.object("plain"), with(from("plain"), sseS3()), "").ok(t).echoes(t, sseS3())
		k.ask("PUT", k.object("plain"), with(from("plain"), sseKMS(key)), "").ok(t).echoes(t, sseKMS(key))
	})
	k.run(t, "onto itself in a bucket with an explicit default is legal", func(t *testing.T) {
		b := k.newBucket()
		k.ask("PUT", "/"+b+"/o", nil, "x").ok(t)
		k.setDefault(b, algKMS, key, true)
		k.ask("PUT", "/"+b+"/o", hdr{"x-amz-copy-source": "/" + b + "/o"}, "").ok(t).echoes(t, with(sseKMS(key), bucketKeyOn()))
	})
}

// TestKeyNames: the four ways to name a key; answers have its ARN always.
// https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
func TestKeyNames(t *testing.T) {
	k := startContract(t, nil)
	arn := k.newKey()
	if _, err := k.kms.CreateAlias(context.Background(), k.rootCaller(), &embedded.CreateAliasRequest{AliasName: "alias/mine", TargetKeyId: arn}); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{
		"key ARN": arn, "bare key id": keyID(arn), "alias": "alias/mine", "alias ARN": "arn:aws:kms:us-east-1:" + testAccount + ":alias/mine",
	} {
		for _, alg := range []string{algKMS, algDSSE} {
			k.run(t, name+" with "+alg, func(t *testing.T) {
				want := hdr{hdrSSE: alg, hdrKMSKey: arn}
				k.ask("PUT", k.object("o"), hdr{hdrSSE: alg, hdrKMSKey: id}, "x").ok(t).echoes(t, want)
				k.ask("GET", k.object("o"), nil, "").ok(t).echoes(t, want)
			})
		}
	}
}

// TestETags: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
func TestETags(t *testing.T) {
	k := startContract(t, nil)
	body := "the same body"
	sum := md5.Sum([]byte(body))
	isMD5 := func(tag string) bool { return tag == hex.EncodeToString(sum[:]) }
	k.forEachMode(t, func(t *testing.T, m mode) {
		var tags []string
		for range 3 {
			tags = append(tags, k.ask("PUT", k.object("o"), m.write, body).ok(t).etag())
		}
		name := "not the MD5, another each time, 32 hex digits"
		if m.etagIsMD5 {
			name = "the MD5 of the plaintext"
		}
		k.run(t, name, func(t *testing.T) {
			slices.Sort(tags)
			if n := len(slices.Compact(slices.Clone(tags))); m.etagIsMD5 != isMD5(tags[0]) || m.etagIsMD5 != (n == 1) || len(tags[0]) != 32 {
				t.Errorf("ETags %q, the MD5 is %x", tags, sum)
			}
		})
		k.run(t, "the same in PUT, HEAD, GET and LIST", func(t *testing.T) {
			want := k.ask("PUT", k.object("o"), m.write, body).ok(t).Header.Get("Etag")
			for _, method := range []string{"HEAD", "GET"} {
				if got := k.ask(method, k.object("o"), m.part, "").ok(t).Header.Get("Etag"); got != want {
					t.Errorf("%s: %s, want %s", method, got, want)
				}
			}
			list := string(k.ask("GET", "/"+k.bucket+"?list-type=2", nil, "").ok(t).body)
			if !strings.Contains(list, s3.Unquote(want)) {
				t.Errorf("LIST has no %s: %s", want, list)
			}
		})
		k.run(t, "a copy to SSE-S3 has the MD5, or nothing that looks like one", func(t *testing.T) {
			a := k.ask("PUT", k.object("copy"), with(sseS3(), m.source, hdr{"x-amz-copy-source": k.object("o")}), "").ok(t)
			tag := s3.Unquote(reply[s3.CopyObjectResult](t, a.body).ETag)
			if isMD5(tag) == strings.Contains(tag, "-") || m.etagIsMD5 && !isMD5(tag) {
				t.Errorf("ETag %s, the MD5 is %x", tag, sum)
			}
			if got := k.ask("HEAD", k.object("copy"), nil, "").ok(t).etag(); got != tag {
				t.Errorf("HEAD: %s, the copy answered %s", got, tag)
			}
		})
		k.run(t, "Content-MD5 is held to the plaintext", func(t *testing.T) {
			k.ask("PUT", k.object("o"), with(m.write, hdr{"Content-MD5": s3.Base64(sum[:])}), body).ok(t)
			k.ask("PUT", k.object("o"), with(m.write, hdr{"Content-MD5": s3.Base64(sum[:])}), "another body").fails(t, 400, s3.BadDigest,
				"The Content-MD5 you specified did not match what we received.")
		})
		k.run(t, "of a multipart upload, the MD5 of the parts' ETags", func(t *testing.T) {
			_, id := k.startUpload("mp", m.write)
			part := k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, m.part, body).ok(t)
			done := k.ask("POST", k.object("mp")+"?uploadId="+id, m.part, completeBody(part.Header.Get("Etag"))).ok(t)
			raw, err := hex.DecodeString(part.etag())
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%x-1", md5.Sum(raw))
			if got := s3.Unquote(reply[s3.CompleteMultipartUploadResult](t, done.body).ETag); got != want || isMD5(part.etag()) != m.etagIsMD5 {
				t.Errorf("ETag %s of the part %s, want %s", got, part.etag(), want)
			}
		})
	})
}
