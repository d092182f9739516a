package embedded

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// payload is a body that has arrived whole and passed every check that came with it.
type payload struct {
	body     spooled
	etag     string
	checksum checksum
	checked  bool // by Content-MD5 or a checksum
}

// receive takes the body of a request. Whatever is wrong with it is found before anything refers to it. The caller
// settles the payload's body. With bodyless the checksum headers are not the body's, but the object's that Complete makes.
func (s *Store) receive(q *request, limit int64, objects bool, algorithms ...string) (*payload, error) {
	src, err := q.source(limit)
	if err != nil {
		return nil, err
	}
	c, err := s.newChecks(q, !objects && q.op == "CompleteMultipartUpload", algorithms)
	if err != nil {
		return nil, err
	}
	var body spooled
	if objects {
		body, err = s.spool(io.TeeReader(src, c))
	} else {
		body, err = readWhole(io.TeeReader(src, c))
	}
	if err != nil {
		return nil, err
	}
	p, err := c.verify(q, src)
	if err != nil {
		if objects {
			s.discard(body)
		}
		return nil, err
	}
	p.body = body
	return p, nil
}

// readWhole reads a document into memory: the limit of its source bounds it.
func readWhole(src io.Reader) (spooled, error) {
	b, err := io.ReadAll(src)
	return spooled{bytes: b}, err
}

// source is the body as the client means it: without the frames of aws-chunked, and of the length that was announced.
func (q *request) source(limit int64) (*source, error) {
	length, chunked := q.length, q.framed()
	if chunked {
		n, err := strconv.ParseInt(q.header.Get(s3.HeaderDecodedLength), 10, 64)
		if err != nil || n < 0 {
			return nil, s3.NewError(s3.MissingContentLength)
		}
		length = n
	}
	switch {
	case length < 0:
		return nil, s3.NewError(s3.MissingContentLength)
	case length > limit:
		return nil, s3.NewError(s3.EntityTooLarge).With("ProposedSize", strconv.FormatInt(length, 10)).With("MaxSizeAllowed", strconv.FormatInt(limit, 10))
	}
	s := &source{src: wireReader{q.body}, left: length}
	if chunked {
		s.chunks = bufio.NewReaderSize(s.src, 64<<10)
		s.announced = q.header.Get(s3.HeaderTrailer)
	}
	return s, nil
}

func (q *request) framed() bool {
	return strings.HasPrefix(q.header.Get(s3.HeaderContentSHA256), "STREAMING-") || strings.Contains(q.header.Get(s3.HeaderContentEncoding), "aws-chunked")
}

// wireReader marks errors of the sender's.
type wireReader struct{ io.Reader }

func (r wireReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		if err == io.ErrUnexpectedEOF { // of an HTTP server: the client has gone
			return n, s3.NewError(s3.IncompleteBody)
		}
		err = bodyError{err}
	}
	return n, err
}

// source reads a body. It says io.EOF only after the sender has, and after exactly the bytes that were announced.
type source struct {
	src       io.Reader
	left      int64
	chunks    *bufio.Reader // nil: the body has no frames
	chunk     int64         // left of the current chunk
	begun     bool
	announced string
	trailer   http.Header
	err       error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	var n int
	if s.chunks == nil {
		n, s.err = s.readPlain(p)
	} else {
		n, s.err = s.readChunk(p)
	}
	s.left -= int64(n)
	return n, s.err
}

func (s *source) readPlain(p []byte) (int, error) {
	if s.left == 0 {
		return 0, expectEnd(s.src)
	}
	n, err := s.src.Read(p[:min(int64(len(p)), s.left)])
	if err == io.EOF && int64(n) == s.left {
		return n, nil // said again at the end
	}
	if err == io.EOF {
		err = s3.NewError(s3.IncompleteBody)
	}
	return n, err
}

// expectEnd wants io.EOF, and nothing before it.
func expectEnd(r io.Reader) error {
	var b [1]byte
	for range 100 {
		n, err := r.Read(b[:])
		switch {
		case n > 0:
			return s3.NewError(s3.IncompleteBody)
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

func (s *source) readChunk(p []byte) (int, error) {
	if s.chunk == 0 {
		if err := s.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := s.chunks.Read(p[:min(int64(len(p)), s.chunk)])
	s.chunk -= int64(n)
	if err == io.EOF {
		err = s3.NewError(s3.IncompleteBody)
	}
	return n, err
}

// nextChunk reads a chunk's head, and the trailers after the last.
func (s *source) nextChunk() error {
	if s.begun {
		if line, err := s.line(); err != nil || line != "" {
			return firstError(err, s3.NewError(s3.IncompleteBody))
		}
	}
	s.begun = true
	line, err := s.line()
	if err != nil {
		return err
	}
	digits, _, _ := strings.Cut(line, ";") // signatures of chunks are passed over like all signatures
	s.chunk, err = strconv.ParseInt(digits, 16, 64)
	switch {
	case err != nil || s.chunk < 0 || s.chunk > s.left || s.chunk == 0 && s.left > 0:
		return s3.NewError(s3.IncompleteBody)
	case s.chunk > 0:
		return nil
	}
	if err := s.readTrailers(); err != nil {
		return err
	}
	return io.EOF
}

func firstError(err error, standard error) error {
	if err != nil {
		return err
	}
	return standard
}

func (s *source) line() (string, error) {
	line, err := s.chunks.ReadSlice('\n')
	if err == nil && bytes.HasSuffix(line, []byte("\r\n")) {
		return string(line[:len(line)-2]), nil
	}
	if err == nil || err == io.EOF || err == bufio.ErrBufferFull {
		err = s3.NewError(s3.IncompleteBody)
	}
	return "", err
}

// readTrailers reads to the end of the body. minio-go ends a trailer's line with \n alone, and puts an empty line before
// the trailers' signature: empty lines mean nothing, and the end of the body is the end.
func (s *source) readTrailers() error {
	rest, err := io.ReadAll(io.LimitReader(s.chunks, 16<<10))
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(rest, []byte("\r\n")) {
		return s3.NewError(s3.IncompleteBody)
	}
	s.trailer = http.Header{}
	for line := range strings.Lines(string(rest)) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return s3.Errorf(s3.InvalidRequest, "malformed trailer")
		}
		s.trailer.Add(name, strings.TrimSpace(value))
	}
	for name := range strings.SplitSeq(s.announced, ",") {
		if name = strings.TrimSpace(name); name != "" && s.trailer.Get(name) == "" {
			return s3.Errorf(s3.MalformedPOSTRequest, "The trailer %s is missing.", name)
		}
	}
	return nil
}

// checks are the digests of a body that is being read.
type checks struct {
	etag   hash.Hash
	md5    hash.Hash // nil: nobody asks
	sha256 hash.Hash
	sums   map[string]hash.Hash
	all    []hash.Hash
}

// newChecks makes the digests that the request names, and those that the caller wants.
func (s *Store) newChecks(q *request, document bool, algorithms []string) (*checks, error) {
	c := &checks{etag: s.cfg.NewETag(), sums: map[string]hash.Hash{}}
	c.all = append(c.all, c.etag)
	add := func(h hash.Hash) hash.Hash {
		c.all = append(c.all, h)
		return h
	}
	if q.header.Get(s3.HeaderContentMD5) != "" {
		c.md5 = add(md5.New())
	}
	if len(q.header.Get(s3.HeaderContentSHA256)) == 2*sha256.Size {
		c.sha256 = add(sha256.New())
	}
	if document {
		return c, nil
	}
	for _, a := range s3.ChecksumAlgorithms {
		name := s3.ChecksumHeader(a)
		if q.header.Get(name) != "" || strings.EqualFold(strings.TrimSpace(q.header.Get(s3.HeaderTrailer)), name) || contains(algorithms, a) {
			c.sums[a] = add(s3.NewChecksum(a))
		}
	}
	return c, nil
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func (c *checks) Write(p []byte) (int, error) {
	for _, h := range c.all {
		h.Write(p)
	}
	return len(p), nil
}

// verify compares the digests with those that came in headers and trailers.
func (c *checks) verify(q *request, src *source) (*payload, error) {
	p := &payload{etag: hex.EncodeToString(c.etag.Sum(nil))}
	if c.md5 != nil {
		want, err := base64.StdEncoding.DecodeString(q.header.Get(s3.HeaderContentMD5))
		if err != nil || len(want) != md5.Size {
			return nil, s3.NewError(s3.InvalidDigest)
		}
		if !bytes.Equal(c.md5.Sum(nil), want) {
			return nil, s3.NewError(s3.BadDigest)
		}
		p.checked = true
	}
	if c.sha256 != nil && hex.EncodeToString(c.sha256.Sum(nil)) != q.header.Get(s3.HeaderContentSHA256) {
		return nil, s3.NewError(s3.XAmzContentSHA256Mismatch)
	}
	named := false
	for _, a := range s3.ChecksumAlgorithms {
		h := c.sums[a]
		if h == nil {
			continue
		}
		sum := h.Sum(nil)
		value := b64(sum)
		if told := q.header.Get(s3.ChecksumHeader(a)) + src.trailer.Get(s3.ChecksumHeader(a)); told != "" {
			if named {
				return nil, s3.Errorf(s3.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
			}
			if want, err := base64.StdEncoding.DecodeString(told); err != nil || len(want) != len(sum) {
				return nil, s3.Errorf(s3.InvalidRequest, "Value for %s header is invalid.", strings.ToLower(s3.ChecksumHeader(a)))
			}
			if told != value {
				return nil, s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", a)
			}
			p.checksum, p.checked, named = checksum{a, s3.ChecksumFullObject, value}, true, true
		} else if p.checksum.algorithm == "" {
			p.checksum = checksum{a, s3.ChecksumFullObject, value}
		}
	}
	return p, nil
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
