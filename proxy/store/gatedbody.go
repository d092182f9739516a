package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// framed is a body whose length on the wire is known.
type framed interface {
	io.ReadCloser
	encodedSize() int64
}

// sendFramed sends a body once, framing it as it is read. When sendFramed returns, nobody reads the body any more: a
// store may answer early, and the transport would go on reading from buffers that another request uses by then.
func (u *Client) sendFramed(ctx context.Context, r *Request, body framed) (*http.Response, error) {
	g := &gatedBody{framed: body, left: body.encodedSize()}
	resp, err := u.roundTrip(ctx, r, g)
	if err == nil && !g.sent() {
		// The transport closes the connection of a body that ends early, so the response is read first.
		err = keepAnswer(resp)
		if err == nil && resp.StatusCode < 300 {
			// A success before the end of the body is none: only the end says that every check has passed.
			err = fmt.Errorf("%w: it answered %d before it had the whole body", ErrUnreachable, resp.StatusCode)
		}
	}
	g.stop()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// keepAnswer reads an early response, a small error document, into memory.
func keepAnswer(resp *http.Response) error {
	b, err := ReadDocument(resp)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return err
}

// gatedBody is a body that can be taken away from the transport while the transport reads it.
type gatedBody struct {
	framed

	mu      sync.Mutex // held while the body is read
	left    int64      // not read yet
	stopped bool
	ended   func() // The transport closes the connection if a body ends early, so the response is read first.
}

// whenSent sets f to be called at the end of the body, and reports whether that end is still to come.
func (g *gatedBody) whenSent(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = f
	return g.left > 0
}

func (g *gatedBody) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped && g.left == 0:
		return 0, io.EOF
	case g.stopped:
		return 0, ErrBodyRefused
	}
	n, err := g.framed.Read(p)
	if g.left -= int64(n); g.left == 0 && n > 0 && g.ended != nil {
		g.ended()
	}
	return n, err
}

func (g *gatedBody) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.framed.Close()
}

// sent reports whether the transport has read the whole body.
func (g *gatedBody) sent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left == 0
}

// stop ends all reading. It waits for a Read in progress; the limits of the client's connection bound that Read.
func (g *gatedBody) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
}
