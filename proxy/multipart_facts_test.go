package proxy

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

func newSum(alg uint8, data []byte) []byte {
	h := s3.NewChecksumOf(alg)
	h.Write(data)
	return h.Sum(nil)
}

// TestPartWithoutChecksum uploads parts without a checksum: the algorithms that can be combined are computed here, a composite checksum
// needs one from the client for each part.
func TestPartWithoutChecksum(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	data := noise(1, 1000)
	for _, alg := range []string{"CRC32", "CRC32C", "CRC64NVME"} {
		u := k.rawUpload(t, "/"+b+"/"+alg, map[string]string{"x-amz-checksum-algorithm": alg, "x-amz-checksum-type": "FULL_OBJECT"})
		want := s3.Base64(newSum(s3.ChecksumID(alg), data))
		if got := u.mustPut(1, nil, data).Header.Get("x-amz-checksum-" + alg); got != want {
			t.Errorf("%s of a part: %q, want %s", alg, got, want)
		}
		resp, body := u.complete(map[string]string{"x-amz-checksum-" + alg: want})
		if resp.StatusCode != 200 || *reply[s3.CompleteMultipartUploadResult](t, body).Field(alg) != want {
			t.Errorf("%s: %s\n%s", alg, resp.Status, body)
		}
	}
	for _, alg := range []string{"CRC32", "CRC32C", "SHA1", "SHA256", "MD5"} {
		u := k.rawUpload(t, "/"+b+"/"+alg, map[string]string{"x-amz-checksum-algorithm": alg})
		resp, body := u.put(1, nil, data)
		wantError(t, resp, body, 400, s3.InvalidRequest)
	}
}

// Every algorithm and type gives S3's checksum of the object, in Complete, HEAD and for each part.
func TestMultipartChecksums(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		b := k.bucket(t)
		parts := [][]byte{noise(1, 5*mib+5), noise(2, 5*mib), noise(3, 1234)}
		whole := slices.Concat(parts...)
		for _, c := range []struct {
			alg       string
			kind      string
			composite bool
		}{
			{"", "", false}, {"CRC64NVME", "", false}, {"CRC64NVME", "FULL_OBJECT", false}, {"CRC32", "", true}, {"CRC32", "FULL_OBJECT", false},
			{"CRC32C", "COMPOSITE", true}, {"CRC32C", "FULL_OBJECT", false}, {"SHA1", "", true}, {"SHA256", "COMPOSITE", true},
			{"SHA512", "", true}, {"MD5", "COMPOSITE", true}, {"XXHASH64", "", true}, {"XXHASH3", "COMPOSITE", true}, {"XXHASH128", "", true},
		} {
			t.Run(c.alg+" "+c.kind, func(t *testing.T) {
				create := map[string]string{}
				if c.alg != "" {
					create["x-amz-checksum-algorithm"] = c.alg
				}
				if c.kind != "" {
					create["x-amz-checksum-type"] = c.kind
				}
				path := "/" + b + "/" + c.alg + c.kind + "x"
				u := k.rawUpload(t, path, create)
				name := c.alg
				if name == "" {
					name = "CRC64NVME"
				}
				id := s3.ChecksumID(name)
				var composite []byte
				for i, data := range parts {
					sum := newSum(id, data)
					composite = append(composite, sum...)
					header := map[string]string{}
					if c.alg != "" {
						header["x-amz-checksum-"+strings.ToLower(name)] = s3.Base64(sum)
						u.sums[i+1] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", name, s3.Base64(sum), name)
					}
					resp := u.mustPut(i+1, header, data)
					if got := resp.Header.Get("x-amz-checksum-" + name); c.alg != "" && got != s3.Base64(sum) {
						t.Errorf("part %d: checksum %q, want %s", i+1, got, s3.Base64(sum))
					}
				}
				want, kind := s3.Base64(newSum(id, whole)), "FULL_OBJECT"
				if c.composite {
					want, kind = s3.Base64(newSum(id, composite))+"-3", "COMPOSITE"
				}
				if c.alg != "" && !c.composite {
					resp, body := u.complete(map[string]string{"x-amz-checksum-" + name: s3.Base64(make([]byte, sse.ChecksumSize(id)))})
					wantError(t, resp, body, 400, s3.BadDigest)
				}
				if c.composite {
					kept := u.sums[2]
					u.sums[2] = ""
					resp, body := u.complete(nil)
					wantError(t, resp, body, 400, s3.InvalidRequest)
					u.sums[2] = kept
				}
				resp, body := u.complete(map[string]string{"x-amz-checksum-type": kind, "x-amz-checksum-" + name: want})
				if resp.StatusCode != 200 {
					t.Fatalf("%s\n%s", resp.Status, body)
				}
				doc := reply[s3.CompleteMultipartUploadResult](t, body)
				if got := *doc.Field(name); got != want || doc.ChecksumType != kind {
					t.Errorf("Complete: %s %s, want %s %s", got, doc.ChecksumType, want, kind)
				}
				resp, _ = k.do(t, "HEAD", path, map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil)
				if got := resp.Header.Get("x-amz-checksum-" + name); got != want || resp.Header.Get("x-amz-checksum-type") != kind {
					t.Errorf("HEAD: %s %s, want %s %s", got, resp.Header.Get("x-amz-checksum-type"), want, kind)
				}
				resp, body = k.do(t, "GET", path+"?partNumber=2", map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil)
				if !bytes.Equal(body, parts[1]) || resp.StatusCode != 206 || resp.Header.Get("x-amz-mp-parts-count") != "3" {
					t.Errorf("GET of part 2: %s, %d bytes", resp.Status, len(body))
				}
				if got := resp.Header.Get("x-amz-checksum-" + name); c.composite && got != s3.Base64(newSum(id, parts[1])) {
					t.Errorf("GET of part 2: checksum %q", got)
				}
			})
		}
		for _, bad := range []map[string]string{
			{"x-amz-checksum-type": "COMPOSITE"}, {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
			{"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"}, {"x-amz-checksum-algorithm": "XXHASH3", "x-amz-checksum-type": "FULL_OBJECT"}, {"x-amz-checksum-algorithm": "CRC31"},
		} {
			resp, body := k.do(t, "POST", "/"+b+"/bad?uploads", bad, nil)
			wantError(t, resp, body, 400, s3.InvalidRequest)
		}
	})
}

// TestCopyOfACompositeChecksum: a copy keeps its source's parts, and with them the checksum of their checksums. One that
// is asked for is of the whole object.
func TestCopyOfACompositeChecksum(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	u := k.rawUpload(t, "/bkt/a", map[string]string{"x-amz-checksum-algorithm": "SHA256"})
	for n, data := range map[int][]byte{1: noise(1, 5*mib), 2: noise(2, 100)} {
		sum := s3.Base64(newSum(sse.SHA256, data))
		u.mustPut(n, map[string]string{"x-amz-checksum-sha256": sum}, data)
		u.sums[n] = "<ChecksumSHA256>" + sum + "</ChecksumSHA256>"
	}
	whole := append(noise(1, 5*mib), noise(2, 100)...)
	if resp, body := u.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	copied := func(header map[string]string) *s3.CopyObjectResult {
		_, body := k.mustDo(t, "PUT", "/bkt/b", with(header, hdr{"x-amz-copy-source": "/bkt/a"}), nil)
		return reply[s3.CopyObjectResult](t, body)
	}
	if doc := copied(nil); doc.ChecksumType != "COMPOSITE" || !strings.HasSuffix(doc.ChecksumSHA256, "-2") {
		t.Errorf("as it is: %+v", doc)
	}
	if doc := copied(hdr{"x-amz-checksum-algorithm": "SHA256"}); doc.ChecksumType != "FULL_OBJECT" || doc.ChecksumSHA256 != s3.Base64(newSum(sse.SHA256, whole)) {
		t.Errorf("asked for: %+v", doc)
	}
	resp, _ := k.mustDo(t, "HEAD", "/bkt/b", map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil)
	if resp.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" || resp.Header.Get("x-amz-checksum-sha256") != s3.Base64(newSum(sse.SHA256, whole)) {
		t.Errorf("HEAD: %v", resp.Header)
	}
}

func TestMultipartListParts(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		b := k.bucket(t)
		u := k.rawUpload(t, "/"+b+"/k", map[string]string{"x-amz-checksum-algorithm": "CRC32C"})
		sizes := map[int]int{1: 5 * mib, 3: 5*mib + 1, 4: 10, 8: 6 * mib, 10000: 5 * mib}
		put := func(n int, data []byte) {
			u.mustPut(n, map[string]string{"x-amz-checksum-crc32c": s3.Base64(newSum(sse.CRC32C, data))}, data)
		}
		put(3, noise(9, 5*mib+2)) // sent again below
		put(8, noise(9, 5))
		for n, size := range sizes {
			put(n, noise(uint64(n), size))
		}
		for _, max := range []int{1, 2, 4, 5, 1000} {
			marker, got := 0, []s3.Part(nil)
			for pages := 0; ; pages++ {
				_, body := k.mustDo(t, "GET", fmt.Sprintf("%s&max-parts=%d&part-number-marker=%d", u.target, max, marker), nil, nil)
				doc := reply[s3.ListPartsResult](t, body)
				if len(doc.Parts) > max || doc.MaxParts != max || doc.PartNumberMarker != marker || doc.ChecksumAlgorithm != "CRC32C" || doc.ChecksumType != "COMPOSITE" || doc.UploadID != u.id {
					t.Errorf("page: %+v", doc)
				}
				got = append(got, doc.Parts...)
				marker = doc.NextPartNumberMarker
				if !doc.IsTruncated {
					break
				}
				if pages > 6 {
					t.Fatal("no end")
				}
			}
			if len(got) != len(sizes) {
				t.Fatalf("max-parts %d: %d parts", max, len(got))
			}
			for i, n := range []int{1, 3, 4, 8, 10000} {
				data := noise(uint64(n), sizes[n])
				sum := md5.Sum(data)
				if p := got[i]; p.PartNumber != n || p.Size != int64(sizes[n]) || p.ETag != s3.Quote(hex.EncodeToString(sum[:])) || p.ChecksumCRC32C != s3.Base64(newSum(sse.CRC32C, data)) || p.LastModified == "" {
					t.Errorf("part %d: %+v", n, p)
				}
			}
		}
		_, body := k.mustDo(t, "GET", "/"+b+"?uploads&prefix=k", nil, nil)
		ups := reply[s3.ListMultipartUploadsResult](t, body)
		if len(ups.Uploads) != 1 || ups.Uploads[0].Key != "k" || ups.Uploads[0].UploadID != u.id || ups.Uploads[0].ChecksumAlgorithm != "CRC32C" {
			t.Errorf("%s", body)
		}
	})
}

// TestPartOfNothing: an empty part has no Content-Range, and an object that was written as a whole, with or without a
// body at the store, has one part only.
func TestPartOfNothing(t *testing.T) {
	k, store := overMemory(t, proxytest.Options{}, func(c *Config) { c.ReadThrough = []string{"bkt"} })
	u := k.rawUpload(t, "/bkt/parts", nil)
	u.mustPut(1, nil, noise(1, 5*mib))
	u.mustPut(2, nil, nil)
	if resp, body := u.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	for _, path := range []string{"/bkt/dir/", "/bkt/dir"} {
		k.mustDo(t, "PUT", path, nil, nil)
	}
	k.mustDo(t, "PUT", "/bkt/whole", nil, []byte("12345"))
	store.PutObject("bkt", "plain", []byte("12345"), nil)
	for _, c := range []struct {
		path, part   string
		status       int
		contentRange string
	}{
		{"/bkt/parts", "1", 206, "bytes 0-5242879/5242880"},
		{"/bkt/parts", "2", 200, ""},
		{"/bkt/parts", "3", 416, ""},
		{"/bkt/dir/", "1", 200, ""},
		{"/bkt/dir/", "7", 416, ""},
		{"/bkt/dir", "1", 200, ""},
		{"/bkt/dir", "7", 416, ""},
		{"/bkt/whole", "1", 206, "bytes 0-4/5"},
		{"/bkt/whole", "2", 416, ""},
		{"/bkt/plain", "1", 206, "bytes 0-4/5"},
		{"/bkt/plain", "2", 416, ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := k.do(t, method, c.path+"?partNumber="+c.part, nil, nil)
			if resp.StatusCode != c.status || resp.Header.Get("Content-Range") != c.contentRange {
				t.Errorf("%s of part %s of %s: %s, Content-Range %q", method, c.part, c.path, resp.Status, resp.Header.Get("Content-Range"))
			}
			if method == "GET" && c.status == 416 && s3.ParseError(416, body).Code != s3.InvalidPartNumber {
				t.Errorf("part %s of %s: %s", c.part, c.path, body)
			}
		}
	}
}

// TestPartOfNothingAsCeph: Ceph refuses a part that is not there by another name.
func TestPartOfNothingAsCeph(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.CompatCeph = true })
	for _, path := range []string{"/bkt/dir/", "/bkt/dir"} {
		k.mustDo(t, "PUT", path, nil, nil)
		if resp, body := k.do(t, "GET", path+"?partNumber=7", nil, nil); s3.ParseError(400, body).Code != s3.InvalidPart {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}
