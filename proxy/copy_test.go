package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/proxy/store"
)

// sides are the modes that a copy goes from and to.
func sides(t *testing.T) map[string]encrypt.ServerSide {
	t.Helper()
	c, err := encrypt.NewSSEC(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	k, err := encrypt.NewSSEKMS(testKeyARN, nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]encrypt.ServerSide{"SSE-S3": encrypt.NewSSE(), "SSE-KMS": k, "SSE-C": c}
}

func put(t *testing.T, c *minio.Client, bucket, key string, p []byte, sse encrypt.ServerSide) minio.UploadInfo {
	t.Helper()
	info, err := c.PutObject(context.Background(), bucket, key, bytes.NewReader(p), int64(len(p)), minio.PutObjectOptions{
		DisableMultipart: true, ServerSideEncryption: sse, ContentType: "text/plain", UserMetadata: map[string]string{"Color": "red"}})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustRead(t *testing.T, c *minio.Client, bucket, key string, sse encrypt.ServerSide) []byte {
	t.Helper()
	if sse != nil && sse.Type() != encrypt.SSEC {
		sse = nil
	}
	o, err := c.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{ServerSideEncryption: sse})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	p, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCopyBetweenModes copies from any mode to any mode, to another name and in place.
func TestCopyBetweenModes(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		c, bucket := k.client(t), k.bucket(t)
		for from, src := range sides(t) {
			for to, dst := range sides(t) {
				for _, size := range []int{0, 1000, inlineLimit + 5} {
					t.Run(fmt.Sprintf("%s to %s of %d", from, to, size), func(t *testing.T) {
						copyBothWays(t, c, bucket, src, dst, size)
					})
				}
			}
		}
	})
}

func copyBothWays(t *testing.T, c *minio.Client, bucket string, src, dst encrypt.ServerSide, size int) {
	p := make([]byte, size)
	rand.Read(p)
	put(t, c, bucket, "source", p, src)
	for _, target := range []string{"target", "source"} {
		so := minio.CopySrcOptions{Bucket: bucket, Object: "source"}
		if src.Type() == encrypt.SSEC {
			so.Encryption = encrypt.SSECopy(src)
		}
		info, err := c.CopyObject(context.Background(), minio.CopyDestOptions{Bucket: bucket, Object: target, Encryption: dst}, so)
		if err != nil {
			t.Fatal(target, err)
		}
		opts := minio.StatObjectOptions{}
		if dst.Type() == encrypt.SSEC {
			opts.ServerSideEncryption = dst
		}
		st, err := c.StatObject(context.Background(), bucket, target, opts)
		if err != nil {
			t.Fatal(target, err)
		}
		if st.ETag != info.ETag || st.Size != int64(size) || st.ContentType != "text/plain" || st.UserMetadata["Color"] != "red" {
			t.Errorf("%s: copy answered %+v, HEAD %+v", target, info, st)
		}
		sum := md5.Sum(p)
		isMD5 := st.ETag == hex.EncodeToString(sum[:])
		if looks := len(st.ETag) == 32; dst.Type() == encrypt.S3 && looks && !isMD5 {
			t.Errorf("%s: the ETag %s looks like an MD5 and is not the plaintext's", target, st.ETag)
		}
		if got := mustRead(t, c, bucket, target, dst); !bytes.Equal(got, p) {
			t.Fatalf("%s: %d bytes read back, not what was written", target, len(got))
		}
	}
}

// TestSelfCopyLosesNoWrite races copies in place against writes: every acknowledged write must be readable, and
// nothing may ever be an object under another's envelope.
func TestSelfCopyLosesNoWrite(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		c, bucket := k.client(t), k.bucket(t)
		ctx := context.Background()
		for i := range 30 {
			key := fmt.Sprintf("race-%d", i)
			put(t, c, bucket, key, []byte(strings.Repeat("old", 1000)), nil)
			fresh := []byte(strings.Repeat("new", 1000+i))
			var wg sync.WaitGroup
			wg.Add(2)
			go func() {
				defer wg.Done()
				_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: key, ReplaceMetadata: true, UserMetadata: map[string]string{"n": "1"}},
					minio.CopySrcOptions{Bucket: bucket, Object: key})
				if code := minio.ToErrorResponse(err).Code; err != nil && code != "PreconditionFailed" && code != "ConditionalRequestConflict" {
					t.Errorf("copy: %v", err)
				}
			}()
			go func() {
				defer wg.Done()
				put(t, c, bucket, key, fresh, nil)
			}()
			wg.Wait()
			if got := mustRead(t, c, bucket, key, nil); !bytes.Equal(got, fresh) {
				t.Fatalf("the acknowledged write of %s is lost: %d bytes of %.3s", key, len(got), got)
			}
		}
	})
}
