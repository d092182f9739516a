package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestKilled kills a proxy, as SIGKILL does, in the middle of PUTs, copies onto themselves and multipart uploads, again
// and again. Whatever was acknowledged is there afterwards, byte for byte, and nothing that is there is unreadable.
// WAXSEAL_TEST_KILLS is how often; each takes about a second.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	up, url := proxytest.StartUpstream(t, proxytest.Options{MaxRequests: 1}, "bucket")
	dir := t.TempDir()
	l := &killLoad{written: map[string][][]byte{}}
	acked := 0
	for round := range envInt("WAXSEAL_TEST_KILLS", 3) {
		c := startChild(t, dir, url)
		ctx, stop := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for worker := range 6 {
			all.Go(func() { l.run(ctx, c.kit.client(t), round, worker) })
		}
		time.Sleep(time.Duration(400+rand.IntN(500)) * time.Millisecond)
		c.kill()
		stop()
		all.Wait()
		c = startChild(t, dir, url)
		acked = l.check(t, c.kit.client(t), up)
		l.finishUploads(t, c.kit.client(t))
		c.kill()
	}
	if acked == 0 {
		t.Error("nothing was acknowledged: the test has not tested")
	}
	t.Logf("%d objects were acknowledged", acked)
}

// killLoad knows what each key may hold: what was acknowledged last, and what was sent after that and not answered.
type killLoad struct {
	mu      sync.Mutex
	written map[string][][]byte // the first is acknowledged, nil where none is
	open    []*killUpload
}

type killUpload struct {
	key, id string
	parts   []minio.CompletePart
	data    []byte
}

func (l *killLoad) sending(key string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written[key] == nil {
		l.written[key] = [][]byte{nil}
	}
	l.written[key] = append(l.written[key], data)
}

func (l *killLoad) acknowledged(key string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[key] = [][]byte{data}
}

// run writes until the proxy is gone. Each worker has keys of its own, so that what is last is known.
func (l *killLoad) run(ctx context.Context, c *minio.Client, round, worker int) {
	core := minio.Core{Client: c}
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%d/%d", worker, i%4)
		if worker < 2 {
			if l.upload(ctx, core, key, uint64(round*100+i)) != nil {
				return
			}
			continue
		}
		data := noise(uint64(round*1000+i*10+worker), []int{100, 70_000, inlineLimit + 5}[i%3])
		l.sending(key, data)
		_, err := core.PutObject(ctx, "bucket", key, &notSeekable{bytes.NewReader(data)}, int64(len(data)), "", "", minio.PutObjectOptions{DisableMultipart: true})
		if err != nil {
			return
		}
		l.acknowledged(key, data)
		if i%5 == 4 {
			// In place: new metadata, the data stays.
			_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: "bucket", Object: key, ReplaceMetadata: true, UserMetadata: map[string]string{"I": fmt.Sprint(i)}},
				minio.CopySrcOptions{Bucket: "bucket", Object: key})
			if err != nil {
				return
			}
		}
	}
}

// upload makes an object of a long part and a short one, which is held.
func (l *killLoad) upload(ctx context.Context, core minio.Core, key string, seed uint64) error {
	id, err := core.NewMultipartUpload(ctx, "bucket", key, minio.PutObjectOptions{})
	if err != nil {
		return err
	}
	u := &killUpload{key: key, id: id, data: noise(seed, 5<<20+1234)}
	for i, data := range [][]byte{u.data[:5<<20], u.data[5<<20:]} {
		p, err := core.PutObjectPart(ctx, "bucket", key, id, i+1, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{})
		if err != nil {
			return err
		}
		u.parts = append(u.parts, minio.CompletePart{PartNumber: i + 1, ETag: p.ETag})
	}
	if seed%3 == 0 {
		l.mu.Lock()
		l.open = append(l.open, u) // to be completed after the kill
		l.mu.Unlock()
		return nil
	}
	l.sending(key, u.data)
	if _, err := core.CompleteMultipartUpload(ctx, "bucket", key, id, u.parts, minio.PutObjectOptions{}); err != nil {
		l.mu.Lock()
		// Its answer was lost: it must be possible to ask again, before another upload of the same key hides that it
		// has made the object.
		l.open = append([]*killUpload{u}, l.open...)
		l.mu.Unlock()
		return err
	}
	l.acknowledged(key, u.data)
	return nil
}

// finishUploads completes what the kill interrupted: every part that was acknowledged is still there.
func (l *killLoad) finishUploads(t *testing.T, c *minio.Client) {
	t.Helper()
	core := minio.Core{Client: c}
	for _, u := range l.open {
		if _, err := core.CompleteMultipartUpload(context.Background(), "bucket", u.key, u.id, u.parts, minio.PutObjectOptions{}); err != nil {
			t.Errorf("upload of %s: %v", u.key, err)
			continue
		}
		// An earlier Complete may have been done, and been followed by other writes, before this one was asked.
		if got, err := readAll(c, u.key); err != nil {
			t.Errorf("%s: %v", u.key, err)
		} else {
			l.acknowledged(u.key, got)
		}
	}
	l.open = nil
}

// check reads everything, and counts what was acknowledged.
func (l *killLoad) check(t *testing.T, c *minio.Client, up *proxytest.Upstream) (acked int) {
	t.Helper()
	for key, may := range l.written {
		got, err := readAll(c, key)
		there := err == nil
		switch {
		case !there && minio.ToErrorResponse(err).StatusCode == http.StatusNotFound && may[0] == nil:
			continue
		case !there:
			t.Errorf("%s: %v", key, err)
			continue
		}
		if may[0] != nil {
			acked++
		}
		ok := false
		for _, data := range may {
			ok = ok || data != nil && bytes.Equal(got, data)
		}
		if !ok {
			t.Errorf("%s: its %d bytes are none of the %d things that were written last", key, len(got), len(may))
		}
		l.written[key] = [][]byte{got}
	}
	for _, key := range up.Keys("bucket") {
		if _, err := readAll(c, key); err != nil {
			t.Errorf("%s is there and cannot be read: %v", key, err)
		}
	}
	return acked
}

func readAll(c *minio.Client, key string) ([]byte, error) {
	core := minio.Core{Client: c}
	body, _, _, err := core.GetObject(context.Background(), "bucket", key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// TestWritersRace has many writers of one object, by PUT, copy in place and multipart upload, and readers of it. A
// reader gets one write's bytes, whole, with the ETag of that write and of no other.
func TestWritersRace(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		bucket := k.bucket(t)
		path := "/" + bucket + "/object"
		versions := map[string][]byte{}
		for i := range 6 {
			data := noise(uint64(i), []int{10, 65_480, 200_000, inlineLimit + 70_000}[i%4]+i)
			versions[s3.Quote(fmt.Sprintf("%x", md5Sum(data)))] = data
		}
		for _, data := range versions {
			k.mustDo(t, http.MethodPut, path, nil, data)
		}
		ctx, stop := context.WithTimeout(context.Background(), time.Duration(envInt("WAXSEAL_TEST_RACE_SECONDS", 2))*time.Second)
		defer stop()
		var all sync.WaitGroup
		for _, data := range versions {
			all.Go(func() {
				for ctx.Err() == nil {
					if resp, body := k.do(t, http.MethodPut, path, nil, data); resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("PUT: %s\n%s", resp.Status, body)
					}
				}
			})
		}
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				resp, body := k.do(t, http.MethodPut, path, map[string]string{"x-amz-copy-source": path, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-i": fmt.Sprint(i)}, nil)
				if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("copy in place: %s\n%s", resp.Status, body)
				}
			}
		})
		for range 3 {
			all.Go(func() {
				for ctx.Err() == nil {
					resp, body := k.do(t, http.MethodGet, path, nil, nil)
					if resp.StatusCode == http.StatusServiceUnavailable {
						continue // it changes faster than it can be read
					}
					if want := versions[resp.Header.Get("Etag")]; resp.StatusCode != http.StatusOK || !bytes.Equal(want, body) {
						t.Errorf("GET: %s, ETag %s, %d bytes of other content", resp.Status, resp.Header.Get("Etag"), len(body))
					}
				}
			})
		}
		all.Wait()
		if resp, body := k.mustDo(t, http.MethodGet, path, nil, nil); !bytes.Equal(body, versions[resp.Header.Get("Etag")]) {
			t.Error("what is left is no write's")
		}
	})
}
