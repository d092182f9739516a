package proxy

import (
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/s3"
)

const schemaMessage = "The XML you provided was not well-formed or did not validate against our published schema"

// TestBucketEncryptionDocument: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html
func TestBucketEncryptionDocument(t *testing.T) {
	k := startContract(t, nil)
	get := func(b string) *s3.EncryptionRule {
		k.t.Helper()
		doc := reply[s3.ServerSideEncryptionConfiguration](k.t, k.ask("GET", "/"+b+"?encryption=", nil, "").ok(k.t).body)
		if len(doc.Rules) != 1 || doc.Rules[0].Default == nil || doc.Rules[0].BucketKeyEnabled == nil {
			k.t.Fatalf("rules %+v", doc.Rules)
		}
		return &doc.Rules[0]
	}
	rule := func(inner string) string {
		return "<Rule><ApplyServerSideEncryptionByDefault>" + inner + "</ApplyServerSideEncryptionByDefault></Rule>"
	}
	aes := "<SSEAlgorithm>AES256</SSEAlgorithm>"
	b := k.bucket

	k.run(t, "never configured: AES256, BucketKeyEnabled false", func(t *testing.T) {
		if r := get(b); r.Default.SSEAlgorithm != algAES256 || *r.BucketKeyEnabled || r.BlockedEncryptionTypes != nil {
			t.Errorf("rule %+v", r)
		}
	})
	k.run(t, "PUT answers 200 and nothing", func(t *testing.T) {
		if a := k.putEncryption(b, rule(aes)).ok(t); a.StatusCode != 200 || len(a.body) != 0 {
			t.Errorf("%s %q", a.Status, a.body)
		}
	})
	k.run(t, "the KMSMasterKeyID comes back exactly as it was put, and is not validated", func(t *testing.T) {
		for _, id := range []string{"alias/not-there", "not a key at all", "arn:aws:kms:us-east-1:" + testAccount + ":key/11111111-2222-4333-8444-555555555555"} {
			k.setDefault(b, algKMS, id, true)
			if r := get(b); r.Default.KMSMasterKeyID != id || r.Default.SSEAlgorithm != algKMS || !*r.BucketKeyEnabled {
				t.Errorf("%q came back as %+v", id, r.Default)
			}
		}
	})
	k.run(t, "DELETE resets to SSE-S3, and again", func(t *testing.T) {
		for range 2 {
			if a := k.ask("DELETE", "/"+b+"?encryption=", nil, "").ok(t); a.StatusCode != http.StatusNoContent {
				t.Error(a.Status)
			}
		}
		if r := get(b); r.Default.SSEAlgorithm != algAES256 || *r.BucketKeyEnabled {
			t.Errorf("rule %+v", r)
		}
	})
	for name, rules := range map[string]string{
		"no rule": "", "two rules": rule(aes) + rule(aes), "unknown algorithm": rule("<SSEAlgorithm>AES512</SSEAlgorithm>"),
		"aws:fsx":             rule("<SSEAlgorithm>aws:fsx</SSEAlgorithm>"),
		"no algorithm":        rule(""),
		"unknown block":       "<Rule><BlockedEncryptionTypes><EncryptionType>SSE-X</EncryptionType></BlockedEncryptionTypes></Rule>",
		"SSE-C as a default":  rule("<SSEAlgorithm>SSE-C</SSEAlgorithm>"),
		"not well-formed XML": "<Rule>",
	} {
		k.run(t, name, func(t *testing.T) { k.putEncryption(b, rules).fails(t, 400, s3.MalformedXML, schemaMessage) })
	}
	k.run(t, "AES256 with a KMSMasterKeyID", func(t *testing.T) {
		k.putEncryption(b, rule(aes+"<KMSMasterKeyID>alias/x</KMSMasterKeyID>")).fails(t, 400, s3.InvalidArgumentCode,
			"a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse", "ArgumentName", "ApplyServerSideEncryptionByDefault")
	})
	k.run(t, "no such bucket, before the document is looked at", func(t *testing.T) {
		k.putEncryption("not-there-at-all", "").fails(t, 404, s3.NoSuchBucket, "The specified bucket does not exist", "BucketName", "not-there-at-all")
		k.ask("GET", "/not-there-at-all?encryption=", nil, "").fails(t, 404, s3.NoSuchBucket, "")
		k.ask("DELETE", "/not-there-at-all?encryption=", nil, "").fails(t, 404, s3.NoSuchBucket, "")
	})
	k.run(t, "a digest of the document is required", func(t *testing.T) {
		k.ask("PUT", "/"+b+"?encryption=", nil, "<ServerSideEncryptionConfiguration>"+rule(aes)+"</ServerSideEncryptionConfiguration>").
			fails(t, 400, s3.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	})
	k.run(t, "the digest is verified", func(t *testing.T) {
		k.ask("PUT", "/"+b+"?encryption=", hdr{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "<ServerSideEncryptionConfiguration/>").fails(t, 400, s3.BadDigest, "")
	})
	k.run(t, "a checksum does as well as Content-MD5", func(t *testing.T) {
		body := "<ServerSideEncryptionConfiguration>" + rule(aes) + "</ServerSideEncryptionConfiguration>"
		h := s3.NewChecksumOf(s3.ChecksumID("CRC32"))
		h.Write([]byte(body))
		k.ask("PUT", "/"+b+"?encryption=", hdr{"x-amz-checksum-crc32": s3.Base64(h.Sum(nil))}, body).ok(t)
	})
	k.run(t, "a deleted bucket leaves nothing to the next of its name", func(t *testing.T) {
		b := k.newBucket()
		k.setDefault(b, algKMS, k.newKey(), true)
		k.ask("DELETE", "/"+b, nil, "").ok(t)
		k.ask("PUT", "/"+b, nil, "").ok(t)
		k.ask("PUT", "/"+b+"/o", nil, "x").ok(t).echoes(t, sseS3())
	})
	k.run(t, "compat=ceph: a bucket that was never configured has none", func(t *testing.T) {
		c := startContract(t, func(c *Config) { c.CompatCeph = true })
		c.ask("GET", "/"+c.bucket+"?encryption=", nil, "").fails(t, 404, s3.ServerSideEncryptionConfigurationNotFoundError, "")
	})
}

// TestBlockedEncryptionTypes: a bucket that blocks SSE-C takes no such write, and gives out what is there.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/blocking-unblocking-s3-c-encryption-gpb.html
func TestBlockedEncryptionTypes(t *testing.T) {
	k := startContract(t, nil)
	block := func(types ...string) {
		k.t.Helper()
		inner := ""
		for _, name := range types {
			inner += "<EncryptionType>" + name + "</EncryptionType>"
		}
		k.putEncryption(k.bucket, "<Rule><BlockedEncryptionTypes>"+inner+"</BlockedEncryptionTypes></Rule>").ok(k.t)
	}
	k.ask("PUT", k.object("before"), sseC(1), "x").ok(t)
	k.ask("PUT", k.object("plain"), nil, "x").ok(t)
	_, id := k.startUpload("mp", sseC(1))
	block("SSE-C")
	refused := func(a answer) {
		k.t.Helper()
		a.fails(k.t, 403, s3.AccessDenied, "...because this bucket has blocked upload requests that specify Server Side Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type")
	}
	for name, send := range map[string]func() answer{
		"PutObject": func() answer { return k.ask("PUT", k.object("o"), sseC(1), "x") },
		"CopyObject": func() answer {
			return k.ask("PUT", k.object("o"), with(sseC(1), hdr{"x-amz-copy-source": k.object("plain")}), "")
		},
		"CreateMultipartUpload": func() answer { return k.ask("POST", k.object("o")+"?uploads=", sseC(1), "") },
		"UploadPart":            func() answer { return k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, sseC(1), "x") },
		"UploadPartCopy": func() answer {
			return k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, with(sseC(1), hdr{"x-amz-copy-source": k.object("plain")}), "")
		},
	} {
		k.run(t, name, func(t *testing.T) { refused(send()) })
	}
	k.run(t, "PostObject", func(t *testing.T) {
		refused(k.post(t, with(sseC(1), hdr{"key": "o"}), "x"))
	})
	k.run(t, "what is there stays readable, also as the source of a copy", func(t *testing.T) {
		k.ask("GET", k.object("before"), sseC(1), "").ok(t)
		k.ask("PUT", k.object("copy"), with(copyC(1), hdr{"x-amz-copy-source": k.object("before")}), "").ok(t).echoes(t, sseS3())
	})
	k.run(t, "other writes are not touched", func(t *testing.T) { k.ask("PUT", k.object("o"), sseS3(), "x").ok(t) })
	k.run(t, "it is shown", func(t *testing.T) {
		body := string(k.ask("GET", "/"+k.bucket+"?encryption=", nil, "").ok(t).body)
		if !strings.Contains(body, "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>") {
			t.Error(body)
		}
	})
	k.run(t, "a later document without BlockedEncryptionTypes does not lift it", func(t *testing.T) {
		k.setDefault(k.bucket, algAES256, "", false)
		refused(k.ask("PUT", k.object("o"), sseC(1), "x"))
	})
	k.run(t, "NONE lifts it", func(t *testing.T) {
		block("NONE")
		k.ask("PUT", k.object("o"), sseC(1), "x").ok(t)
	})
	k.run(t, "new buckets block it where that is switched on", func(t *testing.T) {
		c := startContract(t, func(c *Config) { c.BlockSSEC = true })
		c.ask("PUT", c.object("o"), sseC(1), "x").fails(t, 403, s3.AccessDenied, "")
		body := string(c.ask("GET", "/"+c.bucket+"?encryption=", nil, "").ok(t).body)
		if !strings.Contains(body, "<EncryptionType>SSE-C</EncryptionType>") || !strings.Contains(body, "<SSEAlgorithm>AES256</SSEAlgorithm>") {
			t.Error(body)
		}
	})
}
