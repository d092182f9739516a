package proxy

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
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
	forEachStore(t, func(t *testing.T, up store.Config) {
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
	forEachStore(t, func(t *testing.T, up store.Config) {
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
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>", s3.InvalidPart},
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag><ChecksumSHA1>AAAA</ChecksumSHA1></Part>", s3.InvalidArgumentCode},
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag><ChecksumCRC32>no base64</ChecksumCRC32></Part>", s3.InvalidArgumentCode},
			{"<Part><PartNumber>1</PartNumber><ETag>" + u.etags[1] + "</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part>", s3.InvalidArgumentCode},
			{"<Part><PartNumber>1</PartNumber></Part>", s3.MalformedXML},
			{"<Part><ETag>" + u.etags[1] + "</ETag></Part>", s3.MalformedXML},
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
			for _, target := range []string{u.target, "/" + b + "/k?uploadId=none"} {
				resp, body = k.do(t, "PUT", target+"&partNumber="+n, nil, []byte("data"))
				wantError(t, resp, body, 400, s3.InvalidArgumentCode)
				resp, body = k.do(t, "PUT", target+"&partNumber="+n, map[string]string{"x-amz-copy-source": b + "/k"}, nil)
				wantError(t, resp, body, 400, s3.InvalidArgumentCode)
			}
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

// TestCompleteObjectChecksumForm holds x-amz-checksum-* and its kin of a Complete to their form, with every algorithm.
func TestCompleteObjectChecksumForm(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	refused := func(u *rawUpload, header map[string]string, code s3.Code, message string) {
		t.Helper()
		resp, body := u.complete(header)
		wantError(t, resp, body, 400, code)
		if !strings.Contains(string(body), message) {
			t.Errorf("%v: %s", header, body)
		}
	}
	for _, kind := range s3.Algorithms {
		u := k.rawUpload(t, "/"+b+"/"+kind.Name, map[string]string{"x-amz-checksum-algorithm": kind.Name})
		sum := s3.Base64(newSum(kind.ID, []byte("data")))
		u.mustPut(1, map[string]string{kind.Header: sum}, []byte("data"))
		u.sums[1] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", kind.Name, sum, kind.Name)
		for _, value := range []string{"no base64", "AAA=", sum + "-", sum + "--1", sum + "-1-1", sum + "-x", ""} {
			refused(u, map[string]string{kind.Header: value}, s3.InvalidRequest, "Value for "+kind.Header+" header is invalid.")
		}
		other := s3.Algorithms[0]
		if kind.ID == other.ID {
			other = s3.Algorithms[1]
		}
		refused(u, map[string]string{kind.Header: sum, other.Header: ""}, s3.InvalidRequest, "Multiple checksum Types are not allowed.")
		refused(u, map[string]string{"x-amz-checksum-type": "HALF_OBJECT"}, s3.InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
		refused(u, map[string]string{"x-amz-mp-object-size": "-1"}, s3.InvalidRequest, "is less than zero: '-1'")
		resp, body := u.put(1, map[string]string{kind.Header: "", other.Header: ""}, []byte("data"))
		wantError(t, resp, body, 400, s3.InvalidRequest)
		if !strings.Contains(string(body), "Multiple checksum Types are not allowed.") {
			t.Errorf("%s", body)
		}
		u.sums[1] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", other.Name, s3.Base64(newSum(other.ID, []byte("data"))), other.Name)
		refused(u, nil, s3.BadDigest, "The "+strings.ToLower(other.Name)+" you specified for part 1 did not match what we received.")
		u.sums[1] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", kind.Name, sum, kind.Name)
		if resp, body := u.complete(nil); resp.StatusCode != 200 {
			t.Errorf("%s: %s\n%s", kind.Name, resp.Status, body)
		}
	}
	resp, body := k.do(t, "POST", "/"+b+"/k?uploads", map[string]string{"x-amz-checksum-type": "HALF_OBJECT"}, nil)
	wantError(t, resp, body, 400, s3.InvalidRequest)
	if !strings.Contains(string(body), "Value for x-amz-checksum-type header is invalid.") {
		t.Errorf("%s", body)
	}
}

// TestCompleteObjectChecksumCeph: in Ceph what is no checksum is a wrong one.
func TestCompleteObjectChecksumCeph(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.CompatCeph = true })
	u := k.rawUpload(t, "/bkt/k", map[string]string{"x-amz-checksum-algorithm": "SHA256"})
	u.mustPut(1, map[string]string{"x-amz-checksum-sha256": s3.Base64(newSum(sse.SHA256, []byte("data")))}, []byte("data"))
	resp, body := u.complete(map[string]string{"x-amz-checksum-sha256": "bad"})
	wantError(t, resp, body, 400, s3.BadDigest)
}

func TestMultipartBadDigest(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", map[string]string{"x-amz-checksum-algorithm": "SHA256"})
	for _, size := range []int{10, 5 * mib} {
		data := noise(1, size)
		sum := s3.Base64(newSum(sse.SHA256, data))
		wrong := s3.Base64(newSum(sse.SHA256, []byte("other")))
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

func TestMultipartConditions(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
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
