package proxy

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

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// checksumKinds are the algorithms of x-amz-checksum-*, as the format numbers them and as S3 names them.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
var checksumKinds = []struct {
	id     uint8
	name   string
	header string
}{
	{sse.CRC32, "CRC32", checksumHeader + "crc32"}, {sse.CRC32C, "CRC32C", checksumHeader + "crc32c"},
	{sse.CRC64NVME, "CRC64NVME", checksumHeader + "crc64nvme"}, {sse.SHA1, "SHA1", checksumHeader + "sha1"},
	{sse.SHA256, "SHA256", checksumHeader + "sha256"}, {sse.SHA512, "SHA512", checksumHeader + "sha512"},
	{sse.MD5, "MD5", checksumHeader + "md5"}, {sse.XXHASH64, "XXHASH64", checksumHeader + "xxhash64"},
	{sse.XXHASH3, "XXHASH3", checksumHeader + "xxhash3"}, {sse.XXHASH128, "XXHASH128", checksumHeader + "xxhash128"},
}

func errChecksumAlgorithm() error {
	return s3.Errorf(s3.InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [%s]",
		strings.Join(slices.Sorted(slices.Values(s3.ChecksumAlgorithms)), ", "))
}

const checksumHeader = "x-amz-checksum-"

// checksumName is an algorithm's name; checksumID its number, 0 when there is none.
func checksumName(id uint8) string {
	for _, k := range checksumKinds {
		if k.id == id {
			return k.name
		}
	}
	return ""
}

// checksumNames has each algorithm's name as lists have it. The entries of a page share it.
var checksumNames = func() map[uint8][]string {
	m := make(map[uint8][]string)
	for _, k := range checksumKinds {
		m[k.id] = []string{k.name}
	}
	return m
}()

// checksumHeaderOf is the header, and the trailer, of an algorithm's value.
func checksumHeaderOf(id uint8) string {
	for _, k := range checksumKinds {
		if k.id == id {
			return k.header
		}
	}
	return ""
}

func checksumID(name string) uint8 {
	for _, k := range checksumKinds {
		if strings.EqualFold(k.name, name) {
			return k.id
		}
	}
	return 0
}

func newChecksum(id uint8) hash.Hash { return s3.NewChecksum(checksumName(id)) }

// declared is what a request says about its plaintext body, to be verified before the store commits it.
type declared struct {
	md5       []byte // Content-MD5
	algorithm uint8  // of the checksum; CRC64NVME when the request names none, as S3 does since 2024-12
	named     bool   // the request named the algorithm itself
	value     []byte // x-amz-checksum-*, when it came as a header
	trailer   bool   // it comes as a trailer
	part      bool   // the body is a part
}

// declaredOf reads a request's Content-MD5 and checksum.
func (c *call) declaredOf(f fields) (*declared, error) {
	d := &declared{algorithm: sse.CRC64NVME, part: c.route.name == "UploadPart"}
	if f.hasHeader("Content-MD5") {
		sum, err := base64.StdEncoding.DecodeString(f.header("Content-MD5"))
		if err != nil || len(sum) != md5.Size {
			return nil, s3.Errorf(s3.InvalidDigest, "The Content-MD5 you specified was invalid.").With("Content-MD5", f.header("Content-MD5"))
		}
		d.md5 = sum
	}
	if err := d.readHeaders(f); err != nil {
		return nil, err
	}
	if c.auth != nil {
		if err := d.readTrailers(c.auth.TrailerNames); err != nil {
			return nil, err
		}
	}
	alg := f.header("x-amz-sdk-checksum-algorithm")
	if alg == "" {
		return d, nil
	}
	id := checksumID(alg)
	switch {
	case id == 0:
		return nil, s3.Errorf(s3.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	case !d.named:
		return nil, s3.Errorf(s3.InvalidRequest, "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case id != d.algorithm:
		return nil, s3.Errorf(s3.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return d, nil
}

func (d *declared) readHeaders(f fields) error {
	if err := oneChecksum(f); err != nil {
		return err
	}
	for _, k := range checksumKinds {
		if !f.hasHeader(k.header) {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(f.header(k.header))
		if err != nil || len(sum) != sse.ChecksumSize(k.id) {
			return s3.Errorf(s3.InvalidRequest, "Value for %s header is invalid.", k.header)
		}
		d.algorithm, d.value, d.named = k.id, sum, true
	}
	return nil
}

func (d *declared) readTrailers(names []string) error {
	for _, n := range names {
		alg, ok := strings.CutPrefix(strings.ToLower(n), checksumHeader)
		if !ok {
			continue // a trailer signature, for example
		}
		id := checksumID(alg)
		if id == 0 {
			return s3.Errorf(s3.NotImplemented, "waxseal does not support the trailer %s", n)
		}
		if d.named {
			return errTwoChecksums()
		}
		d.algorithm, d.trailer, d.named = id, true, true
	}
	return nil
}

// oneChecksum refuses two x-amz-checksum-* headers, whatever is in them.
func oneChecksum(f fields) error {
	count := 0
	for _, k := range checksumKinds {
		if f.hasHeader(k.header) {
			count++
		}
	}
	if count > 1 {
		return errTwoChecksums()
	}
	return nil
}

func errTwoChecksums() error {
	return s3.Errorf(s3.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

// trailers is where a body's trailers can be had, once it has ended.
type trailers interface {
	Trailer(name string) (string, bool)
}

// digestReader passes a plaintext on, counts it, digests it, and says io.EOF only when all that was declared of it is
// true. Whoever seals its bytes can therefore take its io.EOF for leave to finish.
type digestReader struct {
	src  io.Reader
	left int64
	want *declared
	md5  hash.Hash // nil when nobody wants it
	sum  hash.Hash
	err  error

	facts sse.Facts // valid after io.EOF
}

// newDigestReader digests size bytes of src. MD5 is computed when wanted or declared.
func newDigestReader(src io.Reader, size int64, want *declared, withMD5 bool) *digestReader {
	d := &digestReader{src: src, left: size, want: want, sum: newChecksum(want.algorithm)}
	if withMD5 || want.md5 != nil {
		d.md5 = md5.New()
	}
	return d
}

func (d *digestReader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.src.Read(p)
	d.left -= int64(n)
	if d.left < 0 {
		d.err = s3.Errorf(s3.InvalidRequest, "The body is longer than the request declared")
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
func (d *digestReader) finish() error {
	if d.left > 0 {
		// fasthttp takes a connection that was closed early for the body's end: the count is what tells.
		return s3.Errorf(s3.IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header")
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
		return s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", checksumName(d.want.algorithm))
	}
	d.facts.Checksums = []sse.Checksum{{Algorithm: d.want.algorithm, Value: sum}}
	return io.EOF
}

func (d *digestReader) finishMD5() error {
	if d.md5 == nil {
		return nil
	}
	d.facts.HasMD5 = true
	d.md5.Sum(d.facts.MD5[:0])
	if d.want.md5 != nil && !bytes.Equal(d.want.md5, d.facts.MD5[:]) {
		return s3.Errorf(s3.BadDigest, "The Content-MD5 you specified did not match what we received.").
			With("ExpectedDigest", d.want.shownMD5()).With("CalculatedDigest", s3.Base64(d.facts.MD5[:]))
	}
	return nil
}

// shownMD5 is the declared MD5 as S3's error repeats it: hexadecimal, but for a part.
func (w *declared) shownMD5() string {
	if w.part {
		return s3.Base64(w.md5)
	}
	return hex.EncodeToString(w.md5)
}

func (d *digestReader) wantedChecksum() ([]byte, error) {
	if !d.want.trailer {
		return d.want.value, nil
	}
	name := checksumHeaderOf(d.want.algorithm)
	t, ok := d.src.(trailers)
	if !ok {
		return nil, fmt.Errorf("body of type %T has no trailers", d.src)
	}
	value, ok := t.Trailer(name)
	if !ok {
		return nil, s3.Errorf(s3.InvalidRequest, "The trailer %s was announced but did not come", name)
	}
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) != d.sum.Size() {
		return nil, s3.Errorf(s3.InvalidRequest, "Value for %s trailing header is invalid.", name)
	}
	return sum, nil
}

// showChecksums sets x-amz-checksum-* of an answer; parts is the number of parts behind a composite one.
func (c *call) showChecksums(sums []sse.Checksum, parts uint32) {
	h := &c.res.Header
	for _, s := range sums {
		h.Set(checksumHeaderOf(s.Algorithm), checksumText(s, parts))
		h.Set("x-amz-checksum-type", checksumType(s))
	}
}

// checksumText is a checksum as S3 prints it: base64, with "-N" behind a composite one of N parts.
func checksumText(s sse.Checksum, parts uint32) string {
	if s.Composite && parts > 0 {
		return fmt.Sprintf("%s-%d", s3.Base64(s.Value), parts)
	}
	return s3.Base64(s.Value)
}

func checksumType(s sse.Checksum) string {
	if s.Composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}
