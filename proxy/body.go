package proxy

import (
	"bytes"
	"io"
	"strings"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
)

// body is the request's plaintext body, its aws-chunked frame and signatures checked and taken off, and its size.
func (c *call) body() (io.Reader, int64, error) {
	size := c.auth.DecodedLength
	if size < 0 {
		return nil, 0, s3.Errorf(s3.MissingContentLength, "You must provide the Content-Length HTTP header.")
	}
	raw := io.Reader(bytes.NewReader(nil))
	if s := c.ctx.RequestBodyStream(); s != nil {
		raw = s
	}
	decoded, err := c.auth.Body(raw)
	if err != nil {
		return nil, 0, err
	}
	c.OnDone(func() { decoded.Close() }) // it gives its buffers back, and has no error
	return &requestBody{call: c, src: decoded}, size, nil
}

// requestBody is a request's body on its way in: it knows when there is nothing left on the wire.
type requestBody struct {
	call *call
	src  *sigv4.Body
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.call.gotBytes += int64(n)
	if err == io.EOF {
		b.call.unread = false
	}
	return n, err
}

// Trailer is a trailer of the body, after its end.
func (b *requestBody) Trailer(name string) (string, bool) {
	for _, t := range b.src.Trailers() {
		if strings.EqualFold(t.Name, name) {
			return t.Value, true
		}
	}
	return "", false
}
