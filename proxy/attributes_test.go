package proxy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

const allAttributes = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"

func (k *kit) attributes(t testing.TB, key, names string, header map[string]string) (*s3.GetObjectAttributesResponse, *http.Response) {
	t.Helper()
	h := map[string]string{"x-amz-object-attributes": names}
	for name, value := range header {
		h[name] = value
	}
	resp, body := k.mustDo(t, "GET", "/bkt/"+key+"?attributes", h, nil)
	return reply[s3.GetObjectAttributesResponse](t, body), resp
}

// TestAttributes: in every mode, the plaintext's size and checksum and the ETag that HEAD shows, and no header about
// encryption.
func TestAttributes(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	for mode, header := range encryptionHeaders() {
		for _, size := range []int{0, 1000, inlineLimit + 7} {
			p := bytes.Repeat([]byte("x"), size)
			sum := sha256.Sum256(p)
			put := map[string]string{"x-amz-checksum-sha256": s3.Base64(sum[:])}
			for name, value := range header {
				put[name] = value
			}
			put["Content-Type"] = "text/plain"
			done, _ := k.mustDo(t, "PUT", "/bkt/k", put, p)
			read := map[string]string{}
			if mode == "SSE-C" {
				read = header
			}
			got, resp := k.attributes(t, "k", allAttributes, read)
			if *got.ObjectSize != int64(size) || got.ETag != s3.Unquote(done.Header.Get("Etag")) || got.StorageClass != "STANDARD" ||
				got.ObjectParts != nil || got.Checksum == nil || got.Checksum.ChecksumSHA256 != s3.Base64(sum[:]) || got.Checksum.ChecksumType != "FULL_OBJECT" {
				t.Errorf("%s of %d: %+v", mode, size, got)
			}
			if resp.Header.Get(hdrSSE)+resp.Header.Get(hdrSSEC+"algorithm") != "" || resp.Header.Get("Last-Modified") == "" ||
				resp.Header.Get("Content-Type") != "application/xml" || resp.Header.Get("Etag") != "" {
				t.Errorf("%s: %v", mode, resp.Header)
			}
			if only, _ := k.attributes(t, "k", "ETag", read); only.ObjectSize != nil || only.Checksum != nil || only.StorageClass != "" || only.ETag == "" {
				t.Errorf("%s: %+v", mode, only)
			}
		}
	}
}

// encryptionHeaders ask for each mode.
func encryptionHeaders() map[string]map[string]string {
	key := bytes.Repeat([]byte{7}, 32)
	return map[string]map[string]string{
		"SSE-S3":   {hdrSSE: algAES256},
		"SSE-KMS":  {hdrSSE: algKMS, hdrKMSKey: testKeyARN},
		"DSSE-KMS": {hdrSSE: algDSSE, hdrKMSKey: testKeyARN},
		"SSE-C":    customerHeaders(key),
	}
}

func customerHeaders(key []byte) map[string]string {
	return map[string]string{hdrSSEC + "algorithm": algAES256, hdrSSEC + "key": s3.Base64(key), hdrSSEC + "key-MD5": withMD5(string(key))["Content-MD5"]}
}

func TestAttributesErrors(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	right := customerHeaders(bytes.Repeat([]byte{7}, 32))
	k.mustDo(t, "PUT", "/bkt/c", right, []byte("x"))
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("x"))
	u.PutObject("bkt", "foreign", []byte("plain"), nil)
	for _, c := range []struct {
		key, names string
		header     map[string]string
		status     int
		code       s3.Code
	}{
		{"k", "", nil, 400, s3.InvalidRequest},
		{"k", "ETag,Nope", nil, 400, s3.InvalidArgumentCode},
		{"nosuch", "ETag", nil, 404, s3.NoSuchKey},
		{"c", "ETag", nil, 400, s3.InvalidRequest},
		{"c", "ETag", customerHeaders(bytes.Repeat([]byte{8}, 32)), 403, s3.AccessDenied},
		{"k", "ETag", right, 400, s3.InvalidRequest},
		{"k", "ETag", map[string]string{hdrSSE: algAES256}, 400, s3.InvalidArgumentCode},
		{"k", "ETag", map[string]string{"If-Match": `"other"`}, 412, s3.PreconditionFailed},
		{"foreign", "ETag", nil, 403, s3.InvalidObjectState},
	} {
		h := map[string]string{"x-amz-object-attributes": c.names}
		for name, value := range c.header {
			h[name] = value
		}
		resp, body := k.do(t, "GET", "/bkt/"+c.key+"?attributes", h, nil)
		wantError(t, resp, body, c.status, c.code)
	}
	u.SetVersioning("bkt", "Enabled")
	k.mustDo(t, "DELETE", "/bkt/k", nil, nil)
	resp, body := k.do(t, "GET", "/bkt/k?attributes", map[string]string{"x-amz-object-attributes": "ETag"}, nil)
	if wantError(t, resp, body, 404, s3.NoSuchKey); resp.Header.Get("x-amz-delete-marker") != "true" {
		t.Errorf("%v", resp.Header)
	}
}

// TestAttributesParts: parts are listed in pages where the upload had checksums of its parts; else only their number
// is told, but for ceph/s3-tests.
func TestAttributesParts(t *testing.T) {
	for _, ceph := range []bool{false, true} {
		k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.CompatCeph = ceph })
		for _, checksums := range []bool{false, true} {
			sizes := []int{5 << 20, 5 << 20, 100}
			uploadParts(t, k, sizes, checksums)
			got, _ := k.attributes(t, "k", allAttributes, nil)
			if got.ObjectParts == nil || got.ObjectParts.PartsCount != 3 || *got.ObjectSize != 10<<20+100 {
				t.Fatalf("%+v", got)
			}
			if listed := len(got.ObjectParts.Parts) > 0; listed != (checksums || ceph) {
				t.Errorf("ceph %v, checksums %v: parts are listed: %v", ceph, checksums, listed)
			}
			if !checksums {
				continue
			}
			if got.Checksum.ChecksumType != "COMPOSITE" || bytes.HasSuffix([]byte(got.Checksum.ChecksumSHA256), []byte("-3")) != ceph {
				t.Errorf("%+v", got.Checksum)
			}
			first, _ := k.attributes(t, "k", "ObjectParts", map[string]string{"x-amz-max-parts": "2"})
			rest, _ := k.attributes(t, "k", "ObjectParts", map[string]string{"x-amz-max-parts": "2", "x-amz-part-number-marker": "2"})
			f, r := first.ObjectParts, rest.ObjectParts
			if len(f.Parts) != 2 || !f.IsTruncated || f.NextPartNumberMarker != 2 || f.MaxParts != 2 ||
				len(r.Parts) != 1 || r.IsTruncated || r.PartNumberMarker != 2 || r.NextPartNumberMarker != 3 {
				t.Errorf("%+v\n%+v", f, r)
			}
			for i, part := range append(f.Parts, r.Parts...) {
				sum := sha256.Sum256(partBody(i, sizes[i]))
				if part.PartNumber != i+1 || part.Size != int64(sizes[i]) || part.ChecksumSHA256 != s3.Base64(sum[:]) {
					t.Errorf("%+v", part)
				}
			}
		}
	}
}

func partBody(i, size int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, size) }

func uploadParts(t *testing.T, k *kit, sizes []int, checksums bool) {
	t.Helper()
	header := map[string]string{}
	if checksums {
		header["x-amz-checksum-algorithm"] = "SHA256"
	}
	u := k.rawUpload(t, "/bkt/k", header)
	for i, size := range sizes {
		body := partBody(i, size)
		part := map[string]string{}
		if checksums {
			sum := sha256.Sum256(body)
			part["x-amz-checksum-sha256"] = s3.Base64(sum[:])
			u.sums[i+1] = fmt.Sprintf("<ChecksumSHA256>%s</ChecksumSHA256>", s3.Base64(sum[:]))
		}
		u.mustPut(i+1, part, body)
	}
	if resp, body := u.complete(nil); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s", body)
	}
}
