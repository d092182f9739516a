package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
)

// edges are the plaintext sizes where something begins or ends: segments, the inline buffer.
var edges = []int{0, 1, 1000, 65479, 65480, 65481, 131000, inlineLimit, inlineLimit + 1, 5<<20 + 3}

func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

const oddKey = "a b/ü+%2F=&?#'\"~*()!"

// TestRoundTrip writes and reads objects of all sizes that matter in every mode, whole and in ranges.
func TestRoundTrip(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		c, bucket := k.client(t), k.bucket(t)
		for name, side := range sides(t) {
			t.Run(name, func(t *testing.T) {
				for _, n := range edges {
					writeAndRead(t, c, bucket, side, random(n))
				}
			})
		}
	})
}

func writeAndRead(t *testing.T, c *minio.Client, bucket string, side encrypt.ServerSide, p []byte) {
	t.Helper()
	info := put(t, c, bucket, oddKey, p, side)
	sum := md5.Sum(p)
	if isMD5 := info.ETag == hex.EncodeToString(sum[:]); isMD5 != (side.Type() == encrypt.S3) {
		t.Errorf("%d bytes: the ETag of %s is %s, the MD5 %x", len(p), side.Type(), info.ETag, sum)
	}
	opts := minio.StatObjectOptions{Checksum: true}
	if side.Type() == encrypt.SSEC {
		opts.ServerSideEncryption = side
	}
	st, err := c.StatObject(context.Background(), bucket, oddKey, opts)
	if err != nil {
		t.Fatal(len(p), err)
	}
	if st.Size != int64(len(p)) || st.ETag != info.ETag || st.UserMetadata["Color"] != "red" || len(st.UserMetadata) != 1 || st.ChecksumCRC32C == "" && st.ChecksumCRC64NVME == "" {
		t.Errorf("%d bytes: HEAD says %+v", len(p), st)
	}
	if got := mustRead(t, c, bucket, oddKey, side); !bytes.Equal(got, p) {
		t.Fatalf("%d bytes: read back %d others", len(p), len(got))
	}
	n := int64(len(p))
	for _, r := range [][2]int64{{0, 0}, {1, 100}, {65470, 65500}, {n / 2, n + 10}, {n - 1, n - 1}} {
		if r[0] >= 0 && r[0] < n {
			readRange(t, c, bucket, opts, p, r[0], min(r[1], n-1))
		}
	}
}

func readRange(t *testing.T, c *minio.Client, bucket string, opts minio.StatObjectOptions, p []byte, first, last int64) {
	t.Helper()
	opts.Checksum = false
	if err := opts.SetRange(first, last); err != nil {
		t.Fatal(err)
	}
	core := minio.Core{Client: c}
	body, info, h, err := core.GetObject(context.Background(), bucket, oddKey, opts)
	if err != nil {
		t.Fatal(len(p), first, last, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, p[first:last+1]) || info.Size != int64(len(got)) || h.Get("Content-Range") == "" {
		t.Fatalf("%d bytes, range %d-%d: %d bytes, %v", len(p), first, last, len(got), err)
	}
}

// TestLostServiceKey: an object's bytes and metadata and the KMS are enough to read it, and show the same.
func TestLostServiceKey(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		c, bucket := k.client(t), k.bucket(t)
		for i := range 4 {
			n := []int{1000, inlineLimit + 1}[i%2]
			k.root.serviceID = serviceIDs[i/2]
			p := random(n)
			info := put(t, c, bucket, "object", p, nil)
			k.root.forget()
			st, err := c.StatObject(context.Background(), bucket, "object", minio.StatObjectOptions{})
			if err != nil || st.ETag != info.ETag || st.Size != int64(n) {
				t.Fatalf("%d bytes: %+v %v", n, st, err)
			}
			if got := mustRead(t, c, bucket, "object", nil); !bytes.Equal(got, p) {
				t.Fatalf("%d bytes: read back others", n)
			}
		}
	})
}

// TestLostServiceKeyWrites: without the service key that vouched for it, an object is copied with its own customer's key,
// and overwritten under a condition, whatever key is for what is written.
func TestLostServiceKeyWrites(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	for i := range 4 {
		size := []int{1000, inlineLimit + 5}[i%2]
		k.root.serviceID = serviceIDs[i/2]
		data := noise(1, size)
		customer, _ := k.mustDo(t, "PUT", "/bkt/c", sseC(1), data)
		plain, _ := k.mustDo(t, "PUT", "/bkt/plain", nil, data)
		k.root.forget()
		for name, h := range map[string]hdr{
			"from SSE-C":         with(hdr{"x-amz-copy-source": "/bkt/c"}, copyC(1)),
			"from SSE-C to such": with(hdr{"x-amz-copy-source": "/bkt/c"}, copyC(1), sseC(2)),
			"to SSE-C":           with(hdr{"x-amz-copy-source": "/bkt/plain"}, sseC(2)),
			"straight":           {"x-amz-copy-source": "/bkt/plain"},
		} {
			k.mustDo(t, "PUT", "/bkt/copy", h, nil)
			read := hdr{}
			if h[hdrSSEC+"key"] != "" {
				read = sseC(2)
			}
			if _, got := k.mustDo(t, "GET", "/bkt/copy", read, nil); !bytes.Equal(got, data) {
				t.Errorf("%s: the copy is other bytes", name)
			}
		}
		k.mustDo(t, "PUT", "/bkt/plain", with(hdr{"If-Match": plain.Header.Get("Etag")}, sseC(2)), data)
		k.mustDo(t, "PUT", "/bkt/c", with(hdr{"If-Match": customer.Header.Get("Etag")}, sseC(1)), data)
	}
}

// TestKMSDown: a KMS that does not answer is a retryable error, and nothing is half-written.
func TestKMSDown(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		c, bucket := k.client(t), k.bucket(t)
		c.TraceOff()
		side := sides(t)["SSE-KMS"]
		k.kms.fail(keystore.Errorf(keystore.Unavailable, testKeyARN, "down"))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		core := minio.Core{Client: c}
		_, err := core.PutObject(ctx, bucket, "object", &notSeekable{bytes.NewReader(random(100))}, 100, "", "", minio.PutObjectOptions{ServerSideEncryption: side, DisableMultipart: true})
		var e minio.ErrorResponse
		if !errors.As(err, &e) || e.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("PUT: %v", err)
		}
		k.kms.fail(nil)
		if _, err := c.StatObject(ctx, bucket, "object", minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != http.StatusNotFound {
			t.Fatalf("HEAD after the failed PUT: %v", err)
		}
	})
}

// notSeekable keeps minio-go from sending a body twice.
type notSeekable struct{ r io.Reader }

func (n *notSeekable) Read(p []byte) (int, error) { return n.r.Read(p) }
