package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errStalled is a store that has the connection open and sends nothing.
var errStalled = fmt.Errorf("%w: it sent nothing for too long", errStoreUnreachable)

// roundTrip sends a request and watches its answer. A store that stalls would hold the request, and its place among
// those in flight, for ever: its client's connection has no say in it, since it is the server that waits.
//
// How long the first byte of an answer may take depends on what is asked: an object's is there or not, while a long
// list, a Complete or a copy is worked on before it is answered (upstreamHeaderMax).
func (u *upstream) roundTrip(ctx context.Context, r *storeRequest, stream framed) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{cancel: cancel, idle: u.idle}
	w.timer = time.AfterFunc(w.idle, w.bite)
	if r.key == "" || r.method != http.MethodGet && r.method != http.MethodHead {
		w.timer.Stop()
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

// watchdog ends a request whose answer stands still.
type watchdog struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func (w *watchdog) bite() { w.cancel(errStalled) }

// why tells a request that was ended from one that failed.
func (w *watchdog) why(ctx context.Context, err error) error {
	if context.Cause(ctx) == errStalled {
		return errStalled
	}
	return err
}

// watchedBody is an answer's body. Only the time that its reader waits for the store counts, and none between reads.
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
	b.dog.cancel(nil)
	return err
}
