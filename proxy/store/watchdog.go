package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrStalled is returned if the store keeps the connection open and sends nothing.
var ErrStalled = fmt.Errorf("%w: it sent nothing for too long", ErrUnreachable)

// firstByte returns the time limit for the first byte of a response, counted from the end of the request's body. Reads
// get idle, changes twice idle because they must be durable first. CompleteMultipartUpload and copies get ten times
// idle: many gigabytes take a store minutes. idle also limits the silence within a response: a minute, less in tests.
func (r *Request) firstByte(idle time.Duration) time.Duration {
	switch {
	case r.Method == http.MethodPost && strings.Contains(r.Query, "uploadId="), r.Header.Get("X-Amz-Copy-Source") != "":
		return 10 * idle
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodOptions:
		return idle
	}
	return 2 * idle
}

// roundTrip sends a request and watches its response. Without a limit, a stalled store would hold the request, and its
// place among the requests in flight, for ever.
func (u *Client) roundTrip(ctx context.Context, r *Request, stream framed) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{cancel: cancel, idle: u.idle}
	limit := r.firstByte(u.idle)
	w.timer = time.AfterFunc(limit, w.bite)
	if body, ok := stream.(*gatedBody); ok && body.whenSent(func() { w.timer.Reset(limit) }) {
		w.timer.Stop() // while the body is sent, each write has its own deadline
	}
	resp, err := u.client.RoundTrip(u.build(ctx, r, stream))
	w.timer.Stop()
	if err != nil {
		err = w.why(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, dog: w}
	return resp, nil
}

// watchdog ends a request whose response stalls.
type watchdog struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func (w *watchdog) bite() { w.cancel(ErrStalled) }

// why returns ErrStalled for a request ended by the watchdog, else err.
func (w *watchdog) why(ctx context.Context, err error) error {
	if context.Cause(ctx) == ErrStalled {
		return ErrStalled
	}
	return err
}

// watchedBody is the body of a response. Only the time in which Read waits for the store counts, not the time between
// reads.
type watchedBody struct {
	io.ReadCloser
	ctx context.Context
	dog *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.timer.Reset(b.dog.idle)
	n, err := b.ReadCloser.Read(p)
	b.dog.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.dog.why(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.dog.timer.Stop()
	b.dog.cancel(nil)
	return err
}
