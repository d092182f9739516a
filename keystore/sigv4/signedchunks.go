package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"sync"
)

// signedChunks is a body whose chunks carry signatures, each computed over the one before. A chunk is held until its
// own has been checked, so that no byte leaves unverified.
type signedChunks struct {
	frame
	key       *signingKey
	previous  string // the signature before the next one
	prefix    string // timestamp and scope, the lines that all strings to sign share
	accessKey string
	maxChunk  int
	signedEnd bool // a trailer signature must follow

	buffer   *[]byte
	verified []byte // checked bytes that have not been read
	toSign   []byte
}

const chunkBuffer = 128 << 10

var chunkPool = sync.Pool{New: func() any { b := make([]byte, 0, chunkBuffer); return &b }}

// emptyHash is the SHA-256 of nothing, a fixed line of each chunk's string to sign.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func newSignedChunks(a *Auth, r io.Reader) *signedChunks {
	return &signedChunks{frame: newFrame(a, r), key: a.key, previous: a.signature, accessKey: a.AccessKey,
		prefix: a.timestamp + "\n" + a.scope + "\n", maxChunk: a.maxChunk,
		signedEnd: a.Payload == StreamingSignedTrailer, buffer: chunkPool.Get().(*[]byte)}
}

func (s *signedChunks) close() {
	s.frame.close()
	s.verified = nil
	// A buffer that one large chunk grew is not kept.
	if s.buffer != nil && cap(*s.buffer) <= 2*chunkBuffer {
		chunkPool.Put(s.buffer)
	}
	s.buffer = nil
}

func (s *signedChunks) read(p []byte) (int, error) {
	if s.in == nil {
		return 0, errClosed
	}
	for len(s.verified) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.verified)
	s.verified = s.verified[n:]
	return n, nil
}

// next reads and checks one chunk; io.EOF says that the last one and the trailers were right.
func (s *signedChunks) next() error {
	line, err := s.line()
	if err != nil {
		return err
	}
	digits, signature, ok := strings.Cut(line, ";chunk-signature=")
	if !ok || len(signature) != 64 {
		return errChunkEncoding("a chunk header has no chunk-signature.")
	}
	size, err := s.size(digits)
	if err != nil {
		return err
	}
	if size > int64(s.maxChunk) {
		return fail(400, "InvalidRequest", "A signed chunk is larger than this server holds in memory.")
	}
	if err := s.fill(int(size)); err != nil {
		return err
	}
	if err := s.checkChunk(signature); err != nil {
		return err
	}
	if size == 0 {
		return s.end()
	}
	if err := s.chunkEnd(); err != nil {
		return err
	}
	s.verified = *s.buffer
	return nil
}

// fill reads a chunk's bytes. The buffer grows with what arrives, not with what the header claims.
func (s *signedChunks) fill(size int) error {
	b := (*s.buffer)[:0]
	for len(b) < size {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(2*cap(b), s.maxChunk))
			copy(grown, b)
			b = grown
		}
		part := b[len(b):min(cap(b), size)]
		n, err := io.ReadFull(s.in, part)
		b = b[:len(b)+n]
		if err != nil {
			return cut(err)
		}
	}
	*s.buffer = b
	return nil
}

func (s *signedChunks) checkChunk(signature string) error {
	sum := sha256.Sum256(*s.buffer)
	b := append(s.toSign[:0], algorithm+"-PAYLOAD\n"...)
	b = append(b, s.prefix...)
	b = append(b, s.previous...)
	b = append(b, "\n"+emptyHash+"\n"...)
	s.toSign = hex.AppendEncode(b, sum[:])
	return s.compare(signature)
}

// compare checks a signature over toSign, which the next one is then chained to.
func (s *signedChunks) compare(signature string) error {
	want := s.key.sign(s.toSign)
	if !hmac.Equal(want[:], []byte(signature)) {
		return fail(403, "SignatureDoesNotMatch", mismatchS3, Header{"AWSAccessKeyId", s.accessKey},
			Header{"StringToSign", string(s.toSign)}, Header{"SignatureProvided", signature},
			Header{"StringToSignBytes", spacedHex(s.toSign)})
	}
	s.previous = signature
	return nil
}

// end checks the trailers and, where they are signed, the signature that comes last among them.
func (s *signedChunks) end() error {
	lines, err := s.finish()
	if err != nil {
		return err
	}
	if s.signedEnd {
		last := len(lines) - 1
		if last < 0 || lines[last].Name != "x-amz-trailer-signature" {
			return errMalformedTrailer()
		}
		signature := lines[last].Value
		lines = lines[:last]
		if err := s.checkTrailer(lines, signature); err != nil {
			return err
		}
	}
	if err := s.announced(lines); err != nil {
		return err
	}
	return io.EOF
}

func (s *signedChunks) checkTrailer(lines []Header, signature string) error {
	var canonical []byte
	for _, t := range lines {
		canonical = append(canonical, t.Name+":"+t.Value+"\n"...)
	}
	sum := sha256.Sum256(canonical)
	b := append(s.toSign[:0], algorithm+"-TRAILER\n"...)
	b = append(b, s.prefix...)
	b = append(b, s.previous...)
	b = append(b, '\n')
	s.toSign = hex.AppendEncode(b, sum[:])
	return s.compare(signature)
}
