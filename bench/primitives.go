package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
)

// primitives are the unavoidable costs of encryption, measured on one core in the same run as all else. The targets
// for waxseal's cost are computed from them.
type primitives struct {
	SealPerGiB float64 `json:"aes_gcm_seal_s_per_gib"`
	OpenPerGiB float64 `json:"aes_gcm_open_s_per_gib"`
	MD5PerGiB  float64 `json:"md5_s_per_gib"`
	Verify     float64 `json:"sigv4_verify_us"`
	Derive     float64 `json:"hkdf_us"`
}

// least takes the smaller value of each of two measurements: disturbances only ever make a value larger.
func (p *primitives) least(o *primitives) {
	p.SealPerGiB, p.OpenPerGiB, p.MD5PerGiB = min(p.SealPerGiB, o.SealPerGiB), min(p.OpenPerGiB, o.OpenPerGiB), min(p.MD5PerGiB, o.MD5PerGiB)
	p.Verify, p.Derive = min(p.Verify, o.Verify), min(p.Derive, o.Derive)
}

// segment is the unit of sealing.
const segment = 64 << 10

// measurePrimitives takes each figure's median of five.
func measurePrimitives(each time.Duration) (*primitives, error) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	verify, err := verification()
	if err != nil {
		return nil, err
	}
	// Over more memory than a processor caches: a proxy sees every byte for the first time.
	work := make([]byte, 32<<20)
	rand.Read(work)
	sealed, nonce := make([]byte, 0, segment+16), make([]byte, 12)
	at := 0
	next := func() []byte {
		at = (at + segment) % len(work)
		return work[at : at+segment]
	}
	one := aead.Seal(nil, nonce, work[:segment], nil)
	boxes := make([]byte, 0, len(one)*256)
	for range 256 {
		boxes = append(boxes, one...)
	}
	box := 0
	var failed error
	p := &primitives{}
	p.SealPerGiB = perOp(each, func() { sealed = aead.Seal(sealed[:0], nonce, next(), nil) }) * (gib / segment)
	p.OpenPerGiB = perOp(each, func() {
		box = (box + 1) % 256
		if _, err := aead.Open(sealed[:0], nonce, boxes[box*len(one):(box+1)*len(one)], nil); err != nil {
			failed = err
		}
	}) * (gib / segment)
	p.MD5PerGiB = perOp(each, func() { md5.Sum(next()) }) * (gib / segment)
	p.Verify = perOp(each, func() {
		if err := verify(); err != nil {
			failed = err
		}
	}) * 1e6
	p.Derive = perOp(each, func() {
		if _, err := hkdf.Key(sha256.New, work[:32], work[32:64], "waxseal/v1/part", 32); err != nil {
			failed = err
		}
	}) * 1e6
	return p, failed
}

// perOp is how many seconds of a processor f takes, the median of five stretches.
func perOp(each time.Duration, f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all []float64
	for range 5 {
		n := 0
		begin, cpu := time.Now(), threadCPU()
		for n == 0 || time.Since(begin) < each {
			for range 8 {
				f()
			}
			n += 8
		}
		all = append(all, (threadCPU()-cpu).Seconds()/float64(n))
	}
	return median(all)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// verification checks the signature of a request of the load. Signing costs about the same, with a good signer.
func verification() (func() error, error) {
	now := time.Now()
	owner := iam.Credential{Secret: iam.NewSecret(benchSecret), Owner: &iam.Requester{AccessKey: benchAccess}}
	v := &sigv4.Verifier{Service: "s3", Region: benchRegion, Now: func() time.Time { return now },
		Lookup: func(string, string) (iam.Credential, error) { return owner, nil }}
	req, err := http.NewRequest(http.MethodPut, "http://127.0.0.1:9800"+object("drop/1"), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	req.Header.Set("x-amz-server-side-encryption", "aws:kms")
	req = signer.SignV4(*req, benchAccess, benchSecret, "", benchRegion)
	r := &sigv4.Request{Method: req.Method, RawPath: req.URL.Path, Host: req.URL.Host, ContentLength: 4 * kib}
	for name, values := range req.Header {
		r.Headers = append(r.Headers, sigv4.Header{Name: name, Value: values[0]})
	}
	check := func() error { _, err := v.Verify(r); return err }
	if err := check(); err != nil {
		return nil, fmt.Errorf("verifying the load's own signature: %w", err)
	}
	return check, nil
}
