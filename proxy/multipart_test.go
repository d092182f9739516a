package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// noise is n bytes that depend on seed only.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	r.Read(b)
	return b
}

// mpu is an upload as a client drives it.
type mpu struct {
	t      testing.TB
	core   minio.Core
	bucket string
	key    string
	id     string
	sse    encrypt.ServerSide
	parts  map[int]minio.CompletePart
	data   map[int][]byte
}

func (k *kit) upload(t testing.TB, bucket, key string, sse encrypt.ServerSide) *mpu {
	t.Helper()
	u := &mpu{t: t, core: minio.Core{Client: k.client(t)}, bucket: bucket, key: key, sse: sse, parts: map[int]minio.CompletePart{}, data: map[int][]byte{}}
	id, err := u.core.NewMultipartUpload(context.Background(), bucket, key, minio.PutObjectOptions{
		ServerSideEncryption: sse, UserMetadata: map[string]string{"Colour": "blue"}, ContentType: "text/x-noise",
	})
	if err != nil {
		t.Fatal(err)
	}
	u.id = id
	return u
}

// partSSE is what parts name: only SSE-C has anything to.
func (u *mpu) partSSE() encrypt.ServerSide {
	if u.sse != nil && u.sse.Type() == encrypt.SSEC {
		return u.sse
	}
	return nil
}

func (u *mpu) put(number int, data []byte) error {
	p, err := u.core.PutObjectPart(context.Background(), u.bucket, u.key, u.id, number, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectPartOptions{SSE: u.partSSE()})
	if err == nil {
		u.parts[number] = minio.CompletePart{PartNumber: number, ETag: p.ETag}
		u.data[number] = data
	}
	return err
}

func (u *mpu) mustPut(number int, data []byte) {
	u.t.Helper()
	if err := u.put(number, data); err != nil {
		u.t.Fatalf("part %d: %v", number, err)
	}
}

func (u *mpu) numbers() []int {
	var n []int
	for i := range u.parts {
		n = append(n, i)
	}
	slices.Sort(n)
	return n
}

func (u *mpu) list() []minio.CompletePart {
	var l []minio.CompletePart
	for _, n := range u.numbers() {
		l = append(l, u.parts[n])
	}
	return l
}

func (u *mpu) whole() []byte {
	var b []byte
	for _, n := range u.numbers() {
		b = append(b, u.data[n]...)
	}
	return b
}

func (u *mpu) complete() (minio.UploadInfo, error) {
	return u.core.CompleteMultipartUpload(context.Background(), u.bucket, u.key, u.id, u.list(), minio.PutObjectOptions{ServerSideEncryption: u.partSSE()})
}

func (u *mpu) mustComplete() minio.UploadInfo {
	u.t.Helper()
	info, err := u.complete()
	if err != nil {
		u.t.Fatal(err)
	}
	return info
}

// wantETag is S3's ETag of the completed object.
func (u *mpu) wantETag() string {
	h := md5.New()
	for _, p := range u.list() {
		raw, err := hex.DecodeString(p.ETag)
		if err != nil {
			u.t.Fatal(err)
		}
		h.Write(raw)
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(u.parts))
}

// check reads the object in every way and compares.
func (u *mpu) check() {
	u.t.Helper()
	want := u.whole()
	opts := minio.GetObjectOptions{ServerSideEncryption: u.partSSE()}
	st, err := u.core.StatObject(context.Background(), u.bucket, u.key, minio.StatObjectOptions(opts))
	if err != nil {
		u.t.Fatal(err)
	}
	if st.Size != int64(len(want)) || st.ETag != u.wantETag() || st.UserMetadata["Colour"] != "blue" || st.ContentType != "text/x-noise" || len(st.UserMetadata) != 1 {
		u.t.Errorf("HEAD: %d bytes, want %d; ETag %s, want %s; metadata %v", st.Size, len(want), st.ETag, u.wantETag(), st.UserMetadata)
	}
	if got := u.get(opts); !bytes.Equal(got, want) {
		u.t.Errorf("GET gave %d bytes, other than the %d that were sent", len(got), len(want))
	}
	for range 6 {
		if len(want) == 0 {
			break
		}
		a := rand.IntN(len(want))
		b := a + rand.IntN(min(200_000, len(want)-a))
		opts := minio.GetObjectOptions{ServerSideEncryption: u.partSSE()}
		opts.SetRange(int64(a), int64(b))
		if a == 0 && b == 0 {
			continue
		}
		if got := u.get(opts); !bytes.Equal(got, want[a:b+1]) {
			u.t.Errorf("range %d-%d: %d bytes", a, b, len(got))
		}
	}
	for i, n := range u.numbers() {
		got := u.get(minio.GetObjectOptions{ServerSideEncryption: u.partSSE(), PartNumber: i + 1})
		if !bytes.Equal(got, u.data[n]) {
			u.t.Errorf("part %d: %d bytes, want %d", n, len(got), len(u.data[n]))
		}
	}
}

func (u *mpu) get(opts minio.GetObjectOptions) []byte {
	u.t.Helper()
	body, _, _, err := u.core.GetObject(context.Background(), u.bucket, u.key, opts)
	if err != nil {
		u.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		u.t.Fatal(err)
	}
	return b
}

// wantCode checks that an error is S3's.
func wantCode(t testing.TB, err error, code s3.Code) {
	t.Helper()
	var e minio.ErrorResponse
	if !errors.As(err, &e) || e.Code != string(code) {
		t.Errorf("error %v, want %s", err, code)
	}
}

const mib = 1 << 20

func ssec(t testing.TB, seed uint64) encrypt.ServerSide {
	t.Helper()
	s, err := encrypt.NewSSEC(noise(seed, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMultipart(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		b := k.bucket(t)
		kms, err := encrypt.NewSSEKMS(testKeyARN, nil)
		if err != nil {
			t.Fatal(err)
		}
		shapes := map[string]map[int]int{
			"short last":        {1: 5*mib + 17, 2: 6 * mib, 3: 12345},
			"one short":         {1: 5},
			"one empty":         {1: 0},
			"empty last":        {1: 5 * mib, 2: 0},
			"long last":         {1: 5 * mib, 2: 5*mib + 1},
			"gaps":              {1: 5 * mib, 3: 5*mib + 7, 7: 100},
			"just under":        {1: 5 * mib, 2: 5*mib - 1},
			"sealed just under": {1: 5 * mib, 2: 5*mib - 1400},
			"part 10000":        {2: 5 * mib, 10000: 5*mib + 3},
			"short part 10000":  {10000: 3},
			"one long":          {42: 5*mib + 65481},
		}
		modes := map[string]encrypt.ServerSide{"S3": nil, "KMS": kms, "C": ssec(t, 1)}
		for mode, sse := range modes {
			for name, shape := range shapes {
				if mode != "S3" && name != "short last" && name != "gaps" && name != "short part 10000" {
					continue // where parts go does not depend on the mode
				}
				t.Run(mode+"/"+name, func(t *testing.T) {
					u := k.upload(t, b, "dir/"+mode+" "+name, sse)
					var order []int
					for n := range shape { // map order: any
						order = append(order, n)
					}
					for _, n := range order {
						u.mustPut(n, noise(uint64(n), shape[n]))
					}
					if info := u.mustComplete(); info.ETag != u.wantETag() {
						t.Errorf("Complete: ETag %s, want %s", info.ETag, u.wantETag())
					}
					u.check()
					if info := u.mustComplete(); info.ETag != u.wantETag() {
						t.Errorf("Complete again: ETag %s, want %s", info.ETag, u.wantETag())
					}
				})
			}
		}
	})
}
