package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// Parts and manifests of one upload do not open in another, nor earlier sends of a part, nor parts in another order.
func TestMultipartTampering(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
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
	forEachStore(t, func(t *testing.T, up store.Config) {
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
			"x-amz-copy-source": "/" + b + "/" + s3.EscapePath("dir/söurce +%"), hdrCopySSE + "algorithm": "AES256",
			hdrCopySSE + "key": s3.Base64(key), hdrCopySSE + "key-MD5": s3.Base64(sum[:]),
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
			if doc.ETag != s3.Quote(hex.EncodeToString(sum[:])) {
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
		refused(with(plain, "x-amz-copy-source-range", "bytes=0-10"), 400, s3.InvalidArgumentCode)
		refused(with(plain, "x-amz-copy-source-range", "bytes=10-11"), 400, s3.InvalidRequest)
		for _, r := range []string{"0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=3-2", "bytes=-3"} {
			refused(with(plain, "x-amz-copy-source-range", r), 400, s3.InvalidArgumentCode)
		}
		refused(with(plain, "x-amz-copy-source-if-match", `"other"`), 412, s3.PreconditionFailed)
		refused(with(plain, "x-amz-copy-source-if-unmodified-since", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)), 412, s3.PreconditionFailed)
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
		return map[string]string{hdrSSEC + "algorithm": "AES256", hdrSSEC + "key": s3.Base64(key), hdrSSEC + "key-MD5": s3.Base64(sum[:])}
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

// TestKeysOfACallAreZeroed: the keys that a call keeps, an upload's data keys and the client's own, are gone when it is done.
func TestKeysOfACallAreZeroed(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	for mode, header := range encryptionHeaders() {
		t.Run(mode, func(t *testing.T) {
			m := k.rawUpload(t, "/bkt/a", header)
			c := &call{s: k.server, ctx: new(fasthttp.RequestCtx), Session: objects.Session{Vault: k.server.vault, Up: t.Context()}, parsed: parsed{bucket: "bkt", key: "a"}, sender: sender{auth: &sigv4.Auth{Kind: sigv4.HeaderV4}}}
			c.From = c
			c.query, _ = s3.ParseQuery("partNumber=1&uploadId="+url.QueryEscape(m.id), sigv4.MaxParameters)
			if mode == "SSE-C" {
				for name, value := range header {
					c.head = append(c.head, sigv4.Header{Name: name, Value: value})
				}
			}
			w, err := c.newPartWrite()
			if err != nil {
				t.Fatal(err)
			}
			p := &completion{call: c, upload: w.upload}
			if err := p.openKeys(); err != nil {
				t.Fatal(err)
			}
			kept := []*sse.Key{&w.keys.Data, &p.keys.Data}
			if mode == "DSSE-KMS" {
				kept = append(kept, &w.keys.Outer, &p.keys.Outer)
			}
			if mode == "SSE-C" {
				kept = append(kept, &w.customer.Key, &p.customer.Key)
			}
			for i, key := range kept {
				if key.IsZero() {
					t.Errorf("key %d is not there in the first place", i)
				}
			}
			c.Close()
			for i, key := range kept {
				if !key.IsZero() {
					t.Errorf("key %d is still there", i)
				}
			}
		})
	}
}
