package proxy

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	mc "github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// abcSums are the checksums of "abc", as the algorithms' authors publish them: RFC 1321, FIPS 180-4, and xxHash's own
// program (seed 0). That of CRC64NVME is of the CRC catalogue's "123456789".
var abcSums = map[string]string{
	"CRC32":     "352441c2",
	"CRC32C":    "364b3fb7",
	"CRC64NVME": "ae8b14860a799888",
	"SHA1":      "a9993e364706816aba3e25717850c26c9cd0d89d",
	"SHA256":    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	"SHA512":    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	"MD5":       "900150983cd24fb0d6963f7d28e17f72",
	"XXHASH64":  "44bc2cf5ad770999",
	"XXHASH3":   "78af5f94892f3950",
	"XXHASH128": "06b05ab6733a618578af5f94892f3950",
}

// TestChecksumsOfPut: each algorithm is verified before anything is stored, kept, and shown.
func TestChecksumsOfPut(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		b := k.bucket(t)
		for _, name := range s3.ChecksumAlgorithms {
			t.Run(name, func(t *testing.T) {
				raw, err := hex.DecodeString(abcSums[name])
				if err != nil || len(raw) == 0 {
					t.Fatal(err)
				}
				data := []byte("abc")
				if name == "CRC64NVME" {
					data = []byte("123456789")
				}
				path, header, want := "/"+b+"/"+name, "x-amz-checksum-"+strings.ToLower(name), s3.Base64(raw)
				resp, body := k.do(t, "PUT", path, map[string]string{header: want}, []byte("abd"))
				wantError(t, resp, body, 400, s3.BadDigest)
				resp, body = k.do(t, "PUT", path, map[string]string{header: want[4:]}, data)
				wantError(t, resp, body, 400, s3.InvalidRequest)
				resp, body = k.do(t, "HEAD", path, nil, nil)
				if resp.StatusCode != 404 {
					t.Fatalf("stored after a wrong checksum: %s %s", resp.Status, body)
				}
				resp, _ = k.mustDo(t, "PUT", path, map[string]string{header: want, "x-amz-sdk-checksum-algorithm": name}, data)
				if got := resp.Header.Get(header); got != want || resp.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
					t.Errorf("PUT: %q, want %s", got, want)
				}
				for _, method := range []string{"GET", "HEAD"} {
					resp, _ = k.mustDo(t, method, path, map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil)
					if got := resp.Header.Get(header); got != want {
						t.Errorf("%s: %q, want %s", method, got, want)
					}
				}
			})
		}
	})
}

// TestChecksumTrailers: as a client that nobody here wrote sends them.
func TestChecksumTrailers(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		b := k.bucket(t)
		c, err := minio.New(k.endpoint, &minio.Options{Creds: mc.NewStaticV4(testAccess, testSecret, ""), Region: "us-east-1", TrailingHeaders: true})
		if err != nil {
			t.Fatal(err)
		}
		data := noise(9, 100_000)
		for name, kind := range map[string]minio.ChecksumType{
			"CRC32": minio.ChecksumCRC32, "CRC32C": minio.ChecksumCRC32C, "CRC64NVME": minio.ChecksumCRC64NVME, "SHA1": minio.ChecksumSHA1,
			"SHA256": minio.ChecksumSHA256, "SHA512": minio.ChecksumSHA512, "MD5": minio.ChecksumMD5, "XXHASH64": minio.ChecksumXXHash64,
			"XXHASH3": minio.ChecksumXXHash3, "XXHASH128": minio.ChecksumXXHash128,
		} {
			if _, err := c.PutObject(t.Context(), b, name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{Checksum: kind}); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			resp, _ := k.mustDo(t, "HEAD", "/"+b+"/"+name, map[string]string{"x-amz-checksum-mode": "ENABLED"}, nil)
			if got, want := resp.Header.Get("x-amz-checksum-"+name), s3.Base64(newSum(s3.ChecksumID(name), data)); got != want {
				t.Errorf("%s: %q, want %s", name, got, want)
			}
		}
	})
}
