package proxytest

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"

	"waxseal/proxy/s3"
)

var hashes = map[string]func() hash.Hash{
	"CRC32":     func() hash.Hash { return crc32.NewIEEE() },
	"CRC32C":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"CRC64NVME": func() hash.Hash { return crc64nvme.New() },
	"SHA1":      sha1.New,
	"SHA256":    sha256.New,
}

func sum(algorithm string, data []byte) string {
	h := hashes[algorithm]()
	h.Write(data)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func md5Hex(data []byte) string {
	digest := md5.Sum(data)
	return hex.EncodeToString(digest[:])
}

// payload is a body that has arrived whole and passed every check that came with it.
type payload struct {
	data     []byte
	checksum checksum
	checked  bool // by Content-MD5 or a checksum
}

// read takes the body of a request that stores bytes. Whatever is wrong with it is found before anything is
// stored.
func (u *Upstream) read(q *request) (*payload, error) {
	sha := q.Header.Get(s3.HeaderContentSHA256)
	chunked := strings.HasPrefix(sha, "STREAMING-") || strings.Contains(q.Header.Get(s3.HeaderContentEncoding), "aws-chunked")
	if !chunked {
		return u.readPlain(q, sha)
	}
	if u.NoTrailers && strings.HasSuffix(sha, "-TRAILER") {
		return nil, s3.Errorf(s3.NotImplemented, "%s is not supported", sha)
	}
	data, trailer, err := readChunks(q, orDefault(u.MaxPutSize, s3.MaxPutSize))
	if err != nil {
		return nil, err
	}
	u.log.trailer(q.record, trailer)
	if err := trailersComplete(q.Header.Get(s3.HeaderTrailer), trailer); err != nil {
		return nil, err
	}
	return check(q, data, trailer)
}

func (u *Upstream) readPlain(q *request, sha string) (*payload, error) {
	if q.ContentLength < 0 {
		return nil, s3.NewError(s3.MissingContentLength)
	}
	if q.ContentLength > orDefault(u.MaxPutSize, s3.MaxPutSize) {
		return nil, s3.NewError(s3.EntityTooLarge)
	}
	data, err := readBody(q.Body, q.ContentLength)
	short := u.CommitShortBody && errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !short {
		return nil, s3.NewError(s3.IncompleteBody)
	}
	if len(sha) == 64 && !short {
		if digest := sha256.Sum256(data); hex.EncodeToString(digest[:]) != sha {
			return nil, s3.NewError(s3.XAmzContentSHA256Mismatch)
		}
	}
	return check(q, data, nil)
}

func readBody(r io.Reader, length int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(length+bytes.MinRead, 64<<20)))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// readChunks decodes aws-chunked. Signatures of chunks are passed over like all signatures.
func readChunks(q *request, limit int64) ([]byte, http.Header, error) {
	decoded, err := strconv.ParseInt(q.Header.Get(s3.HeaderDecodedLength), 10, 64)
	if err != nil || decoded < 0 {
		return nil, nil, s3.NewError(s3.MissingContentLength)
	}
	if decoded > limit {
		return nil, nil, s3.NewError(s3.EntityTooLarge)
	}
	r := bufio.NewReaderSize(q.Body, 64<<10)
	var data bytes.Buffer
	data.Grow(int(min(decoded, 64<<20)))
	for {
		size, err := chunkSize(r)
		if err != nil {
			return nil, nil, err
		}
		if size == 0 {
			break
		}
		if int64(data.Len())+size > decoded {
			return nil, nil, s3.NewError(s3.IncompleteBody)
		}
		if _, err := io.CopyN(&data, r, size); err != nil {
			return nil, nil, s3.NewError(s3.IncompleteBody)
		}
		if line, err := readLine(r); err != nil || line != "" {
			return nil, nil, s3.NewError(s3.IncompleteBody)
		}
	}
	if int64(data.Len()) != decoded {
		return nil, nil, s3.NewError(s3.IncompleteBody)
	}
	trailer, err := readTrailers(r)
	return data.Bytes(), trailer, err
}

func chunkSize(r *bufio.Reader) (int64, error) {
	line, err := readLine(r)
	if err != nil {
		return 0, err
	}
	digits, _, _ := strings.Cut(line, ";")
	size, err := strconv.ParseInt(digits, 16, 64)
	if err != nil || size < 0 {
		return 0, s3.NewError(s3.IncompleteBody)
	}
	return size, nil
}

// readTrailers reads to the end of the body. minio-go ends a trailer's line with \n alone and puts an empty
// line before the trailers' signature, so empty lines mean nothing; the end of the body is the end.
func readTrailers(r *bufio.Reader) (http.Header, error) {
	rest, err := io.ReadAll(io.LimitReader(r, 16<<10))
	if err != nil || !bytes.HasSuffix(rest, []byte("\r\n")) {
		return nil, s3.NewError(s3.IncompleteBody)
	}
	trailer := http.Header{}
	for line := range strings.Lines(string(rest)) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, s3.Errorf(s3.InvalidRequest, "malformed trailer")
		}
		trailer.Add(name, strings.TrimSpace(value))
	}
	return trailer, nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasSuffix(line, "\r\n") {
		return "", s3.NewError(s3.IncompleteBody)
	}
	return line[:len(line)-2], nil
}

// trailersComplete refuses a body whose announced trailers did not come.
func trailersComplete(announced string, trailer http.Header) error {
	for name := range strings.SplitSeq(announced, ",") {
		if name = strings.TrimSpace(name); name != "" && trailer.Get(name) == "" {
			return s3.Errorf(s3.MalformedPOSTRequest, "The trailer %s is missing.", name)
		}
	}
	return nil
}

// check compares the body with every digest that came with it, in headers or trailers.
func check(q *request, data []byte, trailer http.Header) (*payload, error) {
	p := &payload{data: data}
	if header := q.Header.Get(s3.HeaderContentMD5); header != "" {
		want, err := base64.StdEncoding.DecodeString(header)
		if err != nil || len(want) != md5.Size {
			return nil, s3.NewError(s3.InvalidDigest)
		}
		if digest := md5.Sum(data); !bytes.Equal(digest[:], want) {
			return nil, s3.NewError(s3.BadDigest)
		}
		p.checked = true
	}
	for _, algorithm := range s3.ChecksumAlgorithms {
		name := s3.ChecksumHeader(algorithm)
		value := q.Header.Get(name) + trailer.Get(name)
		if value == "" {
			continue
		}
		if p.checksum.algorithm != "" {
			return nil, s3.Errorf(s3.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		if err := verify(algorithm, value, data); err != nil {
			return nil, err
		}
		p.checksum, p.checked = checksum{algorithm, value, s3.ChecksumFullObject}, true
	}
	return p, nil
}

func verify(algorithm, value string, data []byte) error {
	if hashes[algorithm] == nil {
		return s3.Errorf(s3.NotImplemented, "checksum algorithm %s", algorithm)
	}
	want, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(want) != hashes[algorithm]().Size() {
		return s3.Errorf(s3.InvalidRequest, "Value for %s header is invalid.", strings.ToLower(s3.ChecksumHeader(algorithm)))
	}
	if sum(algorithm, data) != value {
		return s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", algorithm)
	}
	return nil
}

// document reads a small body: an XML document or a policy.
func (u *Upstream) document(q *request) ([]byte, error) {
	p, err := u.read(q)
	if err != nil {
		return nil, err
	}
	if len(p.data) > 1<<20 {
		return nil, s3.NewError(s3.MaxMessageLengthExceeded)
	}
	return p.data, nil
}
