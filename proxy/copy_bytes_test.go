package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/proxy/store"
)

// relay passes connections on to a store and counts every byte, both ways.
type relay struct {
	net.Listener
	to    string
	bytes atomic.Int64
}

// relayTo runs a relay until the test ends, and gives the store's configuration by way of it.
func relayTo(t *testing.T, up store.Config) (*relay, store.Config) {
	t.Helper()
	u, err := url.Parse(up.Endpoint)
	if err != nil || u.Scheme != "http" {
		t.Skipf("%s: only plain HTTP is counted", up.Endpoint)
	}
	r := &relay{to: u.Host}
	if r.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := r.Accept()
			if err != nil {
				return
			}
			go r.pass(c)
		}
	}()
	t.Cleanup(func() { r.Close() })
	up.Endpoint = "http://" + r.Addr().String()
	return r, up
}

func (r *relay) pass(from net.Conn) {
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		from.Close()
		return
	}
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		wg.Go(func() {
			io.Copy(countingWriter{way[1], &r.bytes}, way[0])
			way[1].Close()
		})
	}
	wg.Wait()
}

type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// noiseStream is a plaintext of any length that is made again instead of kept.
func noiseStream(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
}

// TestCopyMovesNoData: a copy from one mode to another goes by the store: under 1 MiB passes through the proxy, whatever
// the object's size, and the object reads back identical. WAXSEAL_TEST_COPY_SIZE is the size in bytes in front of the
// stores of WAXSEAL_TEST_STORES (5368709120 is what S3's CopyObject takes at most).
func TestCopyMovesNoData(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		size := int64(24 * mib)
		if s := os.Getenv("WAXSEAL_TEST_COPY_SIZE"); s != "" && up.AccessKey != "memory" {
			var err error
			if size, err = strconv.ParseInt(s, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		r, up := relayTo(t, up)
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		c, bucket, modes := k.client(t), k.bucket(t), sides(t)
		ctx := context.Background()
		partSize := uint64(max(8*mib, size/80))
		if _, err := c.PutObject(ctx, bucket, "SSE-S3", noiseStream(size), size, minio.PutObjectOptions{PartSize: partSize, ServerSideEncryption: modes["SSE-S3"]}); err != nil {
			t.Fatal(err)
		}
		way := []string{"SSE-S3", "SSE-KMS", "SSE-C", "SSE-S3 again", "in place"}
		modes["SSE-S3 again"], modes["in place"] = modes["SSE-S3"], modes["SSE-KMS"]
		for i, to := range way[1:] {
			src := minio.CopySrcOptions{Bucket: bucket, Object: way[i]}
			if to == "in place" {
				way[i+1] = way[i]
			}
			if modes[way[i]].Type() == encrypt.SSEC {
				src.Encryption = encrypt.SSECopy(modes[way[i]])
			}
			before := r.bytes.Load()
			if _, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: way[i+1], Encryption: modes[to]}, src); err != nil {
				t.Fatalf("%s to %s: %v", way[i], to, err)
			}
			moved := r.bytes.Load() - before
			t.Logf("%s to %s: %d bytes of %d went through", way[i], to, moved, size)
			if moved >= mib {
				t.Errorf("%s to %s: %d bytes went through", way[i], to, moved)
			}
			if to == "SSE-KMS" || to == "SSE-C" { // a test disk need not hold them all
				if err := c.RemoveObject(ctx, bucket, way[i], minio.RemoveObjectOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		want, got := sha256.New(), sha256.New()
		io.Copy(want, noiseStream(size))
		for _, key := range []string{"SSE-C", "SSE-S3 again"} {
			opts := minio.GetObjectOptions{}
			if key == "SSE-C" {
				opts.ServerSideEncryption = modes[key]
			}
			o, err := c.GetObject(ctx, bucket, key, opts)
			if err != nil {
				t.Fatal(err)
			}
			got.Reset()
			n, err := io.Copy(got, o)
			o.Close()
			if err != nil || n != size || string(got.Sum(nil)) != string(want.Sum(nil)) {
				t.Errorf("%s: %d bytes, SHA-256 %s, %v", key, n, hex.EncodeToString(got.Sum(nil)), err)
			}
		}
	})
}
