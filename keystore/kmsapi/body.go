package kmsapi

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/unproven"
)

// Bounds of what clients get before their signature has been checked. The body's hash is a part of what is signed, so
// that a body is read first.
const (
	MaxConnections = 4096     // of the endpoint
	MaxUnproven    = 256      // connections whose client has not been known yet
	MaxUnverified  = 16 << 20 // bytes of bodies whose signature has not been checked, of the whole endpoint

	prefetchBytes = 8 << 10 // read before the handler is called, on each connection
	bodyTime      = 20 * time.Second
	drainBytes    = 4 * MaxBody
	drainTime     = 5 * time.Second
)

// Listen limits the connections of l whose client has not been known yet.
func Listen(l net.Listener) net.Listener {
	return unproven.Listen(l, unproven.NewPool(MaxUnproven))
}

// bodies are the bytes of bodies that are being read.
type bodies struct {
	once sync.Once
	pool *unproven.Pool
}

func (b *bodies) enter(ctx *fasthttp.RequestCtx) *unproven.Member {
	b.once.Do(func() { b.pool = unproven.NewPool(MaxUnverified) })
	cut := func() { _ = ctx.Conn().Close() } // the read that is under way fails, which is all there is to it
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		cut = conn.Cut
	}
	return b.pool.Enter(0, cut)
}

// authenticated reads a request's body, and tells who sent it.
func (h *Handler) authenticated(ctx *fasthttp.RequestCtx) (body []byte, caller keystore.Caller, err error) {
	defer func() {
		if err == nil {
			prove(ctx)
		} else {
			unknown(ctx)
		}
	}()
	if err := h.Authenticate.Head(ctx); err != nil {
		return nil, keystore.Caller{}, err
	}
	member := h.bodies.enter(ctx)
	defer member.Leave()
	if body, err = readBody(ctx, member); err != nil {
		return nil, keystore.Caller{}, err
	}
	caller, err = h.Authenticate.Request(ctx, body)
	return body, caller, err
}

// prove frees a connection from the limits of those whose client is not known.
func prove(ctx *fasthttp.RequestCtx) {
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		conn.Prove()
	}
}

// unknown lets another client take the place of a connection that has just been refused.
func unknown(ctx *fasthttp.RequestCtx) {
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		conn.Answered()
	}
}

// readBody reads a whole body. Memory grows with what has come, not with what Content-Length announces.
func readBody(ctx *fasthttp.RequestCtx, member *unproven.Member) ([]byte, error) {
	announced := ctx.Request.Header.ContentLength()
	if announced > MaxBody {
		return nil, errTooLarge()
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return nil, nil
	}
	ctx.SetReadDeadline(time.Now().Add(bodyTime))
	var b []byte
	for {
		if len(b) == cap(b) {
			grown := min(max(2*cap(b), prefetchBytes), MaxBody+1)
			if !member.Grow(int64(grown - cap(b))) {
				return nil, &exception{400, "ThrottlingException", "Rate exceeded"}
			}
			b = append(make([]byte, 0, grown), b...)
		}
		n, err := stream.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > MaxBody:
			return nil, errTooLarge()
		case err == io.EOF && announced >= 0 && len(b) < announced:
			return nil, errCutBody() // fasthttp takes a connection that was closed early for the body's end
		case err == io.EOF:
			return b, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &exception{408, "RequestTimeoutException", "The request's body did not come in time."}
		case err != nil:
			return nil, errCutBody()
		}
	}
}

func errTooLarge() error {
	return &exception{413, "RequestEntityTooLargeException", "The request is too large."}
}

func errCutBody() error {
	return &exception{400, "SerializationException", "The request could not be read."}
}

// drain reads what is left of a refused body, within limits: a client that is still sending would see a reset instead
// of the answer.
func drain(ctx *fasthttp.RequestCtx) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return
	}
	ctx.SetReadDeadline(time.Now().Add(drainTime))
	if n, err := io.CopyN(io.Discard, stream, drainBytes); err != io.EOF || n == drainBytes {
		ctx.SetConnectionClose()
	}
}
