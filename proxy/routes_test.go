package proxy

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/s3"
)

// operations are all of Amazon S3's, as its API reference lists them.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
const operations = `AbortMultipartUpload CompleteMultipartUpload CopyObject CreateBucket
CreateBucketMetadataConfiguration CreateBucketMetadataTableConfiguration CreateMultipartUpload CreateSession DeleteBucket
DeleteBucketAnalyticsConfiguration DeleteBucketCors DeleteBucketEncryption DeleteBucketIntelligentTieringConfiguration
DeleteBucketInventoryConfiguration DeleteBucketLifecycle DeleteBucketMetadataConfiguration
DeleteBucketMetadataTableConfiguration DeleteBucketMetricsConfiguration DeleteBucketOwnershipControls DeleteBucketPolicy
DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite DeleteObject DeleteObjects DeleteObjectTagging
DeletePublicAccessBlock GetBucketAbac GetBucketAccelerateConfiguration GetBucketAcl GetBucketAnalyticsConfiguration
GetBucketCors GetBucketEncryption GetBucketIntelligentTieringConfiguration GetBucketInventoryConfiguration
GetBucketLifecycleConfiguration GetBucketLocation GetBucketLogging GetBucketMetadataConfiguration
GetBucketMetadataTableConfiguration GetBucketMetricsConfiguration GetBucketNotificationConfiguration
GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketReplication GetBucketRequestPayment
GetBucketTagging GetBucketVersioning GetBucketWebsite GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold
GetObjectLockConfiguration GetObjectRetention GetObjectTagging GetObjectTorrent GetPublicAccessBlock HeadBucket HeadObject
ListBuckets ListDirectoryBuckets ListMultipartUploads ListObjects ListObjectsV2 ListObjectVersions ListParts
PutBucketAbac PutBucketAccelerateConfiguration PutBucketAcl PutBucketAnalyticsConfiguration PutBucketCors
PutBucketEncryption PutBucketIntelligentTieringConfiguration PutBucketInventoryConfiguration
PutBucketLifecycleConfiguration PutBucketLogging PutBucketMetricsConfiguration PutBucketNotificationConfiguration
PutBucketOwnershipControls PutBucketPolicy PutBucketReplication PutBucketRequestPayment PutBucketTagging
PutBucketVersioning PutBucketWebsite PutObject PutObjectAcl PutObjectLegalHold PutObjectLockConfiguration
PutObjectRetention PutObjectTagging PutPublicAccessBlock RenameObject RestoreObject SelectObjectContent
UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration UpdateObjectEncryption
UploadPart UploadPartCopy WriteGetObjectResponse PostObject`

// TestEveryOperationHasARow: none is found by accident, and none is only half there.
func TestEveryOperationHasARow(t *testing.T) {
	for _, name := range strings.Fields(operations) {
		if !slices.ContainsFunc(routes, func(r route) bool { return r.name == name }) {
			t.Errorf("%s has no row", name)
		}
	}
	for i := range routes {
		r := &routes[i]
		if (r.handler == nil) != (r.class == refuse) {
			t.Errorf("%s: it is refused: %v, it has a handler: %v", r.name, r.class == refuse, r.handler != nil)
		}
		if r.class < seal || r.class > refuse || r.on == 0 || r.method == "" {
			t.Errorf("%s: its row has holes: %+v", r.name, r)
		}
		if inHandler := r.name == "DeleteObjects" || r.name == "PostObject"; r.action == "" && r.method != http.MethodOptions && !inHandler {
			t.Errorf("%s needs no permission", r.name)
		}
		for _, h := range r.pass {
			if h != strings.ToLower(h) || !strings.HasPrefix(h, "x-amz-") || secretHeader(h) {
				t.Errorf("%s lets %s through", r.name, h)
			}
		}
		for j := range routes[:i] {
			// A row behind one that takes all of its requests is never reached.
			if b := &routes[j]; b.method == r.method && b.on == r.on && b.query == "" && b.header == "" {
				t.Errorf("%s stands behind %s and is never found", r.name, b.name)
			}
		}
	}
}

// secretHeader says whether a header speaks of the plaintext or a key, so that no store may see it.
func secretHeader(name string) bool {
	n := strings.ToLower(name)
	if n == "x-amz-checksum-crc32c" || n == "content-md5" {
		return false // waxseal's own, of what it sends: see TestNothingOfTheClientsReachesTheStore
	}
	return strings.Contains(n, "checksum") || strings.Contains(n, "server-side-encryption") || n == "range" ||
		strings.HasPrefix(n, "if-") && n != "if-match" && n != "if-none-match" || strings.HasPrefix(n, "x-minio-")
}

// TestUnknownIsRefusedByName: an operation or a header that waxseal does not know goes nowhere.
func TestUnknownIsRefusedByName(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	k.mustDo(t, http.MethodPut, "/"+bucket+"/object", nil, []byte("x"))
	up.ClearRequests()
	for _, tc := range []struct {
		method, path string
		header       map[string]string
		status       int
		code         s3.Code
		says         string
	}{
		{"POST", "/" + bucket + "/object?frobnicate", nil, 501, s3.NotImplemented, ""},
		{"DELETE", "/", nil, 501, s3.NotImplemented, ""},
		{"PATCH", "/" + bucket + "/object", nil, 405, s3.MethodNotAllowed, ""},
		{"TRACE", "/" + bucket + "/object", nil, 405, s3.MethodNotAllowed, ""},
		{"GET", "/" + bucket + "/object?torrent", nil, 501, s3.NotImplemented, "GetObjectTorrent"},
		{"POST", "/" + bucket + "/object?select&select-type=2", nil, 501, s3.NotImplemented, "SelectObjectContent"},
		{"PUT", "/" + bucket + "/object", map[string]string{"x-amz-write-offset-bytes": "5"}, 501, s3.NotImplemented, "write-offset"},
		{"PUT", "/" + bucket + "?website", nil, 501, s3.NotImplemented, "PutBucketWebsite"},
		{"PUT", "/" + bucket + "/object", map[string]string{"x-amz-checksum-blake3": "AAAA"}, 501, s3.NotImplemented, "x-amz-checksum-blake3"},
		{"GET", "/" + bucket + "/object", map[string]string{"x-amz-frobnicate": "1"}, 501, s3.NotImplemented, "x-amz-frobnicate"},
		{"GET", "/" + bucket, map[string]string{"x-amz-frobnicate": "1"}, 501, s3.NotImplemented, "x-amz-frobnicate"},
		{"PUT", "/" + bucket + "/object?tagging", map[string]string{"x-amz-acl": "private"}, 501, s3.NotImplemented, "x-amz-acl"},
		{"PUT", "/" + bucket + "/object", map[string]string{"X-Minio-Extract": "true"}, 501, s3.NotImplemented, "x-minio-extract"},
		{"DELETE", "/" + bucket + "/object", map[string]string{"X-Minio-Force-Delete": "true"}, 501, s3.NotImplemented, "x-minio-force-delete"},
	} {
		resp, body := k.do(t, tc.method, tc.path, tc.header, nil)
		wantError(t, resp, body, tc.status, tc.code)
		if !strings.Contains(strings.ToLower(string(body)), strings.ToLower(tc.says)) {
			t.Errorf("%s %s %v: the answer does not name %q:\n%s", tc.method, tc.path, tc.header, tc.says, body)
		}
	}
	if got := up.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
}

// eachRoute sends a request for every row of the table.
func eachRoute(t *testing.T, send func(r *route, target string)) {
	t.Helper()
	for i := range routes {
		r := &routes[i]
		target := map[level]string{onService: "/", onBucket: "/the-bucket", onObject: "/the-bucket/key"}[r.on]
		if r.query != "" {
			target += "?" + r.query + "=2"
		}
		if r.name == "UploadPart" || r.name == "UploadPartCopy" {
			target += "&partNumber=1"
		}
		send(r, target)
	}
}

// TestTheEnvelopesNameIsReserved: no client can write, replace or fake an envelope, by whatever operation.
func TestTheEnvelopesNameIsReserved(t *testing.T) {
	k, up := memoryKit(t, nil)
	up.CreateBucket("the-bucket")
	for _, name := range []string{"x-amz-meta-waxseal", "X-AMZ-META-WAXSEAL", "X-Amz-Meta-Waxseal"} {
		eachRoute(t, func(r *route, target string) {
			if r.class == refuse || r.name == "PostObject" {
				return // a form's fields: TestPostObject
			}
			header := map[string]string{name: "v1.forged"}
			if r.header != "" {
				header[r.header] = "/the-bucket/other"
			}
			resp, body := k.do(t, r.method, target, header, nil)
			if resp.StatusCode < 400 || r.method != http.MethodHead && !bytes.Contains(body, []byte("reserved by waxseal")) {
				t.Errorf("%s with %s: %s\n%s", r.name, name, resp.Status, body)
			}
		})
	}
	if up.Saw("forged") {
		t.Error("the store has seen it")
	}
}

// TestNothingOfTheClientsReachesTheStore: whatever operation a client sends its plaintext's digests, its keys and its
// conditions with, the store sees none of them, in no form.
func TestNothingOfTheClientsReachesTheStore(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.AllowInsecureSSEC = true })
	up.CreateBucket("the-bucket")
	customer := map[string]string{}
	key := noise(7, 32)
	sum := md5Sum(key)
	for _, prefix := range []string{hdrSSEC, hdrCopySSE} {
		customer[prefix+"algorithm"], customer[prefix+"key"], customer[prefix+"key-MD5"] = algAES256, s3.Base64(key), s3.Base64(sum)
	}
	secrets := []map[string]string{
		customer,
		{hdrSSE: algAES256},
		{hdrSSE: algKMS, hdrKMSKey: testKeyARN, hdrContext: s3.Base64([]byte(`{"secret":"context"}`)), hdrBucket: "true"},
		{"If-Match": `"11112222333344445555666677778888"`, "If-None-Match": `"99998888777766665555444433332222"`},
		{"If-None-Match": `"99998888777766665555444433332222"`, "If-Modified-Since": "Sat, 01 Jan 2000 00:00:07 GMT", "If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:07 GMT", "If-Range": `"11112222333344445555666677778888"`},
		{"x-amz-copy-source-if-match": `"11112222333344445555666677778888"`, "x-amz-copy-source-if-none-match": `"99998888777766665555444433332222"`},
		{"Content-MD5": s3.Base64(md5Sum([]byte("the body"))), "x-amz-checksum-mode": "ENABLED"},
		{"x-amz-checksum-crc32c": crc32cOf("the body"), "x-amz-sdk-checksum-algorithm": "CRC32C"},
		{"x-amz-checksum-sha256": s3.Base64(sha256Of("the body"))},
	}
	for _, header := range secrets {
		for _, there := range []bool{false, true} {
			if there {
				k.mustDo(t, http.MethodPut, "/the-bucket/key", nil, []byte("the body"))
				k.mustDo(t, http.MethodPut, "/the-bucket/other", nil, []byte("the body"))
			}
			up.ClearRequests()
			eachRoute(t, func(r *route, target string) {
				if r.name == "PostObject" || r.method == http.MethodDelete && r.on == onBucket {
					return // the in-memory store would take some for DeleteBucket
				}
				h := map[string]string{}
				for n, v := range header {
					h[n] = v
				}
				if r.header == "x-amz-copy-source" {
					h[r.header] = "/the-bucket/other"
				}
				body := []byte("the body")
				if r.method == http.MethodGet || r.method == http.MethodHead {
					body = nil
				}
				resp, _ := k.do(t, r.method, target, h, body)
				if resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
					t.Errorf("%s with %v: %s", r.name, header, resp.Status)
				}
			})
			for n, v := range header {
				if v != "true" && v != "ENABLED" && v != algAES256 && v != algKMS && v != "CRC32C" && !strings.EqualFold(n, "content-md5") && up.Saw(v) {
					t.Errorf("the store has seen %s: %s", n, v)
				}
			}
			for _, r := range up.Requests() {
				if sealed := r.Operation == "PutObject" || r.Operation == "UploadPart" || r.Operation == "CopyObject"; sealed && r.Header.Get("Content-Md5")+r.Header.Get("X-Amz-Checksum-Crc32c") != "" {
					t.Errorf("%s at the store has a digest of the plaintext: %v", r.Operation, r.Header)
				}
				for n := range r.Header {
					if secretHeader(n) && (!strings.EqualFold(n, "range") || r.Method != http.MethodGet) {
						t.Errorf("%s at the store has the header %s: %q", r.Operation, n, r.Header[n])
					}
				}
			}
		}
	}
}

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func crc32cOf(s string) string {
	h := s3.NewChecksumOf(s3.ChecksumID("CRC32C"))
	h.Write([]byte(s))
	return s3.Base64(h.Sum(nil))
}

// presign signs a request into its URL, with headers in the query as SDKs hoist them.
func (k *kit) presign(method, path string, hoisted map[string]string, signed http.Header) *http.Request {
	q := url.Values{}
	for n, v := range hoisted {
		q.Set(n, v)
	}
	req, err := http.NewRequest(method, "http://"+k.endpoint+path+"?"+q.Encode(), nil)
	if err != nil {
		panic(err)
	}
	for n, v := range signed {
		req.Header[n] = v
	}
	return signer.PreSignV4(*req, testAccess, testSecret, "", "us-east-1", 60)
}

func (k *kit) presigned(t *testing.T, method, path string, hoisted map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req := k.presign(method, path, hoisted, nil)
	again, err := http.NewRequest(method, req.URL.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return roundTrip(t, again)
}

// TestHoistedHeaders: a presigned URL's x-amz-* parameters are headers, with the rights and the limits of headers.
func TestHoistedHeaders(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.AllowInsecureSSEC = true })
	bucket := k.bucket(t)
	path := "/" + bucket + "/object"
	t.Run("metadata, tags and storage class", func(t *testing.T) {
		resp, body := k.presigned(t, http.MethodPut, path, map[string]string{"x-amz-meta-colour": "red", "X-Amz-Tagging": "a=1", "x-amz-storage-class": "STANDARD_IA", "x-amz-acl": "private", "x-id": "PutObject"}, []byte("hoisted"))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		resp, _ = k.mustDo(t, http.MethodHead, path, nil, nil)
		if h := resp.Header; h.Get("x-amz-meta-colour") != "red" || h.Get("x-amz-tagging-count") != "1" || h.Get("x-amz-storage-class") != "STANDARD_IA" {
			t.Errorf("HEAD says %v", h)
		}
		for _, r := range up.Requests() {
			if strings.Contains(strings.ToLower(r.URI), "x-amz-") || strings.Contains(r.URI, "x-id") {
				t.Errorf("the store was asked %s", r.URI)
			}
		}
	})
	t.Run("SSE-KMS", func(t *testing.T) {
		resp, body := k.presigned(t, http.MethodPut, path, map[string]string{"X-Amz-Server-Side-Encryption": algKMS, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": testKeyARN}, []byte("kms"))
		if resp.StatusCode != http.StatusOK || resp.Header.Get(hdrSSE) != algKMS || resp.Header.Get(hdrKMSKey) != testKeyARN {
			t.Fatalf("%s %v\n%s", resp.Status, resp.Header, body)
		}
		if resp, _ := k.mustDo(t, http.MethodHead, path, nil, nil); resp.Header.Get(hdrSSE) != algKMS {
			t.Errorf("HEAD says %v", resp.Header)
		}
		if up.Saw(testKeyARN) || up.Saw("Server-Side-Encryption") {
			t.Error("the store has seen the key's ARN")
		}
	})
	t.Run("SSE-C", func(t *testing.T) {
		key := noise(9, 32)
		customer := map[string]string{hdrSSEC + "algorithm": algAES256, hdrSSEC + "key": s3.Base64(key), hdrSSEC + "key-MD5": s3.Base64(md5Sum(key))}
		if resp, body := k.presigned(t, http.MethodPut, path, customer, []byte("customer's")); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		resp, body := k.do(t, http.MethodGet, path, nil, nil)
		wantError(t, resp, body, http.StatusBadRequest, s3.InvalidRequest)
		if resp, body := k.presigned(t, http.MethodGet, path, customer, nil); resp.StatusCode != http.StatusOK || string(body) != "customer's" {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		if up.Saw(s3.Base64(key)) || up.Saw(url.QueryEscape(s3.Base64(key))) {
			t.Error("the store has seen the key")
		}
	})
	t.Run("checksums", func(t *testing.T) {
		// SDKs for JavaScript put the digest of no body into the URL: S3 passes it over.
		for _, digest := range []string{crc32cOf("other"), crc32cOf(""), "not base64", ""} {
			resp, body := k.presigned(t, http.MethodPut, path, map[string]string{"x-amz-checksum-crc32c": digest, "x-amz-sdk-checksum-algorithm": "CRC32C"}, []byte("body"))
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%q: %s\n%s", digest, resp.Status, body)
			}
		}
		if resp, _ := k.presigned(t, http.MethodGet, path, map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil); resp.Header.Get("x-amz-checksum-crc64nvme") == "" {
			t.Errorf("GET says %v", resp.Header)
		}
	})
	t.Run("copy", func(t *testing.T) {
		resp, body := k.presigned(t, http.MethodPut, "/"+bucket+"/copy", map[string]string{"x-amz-copy-source": path}, nil)
		if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("CopyObjectResult")) {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		if _, body := k.mustDo(t, http.MethodGet, "/"+bucket+"/copy", nil, nil); string(body) != "body" {
			t.Errorf("the copy is %q", body)
		}
	})
	t.Run("attributes", func(t *testing.T) {
		req := k.presign(http.MethodGet, path, map[string]string{"attributes": "", "x-amz-object-attributes": "ObjectSize"}, nil)
		if resp, body := roundTrip(t, req); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<ObjectSize>4</ObjectSize>")) {
			t.Errorf("%s\n%s", resp.Status, body)
		}
	})
	for name, value := range map[string]string{"x-amz-frobnicate": "1", "x-amz-checksum-blake3": "AAAA", "X-Amz-Write-Offset-Bytes": "3"} {
		resp, body := k.presigned(t, http.MethodPut, path, map[string]string{name: value}, []byte("x"))
		wantError(t, resp, body, http.StatusNotImplemented, s3.NotImplemented)
	}
	resp, body := k.presigned(t, http.MethodPut, path, map[string]string{"X-Amz-Meta-Waxseal": "forged"}, []byte("x"))
	wantError(t, resp, body, http.StatusBadRequest, s3.InvalidRequest)
	t.Run("a parameter that was added after signing", func(t *testing.T) {
		req := k.presign(http.MethodPut, path, nil, nil)
		again, _ := http.NewRequest(http.MethodPut, req.URL.String()+"&x-amz-acl=public-read", strings.NewReader("x"))
		resp, body := roundTrip(t, again)
		wantError(t, resp, body, http.StatusForbidden, s3.SignatureDoesNotMatch)
	})
	t.Run("a parameter of a request that is signed in its header", func(t *testing.T) {
		up.ClearRequests()
		k.mustDo(t, http.MethodPut, path+"?x-amz-acl=public-read&x-amz-meta-waxseal=forged&x-amz-copy-source=%2Fa%2Fb", nil, []byte("plain"))
		if up.Saw("public-read") || up.Saw("forged") {
			t.Error("it went to the store")
		}
		if _, body := k.mustDo(t, http.MethodGet, path, nil, nil); string(body) != "plain" {
			t.Errorf("it was taken for a header: %q", body)
		}
	})
}

func md5Sum(p []byte) []byte {
	sum := md5.Sum(p)
	return sum[:]
}
