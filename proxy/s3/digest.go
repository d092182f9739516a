package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"waxseal/sse"
)

// UnsupportedChecksum is the refusal of an algorithm that S3 does not have.
func UnsupportedChecksum() error {
	return Errorf(InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]",
		strings.Join(slices.Sorted(slices.Values(ChecksumAlgorithms)), ", "))
}

// Declared is what a request says about its plaintext body, to be verified before the store commits it.
type Declared struct {
	MD5       []byte // Content-MD5
	Algorithm uint8  // of the checksum; CRC64NVME when the request names none, as S3 does since 2024-12
	Named     bool   // the request named the algorithm itself
	Value     []byte // x-amz-checksum-*, when it came as a header
	Trailer   bool   // it comes as a trailer
	Part      bool   // the body is a part
}

// trailers is where a body's trailers can be had, once it has ended.
type trailers interface {
	Trailer(name string) (string, bool)
}

// DigestReader passes a plaintext on, counts it, digests it, and says io.EOF only when all that was declared of it is
// true. Whoever seals its bytes can therefore take its io.EOF for leave to finish.
type DigestReader struct {
	src  io.Reader
	left int64
	want *Declared
	md5  hash.Hash // nil when nobody wants it
	sum  hash.Hash
	err  error

	Facts sse.Facts // valid after io.EOF
}

// NewDigestReader digests size bytes of src. MD5 is computed when wanted or declared.
func NewDigestReader(src io.Reader, size int64, want *Declared, withMD5 bool) *DigestReader {
	d := &DigestReader{src: src, left: size, want: want, sum: NewChecksumOf(want.Algorithm)}
	if withMD5 || want.MD5 != nil {
		d.md5 = md5.New()
	}
	return d
}

// HasMD5 reports whether the MD5 is computed.
func (d *DigestReader) HasMD5() bool { return d.md5 != nil }

func (d *DigestReader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.src.Read(p)
	d.left -= int64(n)
	if d.left < 0 {
		d.err = Errorf(InvalidRequest, "The body is longer than the request declared")
		return 0, d.err
	}
	d.sum.Write(p[:n])
	if d.md5 != nil {
		d.md5.Write(p[:n])
	}
	if err == io.EOF {
		err = d.finish()
	}
	d.err = err
	return n, err
}

// finish verifies the whole, at the end of src.
func (d *DigestReader) finish() error {
	if d.left > 0 {
		// fasthttp takes a connection that was closed early for the body's end: the count is what tells.
		return Errorf(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	if err := d.finishMD5(); err != nil {
		return err
	}
	sum := d.sum.Sum(nil)
	want, err := d.wantedChecksum()
	if err != nil {
		return err
	}
	if want != nil && !bytes.Equal(want, sum) {
		return Errorf(BadDigest, "The %s you specified did not match the calculated checksum.", ChecksumName(d.want.Algorithm))
	}
	d.Facts.Checksums = []sse.Checksum{{Algorithm: d.want.Algorithm, Value: sum}}
	return io.EOF
}

func (d *DigestReader) finishMD5() error {
	if d.md5 == nil {
		return nil
	}
	d.Facts.HasMD5 = true
	d.md5.Sum(d.Facts.MD5[:0])
	if d.want.MD5 != nil && !bytes.Equal(d.want.MD5, d.Facts.MD5[:]) {
		return Errorf(BadDigest, "The Content-MD5 you specified did not match what we received.").
			With("ExpectedDigest", d.want.shownMD5()).With("CalculatedDigest", Base64(d.Facts.MD5[:]))
	}
	return nil
}

// shownMD5 is the declared MD5 as S3's error repeats it: hexadecimal, but for a part.
func (w *Declared) shownMD5() string {
	if w.Part {
		return Base64(w.MD5)
	}
	return hex.EncodeToString(w.MD5)
}

func (d *DigestReader) wantedChecksum() ([]byte, error) {
	if !d.want.Trailer {
		return d.want.Value, nil
	}
	name := ChecksumHeaderOf(d.want.Algorithm)
	t, ok := d.src.(trailers)
	if !ok {
		return nil, fmt.Errorf("body of type %T has no trailers", d.src)
	}
	value, ok := t.Trailer(name)
	if !ok {
		return nil, Errorf(InvalidRequest, "The trailer %s was announced but did not come", name)
	}
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) != d.sum.Size() {
		return nil, Errorf(InvalidRequest, "Value for %s trailing header is invalid.", name)
	}
	return sum, nil
}

// ChecksumText is a checksum as S3 prints it: base64, with "-N" behind a composite one of N parts.
func ChecksumText(s sse.Checksum, parts uint32) string {
	if s.Composite && parts > 0 {
		return fmt.Sprintf("%s-%d", Base64(s.Value), parts)
	}
	return Base64(s.Value)
}

func ChecksumType(s sse.Checksum) string {
	if s.Composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}
