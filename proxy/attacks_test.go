package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// The tests of this file, and those of others that docs/threat-model.md names beside each attack, make the attacks
// that were thought of against the design.

// TestReplayedPart (attacks A1, A2): a part that was sent twice, and then taken in its earlier form, whole or in
// part, is not what the client completed.
func TestReplayedPart(t *testing.T) {
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	u := k.upload(t, b, "object", nil)
	var earlier []byte
	u.mustPut(1, noise(1, 5<<20))
	up.MutateParts(func(_ string, _ int, body []byte) []byte {
		earlier = slices.Clone(body)
		return body
	})
	u.mustPut(1, noise(2, 5<<20))
	u.mustPut(2, noise(3, 100))
	u.mustComplete()
	o, _ := up.Object(b, "object")
	n := len(earlier)
	if n != int(sse.SealedSize(5<<20, 1)) || bytes.Equal(o.Body[:n], earlier) {
		t.Fatal("the earlier send was not caught")
	}
	for name, body := range map[string][]byte{
		"the whole part":      slices.Concat(earlier, o.Body[n:]),
		"its stream's header": slices.Concat(earlier[:sse.StreamHeaderSize], o.Body[sse.StreamHeaderSize:]),
		"its first segment":   slices.Concat(earlier[:sse.SegmentSize], o.Body[sse.SegmentSize:]),
		"a middle segment":    slices.Concat(o.Body[:sse.SegmentSize], earlier[sse.SegmentSize:2*sse.SegmentSize], o.Body[2*sse.SegmentSize:]),
		"all but the header":  slices.Concat(o.Body[:sse.StreamHeaderSize], earlier[sse.StreamHeaderSize:], o.Body[n:]),
	} {
		up.Mutate(b, "object", func(s *proxytest.Stored) { s.Body = body })
		status, got := k.readCut(t, "/"+b+"/object")
		if status < 400 && len(got) == 5<<20+100 || !bytes.HasPrefix(noise(2, 5<<20), got) && status < 400 {
			t.Errorf("%s: answered %d with %d bytes", name, status, len(got))
		}
	}
}

// TestPartsOfAnEarlierComplete: what the store refused to complete it can still serve, for it has been given a manifest:
// the whole set of parts of that Complete, and nothing that is of two.
func TestPartsOfAnEarlierComplete(t *testing.T) {
	store, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	path := "/" + b + "/object"
	k.mustDo(t, "PUT", path, nil, []byte("there"))
	u := k.rawUpload(t, path, nil)
	u.mustPut(1, nil, noise(1, 5*mib))
	u.mustPut(2, nil, noise(2, 5*mib))
	if resp, body := u.complete(map[string]string{"If-None-Match": "*"}); resp.StatusCode != http.StatusPreconditionFailed {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	kept := map[int][]byte{}
	store.MutateParts(func(_ string, n int, body []byte) []byte {
		if kept[n] == nil {
			kept[n] = slices.Clone(body)
		}
		return body
	})
	u.mustPut(2, nil, noise(3, 5*mib))
	if resp, body := u.complete(nil); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	o, _ := store.Object(b, "object")
	n := len(kept[1])
	part2, manifest := o.Body[n:2*n], o.Body[2*n:]
	for _, c := range []struct {
		name            string
		part2, manifest []byte
		want            []byte
	}{
		{"the completed set", part2, manifest, noise(3, 5*mib)},
		{"the set of the refused Complete", kept[2], kept[lastPart], noise(2, 5*mib)},
		{"the withdrawn part", kept[2], manifest, nil},
		{"the refused manifest", part2, kept[lastPart], nil},
	} {
		k := start(t, up, func(c *Config) { c.Root = k.root }) // nothing is cached
		store.Mutate(b, "object", func(s *proxytest.Stored) { s.Body = slices.Concat(kept[1], c.part2, c.manifest) })
		status, got := k.readCut(t, path)
		opened := status == http.StatusOK && len(got) == 10*mib
		if opened != (c.want != nil) || opened && !bytes.Equal(got[5*mib:], c.want) {
			t.Errorf("%s: answered %d with %d bytes", c.name, status, len(got))
		}
	}
}

// readCut reads an object whose answer may be cut short, and gives what came.
func (k *kit) readCut(t *testing.T, path string) (status int, got []byte) {
	t.Helper()
	c := k.dial(t).send(k.head("GET", path, nil) + "\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.ReadFrom(resp.Body)
	return resp.StatusCode, b.Bytes()
}

// TestEnvelopeEveryByte (attack A3): there is no byte of an envelope that a store could change without its being
// noticed, by HEAD, which opens no key, and by GET.
func TestEnvelopeEveryByte(t *testing.T) {
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	path := "/" + b + "/object"
	k.mustDo(t, http.MethodPut, path, map[string]string{hdrSSE: algKMS, hdrKMSKey: testKeyARN}, []byte("sealed"))
	o, _ := up.Object(b, "object")
	text := o.Header.Get(s3.HeaderEnvelope)
	for i := range len(text) {
		for _, ch := range []byte{'A', 'z'} {
			if text[i] == ch {
				continue
			}
			forged := text[:i] + string(ch) + text[i+1:]
			up.Mutate(b, "object", func(s *proxytest.Stored) { s.Header.Set(s3.HeaderEnvelope, forged) })
			if resp, body := k.do(t, http.MethodGet, path, nil, nil); resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Fatalf("byte %d: GET answers %s %q", i, resp.Status, body)
			}
			resp, _ := k.do(t, http.MethodHead, path, nil, nil)
			if resp.StatusCode == http.StatusOK && (resp.Header.Get("Content-Length") != "6" || resp.Header.Get("Etag") != s3.Quote(o.ETag)) {
				t.Fatalf("byte %d: HEAD shows %v", i, resp.Header)
			}
		}
	}
}

// TestCompression (attack A8): only what fits in memory is compressed, never under a client's key, and nobody can tell
// by sizes, ranges or digests.
func TestCompression(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) {
		c.AllowInsecureSSEC = true
		c.Compression = []CompressionRule{{Bucket: "logs", Types: []string{"text/*", "application/json"}}}
	})
	up.CreateBucket("logs")
	up.CreateBucket("other")
	line := []byte("the same line again and again, with a number: ")
	var text []byte
	for i := 0; len(text) < 3<<20; i++ {
		text = fmt.Appendf(append(text, line...), "%d\n", i)
	}
	key := noise(3, 32)
	customer := map[string]string{hdrSSEC + "algorithm": algAES256, hdrSSEC + "key": s3.Base64(key), hdrSSEC + "key-MD5": s3.Base64(md5Sum(key))}
	large := bytes.Repeat(text, 16<<20/len(text)+1)
	for _, tc := range []struct {
		path, kind string
		header     map[string]string
		data       []byte
		small      bool
	}{
		{"/logs/a", "text/plain; charset=utf-8", nil, text, true},
		{"/logs/b", "application/json", nil, text[:5000], true},
		{"/logs/c", "application/json", map[string]string{hdrSSE: algKMS, hdrKMSKey: testKeyARN}, text, true},
		{"/logs/d", "application/octet-stream", nil, text, false},
		{"/logs/e", "text/plain", customer, text, false},
		{"/logs/f", "text/plain", nil, large, false},
		{"/logs/g", "text/plain", nil, noise(1, 100_000), false},
		{"/logs/h", "text/plain", nil, nil, false},
		{"/other/a", "text/plain", nil, text, false},
	} {
		header := map[string]string{"Content-Type": tc.kind, "Content-Md5": s3.Base64(md5Sum(tc.data))}
		for n, v := range tc.header {
			header[n] = v
		}
		put, _ := k.mustDo(t, http.MethodPut, tc.path, header, tc.data)
		bucket, name, _ := strings.Cut(tc.path[1:], "/")
		o, _ := up.Object(bucket, name)
		if got := len(o.Body) < len(tc.data); got != tc.small {
			t.Errorf("%s: %d bytes are %d at the store", tc.path, len(tc.data), len(o.Body))
		}
		read := map[string]string{}
		if tc.header[hdrSSEC+"key"] != "" {
			read = tc.header
		}
		resp, got := k.mustDo(t, http.MethodGet, tc.path, read, nil)
		if !bytes.Equal(got, tc.data) || resp.Header.Get("Etag") != put.Header.Get("Etag") {
			t.Errorf("%s: read back %d other bytes, ETag %s", tc.path, len(got), resp.Header.Get("Etag"))
		}
		if resp, _ := k.mustDo(t, http.MethodHead, tc.path, read, nil); resp.Header.Get("Content-Length") != fmt.Sprint(len(tc.data)) {
			t.Errorf("%s: HEAD says %s bytes", tc.path, resp.Header.Get("Content-Length"))
		}
		for _, r := range [][2]int{{0, 0}, {1, 4000}, {1 << 20, 1<<20 + 70_000}, {len(tc.data) - 1, len(tc.data) - 1}} {
			if r[0] < 0 || r[1] >= len(tc.data) {
				continue
			}
			ranged := map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", r[0], r[1])}
			for n, v := range read {
				ranged[n] = v
			}
			if resp, got := k.do(t, http.MethodGet, tc.path, ranged, nil); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, tc.data[r[0]:r[1]+1]) {
				t.Errorf("%s %v: %s, %d bytes", tc.path, r, resp.Status, len(got))
			}
		}
	}
	_, list := k.mustDo(t, http.MethodGet, "/logs?prefix=a", nil, nil)
	if !bytes.Contains(list, fmt.Appendf(nil, "<Size>%d</Size>", len(text))) {
		t.Errorf("the list says\n%s", list)
	}
	// A copy that becomes a client's own is not compressed either.
	header := map[string]string{"x-amz-copy-source": "/logs/a"}
	for n, v := range customer {
		header[n] = v
	}
	k.mustDo(t, http.MethodPut, "/logs/copy", header, nil)
	if o, _ := up.Object("logs", "copy"); len(o.Body) < len(text) {
		t.Errorf("the copy is %d bytes at the store", len(o.Body))
	}
	if _, got := k.mustDo(t, http.MethodGet, "/logs/copy", customer, nil); !bytes.Equal(got, text) {
		t.Error("the copy is other bytes")
	}
}

// TestCompressionPlaces: slow clients whose bodies are being compressed hold up nobody else.
func TestCompressionPlaces(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.Compression = []CompressionRule{{Bucket: "logs", Types: []string{"text/*"}}} })
	up.CreateBucket("logs")
	for range compressingAtOnce {
		k.server.compressing <- struct{}{}
	}
	for _, size := range []int{1000, inlineLimit + 1000} {
		text := bytes.Repeat([]byte("x"), size)
		k.mustDo(t, http.MethodPut, "/logs/a", map[string]string{"Content-Type": "text/plain"}, text)
		if _, got := k.mustDo(t, http.MethodGet, "/logs/a", nil, nil); !bytes.Equal(got, text) {
			t.Errorf("%d bytes are others", size)
		}
	}
}

// TestMetadataLimit (attack D2): what the envelope leaves of the store's limit is told before a byte goes up.
func TestMetadataLimit(t *testing.T) {
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	k.mustDo(t, http.MethodPut, "/"+b+"/there", nil, []byte("x"))
	up.ClearRequests()
	header := map[string]string{"x-amz-meta-m": strings.Repeat("m", 1990)}
	for _, tc := range []struct{ method, path string }{
		{"PUT", "/" + b + "/object"}, {"POST", "/" + b + "/object?uploads="},
	} {
		resp, body := k.do(t, tc.method, tc.path, header, []byte("x")[:len(tc.method)%4/3])
		wantError(t, resp, body, http.StatusBadRequest, s3.MetadataTooLarge)
	}
	if got := up.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
	header["x-amz-copy-source"], header["x-amz-metadata-directive"] = "/"+b+"/there", "REPLACE"
	resp, body := k.do(t, "PUT", "/"+b+"/object", header, nil)
	wantError(t, resp, body, http.StatusBadRequest, s3.MetadataTooLarge)
	k.mustDo(t, http.MethodPut, "/"+b+"/object", map[string]string{"x-amz-meta-m": strings.Repeat("m", 1300)}, []byte("x"))
}

// TestLargestPut (attack D3): a PUT or a part larger than the store's 5 GiB after sealing is refused by name before it is
// read. The sealed size counts the layers of the mode and the manifest.
func TestLargestPut(t *testing.T) {
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	double := map[string]string{hdrSSE: algDSSE, hdrKMSKey: testKeyARN}
	upload := func(header map[string]string) string {
		return k.rawUpload(t, "/"+b+"/parts", header).target + "&partNumber=1"
	}
	for _, c := range []struct {
		name, target string
		header       map[string]string
		largest      int64
	}{
		{"PUT", "/" + b + "/object", nil, 5367398079},
		{"PUT in two layers", "/" + b + "/object", double, 5366087600},
		{"part", upload(nil), nil, 5367398360},
		{"part in two layers", upload(double), nil, 5366087920},
	} {
		if got := k.offer(t, c.target, c.header, c.largest); got != "400 IncompleteBody " {
			t.Errorf("%s of %d bytes: %s", c.name, c.largest, got)
		}
		want := fmt.Sprintf("400 EntityTooLarge %d", c.largest)
		if got := k.offer(t, c.target, c.header, c.largest+1); got != want {
			t.Errorf("%s of one byte more: %s", c.name, got)
		}
		for _, size := range []int64{maxPut + 1, 1 << 62} {
			if got := k.offer(t, c.target, c.header, size); !strings.HasPrefix(got, "400 EntityTooLarge ") {
				t.Errorf("%s of %d bytes: %s", c.name, size, got)
			}
		}
	}
	if _, there := up.Object(b, "object"); there {
		t.Error("it became an object")
	}
}

// offer announces a PUT of a size and breaks off where it is let in. It gives the status, and what the error names.
func (k *kit) offer(t *testing.T, target string, header map[string]string, size int64) string {
	t.Helper()
	h := map[string]string{"Expect": "100-continue"}
	maps.Copy(h, header)
	c := k.dial(t).send(k.head("PUT", target, h) + fmt.Sprintf("Content-Length: %d\r\n\r\n", size))
	defer c.Close()
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil && resp.StatusCode == http.StatusContinue {
		c.send(strings.Repeat("x", prefetchBytes)).Conn.(*net.TCPConn).CloseWrite()
		resp, err = http.ReadResponse(c.r, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_, largest, _ := strings.Cut(string(body), "<MaxSizeAllowed>")
	largest, _, _ = strings.Cut(largest, "<")
	return fmt.Sprint(resp.StatusCode, " ", s3.ParseError(resp.StatusCode, body).Code, " ", largest)
}

// TestLargestPutFits: what a PUT may have is exactly what fits the store's with the longest manifest behind it, and no
// streamed object's manifest is longer.
func TestLargestPutFits(t *testing.T) {
	for layers := 1; layers <= 2; layers++ {
		for _, behind := range []int64{0, longestManifest[layers]} {
			n := maxSealable(layers, behind)
			if got := sse.SealedSize(n, layers) + behind; got > maxPut {
				t.Errorf("%d bytes seal into %d", n, got)
			}
			if got := sse.SealedSize(n+1, layers) + behind; got <= maxPut {
				t.Errorf("%d bytes would fit", n+1)
			}
		}
	}
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	k.mustDo(t, "PUT", "/"+b+"/source", nil, noise(1, inlineLimit+1))
	for mode, header := range encryptionHeaders() {
		if mode == "SSE-C" {
			continue // a kit without TLS; it seals as SSE-KMS does
		}
		h := map[string]string{"x-amz-copy-source": "/" + b + "/source", "x-amz-checksum-algorithm": "SHA512"}
		maps.Copy(h, header)
		k.mustDo(t, "PUT", "/"+b+"/copy", h, nil)
		layers := 1
		if mode == "DSSE-KMS" {
			layers = 2
		}
		o, _ := up.Object(b, "copy")
		manifest := int64(len(o.Body)) - sse.SealedSize(inlineLimit+1, layers)
		if manifest <= 0 || manifest > longestManifest[layers] || mode == "SSE-S3" && manifest != longestManifest[layers] {
			t.Errorf("%s: a manifest of %d bytes, the longest has %d", mode, manifest, longestManifest[layers])
		}
	}
}

// TestLargestCopy: a copy that is sealed anew has the limit of a PUT, although its source may have 5 GiB.
func TestLargestCopy(t *testing.T) {
	for mode, largest := range map[sse.Mode]int64{sse.SSES3: 5367398079, sse.SSEKMS: 5367398079, sse.DSSEKMS: 5366087600} {
		for _, size := range []int64{largest + 1, maxPut} {
			p := &copying{source: &objects.Object{Size: size}, enc: &objects.Encryption{Mode: mode}}
			var e *s3.Error
			if err := p.checkSize(size); err != nil {
				t.Errorf("%v, %d bytes: %v", mode, size, err)
			}
			if err := p.reencrypt(); !errors.As(err, &e) || e.Code != s3.EntityTooLarge {
				t.Errorf("%v, %d bytes: %v", mode, size, err)
			}
		}
	}
}

// TestDeclaredDigests (attack D4): digests that come in headers are held against the body before the store commits it,
// and are enough to know the object by: it needs no manifest.
func TestDeclaredDigests(t *testing.T) {
	k, up := memoryKit(t, nil)
	b := k.bucket(t)
	path := "/" + b + "/object"
	for _, size := range []int{100, inlineLimit + 100_000} {
		data := noise(5, size)
		header := map[string]string{"Content-Md5": s3.Base64(md5Sum(data)), "x-amz-checksum-sha256": s3.Base64(sha256Of(string(data)))}
		k.mustDo(t, http.MethodPut, path, header, data)
		if o, _ := up.Object(b, "object"); len(o.Body) != int(sse.SealedSize(int64(size), 1)) {
			t.Errorf("%d bytes have a manifest", size)
		}
		for name := range header {
			wrong := map[string]string{"Content-Md5": header["Content-Md5"], "x-amz-checksum-sha256": header["x-amz-checksum-sha256"]}
			wrong[name] = wrong[name][4:8] + wrong[name][:4] + wrong[name][8:]
			resp, body := k.do(t, http.MethodPut, path, wrong, noise(6, size))
			wantError(t, resp, body, http.StatusBadRequest, s3.BadDigest)
			if _, got := k.mustDo(t, http.MethodGet, path, nil, nil); !bytes.Equal(got, data) {
				t.Errorf("%d bytes: a wrong %s replaced the object", size, name)
			}
		}
	}
}

// TestThreatModelNamesTests: every test that docs/threat-model.md names is there.
func TestThreatModelNamesTests(t *testing.T) {
	page, err := os.ReadFile("../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"sse": "../sse", "proxy": ".", "main": "../cmd/waxseal", "server": "server", "jobs": "jobs", "embedded": "embedded",
		"store": "store", "uploads": "uploads", "keyed": "keyed", "objects": "objects", "ledger": "ledger", "console": "console"}
	for _, name := range []string{"iam", "audit", "bucketkey", "rootkey", "enforce", "kmsapi", "local", "sigv4", "state", "strictjson", "unproven", "forwarded", "usage", "directory", "iamapi", "stsapi", "webidentity", "awsquery"} {
		folders[name] = "../keystore/" + name
	}
	folders["keystore"] = "../keystore"
	source := map[string]string{}
	for name, folder := range folders {
		files, err := filepath.Glob(folder + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source[name] += string(b)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile("`([a-z0-9]+)[.](Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1) {
		if m[1] == "package" {
			continue
		}
		found++
		if !strings.Contains(source[m[1]], "\nfunc "+m[2]+"(t *testing.T)") {
			t.Errorf("there is no %s.%s", m[1], m[2])
		}
	}
	if found < 50 {
		t.Errorf("only %d tests are named", found)
	}
}
