package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// memoryKit is a proxy in front of an in-memory store that the test can reach into.
func memoryKit(t *testing.T, change func(*Config)) (*kit, *proxytest.Upstream) {
	t.Helper()
	up, url := proxytest.StartUpstream(t, proxytest.Options{})
	return start(t, store.Config{Endpoint: url, AccessKey: "memory", SecretKey: "memory-secret"}, change), up
}

// TestNoPlaintextAtTheStore: neither bodies nor metadata nor headers on the way hold a byte of it, or its digest.
func TestNoPlaintextAtTheStore(t *testing.T) {
	k, up := memoryKit(t, nil)
	c, bucket := k.client(t), k.bucket(t)
	marker := "the-plaintext-that-nobody-may-find"
	for _, n := range []int{1, 3000, inlineLimit} {
		p := []byte(strings.Repeat(marker, n/len(marker)+1))
		info := put(t, c, bucket, "object", p, nil)
		for _, secret := range []string{marker, info.ETag, info.ChecksumCRC32C} {
			if secret != "" && (up.Contains([]byte(secret)) || up.Saw(secret)) {
				t.Errorf("%d bytes: the store has seen %q", n, secret)
			}
		}
	}
}

// tampering is one thing that a store may do to an object.
type tampering struct {
	name   string
	change func(o, other *proxytest.Stored)
	// late says that the first segment is untouched, so that the answer begins and is cut.
	late bool
}

var tamperings = []tampering{
	{"a bit of the first segment", func(o, _ *proxytest.Stored) { o.Body[100] ^= 1 }, false},
	{"a bit of the last segment", func(o, _ *proxytest.Stored) { o.Body[sealedEnd(o)-20] ^= 1 }, true},
	{"a bit of the stream's salt", func(o, _ *proxytest.Stored) { o.Body[5] ^= 1 }, false},
	{"the last byte is gone", func(o, _ *proxytest.Stored) { o.Body = o.Body[:len(o.Body)-1] }, false},
	{"a whole segment is gone", func(o, _ *proxytest.Stored) { o.Body = append(o.Body[:65536:65536], o.Body[2*65536:]...) }, false},
	{"the first segment only", func(o, _ *proxytest.Stored) { o.Body = o.Body[:65536] }, false},
	{"a byte is added", func(o, _ *proxytest.Stored) { o.Body = append(o.Body, 0) }, false},
	{"segments are swapped", func(o, _ *proxytest.Stored) {
		a := bytes.Clone(o.Body[65536 : 2*65536])
		copy(o.Body[65536:], o.Body[2*65536:3*65536])
		copy(o.Body[2*65536:], a)
	}, true},
	{"another object's body", func(o, other *proxytest.Stored) { o.Body = other.Body }, false},
	{"another object's envelope", func(o, other *proxytest.Stored) {
		o.Header.Set(s3.HeaderEnvelope, other.Header.Get(s3.HeaderEnvelope))
	}, false},
	{"another object whole", func(o, other *proxytest.Stored) { *o = *other }, false},
	{"no envelope", func(o, _ *proxytest.Stored) { o.Header.Del(s3.HeaderEnvelope) }, false},
	{"a cut envelope", func(o, _ *proxytest.Stored) {
		e := o.Header.Get(s3.HeaderEnvelope)
		o.Header.Set(s3.HeaderEnvelope, e[:len(e)-4])
	}, false},
	{"a changed envelope", func(o, _ *proxytest.Stored) {
		e := []byte(o.Header.Get(s3.HeaderEnvelope))
		e[20] ^= 1
		o.Header.Set(s3.HeaderEnvelope, string(e))
	}, false},
	{"plaintext without an envelope", func(o, _ *proxytest.Stored) {
		o.Header.Del(s3.HeaderEnvelope)
		o.Body = []byte("trust me")
	}, false},
	{"empty", func(o, _ *proxytest.Stored) { o.Body = nil }, false},
}

// sealedEnd is where an object's sealed part ends, its manifest cut off.
func sealedEnd(o *proxytest.Stored) int {
	if f, err := sse.ParseFooter(o.Body[max(0, len(o.Body)-sse.TailSize):]); err == nil {
		return len(o.Body) - int(f.ManifestSize())
	}
	return len(o.Body)
}

// TestTampering: whatever a store does to an object, no byte that was not written comes out, and the client learns
// of it: before the first byte by an error that it will not retry, later by an answer that ends too early.
func TestTampering(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for _, size := range []int{300_000, inlineLimit + 70_000} {
		for _, tamper := range tamperings {
			t.Run(tamper.name, func(t *testing.T) { tamperAndRead(t, size, tamper) })
		}
	}
}

func tamperAndRead(t *testing.T, size int, tamper tampering) {
	k, up := memoryKit(t, nil)
	c, bucket := k.client(t), k.bucket(t)
	p := random(size)
	put(t, c, bucket, "object", p, nil)
	put(t, c, bucket, "other", random(size), nil)
	other, ok := up.Object(bucket, "other")
	if !ok {
		t.Fatal("the store has lost the other object")
	}
	if !up.Mutate(bucket, "object", func(o *proxytest.Stored) { tamper.change(o, &other) }) {
		t.Fatal("the store has lost the object")
	}
	core := minio.Core{Client: c}
	body, _, _, err := core.GetObject(context.Background(), bucket, "object", minio.GetObjectOptions{})
	if err != nil {
		if status := minio.ToErrorResponse(err).StatusCode; status < 400 || status >= 500 {
			t.Errorf("refused with status %d: %v", status, err)
		}
		return
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil {
		t.Fatalf("read %d bytes without an error", len(got))
	}
	if !tamper.late {
		t.Errorf("the answer began: %d bytes, then %v", len(got), err)
	}
	if !bytes.HasPrefix(p, got) {
		t.Fatalf("released %d bytes that were not written", len(got))
	}
}

// TestMovedByTheStore: an object under another name does not open, unless the operator declared the bucket's alias.
func TestMovedByTheStore(t *testing.T) {
	k, up := memoryKit(t, func(c *Config) { c.BucketAliases = map[string]string{"dr-photos": "photos"} })
	c := k.client(t)
	ctx := context.Background()
	for _, b := range []string{"photos", "dr-photos", "elsewhere"} {
		if err := c.MakeBucket(ctx, b, minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	p := random(1000)
	put(t, c, "photos", "cat", p, nil)
	o, _ := up.Object("photos", "cat")
	for _, b := range []string{"dr-photos", "elsewhere"} {
		up.PutObject(b, "cat", o.Body, o.Header)
	}
	up.PutObject("photos", "dog", o.Body, o.Header)
	if got := mustRead(t, c, "dr-photos", "cat", nil); !bytes.Equal(got, p) {
		t.Error("the alias does not open")
	}
	for _, at := range []objects.Place{{Bucket: "elsewhere", Key: "cat"}, {Bucket: "photos", Key: "dog"}} {
		if _, err := c.StatObject(ctx, at.Bucket, at.Key, minio.StatObjectOptions{}); minio.ToErrorResponse(err).StatusCode != http.StatusForbidden {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// TestStoreFaults: what goes wrong at the store never becomes a wrong success, and an acknowledged object is whole.
func TestStoreFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for name, hook := range map[string]func(string, int) proxytest.Hook{
		"fails":                   proxytest.FailNotPersist,
		"fails but it happened":   proxytest.FailButPersist,
		"is gone":                 proxytest.LoseNotPersist,
		"is gone but it happened": proxytest.LoseButPersist,
	} {
		for _, size := range []int{100, inlineLimit + 1} {
			t.Run(name, func(t *testing.T) {
				k, up := memoryKit(t, nil)
				c, bucket := k.client(t), k.bucket(t)
				p := random(size)
				up.SetHook(hook("PutObject", 1))
				core := minio.Core{Client: c}
				_, err := core.PutObject(context.Background(), bucket, "object", &notSeekable{bytes.NewReader(p)}, int64(size), "", "", minio.PutObjectOptions{DisableMultipart: true})
				if err == nil {
					t.Fatal("a PUT that the store did not acknowledge was")
				}
				if code := minio.ToErrorResponse(err).StatusCode; code < 500 {
					t.Errorf("status %d: the client will not try again", code)
				}
				up.SetHook(nil)
				if _, there := up.Object(bucket, "object"); there {
					if got := mustRead(t, c, bucket, "object", nil); !bytes.Equal(got, p) {
						t.Error("what happened all the same is not what was written")
					}
				}
			})
		}
	}
}

// TestStoreGoneMidStream: an answer that the store breaks off ends short of its Content-Length.
func TestStoreGoneMidStream(t *testing.T) {
	k, up := memoryKit(t, nil)
	c, bucket := k.client(t), k.bucket(t)
	p := random(1 << 20)
	put(t, c, bucket, "object", p, nil)
	up.SetHook(proxytest.Nth("GetObject", 1, proxytest.Fault{CutBodyAfter: 500_000}))
	core := minio.Core{Client: c}
	body, info, _, err := core.GetObject(context.Background(), bucket, "object", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err == nil || int64(len(got)) >= info.Size || !bytes.HasPrefix(p, got) {
		t.Errorf("%d of %d bytes, %v", len(got), info.Size, err)
	}
}

// TestCutUpload: a body that ends before its Content-Length never becomes an object.
func TestCutUpload(t *testing.T) {
	for _, size := range []int{1000, inlineLimit + 1000} {
		k, up := memoryKit(t, nil)
		c, bucket := k.client(t), k.bucket(t)
		put(t, c, bucket, "object", []byte("before"), nil)
		u, err := c.PresignedPutObject(context.Background(), bucket, "object", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		req, err := http.NewRequest(http.MethodPut, u.String(), r)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(size)
		go func() {
			w.Write(random(size - 1))
			w.CloseWithError(io.ErrClosedPipe)
		}()
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("%d bytes: a cut upload was answered %s", size, resp.Status)
			}
		}
		time.Sleep(50 * time.Millisecond)
		if got := mustRead(t, c, bucket, "object", nil); string(got) != "before" {
			t.Errorf("%d bytes: the cut upload became an object of %d bytes", size, len(got))
		}
		if n := up.Uploads(); n != 0 {
			t.Errorf("%d uploads are left at the store", n)
		}
	}
}

// TestRequestsToTheStore counts them: one for a HEAD, a small GET, a small PUT and a range of a known object.
func TestRequestsToTheStore(t *testing.T) {
	k, up := memoryKit(t, nil)
	c, bucket := k.client(t), k.bucket(t)
	ctx := context.Background()
	core := minio.Core{Client: c}
	get := func(key string, first, last int64) {
		opts := minio.GetObjectOptions{}
		if last > 0 {
			opts.SetRange(first, last)
		}
		body, _, _, err := core.GetObject(ctx, bucket, key, opts)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, body)
		body.Close()
	}
	count := func(what string, want int, f func()) {
		up.ClearRequests()
		f()
		if got := up.Operations(); len(got) != want {
			t.Errorf("%s: %d requests to the store, want %d: %v", what, len(got), want, got)
		}
	}
	big := inlineLimit * 3
	put(t, c, bucket, "first", random(1000), nil) // waxseal reads the bucket's policy at the store
	count("small PUT", 1, func() { put(t, c, bucket, "small", random(1000), nil) })
	count("large PUT", 1, func() { put(t, c, bucket, "large", random(big), nil) })
	for _, key := range []string{"small", "large"} {
		count("HEAD of "+key, 1, func() {
			if _, err := c.StatObject(ctx, bucket, key, minio.StatObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
	count("small GET", 1, func() { get("small", 0, 0) })
	count("range of small", 1, func() { get("small", 10, 20) })
	count("first GET of large", 2, func() { get("large", 0, 0) })
	count("GET of large again", 1, func() { get("large", 0, 0) })
	count("range of large", 1, func() { get("large", 70_000, 80_000) })
}
