package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"
	"sync"
)

// signedChunks is a body of signed chunks, with each signature computed over the signature before. A chunk of an SDK's
// size is held until its signature is checked, so that no byte leaves unverified. A larger chunk passes as it comes,
// except its last piece: memory does not grow with chunks, and no reader gets a whole unverified chunk. In any case a
// body is valid only with io.EOF.
type signedChunks struct {
	frame
	key       *signingKey
	previous  string // the signature that the next chunk's signature covers
	prefix    string // timestamp and scope, lines of all strings to sign
	accessKey string
	signedEnd bool // a trailer signature must follow

	sum       hash.Hash // of the current chunk so far
	signature string    // of the current chunk so far
	passing   int64     // bytes left of a chunk not held
	buffer    *[]byte   // of a held chunk
	verified  []byte    // checked bytes, not yet read
	toSign    []byte
}

// heldChunk is the size of the largest chunk that is held: SDKs make chunks of 64 and 128 KiB.
const heldChunk = 128 << 10

var chunkPool = sync.Pool{New: func() any { b := make([]byte, heldChunk); return &b }}

// emptyHash is the SHA-256 of nothing, a fixed line of each chunk's string to sign.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func newSignedChunks(a *Auth, r io.Reader) *signedChunks {
	return &signedChunks{frame: newFrame(a, r), key: a.key, previous: a.signature, accessKey: a.AccessKey,
		prefix: a.timestamp + "\n" + a.scope + "\n", signedEnd: a.Payload == StreamingSignedTrailer, sum: sha256.New(), buffer: chunkPool.Get().(*[]byte)}
}

func (s *signedChunks) close() {
	s.frame.close()
	s.verified = nil
	if s.buffer != nil {
		chunkPool.Put(s.buffer)
		s.buffer = nil
	}
}

func (s *signedChunks) read(p []byte) (int, error) {
	if s.in == nil {
		return 0, errClosed
	}
	if len(s.verified) == 0 && s.passing == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	if s.passing > 0 {
		return s.pass(p)
	}
	n := copy(p, s.verified)
	s.verified = s.verified[n:]
	return n, nil
}

// pass reads from a chunk too large to hold. The chunk's last piece is released only after the check of its signature.
func (s *signedChunks) pass(p []byte) (int, error) {
	n, err := s.in.Read(p[:min(int64(len(p)), s.passing)])
	s.sum.Write(p[:n])
	if s.passing -= int64(n); s.passing > 0 {
		return n, cut(err)
	}
	err = s.checkChunk()
	if err == nil {
		err = s.chunkEnd()
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// next reads the header of the next chunk, and the chunk if it is held; io.EOF: the last chunk and the trailers were
// right.
func (s *signedChunks) next() error {
	line, err := s.line()
	if err != nil {
		return err
	}
	digits, signature, ok := strings.Cut(line, ";chunk-signature=")
	if !ok || len(signature) != 64 {
		return errChunkEncoding("a chunk header has no chunk-signature.")
	}
	s.signature = signature
	size, err := s.size(digits)
	if err != nil {
		return err
	}
	if size > heldChunk {
		s.passing = size
		return nil
	}
	held := (*s.buffer)[:size]
	if _, err := io.ReadFull(s.in, held); err != nil {
		return cut(err)
	}
	s.sum.Write(held)
	if err := s.checkChunk(); err != nil {
		return err
	}
	if size == 0 {
		return s.end()
	}
	if err := s.chunkEnd(); err != nil {
		return err
	}
	s.verified = held
	return nil
}

// checkChunk checks the signature of a chunk after its last byte.
func (s *signedChunks) checkChunk() error {
	var sum [sha256.Size]byte
	s.sum.Sum(sum[:0])
	s.sum.Reset()
	b := append(s.toSign[:0], algorithm+"-PAYLOAD\n"...)
	b = append(b, s.prefix...)
	b = append(b, s.previous...)
	b = append(b, "\n"+emptyHash+"\n"...)
	s.toSign = hex.AppendEncode(b, sum[:])
	return s.compare(s.signature)
}

// compare checks a signature over toSign. The next signature is chained to it.
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

// end checks the trailers: first their names, then the signature at their end if the trailers are signed.
func (s *signedChunks) end() error {
	lines, err := s.finish()
	if err != nil {
		return err
	}
	trailers := lines
	if s.signedEnd {
		last := len(lines) - 1
		if last < 0 || lines[last].Name != "x-amz-trailer-signature" {
			return errMalformedTrailer()
		}
		trailers = lines[:last]
	}
	if err := s.announced(trailers); err != nil {
		return err
	}
	if s.signedEnd {
		if err := s.checkTrailer(trailers, lines[len(trailers)].Value); err != nil {
			return err
		}
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
