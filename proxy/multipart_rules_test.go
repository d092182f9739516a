package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/keystore"
	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// rawUpload drives an upload with requests as they stand.
type rawUpload struct {
	t      testing.TB
	k      *kit
	target string // path and uploadId
	id     string
	etags  map[int]string
	sums   map[int]string // elements of the part in Complete's list
}

func (k *kit) rawUpload(t testing.TB, path string, header map[string]string) *rawUpload {
	t.Helper()
	_, body := k.mustDo(t, "POST", path+"?uploads", header, nil)
	id := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	return &rawUpload{t: t, k: k, id: id, target: path + "?uploadId=" + url.QueryEscape(id), etags: map[int]string{}, sums: map[int]string{}}
}

func (u *rawUpload) put(n int, header map[string]string, data []byte) (*http.Response, []byte) {
	u.t.Helper()
	resp, body := u.k.do(u.t, "PUT", fmt.Sprintf("%s&partNumber=%d", u.target, n), header, data)
	if resp.StatusCode == http.StatusOK {
		u.etags[n] = resp.Header.Get("Etag")
	}
	return resp, body
}

func (u *rawUpload) mustPut(n int, header map[string]string, data []byte) *http.Response {
	u.t.Helper()
	resp, body := u.put(n, header, data)
	if resp.StatusCode != http.StatusOK {
		u.t.Fatalf("part %d: %s\n%s", n, resp.Status, body)
	}
	return resp
}

func (u *rawUpload) list() []byte {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	var numbers []int
	for n := range u.etags {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag>%s</Part>", n, u.etags[n], u.sums[n])
	}
	b.WriteString("</CompleteMultipartUpload>")
	return []byte(b.String())
}

func (u *rawUpload) complete(header map[string]string) (*http.Response, []byte) {
	u.t.Helper()
	return u.k.do(u.t, "POST", u.target, header, u.list())
}

func TestMultipartResend(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		b := k.bucket(t)
		long, long2, short := noise(1, 5*mib+11), noise(2, 5*mib+999), noise(3, 77)
		for name, sends := range map[string][][]byte{
			"long, long":         {long, long2},
			"long, same":         {long, long},
			"long, short":        {long, short},
			"short, long":        {short, long},
			"short, short":       {short, noise(4, 70)},
			"long, short, long2": {long, short, long2},
			"short, long, short": {noise(5, 9), long, short},
		} {
			t.Run(name, func(t *testing.T) {
				u := k.upload(t, b, name, nil)
				var stale []minio.CompletePart
				for i, data := range sends {
					u.mustPut(1, data)
					if i < len(sends)-1 && !bytes.Equal(data, sends[len(sends)-1]) {
						stale = append(stale, u.parts[1])
					}
				}
				for _, p := range stale {
					_, err := u.core.CompleteMultipartUpload(context.Background(), b, name, u.id, []minio.CompletePart{p}, minio.PutObjectOptions{})
					wantCode(t, err, s3.InvalidPart)
				}
				u.mustComplete()
				u.check()
			})
		}
	})
}

// Of two sends of a part that overlap, the one that the store finished last counts, whichever began first: its ETag
// is taken, the other's refused, and the object holds its bytes.
func TestMultipartOverlappingSends(t *testing.T) {
	for _, firstWins := range []bool{true, false} {
		t.Run(fmt.Sprintf("first finishes last %t", firstWins), func(t *testing.T) {
			store, up := memoryStore(t, proxytest.Options{})
			k := start(t, up, nil)
			b := k.bucket(t)
			u := k.upload(t, b, "k", nil)
			data := [2][]byte{noise(1, 5*mib), noise(2, 5*mib)}
			gate, begun := make(chan struct{}), make(chan struct{})
			held := 2
			if firstWins {
				held = 1
			}
			n := 0
			store.SetHook(func(op proxytest.Op) proxytest.Fault {
				if op.Name != "UploadPart" {
					return proxytest.Fault{}
				}
				if n++; n == 1 {
					close(begun)
				}
				if n == held {
					return proxytest.Fault{Block: gate}
				}
				return proxytest.Fault{}
			})
			var got [2]minio.ObjectPart
			var wg sync.WaitGroup
			send := func(i int) {
				var err error
				got[i], err = u.core.PutObjectPart(context.Background(), b, "k", u.id, 1, bytes.NewReader(data[i]), 5*mib, minio.PutObjectPartOptions{})
				if err != nil {
					t.Error(err)
				}
				if i+1 != held {
					close(gate)
				}
			}
			wg.Go(func() { send(0) })
			<-begun
			wg.Go(func() { send(1) })
			wg.Wait()
			win, lose := held-1, 2-held
			_, err := u.core.CompleteMultipartUpload(context.Background(), b, "k", u.id, []minio.CompletePart{{PartNumber: 1, ETag: got[lose].ETag}}, minio.PutObjectOptions{})
			wantCode(t, err, s3.InvalidPart)
			u.parts[1], u.data[1] = minio.CompletePart{PartNumber: 1, ETag: got[win].ETag}, data[win]
			u.mustComplete()
			u.check()
		})
	}
}

func TestMultipartRefusals(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		b := k.bucket(t)
		u := k.rawUpload(t, "/"+b+"/k", nil)
		u.mustPut(1, nil, noise(1, 100))
		u.mustPut(2, nil, noise(2, 100))
		resp, body := u.complete(nil)
		wantError(t, resp, body, 400, s3.EntityTooSmall)
		for _, want := range []string{"<ProposedSize>100</ProposedSize>", "<MinSizeAllowed>5242880</MinSizeAllowed>", "<PartNumber>1</PartNumber>"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("no %s in %s", want, body)
			}
		}
		list := func(parts string) (*http.Response, []byte) {
			return k.do(t, "POST", u.target, nil, []byte("<CompleteMultipartUpload>"+parts+"</CompleteMultipartUpload>"))
		}
		one := "<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag></Part>"
		two := "<Part><PartNumber>2</PartNumber><ETag>" + u.etags[2] + "</ETag></Part>"
		for _, c := range []struct {
			parts string
			code  s3.Code
		}{
			{two + one, s3.InvalidPartOrder}, {one + one, s3.InvalidPartOrder}, {"", s3.InvalidRequest},
			{"<Part><PartNumber>9</PartNumber><ETag>" + u.etags[1] + "</ETag></Part>", s3.InvalidPart},
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[2] + "</ETag></Part>", s3.InvalidPart},
			{"<Part><PartNumber>0</PartNumber><ETag>x</ETag></Part>", s3.InvalidArgumentCode},
			{"<Part><PartNumber>10001</PartNumber><ETag>x</ETag></Part>", s3.InvalidArgumentCode},
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag><ChecksumSHA1>AAAA</ChecksumSHA1></Part>", s3.InvalidPart},
			{"<Piece/>", s3.MalformedXML},
		} {
			resp, body := list(c.parts)
			wantError(t, resp, body, 400, c.code)
		}
		resp, body = k.do(t, "POST", u.target, nil, nil)
		wantError(t, resp, body, 400, s3.MalformedXML)
		for header, value := range map[string]string{"x-amz-mp-object-size": "99", "x-amz-checksum-type": "COMPOSITE"} {
			resp, body = k.do(t, "POST", u.target, map[string]string{header: value}, []byte("<CompleteMultipartUpload>"+two+"</CompleteMultipartUpload>"))
			wantError(t, resp, body, 400, s3.InvalidRequest)
		}
		for _, n := range []string{"0", "10001", "x", ""} {
			resp, body = k.do(t, "PUT", u.target+"&partNumber="+n, nil, []byte("data"))
			wantError(t, resp, body, 400, s3.InvalidArgumentCode)
		}
		for _, r := range []struct{ method, target string }{
			{"PUT", "/" + b + "/k?partNumber=1&uploadId=none"}, {"GET", "/" + b + "/k?uploadId=none"},
		} {
			resp, body = k.do(t, r.method, r.target, nil, nil)
			wantError(t, resp, body, 404, s3.NoSuchUpload)
		}
		resp, body = k.do(t, "POST", "/"+b+"/k?uploadId=none", nil, u.list())
		wantError(t, resp, body, 404, s3.NoSuchUpload)
		resp, body = k.do(t, "PUT", "/"+b+"-no/k?partNumber=1&uploadId=none", nil, nil)
		wantError(t, resp, body, 404, s3.NoSuchBucket)
		// After all this the upload is as good as ever.
		resp, body = k.do(t, "POST", u.target, map[string]string{"x-amz-mp-object-size": "100"}, []byte("<CompleteMultipartUpload>"+two+"</CompleteMultipartUpload>"))
		if resp.StatusCode != 200 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		_, got := k.mustDo(t, "GET", "/"+b+"/k", nil, nil)
		if !bytes.Equal(got, noise(2, 100)) {
			t.Error("the object is not part 2")
		}
	})
}

func TestMultipartBadDigest(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", map[string]string{"x-amz-checksum-algorithm": "SHA256"})
	for _, size := range []int{10, 5 * mib} {
		data := noise(1, size)
		sum := b64(newSum(sse.SHA256, data))
		wrong := b64(newSum(sse.SHA256, []byte("other")))
		resp, body := u.put(1, map[string]string{"x-amz-checksum-sha256": wrong}, data)
		wantError(t, resp, body, 400, s3.BadDigest)
		resp, body = u.put(1, map[string]string{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==", "x-amz-checksum-sha256": sum}, data)
		wantError(t, resp, body, 400, s3.BadDigest)
		resp, body = u.put(1, map[string]string{"x-amz-checksum-crc32": "AAAAAA=="}, data)
		wantError(t, resp, body, 400, s3.InvalidRequest)
		if !bytes.Contains(body, []byte("expected checksum Type: sha256, actual checksum Type: crc32")) {
			t.Errorf("%s", body)
		}
		resp, body = u.put(1, nil, data)
		wantError(t, resp, body, 400, s3.InvalidRequest)
	}
	resp, body := k.do(t, "GET", u.target, nil, nil)
	if got := reply[s3.ListPartsResult](t, body); resp.StatusCode != 200 || len(got.Parts) != 0 {
		t.Errorf("refused parts are listed: %s", body)
	}
	if left := heldFiles(t, k); len(left) != 0 {
		t.Errorf("refused parts are held: %v", left)
	}
}

func newSum(alg uint8, data []byte) []byte {
	h := newChecksum(alg)
	h.Write(data)
	return h.Sum(nil)
}

func heldFiles(t testing.TB, k *kit) []string {
	t.Helper()
	entries, err := os.ReadDir(k.server.cfg.HeldDir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Every algorithm and type gives S3's checksum of the object, in Complete, HEAD and for each part.
func TestMultipartChecksums(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
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
				id := checksumID(name)
				var composite []byte
				for i, data := range parts {
					sum := newSum(id, data)
					composite = append(composite, sum...)
					header := map[string]string{}
					if c.alg != "" {
						header["x-amz-checksum-"+strings.ToLower(name)] = b64(sum)
						u.sums[i+1] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", name, b64(sum), name)
					}
					resp := u.mustPut(i+1, header, data)
					if got := resp.Header.Get("x-amz-checksum-" + name); c.alg != "" && got != b64(sum) {
						t.Errorf("part %d: checksum %q, want %s", i+1, got, b64(sum))
					}
				}
				want, kind := b64(newSum(id, whole)), "FULL_OBJECT"
				if c.composite {
					want, kind = b64(newSum(id, composite))+"-3", "COMPOSITE"
				}
				if c.alg != "" && !c.composite {
					resp, body := u.complete(map[string]string{"x-amz-checksum-" + name: b64(make([]byte, sse.ChecksumSize(id)))})
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
				if got := resp.Header.Get("x-amz-checksum-" + name); c.composite && got != b64(newSum(id, parts[1])) {
					t.Errorf("GET of part 2: checksum %q", got)
				}
			})
		}
		for _, bad := range []map[string]string{
			{"x-amz-checksum-type": "COMPOSITE"}, {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
			{"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "FULL_OBJECT"}, {"x-amz-checksum-algorithm": "CRC31"},
		} {
			resp, body := k.do(t, "POST", "/"+b+"/bad?uploads", bad, nil)
			wantError(t, resp, body, 400, s3.InvalidRequest)
		}
	})
}

func TestMultipartListParts(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		b := k.bucket(t)
		u := k.rawUpload(t, "/"+b+"/k", map[string]string{"x-amz-checksum-algorithm": "CRC32C"})
		sizes := map[int]int{1: 5 * mib, 3: 5*mib + 1, 4: 10, 8: 6 * mib, 10000: 5 * mib}
		put := func(n int, data []byte) {
			u.mustPut(n, map[string]string{"x-amz-checksum-crc32c": b64(newSum(sse.CRC32C, data))}, data)
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
				if p := got[i]; p.PartNumber != n || p.Size != int64(sizes[n]) || p.ETag != quote(hex.EncodeToString(sum[:])) || p.ChecksumCRC32C != b64(newSum(sse.CRC32C, data)) || p.LastModified == "" {
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

func TestMultipartAbort(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		b := k.bucket(t)
		u := k.rawUpload(t, "/"+b+"/k", nil)
		u.mustPut(1, nil, noise(1, 5*mib))
		u.mustPut(2, nil, noise(2, 5))
		if len(heldFiles(t, k)) != 1 {
			t.Error("the short part is not held")
		}
		if resp, body := k.do(t, "DELETE", u.target, nil, nil); resp.StatusCode != 204 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		nothingLeft(t, k)
		done := k.rawUpload(t, "/"+b+"/done", nil)
		done.mustPut(1, nil, noise(3, 70))
		for range 2 { // an Abort after the end changes nothing
			if resp, body := done.complete(nil); resp.StatusCode != 200 {
				t.Fatalf("%s\n%s", resp.Status, body)
			}
			k.do(t, "DELETE", done.target, nil, nil)
		}
		k.forgetUploads(t)
		resp, body := k.do(t, "DELETE", u.target, nil, nil)
		if resp.StatusCode != 204 { // MinIO
			wantError(t, resp, body, 404, s3.NoSuchUpload)
		}
		resp, body = u.put(1, nil, noise(1, 5))
		wantError(t, resp, body, 404, s3.NoSuchUpload)
		resp, body = u.complete(nil)
		wantError(t, resp, body, 404, s3.NoSuchUpload)
		nothingLeft(t, k)
	})
}

// forgetUploads removes what is kept of uploads that have ended.
func (k *kit) forgetUploads(t testing.TB) {
	t.Helper()
	entries, err := k.state.Range(context.Background(), uploadPrefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		u, err := decodeUpload(e)
		if err != nil || u.Phase != phaseDone {
			t.Fatalf("upload in phase %s, %v", u.Phase, err)
		}
		if err := k.server.uploads.forget(context.Background(), u); err != nil {
			t.Fatal(err)
		}
	}
}

// nothingLeft checks that no upload's state, nor a held part, is left but for what was completed.
func nothingLeft(t testing.TB, k *kit) {
	t.Helper()
	for _, prefix := range []string{uploadPrefix, partPrefix} {
		entries, err := k.server.cfg.State.Range(context.Background(), prefix, "", 0)
		if err != nil || len(entries) > 0 {
			t.Errorf("%d entries left below %s, %v", len(entries), prefix, err)
		}
	}
	if left := heldFiles(t, k); len(left) > 0 || k.server.uploads.held.used != 0 {
		t.Errorf("held: %v, %d bytes", left, k.server.uploads.held.used)
	}
}

func TestMultipartConditions(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		b := k.bucket(t)
		object := func(header map[string]string) (*http.Response, []byte) {
			u := k.rawUpload(t, "/"+b+"/k", nil)
			u.mustPut(1, nil, noise(1, 5*mib))
			u.mustPut(2, nil, noise(2, 50))
			resp, body := u.complete(header)
			if resp.StatusCode == 200 {
				// The same request once more gets the same answer, though its condition does not hold any more.
				if again, body := u.complete(header); again.StatusCode != 200 {
					t.Errorf("Complete again with %v: %s\n%s", header, again.Status, body)
				}
			}
			return resp, body
		}
		resp, body := object(map[string]string{"If-None-Match": "*"})
		if resp.StatusCode != 200 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		etag := reply[s3.CompleteMultipartUploadResult](t, body).ETag
		resp, body = object(map[string]string{"If-None-Match": "*"})
		wantError(t, resp, body, 412, s3.PreconditionFailed)
		resp, body = object(map[string]string{"If-Match": `"00000000000000000000000000000000-2"`})
		wantError(t, resp, body, 412, s3.PreconditionFailed)
		if resp, body = object(map[string]string{"If-Match": etag}); resp.StatusCode != 200 {
			t.Errorf("%s\n%s", resp.Status, body)
		}
	})
}

// Parts and manifests of one upload do not open in another, nor earlier sends of a part, nor parts in another order.
func TestMultipartTampering(t *testing.T) {
	store, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	make2 := func(key string, seed uint64) proxytest.Stored {
		u := k.upload(t, b, key, nil)
		u.mustPut(1, noise(seed, 5*mib))
		u.mustPut(2, noise(seed+1, 5*mib))
		u.mustPut(3, noise(seed+2, 100))
		u.mustComplete()
		u.check()
		o, _ := store.Object(b, key)
		return o
	}
	a, other := make2("a", 1), make2("other", 10)
	part := sse.SealedSize(5*mib, 1)
	cut := int(2 * part)
	for name, body := range map[string][]byte{
		"other manifest":       slices.Concat(a.Body[:cut+int(sse.SealedSize(100, 1))], other.Body[cut+int(sse.SealedSize(100, 1)):]),
		"other part":           slices.Concat(other.Body[:part], a.Body[part:]),
		"parts swapped":        slices.Concat(a.Body[part:cut], a.Body[:part], a.Body[cut:]),
		"part dropped":         a.Body[part:],
		"short part dropped":   slices.Concat(a.Body[:cut], a.Body[cut+int(sse.SealedSize(100, 1)):]),
		"manifest dropped":     a.Body[:cut+int(sse.SealedSize(100, 1))],
		"manifest dropped (2)": a.Body[:cut],
		"other object":         other.Body,
		"one bit":              flipped(a.Body, len(a.Body)/2),
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, up, func(c *Config) { c.Root = k.root }) // nothing is cached
			store.Mutate(b, "a", func(s *proxytest.Stored) { s.Body = body })
			body, _, _, err := (&minio.Core{Client: k.impatient(t).Client}).GetObject(context.Background(), b, "a", minio.GetObjectOptions{})
			if err == nil {
				var got bytes.Buffer
				_, err = got.ReadFrom(body)
				body.Close()
				if err == nil {
					t.Error("it was read to its end")
				}
				if whole := noise(1, 5*mib); !bytes.HasPrefix(append(slices.Clone(whole), noise(2, 5*mib)...), got.Bytes()) {
					t.Error("bytes came that were never sent")
				}
			}
		})
	}
}

func flipped(b []byte, at int) []byte {
	c := slices.Clone(b)
	c[at] ^= 4
	return c
}

func TestMultipartPartCopy(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		b := k.bucket(t)
		src := k.upload(t, b, "dir/söurce +%", ssec(t, 8))
		src.mustPut(1, noise(1, 5*mib+3))
		src.mustPut(2, noise(2, 2*mib))
		src.mustComplete()
		data := src.whole()
		small := noise(3, 10)
		k.mustDo(t, "PUT", "/"+b+"/small", nil, small)
		k.mustDo(t, "PUT", "/"+b+"/empty", nil, nil)

		key := noise(8, 32)
		sum := md5.Sum(key)
		withKey := map[string]string{
			"x-amz-copy-source": "/" + b + "/" + escapePath("dir/söurce +%"), hdrCopySSE + "algorithm": "AES256",
			hdrCopySSE + "key": b64(key), hdrCopySSE + "key-MD5": b64(sum[:]),
		}
		with := func(m map[string]string, more ...string) map[string]string {
			out := map[string]string{}
			for k, v := range m {
				out[k] = v
			}
			for i := 0; i < len(more); i += 2 {
				out[more[i]] = more[i+1]
			}
			return out
		}
		u := k.rawUpload(t, "/"+b+"/copy", nil)
		ok := func(n int, header map[string]string, want []byte) {
			t.Helper()
			resp, body := k.do(t, "PUT", fmt.Sprintf("%s&partNumber=%d", u.target, n), header, nil)
			if resp.StatusCode != 200 {
				t.Fatalf("part %d: %s\n%s", n, resp.Status, body)
			}
			sum := md5.Sum(want)
			doc := reply[s3.CopyPartResult](t, body)
			if doc.ETag != quote(hex.EncodeToString(sum[:])) {
				t.Errorf("part %d: %s", n, body)
			}
			u.etags[n] = doc.ETag
		}
		refused := func(header map[string]string, status int, code s3.Code) {
			t.Helper()
			resp, body := k.do(t, "PUT", u.target+"&partNumber=1", header, nil)
			wantError(t, resp, body, status, code)
		}
		plain := map[string]string{"x-amz-copy-source": b + "/small"}
		ok(1, with(withKey, "x-amz-copy-source-range", "bytes=65400-5308280"), data[65400:5308281])
		ok(2, with(withKey), data)
		ok(3, with(plain, "x-amz-copy-source-range", "bytes=9-9"), small[9:])
		refused(map[string]string{"x-amz-copy-source": withKey["x-amz-copy-source"]}, 400, s3.InvalidRequest)
		refused(with(plain, "x-amz-copy-source-range", "bytes=0-10"), 416, s3.InvalidRange)
		for _, r := range []string{"0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=3-2", "bytes=-3"} {
			refused(with(plain, "x-amz-copy-source-range", r), 400, s3.InvalidArgumentCode)
		}
		refused(with(plain, "x-amz-copy-source-if-match", `"other"`), 412, s3.PreconditionFailed)
		refused(with(plain, "x-amz-copy-source-if-modified-since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), 412, s3.PreconditionFailed)
		refused(map[string]string{"x-amz-copy-source": b + "/none"}, 404, s3.NoSuchKey)
		etag := md5.Sum(small)
		refused(with(plain, "x-amz-copy-source-if-none-match", hex.EncodeToString(etag[:])), 412, s3.PreconditionFailed)
		if resp, body := u.complete(nil); resp.StatusCode != 200 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		_, got := k.mustDo(t, "GET", "/"+b+"/copy", nil, nil)
		if want := slices.Concat(data[65400:5308281], data, small[9:]); !bytes.Equal(got, want) {
			t.Errorf("the copy has %d bytes, other than the %d wanted", len(got), len(want))
		}
		e := k.rawUpload(t, "/"+b+"/empties", nil)
		_, body := k.mustDo(t, "PUT", e.target+"&partNumber=1", map[string]string{"x-amz-copy-source": b + "/empty"}, nil)
		e.etags[1] = reply[s3.CopyPartResult](t, body).ETag
		if resp, body := e.complete(nil); resp.StatusCode != 200 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
	})
}

func TestMultipartCustomerKeys(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
	b := k.bucket(t)
	headers := func(seed uint64) map[string]string {
		key := noise(seed, 32)
		sum := md5.Sum(key)
		return map[string]string{hdrSSEC + "algorithm": "AES256", hdrSSEC + "key": b64(key), hdrSSEC + "key-MD5": b64(sum[:])}
	}
	u := k.rawUpload(t, "/"+b+"/c", headers(1))
	resp, body := u.put(1, nil, []byte("data"))
	wantError(t, resp, body, 400, s3.InvalidRequest)
	resp, body = u.put(1, headers(2), []byte("data"))
	wantError(t, resp, body, 400, s3.InvalidRequest)
	if !bytes.Contains(body, []byte("The provided encryption parameters did not match the ones used originally.")) {
		t.Errorf("%s", body)
	}
	resp = u.mustPut(1, headers(1), []byte("data"))
	if resp.Header.Get(hdrSSEC+"algorithm") != "AES256" || resp.Header.Get(hdrSSEC+"key-MD5") != headers(1)[hdrSSEC+"key-MD5"] {
		t.Errorf("UploadPart: %v", resp.Header)
	}
	resp, body = u.complete(headers(2))
	wantError(t, resp, body, 400, s3.InvalidRequest)
	resp, body = u.complete(headers(1))
	if resp.StatusCode != 200 || resp.Header.Get(hdrSSEC+"algorithm") != "" {
		t.Errorf("Complete: %s %v\n%s", resp.Status, resp.Header, body)
	}
	plain := k.rawUpload(t, "/"+b+"/p", nil)
	resp, body = plain.put(1, headers(1), []byte("data"))
	wantError(t, resp, body, 400, s3.InvalidRequest)
}

// Create asks the KMS for a data key, each part and Complete and ListParts to decrypt it; the answers name the key.
func TestMultipartKMS(t *testing.T) {
	for _, alg := range []string{algKMS, algDSSE} {
		t.Run(alg, func(t *testing.T) {
			_, up := memoryStore(t, proxytest.Options{})
			k := start(t, up, nil)
			b := k.bucket(t)
			u := k.rawUpload(t, "/"+b+"/k", map[string]string{hdrSSE: alg, hdrKMSKey: testKeyARN})
			resp := u.mustPut(1, nil, noise(1, 5*mib))
			if resp.Header.Get(hdrSSE) != alg || resp.Header.Get(hdrKMSKey) != testKeyARN {
				t.Errorf("UploadPart: %v", resp.Header)
			}
			u.mustPut(2, map[string]string{hdrSSE: alg}, noise(2, 9))
			k.kms.failed = keystore.Errorf(keystore.AccessDenied, testKeyARN, "no")
			resp, body := u.put(2, nil, noise(2, 9))
			wantError(t, resp, body, 403, s3.AccessDenied)
			resp, body = k.do(t, "GET", u.target, nil, nil)
			wantError(t, resp, body, 403, s3.AccessDenied)
			resp, body = u.complete(nil)
			wantError(t, resp, body, 403, s3.AccessDenied)
			k.kms.failed = nil
			resp, body = u.complete(nil)
			if resp.StatusCode != 200 || resp.Header.Get(hdrSSE) != alg || resp.Header.Get(hdrKMSKey) != testKeyARN {
				t.Fatalf("%s %v\n%s", resp.Status, resp.Header, body)
			}
			_, got := k.mustDo(t, "GET", "/"+b+"/k", nil, nil)
			if !bytes.Equal(got, append(noise(1, 5*mib), noise(2, 9)...)) {
				t.Error("other bytes came back")
			}
		})
	}
}

func TestMultipartSweep(t *testing.T) {
	store, up := memoryStore(t, proxytest.Options{})
	now := time.Now()
	k := start(t, up, func(c *Config) { c.Now = func() time.Time { return now } })
	b := k.bucket(t)
	live := k.rawUpload(t, "/"+b+"/live", nil)
	live.mustPut(1, nil, noise(1, 50))
	gone := k.rawUpload(t, "/"+b+"/gone", nil)
	gone.mustPut(1, nil, noise(2, 60))
	done := k.rawUpload(t, "/"+b+"/done", nil)
	done.mustPut(1, nil, noise(3, 70))
	if resp, body := done.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	// Behind waxseal's back.
	abort, _ := http.NewRequest("DELETE", up.Endpoint+gone.target, nil)
	if resp, _ := roundTrip(t, abort); resp.StatusCode != 204 {
		t.Fatal(resp.Status)
	}
	if err := os.WriteFile(k.server.cfg.HeldDir+"/"+strings.Repeat("ab", 32)+"-00001-x"+heldTemp, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep := func() (uploads, parts, files int) {
		t.Helper()
		if err := k.server.sweepOnce(context.Background()); err != nil {
			t.Fatal(err)
		}
		u, _ := k.state.Range(context.Background(), uploadPrefix, "", 0)
		p, _ := k.state.Range(context.Background(), partPrefix, "", 0)
		return len(u), len(p), len(heldFiles(t, k))
	}
	check := func(when string, u, p, f int) {
		t.Helper()
		if gu, gp, gf := sweep(); gu != u || gp != p || gf != f {
			t.Errorf("%s: %d uploads, %d parts, %d files; want %d, %d, %d", when, gu, gp, gf, u, p, f)
		}
	}
	check("at once", 3, 2, 3)
	now = now.Add(2 * time.Hour)
	store.SetHook(proxytest.FailNotPersist("ListParts", 0))
	check("while the store fails", 3, 2, 2)
	store.SetHook(nil)
	check("later", 2, 1, 1)
	now = now.Add(keepDone)
	check("a day later", 1, 1, 1)
	now = time.Now() // signatures have dates
	if resp, body := live.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	_, got := k.mustDo(t, "GET", "/"+b+"/live", nil, nil)
	if !bytes.Equal(got, noise(1, 50)) {
		t.Error("other bytes came back")
	}
	// Parts that outlived their upload's record.
	if _, err := k.state.Txn(context.Background(), nil, []state.Op{{Key: partPrefix + "lost/00001/x", Value: []byte(`{"number":1}`)}}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	check("orphans", 1, 0, 0)
}

func TestHeldLimit(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, func(c *Config) { c.MaxHeld = 1000 })
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", nil)
	u.mustPut(1, nil, noise(1, 600))
	resp, body := u.put(2, nil, noise(1, 600))
	wantError(t, resp, body, 503, s3.SlowDown)
	k.mustDo(t, "DELETE", u.target, nil, nil)
	v := k.rawUpload(t, "/"+b+"/k", nil)
	v.mustPut(2, nil, noise(1, 600))
}

// A held part that the disk has damaged is not sent on.
func TestHeldDamaged(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", nil)
	u.mustPut(1, nil, noise(1, 600))
	path := k.server.cfg.HeldDir + "/" + heldFiles(t, k)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{flipped(good, 300), good[:len(good)-1], append(slices.Clone(good), 1)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if resp, body := u.complete(nil); resp.StatusCode < 400 {
			t.Errorf("%s\n%s", resp.Status, body)
		}
	}
	if resp, _ := k.do(t, "GET", "/"+b+"/k", nil, nil); resp.StatusCode != 404 {
		t.Errorf("an object was made of it: %s", resp.Status)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	resp, body := u.complete(nil)
	wantError(t, resp, body, 400, s3.InvalidPart)
	u.mustPut(1, nil, noise(1, 600))
	if resp, body := u.complete(nil); resp.StatusCode != 200 {
		t.Errorf("%s\n%s", resp.Status, body)
	}
}
