package sigv4_test

import (
	"bytes"
	"io"
	"testing"

	"waxseal/keystore/sigv4"
)

// benchRequest returns a PUT as the AWS SDKs send it.
func benchRequest(b *testing.B, v *sigv4.Verifier) *sigv4.Request {
	r := &sigv4.Request{Method: "PUT", RawPath: "/bucket/some/longer/key/with%20space.bin", RawQuery: "partNumber=7&uploadId=abcdefghijklmnopqrstuvwxyz0123456789",
		Host: "s3.us-east-1.example.com:9800", ContentLength: 8 << 20, Headers: headers("User-Agent", "aws-sdk-go-v2/1.47.7 os/linux lang/go#1.26.8",
			"Content-Length", "8388608", "Accept-Encoding", "identity", "Amz-Sdk-Invocation-Id", "7f6c0f5a-0b4c-4f0e-9d50-6b6e2b6c1111",
			"Content-Type", "application/octet-stream", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "X-Amz-Date", "20130524T000000Z",
			"X-Amz-Meta-Owner", "someone", "X-Amz-Server-Side-Encryption", "aws:kms")}
	return signed(b, v, r, docScope, docTime,
		"accept-encoding;amz-sdk-invocation-id;content-length;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-owner;x-amz-server-side-encryption")
}

func BenchmarkVerifyHeader(b *testing.B) {
	v := docVerifier()
	r := benchRequest(b, v)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyHeaderParallel(b *testing.B) {
	v := docVerifier()
	r := benchRequest(b, v)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(r); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerifyPresigned(b *testing.B) {
	v := docVerifier()
	r := &sigv4.Request{Method: "GET", RawPath: "/test.txt", RawQuery: presignedQuery, Host: "examplebucket.s3.amazonaws.com"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func benchBody(b *testing.B, a *sigv4.Auth, body []byte, content int) {
	b.ReportAllocs()
	b.SetBytes(int64(content))
	p := make([]byte, 64<<10)
	for b.Loop() {
		in, err := a.Body(bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = in.Read(p)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		if err := in.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignedChunks64K(b *testing.B) {
	v := docVerifier()
	parts := make([][]byte, 17)
	for i := range 16 {
		parts[i] = make([]byte, 64<<10)
	}
	r, body := streamed(b, v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "1048576", "", parts)
	a, err := v.Verify(r)
	if err != nil {
		b.Fatal(err)
	}
	benchBody(b, a, []byte(body), 1<<20)
}

func BenchmarkUnsignedTrailer(b *testing.B) {
	v := docVerifier()
	r, _ := streamed(b, v, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "1048576", "x-amz-checksum-crc32", nil)
	a, err := v.Verify(r)
	if err != nil {
		b.Fatal(err)
	}
	body := append([]byte("100000\r\n"), make([]byte, 1<<20)...)
	benchBody(b, a, append(body, "\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"...), 1<<20)
}
