package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
)

// Body is the content of a request's body, without its aws-chunked frame, checked against x-amz-content-sha256. Read
// returns io.EOF only after a correct length, hash or signatures, and trailers; before io.EOF the body is unverified
// and must not be committed. Errors stick.
type Body struct {
	source  *counter
	decoder decoder
	err     error
}

// decoder is a form of a body.
type decoder interface {
	read(p []byte) (int, error)
	trailers() []Header
	close()
}

// Body checks r as the body of the request that a was made from. The caller closes the Body when it is done.
func (a *Auth) Body(r io.Reader) (*Body, error) {
	b := &Body{source: &counter{r: r, left: a.ContentLength}}
	switch a.Payload {
	case Unsigned, SignedSHA256:
		b.decoder = newPlain(a, b.source)
	case StreamingUnsignedTrailer:
		b.decoder = newChunked(a, b.source)
	default:
		if a.key == nil {
			return nil, errV2()
		}
		b.decoder = newSignedChunks(a, b.source)
	}
	return b, nil
}

// Read implements io.Reader. The last bytes of a signed chunk are released only after its signature was checked.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.decoder.read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errIncompleteBody()
	}
	b.err = err
	return n, err
}

// Trailers returns the trailing headers, names in lower case and without x-amz-trailer-signature, once Read has
// returned io.EOF; before, there are none.
func (b *Body) Trailers() []Header {
	if b.err != io.EOF {
		return nil
	}
	return b.decoder.trailers()
}

// Trailer returns the value of a trailer, or "".
func (b *Body) Trailer(name string) string {
	for _, t := range b.Trailers() {
		if strings.EqualFold(t.Name, name) {
			return t.Value
		}
	}
	return ""
}

var errClosed = errors.New("sigv4: read of a closed body")

// Close gives the buffers back. It does not close the reader beneath.
func (b *Body) Close() error {
	if b.decoder != nil && b.err != errClosed {
		if b.err != io.EOF {
			b.err = errClosed
		}
		b.decoder.close()
	}
	return nil
}

// counter reads at most the announced length and takes an earlier end for a cut body: a server may end the stream of
// a cut upload without an error (fasthttp does).
type counter struct {
	r    io.Reader
	left int64 // -1: not announced
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left < 0 {
		return c.r.Read(p)
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// plain is a body without a frame.
type plain struct {
	r    *counter
	hash hash.Hash // nil where the payload was not signed
	want string
}

func newPlain(a *Auth, r *counter) *plain {
	p := &plain{r: r}
	if a.Payload == SignedSHA256 {
		p.hash, p.want = sha256.New(), a.ContentSHA256
	}
	return p
}

func (p *plain) read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.hash != nil {
		p.hash.Write(b[:n])
	}
	if err == io.EOF && p.hash != nil {
		if sum := hex.EncodeToString(p.hash.Sum(nil)); !strings.EqualFold(sum, p.want) {
			return 0, errContentHash(p.want, sum)
		}
	}
	return n, err
}

func errContentHash(want, got string) *Error {
	return fail(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
		Header{"ClientComputedContentSHA256", want}, Header{"S3ComputedContentSHA256", got})
}

func (p *plain) trailers() []Header { return nil }
func (p *plain) close()             {}
