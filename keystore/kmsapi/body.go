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

// Bounds for clients before their signature is checked. The signature covers the body's hash, so the body is read
// first.
const (
	MaxConnections = 4096     // of the endpoint
	MaxUnproven    = 256      // connections of unproven clients
	MaxUnverified  = 16 << 20 // bytes of unverified bodies, for the whole endpoint

	prefetchBytes = 8 << 10 // read before the handler is called, on each connection
	bodyTime      = 20 * time.Second
	drainBytes    = 4 * MaxBody
	drainTime     = 5 * time.Second
)

// Listen limits the connections of l from unproven clients.
func Listen(l net.Listener) net.Listener {
	return unproven.Listen(l, unproven.NewPool(MaxUnproven))
}

// bodies counts the bytes of the bodies under way.
type bodies struct {
	once sync.Once
	pool *unproven.Pool
}

func (b *bodies) enter(ctx *fasthttp.RequestCtx) *unproven.Member {
	b.once.Do(func() { b.pool = unproven.NewPool(MaxUnverified) })
	cut := func() { _ = ctx.Conn().Close() } // all that matters is that the read under way fails
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		cut = conn.Cut
	}
	return b.pool.Enter(0, cut)
}

// authenticated reads a request's body and returns the authenticated caller.
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

// prove frees a connection from the limits for unproven clients.
func prove(ctx *fasthttp.RequestCtx) {
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		conn.Prove()
	}
}

// unknown lets a newcomer take the place of a connection after a refusal.
func unknown(ctx *fasthttp.RequestCtx) {
	if conn := unproven.Of(ctx.Conn()); conn != nil {
		conn.Answered()
	}
}

// readBody reads a whole body. Memory grows with the received bytes, not with the announced Content-Length.
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
			return nil, errCutBody() // fasthttp takes an early close of the connection for the body's end
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

// drain reads the rest of a refused body, within limits: a client still sending would see a reset instead of the
// answer.
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
