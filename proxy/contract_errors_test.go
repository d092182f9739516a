package proxy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore"
	embedded "waxseal/keystore/local"
	"waxseal/proxy/s3"
)

const (
	msgAlgorithm    = "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm."
	msgNoKey        = "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key."
	msgNoMD5        = "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key."
	msgBadKey       = "The secret key was invalid for the specified algorithm."
	msgBadMD5       = "The calculated MD5 hash of the key did not match the hash that was provided."
	msgBadAlgorithm = "The Encryption request you specified is not valid. Supported value: AES256."
	msgMissing      = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
	msgWrongKey     = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
	msgNotHere      = "The encryption parameters are not applicable to this object."
	msgConflict     = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
	msgKMSOnly      = "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
	msgUnknown      = "The encryption method specified is not supported"
	msgPart         = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
	msgOtherKey     = "The provided encryption parameters did not match the ones used originally."
	msgV4           = "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4."
	msgContext      = "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map"
)

// broken are SSE-C headers with something wrong in them, and what is said about it.
func broken(prefix string) map[string]struct {
	h             hdr
	code          s3.Code
	message       string
	argument, val string
} {
	type row = struct {
		h             hdr
		code          s3.Code
		message       string
		argument, val string
	}
	good := ssecHdr(prefix, customerKeyOf(1))
	but := func(name, value string) hdr {
		h := maps.Clone(good)
		if value == "" {
			delete(h, prefix+name)
		} else {
			h[prefix+name] = value
		}
		return h
	}
	return map[string]row{
		"algorithm other than AES256":   {but("algorithm", "AES128"), s3.InvalidEncryptionAlgorithmError, msgBadAlgorithm, "ArgumentValue", "AES128"},
		"algorithm aws:kms":             {but("algorithm", "aws:kms"), s3.InvalidEncryptionAlgorithmError, msgBadAlgorithm, "ArgumentValue", "aws:kms"},
		"key and MD5 without algorithm": {but("algorithm", ""), s3.InvalidArgumentCode, msgAlgorithm, "ArgumentName", hdrSSE},
		"algorithm without key":         {but("key", ""), s3.InvalidArgumentCode, msgNoKey, "ArgumentName", hdrSSE},
		"key not 32 bytes":              {ssecHdr(prefix, customerKeyOf(1)[:31]), s3.InvalidArgumentCode, msgBadKey, "ArgumentName", hdrSSE},
		"key not base64":                {but("key", "%%%"), s3.InvalidArgumentCode, msgBadKey, "ArgumentName", hdrSSE},
		"MD5 of another key":            {but("key-md5", ssecHdr(prefix, customerKeyOf(2))[prefix+"key-md5"]), s3.InvalidArgumentCode, msgBadMD5, "ArgumentName", hdrSSE},
		"MD5 that is none":              {but("key-md5", "abc"), s3.InvalidArgumentCode, msgBadMD5, "ArgumentName", hdrSSE},
		"without the MD5":               {but("key-md5", ""), s3.InvalidArgumentCode, msgNoMD5, "ArgumentName", hdrSSE},
		"algorithm alone":               {hdr{prefix + "algorithm": algAES256}, s3.InvalidArgumentCode, msgNoKey, "ArgumentName", hdrSSE},
	}
}

// TestCustomerKeyHeaders: malformed SSE-C headers, on every operation that takes them.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func TestCustomerKeyHeaders(t *testing.T) {
	k := startContract(t, nil)
	k.ask("PUT", k.object("c"), sseC(1), "x").ok(t)
	_, id := k.startUpload("mp", sseC(1))
	part := k.object("mp") + "?partNumber=1&uploadId=" + id
	copyTo := hdr{"x-amz-copy-source": k.object("c")}
	operations := map[string]func(hdr) answer{
		"PutObject":             func(h hdr) answer { return k.ask("PUT", k.object("o"), h, "x") },
		"GetObject":             func(h hdr) answer { return k.ask("GET", k.object("c"), h, "") },
		"HeadObject":            func(h hdr) answer { return k.ask("HEAD", k.object("c"), h, "") },
		"CopyObject":            func(h hdr) answer { return k.ask("PUT", k.object("o"), with(h, copyTo, copyC(1)), "") },
		"CreateMultipartUpload": func(h hdr) answer { return k.ask("POST", k.object("o")+"?uploads=", h, "") },
		"UploadPart":            func(h hdr) answer { return k.ask("PUT", part, h, "x") },
		"UploadPartCopy":        func(h hdr) answer { return k.ask("PUT", part, with(h, copyTo, copyC(1)), "") },
		"GetObjectAttributes": func(h hdr) answer {
			return k.ask("GET", k.object("c")+"?attributes=", with(h, hdr{"x-amz-object-attributes": "ETag"}), "")
		},
		"PostObject": func(h hdr) answer { return k.post(t, with(h, hdr{"key": "o"}), "x") },
	}
	for operation, send := range operations {
		for name, row := range broken(hdrSSEC) {
			k.run(t, operation+"/"+name, func(t *testing.T) {
				if reads := operation == "GetObject" || operation == "HeadObject" || operation == "GetObjectAttributes"; reads && name == "key not 32 bytes" {
					send(row.h).fails(t, 403, s3.AccessDenied, msgWrongKey)
					return
				}
				send(row.h).fails(t, 400, row.code, row.message, row.argument, row.val)
			})
		}
	}
	for name, row := range broken(hdrCopySSE) {
		k.run(t, "source of CopyObject/"+name, func(t *testing.T) {
			k.ask("PUT", k.object("o"), with(row.h, copyTo), "").fails(t, 400, row.code, row.message, row.argument, row.val)
		})
		k.run(t, "source of UploadPartCopy/"+name, func(t *testing.T) {
			k.ask("PUT", part, with(row.h, copyTo, sseC(1)), "").fails(t, 400, row.code, row.message, row.argument, row.val)
		})
	}
	if k.store.Contains([]byte(s3.Base64(customerKeyOf(1)))) || k.store.Saw(s3.Base64(customerKeyOf(1))) {
		t.Error("the store was shown an SSE-C key")
	}
}

// TestCustomerKeyOfAnObject: the right key, the wrong one, none, and one too many.
func TestCustomerKeyOfAnObject(t *testing.T) {
	k := startContract(t, nil)
	k.ask("PUT", k.object("c"), sseC(1), "x").ok(t)
	k.ask("PUT", k.object("plain"), nil, "x").ok(t)
	attributes := hdr{"x-amz-object-attributes": "ETag"}
	for _, method := range []string{"GET", "HEAD"} {
		k.run(t, method+" without the key", func(t *testing.T) { k.ask(method, k.object("c"), nil, "").fails(t, 400, s3.InvalidRequest, msgMissing) })
		k.run(t, method+" with a wrong key", func(t *testing.T) {
			k.ask(method, k.object("c"), sseC(2), "").fails(t, 403, s3.AccessDenied, msgWrongKey)
		})
		k.run(t, method+" with a key of an object that has none", func(t *testing.T) {
			k.ask(method, k.object("plain"), sseC(1), "").fails(t, 400, s3.InvalidRequest, msgNotHere)
		})
	}
	k.run(t, "GetObjectAttributes without the key", func(t *testing.T) {
		k.ask("GET", k.object("c")+"?attributes=", attributes, "").fails(t, 400, s3.InvalidRequest, msgMissing)
		k.ask("GET", k.object("c")+"?attributes=", with(attributes, sseC(2)), "").fails(t, 403, s3.AccessDenied, msgWrongKey)
	})
	for _, to := range []string{"o", "mp?partNumber=1&uploadId="} {
		name := "CopyObject"
		if to != "o" {
			_, id := k.startUpload("mp", nil)
			name, to = "UploadPartCopy", to+id
		}
		source := func(key string, h hdr) answer {
			k.t.Helper()
			return k.ask("PUT", k.object(to), with(h, hdr{"x-amz-copy-source": k.object(key)}), "")
		}
		k.run(t, name+" of a source without its key", func(t *testing.T) { source("c", nil).fails(t, 400, s3.InvalidRequest, msgMissing) })
		k.run(t, name+" of a source with a wrong key", func(t *testing.T) { source("c", copyC(2)).fails(t, 403, s3.AccessDenied, msgWrongKey) })
		k.run(t, name+" of a source that has no key", func(t *testing.T) { source("plain", copyC(1)).fails(t, 400, s3.InvalidRequest, msgNotHere) })
	}
	k.run(t, "UploadPart without the key of an SSE-C upload", func(t *testing.T) {
		_, id := k.startUpload("mp", sseC(1))
		k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, nil, "x").fails(t, 400, s3.InvalidRequest, msgPart)
		k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, hdr{"x-amz-copy-source": k.object("plain")}, "").fails(t, 400, s3.InvalidRequest, msgPart)
	})
	k.run(t, "UploadPart with a key for an upload that has none", func(t *testing.T) {
		_, id := k.startUpload("mp", nil)
		k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, sseC(1), "x").fails(t, 400, s3.InvalidRequest, msgPart)
	})
	k.run(t, "UploadPart with another key", func(t *testing.T) {
		_, id := k.startUpload("mp", sseC(1))
		k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, sseC(2), "x").fails(t, 400, s3.InvalidRequest, msgOtherKey)
	})
	k.run(t, "CompleteMultipartUpload without the key, created without a checksum algorithm", func(t *testing.T) {
		_, id := k.startUpload("mp", sseC(1))
		tag := k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, sseC(1), "x").ok(t).Header.Get("Etag")
		k.ask("POST", k.object("mp")+"?uploadId="+id, nil, completeBody(tag)).ok(t).echoes(t, hdr{})
		k.ask("GET", k.object("mp"), sseC(1), "").ok(t)
	})
}

// TestEncryptionHeaders: contradictions and values that S3 does not know.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func TestEncryptionHeaders(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	k.ask("PUT", k.object("source"), nil, "x").ok(t)
	type row struct {
		h        hdr
		message  string
		arg, val string
	}
	rows := map[string]row{
		"SSE-C and SSE-S3 together":       {with(sseC(1), sseS3()), msgConflict, "ArgumentValue", algAES256},
		"SSE-C and SSE-KMS together":      {with(sseC(1), sseKMS(key)), msgConflict, "ArgumentName", hdrSSE},
		"SSE-C and a KMS key together":    {with(sseC(1), hdr{hdrKMSKey: key}), msgKMSOnly, "ArgumentName", hdrSSE},
		"an unknown method":               {hdr{hdrSSE: "AES192"}, msgUnknown, "ArgumentValue", "AES192"},
		"aws:kms in another case":         {hdr{hdrSSE: "AWS:KMS"}, msgUnknown, "ArgumentValue", "AWS:KMS"},
		"aws:fsx":                         {hdr{hdrSSE: "aws:fsx"}, msgUnknown, "ArgumentValue", "aws:fsx"},
		"aws:backup":                      {hdr{hdrSSE: "aws:backup"}, msgUnknown, "ArgumentValue", "aws:backup"},
		"an empty method":                 {hdr{hdrSSE: ""}, msgUnknown, "ArgumentName", hdrSSE},
		"a KMS key without aws:kms":       {hdr{hdrKMSKey: key}, msgKMSOnly, "ArgumentName", hdrSSE},
		"AES256 and a KMS key":            {with(sseS3(), hdr{hdrKMSKey: key}), msgKMSOnly, "ArgumentName", hdrSSE},
		"a context without aws:kms":       {contextHeader(`{"a":"b"}`), msgKMSOnly, "ArgumentName", hdrSSE},
		"AES256 and a context":            {with(sseS3(), contextHeader(`{"a":"b"}`)), msgKMSOnly, "ArgumentName", hdrSSE},
		"a context that is not base64":    {with(sseKMS(key), hdr{hdrContext: "{}"}), msgContext, "ArgumentName", hdrContext},
		"a context that is not JSON":      {with(sseKMS(key), contextHeader(`a=b`)), msgContext, "ArgumentName", hdrContext},
		"a context that is a list":        {with(sseKMS(key), contextHeader(`["a"]`)), msgContext, "ArgumentName", hdrContext},
		"a context of numbers":            {with(sseKMS(key), contextHeader(`{"a":1}`)), msgContext, "ArgumentName", hdrContext},
		"a context that is null":          {with(sseKMS(key), contextHeader(`null`)), msgContext, "ArgumentName", hdrContext},
		"a context with a null":           {with(sseKMS(key), contextHeader(`{"a":null}`)), msgContext, "ArgumentName", hdrContext},
		"a context that is not UTF-8":     {with(sseKMS(key), contextHeader("{\"a\":\"\xff\"}")), msgContext, "ArgumentName", hdrContext},
		"a context of half a character":   {with(sseKMS(key), contextHeader(`{"a":"\ud800"}`)), msgContext, "ArgumentName", hdrContext},
		"a context with half a name":      {with(sseKMS(key), contextHeader(`{"\udfff":"b"}`)), msgContext, "ArgumentName", hdrContext},
		"a context with something behind": {with(sseKMS(key), contextHeader(`{"a":"b"} x`)), msgContext, "ArgumentName", hdrContext},
		"a context with a name twice":     {with(sseKMS(key), contextHeader(`{"a":"b","a":"c"}`)), msgContext, "ArgumentName", hdrContext},
		"a context that claims S3's name": {with(sseKMS(key), contextHeader(`{"aws:s3:arn":"arn:aws:s3:::other"}`)), "", "ArgumentName", hdrContext},
		"a Bucket Key that is maybe":      {with(sseKMS(key), hdr{hdrBucket: "maybe"}), "", "ArgumentName", hdrBucket},
		"a Bucket Key for DSSE-KMS":       {with(dsse(key), bucketKeyOn()), "", "ArgumentName", hdrBucket},
	}
	for operation, send := range map[string]func(hdr) answer{
		"PutObject": func(h hdr) answer { return k.ask("PUT", k.object("o"), h, "x") },
		"CopyObject": func(h hdr) answer {
			return k.ask("PUT", k.object("o"), with(h, hdr{"x-amz-copy-source": k.object("source")}), "")
		},
		"CreateMultipartUpload": func(h hdr) answer { return k.ask("POST", k.object("o")+"?uploads=", h, "") },
		"PostObject":            func(h hdr) answer { return k.post(t, with(h, hdr{"key": "o"}), "x") },
	} {
		for name, row := range rows {
			k.run(t, operation+"/"+name, func(t *testing.T) {
				send(row.h).fails(t, 400, s3.InvalidArgumentCode, row.message, row.arg, row.val)
			})
		}
	}
	k.run(t, "no context at all is none", func(t *testing.T) {
		k.ask("PUT", k.object("empty"), with(sseKMS(key), contextHeader(`{}`)), "x").ok(t)
	})
	k.run(t, "nothing was written", func(t *testing.T) {
		k.ask("HEAD", k.object("o"), nil, "").fails(t, 404, "", "")
	})
	k.run(t, "a context that is too long", func(t *testing.T) {
		k.ask("PUT", k.object("o"), with(sseKMS(key), contextHeader(`{"a":"`+strings.Repeat("b", 1500)+`"}`)), "x").fails(t, 400, s3.MetadataTooLarge, "")
	})
	for _, m := range modes(key)[:5] {
		k.ask("PUT", k.object("o"), m.write, "x").ok(t)
		for _, method := range []string{"GET", "HEAD"} {
			for name, h := range map[string]hdr{"AES256": sseS3(), "aws:kms": {hdrSSE: algKMS}, "a KMS key": {hdrKMSKey: key}, "a context": contextHeader(`{"a":"b"}`)} {
				k.run(t, fmt.Sprintf("%s of a %s object with %s", method, m.name, name), func(t *testing.T) {
					k.ask(method, k.object("o"), h, "").fails(t, 400, s3.InvalidArgumentCode, "")
				})
			}
		}
	}
	k.run(t, "compat=ceph: aws:kms wants a key", func(t *testing.T) {
		c := startContract(t, func(c *Config) { c.CompatCeph = true })
		c.ask("PUT", c.object("o"), hdr{hdrSSE: algKMS}, "x").fails(t, 400, s3.InvalidArgumentCode, "")
	})
	k.run(t, "compat=ceph: another customer key, and a part that is not there", func(t *testing.T) {
		c := startContract(t, func(c *Config) { c.CompatCeph = true })
		c.ask("PUT", c.object("o"), sseC(1), "x").ok(t)
		c.ask("GET", c.object("o"), sseC(2), "").fails(t, 400, s3.InvalidDigest, "")
		c.ask("GET", c.object("o")+"?partNumber=1", nil, "").fails(t, 400, s3.InvalidRequest, "")
		c.ask("GET", c.object("o")+"?partNumber=2", nil, "").fails(t, 400, s3.InvalidPart, "")
		c.ask("HEAD", c.object("o")+"?partNumber=2", nil, "").fails(t, 400, "", "")
		c.ask("GET", c.object("o"), sseC(1), "").ok(t)
	})
}

// TestCustomerKeysOverPlainHTTP are refused, unless the operator says otherwise.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func TestCustomerKeysOverPlainHTTP(t *testing.T) {
	k := startContract(t, func(c *Config) { c.AllowInsecureSSEC = false })
	k.ask("PUT", k.object("o"), nil, "x").ok(t)
	message := "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
	for name, send := range map[string]func() answer{
		"PutObject":             func() answer { return k.ask("PUT", k.object("o"), sseC(1), "x") },
		"GetObject":             func() answer { return k.ask("GET", k.object("o"), sseC(1), "") },
		"HeadObject":            func() answer { return k.ask("HEAD", k.object("o"), sseC(1), "") },
		"CreateMultipartUpload": func() answer { return k.ask("POST", k.object("o")+"?uploads=", sseC(1), "") },
		"CopyObject": func() answer {
			return k.ask("PUT", k.object("o"), with(sseC(1), hdr{"x-amz-copy-source": k.object("o")}), "")
		},
		"source of CopyObject": func() answer {
			return k.ask("PUT", k.object("o"), with(copyC(1), hdr{"x-amz-copy-source": k.object("o")}), "")
		},
	} {
		k.run(t, name, func(t *testing.T) { send().fails(t, 400, s3.InvalidRequest, message) })
	}
	k.run(t, "a client cannot claim that it came by TLS", func(t *testing.T) {
		k.ask("PUT", k.object("o"), with(sseC(1), hdr{"X-Forwarded-Proto": "https"}), "x").fails(t, 400, s3.InvalidRequest, message)
	})
}

// TestKMSNeedsSignatureVersion4: SigV2 and unsigned requests cannot name KMS keys, nor use a default that has one.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func TestKMSNeedsSignatureVersion4(t *testing.T) {
	k := startContract(t, func(c *Config) { c.AllowSigV2, c.Anonymous = true, true })
	key := k.newKey()
	v2 := func(method, target string, h hdr) answer {
		k.t.Helper()
		req, err := http.NewRequest(method, "http://"+k.endpoint+target, nil)
		if err != nil {
			k.t.Fatal(err)
		}
		for name, v := range h {
			req.Header.Set(name, v)
		}
		resp, body := roundTrip(k.t, signer.SignV2(*req, testAccess, testSecret, false))
		return answer{resp, body}
	}
	for name, h := range map[string]hdr{"SSE-KMS": sseKMS(key), "SSE-KMS with aws/s3": {hdrSSE: algKMS}, "DSSE-KMS": dsse(key)} {
		k.run(t, name+" over SigV2", func(t *testing.T) {
			v2("PUT", k.object("o"), h).fails(t, 400, s3.InvalidArgumentCode, msgV4, "ArgumentName", "Authorization")
		})
		k.run(t, name+" unsigned", func(t *testing.T) {
			k.askAs("", "PUT", k.object("o"), h, "x").fails(t, 400, s3.InvalidArgumentCode, msgV4, "ArgumentName", "Authorization", "ArgumentValue", "Anonymous")
		})
	}
	k.run(t, "SSE-S3 over SigV2 is no trouble", func(t *testing.T) { v2("PUT", k.object("o"), sseS3()).ok(t) })
	k.ask("PUT", k.object("kms"), sseKMS(key), "x").ok(t)
	k.run(t, "reading an SSE-KMS object over SigV2", func(t *testing.T) {
		v2("GET", k.object("kms"), nil).fails(t, 400, s3.InvalidArgumentCode, msgV4, "ArgumentName", "Authorization")
	})
	k.run(t, "reading an SSE-KMS object unsigned", func(t *testing.T) {
		k.askAs("", "GET", k.object("kms"), nil, "").fails(t, 400, s3.InvalidArgumentCode, msgV4, "ArgumentName", "Authorization")
	})
	k.run(t, "a presigned URL of SigV4 reads an SSE-KMS object", func(t *testing.T) {
		u, err := k.client(t).PresignedGetObject(context.Background(), k.bucket, "kms", time.Minute, url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest("GET", u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, body := roundTrip(t, req)
		if resp.StatusCode != 200 || string(body) != "x" {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
	k.setDefault(k.bucket, algKMS, key, true)
	k.run(t, "a bucket default of SSE-KMS unsigned", func(t *testing.T) {
		k.askAs("", "PUT", k.object("o"), nil, "x").fails(t, 400, s3.InvalidArgumentCode, msgV4)
	})
}

// TestKeyStates: what a KMS key's state does to PUT and GET.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
func TestKeyStates(t *testing.T) {
	k := startContract(t, nil)
	ctx, root := context.Background(), k.rootCaller()
	must := func(err error) {
		k.t.Helper()
		if err != nil {
			k.t.Fatal(err)
		}
	}
	disable := func(arn string) { must(second(k.kms.DisableKey(ctx, root, &embedded.KeyRequest{KeyId: arn}))) }
	enable := func(arn string) { must(second(k.kms.EnableKey(ctx, root, &embedded.KeyRequest{KeyId: arn}))) }
	schedule := func(arn string) {
		must(second(k.kms.ScheduleKeyDeletion(ctx, root, &embedded.ScheduleKeyDeletionRequest{KeyId: arn})))
	}
	for _, mode := range []struct {
		name  string
		write func(string) hdr
	}{
		{"SSE-KMS", sseKMS}, {"DSSE-KMS", dsse},
		{"SSE-KMS with a Bucket Key", func(key string) hdr { return with(sseKMS(key), bucketKeyOn()) }},
	} {
		k.run(t, mode.name, func(t *testing.T) {
			key := k.newKey()
			h := mode.write(key)
			k.ask("PUT", k.object("o"), h, "x").ok(t)
			_, id := k.startUpload("mp", h)
			part := k.object("mp") + "?partNumber=1&uploadId=" + id
			all := func(code s3.Code, message string) {
				k.t.Helper()
				k.ask("PUT", k.object("new"), h, "x").fails(k.t, 400, code, message)
				k.ask("GET", k.object("o"), nil, "").fails(k.t, 400, code, message)
				k.ask("GET", k.object("o"), hdr{"Range": "bytes=0-0"}, "").fails(k.t, 400, code, message)
				k.ask("HEAD", k.object("o"), hdr{"x-amz-checksum-mode": "ENABLED"}, "").fails(k.t, 400, code, message)
				k.ask("PUT", k.object("copy"), hdr{"x-amz-copy-source": k.object("o")}, "").fails(k.t, 400, code, message)
				k.ask("POST", k.object("mp")+"?uploads=", h, "").fails(k.t, 400, code, message)
				k.ask("PUT", part, nil, "x").fails(k.t, 400, code, message)
				k.ask("GET", k.object("mp")+"?uploadId="+id, nil, "").fails(k.t, 400, code, message)
				k.ask("HEAD", k.object("o"), nil, "").ok(k.t) // needs no key
				k.ask("HEAD", k.object("new"), nil, "").fails(k.t, 404, "", "")
			}
			k.run(t, "disabled", func(t *testing.T) {
				disable(key)
				all(s3.KMSDisabledException, key+" is disabled.")
			})
			k.run(t, "enabled again", func(t *testing.T) {
				enable(key)
				k.ask("GET", k.object("o"), nil, "").ok(t)
				k.ask("PUT", k.object("new"), h, "x").ok(t)
				k.ask("DELETE", k.object("new"), nil, "").ok(t)
			})
			k.run(t, "pending deletion", func(t *testing.T) {
				schedule(key)
				all(s3.KMSInvalidStateException, key+" is pending deletion.")
			})
		})
	}
	puts := func(name string, h hdr, code s3.Code, message string) {
		k.run(t, name, func(t *testing.T) {
			k.ask("PUT", k.object("new"), h, "x").fails(t, 400, code, message)
			k.ask("PUT", k.object("new"), with(h, bucketKeyOn()), "x").fails(t, 400, code, message)
			k.ask("POST", k.object("new")+"?uploads=", h, "").fails(t, 400, code, message)
		})
	}
	external := k.newKey(func(r *embedded.CreateKeyRequest) { r.Origin = "EXTERNAL" })
	puts("pending import", sseKMS(external), s3.KMSInvalidStateException, external+" is pending import.")
	rsa := k.newKey(func(r *embedded.CreateKeyRequest) { r.KeySpec, r.KeyUsage = "RSA_2048", "ENCRYPT_DECRYPT" })
	puts("asymmetric key", sseKMS(rsa), s3.KMSInvalidKeyUsageException, "")
	mac := k.newKey(func(r *embedded.CreateKeyRequest) { r.KeySpec, r.KeyUsage = "HMAC_256", "GENERATE_VERIFY_MAC" })
	puts("HMAC key", sseKMS(mac), s3.KMSInvalidKeyUsageException, "")
	puts("key id that is neither a UUID nor an alias", sseKMS("fake-key-id"), s3.KMSNotFoundException, "Invalid keyId 'fake-key-id'")
	missing := "arn:aws:kms:us-east-1:" + testAccount + ":key/11111111-2222-4333-8444-555555555555"
	puts("key that does not exist, by ARN", sseKMS(missing), s3.KMSNotFoundException, "Key '"+missing+"' does not exist")
	puts("key that does not exist, by id", sseKMS(keyID(missing)), s3.KMSNotFoundException, "Key '"+missing+"' does not exist")
	puts("alias that does not exist", sseKMS("alias/none"), s3.KMSNotFoundException, "Alias arn:aws:kms:us-east-1:"+testAccount+":alias/none is not found.")
	puts("ARN of another region", sseKMS(strings.Replace(missing, "us-east-1", "us-west-2", 1)), s3.KMSNotFoundException, "Invalid arn us-west-2")
	k.run(t, "bucket default with a key that does not exist", func(t *testing.T) {
		k.setDefault(k.bucket, algKMS, missing, false)
		k.ask("PUT", k.object("new"), nil, "x").fails(t, 400, s3.KMSNotFoundException, "Key '"+missing+"' does not exist")
	})
}

func second[T any](_ T, err error) error { return err }

// TestKMSOutage: a KMS that is away or throttles is a retryable error, and nothing is half-written.
func TestKMSOutage(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	k.ask("PUT", k.object("o"), sseKMS(key), "x").ok(t)
	k.ask("PUT", k.object("cached"), with(sseKMS(key), bucketKeyOn()), "x").ok(t)
	k.ask("GET", k.object("cached"), nil, "").ok(t)
	_, id := k.startUpload("mp", sseKMS(key))
	for name, row := range map[string]struct {
		fault error
		code  s3.Code
	}{
		"away":      {keystore.Errorf(keystore.Unavailable, key, "no route"), s3.ServiceUnavailable},
		"throttled": {keystore.Errorf(keystore.Throttled, key, "Rate exceeded"), s3.SlowDown},
	} {
		k.run(t, name, func(t *testing.T) {
			k.faulty.set(row.fault, 0)
			defer k.faulty.set(nil, 0)
			retryable := func(a answer) {
				k.t.Helper()
				a.fails(k.t, 503, row.code, "")
				if a.Header.Get("Retry-After") == "" {
					k.t.Error("no Retry-After")
				}
			}
			for _, h := range []hdr{sseKMS(key), dsse(key), with(sseKMS(key), bucketKeyOn(), contextHeader(`{"a":"`+name+`"}`))} {
				retryable(k.ask("PUT", k.object("new"), h, "x"))
				retryable(k.ask("POST", k.object("new")+"?uploads=", h, ""))
			}
			retryable(k.ask("GET", k.object("o"), nil, ""))
			retryable(k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, nil, "x"))
			k.ask("HEAD", k.object("new"), nil, "").fails(t, 404, "", "")
			if n := k.store.Uploads(); n != 1 {
				t.Errorf("%d uploads at the store", n)
			}
			// What needs no KMS goes on, and so do objects whose bucket key is in memory.
			k.ask("PUT", k.object("s3"), nil, "x").ok(t)
			k.ask("HEAD", k.object("o"), nil, "").ok(t)
			k.ask("GET", k.object("cached"), nil, "").ok(t)
			k.ask("PUT", k.object("cached"), with(sseKMS(key), bucketKeyOn()), "x").ok(t)
		})
	}
	k.run(t, "and back", func(t *testing.T) { k.ask("GET", k.object("o"), nil, "").ok(t) })
}

// TestErrorKinds: the missing key of a client is told from other errors with its code, for HEAD and GET alike.
func TestErrorKinds(t *testing.T) {
	k := startContract(t, nil)
	k.ask("PUT", k.object("c"), sseC(1), "x").ok(t)
	k.ask("PUT", k.object("plain"), nil, "x").ok(t)
	for _, method := range []string{"GET", "HEAD"} {
		for _, c := range []struct {
			name, key string
			h         hdr
			want      string
		}{
			{"without the key", "c", nil, s3.KindCustomerKey},
			{"with a wrong key", "c", sseC(2), ""},
			{"with the key", "c", sseC(1), ""},
			{"with a key of an object that has none", "plain", sseC(1), ""},
		} {
			if got := k.ask(method, k.object(c.key), c.h, "").Header.Get(s3.HeaderErrorKind); got != c.want {
				t.Errorf("%s %s: %s is %q, want %q", method, c.name, s3.HeaderErrorKind, got, c.want)
			}
		}
	}
}
