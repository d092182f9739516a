package kmsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/forwarded"
	"waxseal/keystore/iam"
	"waxseal/keystore/inbound"
	"waxseal/keystore/local"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/strictjson"
	"waxseal/keystore/unproven"
)

const (
	contentType  = "application/x-amz-json-1.1"
	targetPrefix = "TrentService."

	// MaxBody bounds a request: the largest legitimate request carries a policy of 131,072 characters.
	MaxBody = 1 << 20

	defaultTimeout = time.Minute // RSA_4096 keys take a while
)

// Handler serves the KMS API.
type Handler struct {
	Service *local.Service // nil: the keys are with an external key service

	// Authenticate authenticates requests: see SigV4.
	Authenticate Authenticator

	// Query, if set, answers requests to IAM and STS.
	Query *awsquery.Port

	Timeout time.Duration // for a single operation; a minute when zero
	Log     *slog.Logger  // slog.Default() when nil

	// TrustedProxies are the proxies trusted to name a request's client in X-Forwarded-For.
	TrustedProxies forwarded.Trusted

	bodies bodies
}

// Authenticator returns a request's caller, or an error with the reason of the refusal.
type Authenticator interface {
	// Head refuses requests invalid with any body: no byte is read of a body without a known client.
	Head(ctx *fasthttp.RequestCtx) error
	Request(ctx *fasthttp.RequestCtx, body []byte) (keystore.Caller, error)
}

// Server returns a server for the handler, with limits fit for the protocol.
func (h *Handler) Server() *fasthttp.Server {
	return &fasthttp.Server{
		Handler: h.fromClient, Name: "waxseal", NoDefaultServerHeader: true, Concurrency: MaxConnections,
		// The handler reads the body; this bounds the bytes read ahead of it.
		StreamRequestBody: true, MaxRequestBodySize: prefetchBytes, ReadBufferSize: 32 << 10,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorHandler: h.badRequest, CloseOnShutdown: true, Logger: serverLog{h},
	}
}

// fromClient answers a request under the address of its client, also behind a trusted proxy.
func (h *Handler) fromClient(ctx *fasthttp.RequestCtx) {
	ctx.SetRemoteAddr(nil) // an earlier request on this connection may have had a different client
	if client := h.TrustedProxies.Client(ctx.RemoteIP(), ctx.Request.Header.PeekAll("X-Forwarded-For")...); !client.Equal(ctx.RemoteIP()) {
		ctx.SetRemoteAddr(&net.TCPAddr{IP: client})
	}
	h.ServeFastHTTP(ctx)
}

// ServeFastHTTP answers a request.
func (h *Handler) ServeFastHTTP(ctx *fasthttp.RequestCtx) {
	requestID := uuid.NewString()
	ctx.Response.Header.Set("x-amzn-RequestId", requestID)
	ctx.SetContentType(contentType)
	if h.Query != nil && h.Query.Takes(ctx) {
		h.serveQuery(ctx)
		return
	}
	if isForS3(ctx) {
		h.sayS3(ctx, requestID)
		drain(ctx)
		return
	}
	out, err := h.serve(ctx, requestID)
	if err != nil {
		h.fail(ctx, err)
		drain(ctx)
		return
	}
	if _, none := out.(*local.Empty); none {
		return
	}
	encoded, err := json.Marshal(out)
	if err != nil {
		h.log().Error("kms: reply cannot be encoded", "request", requestID, "err", err)
		h.fail(ctx, err)
		return
	}
	ctx.SetBody(encoded)
	clear(encoded) // it may hold a plaintext key
}

// serveQuery hands a request on to the query protocol, with its body.
func (h *Handler) serveQuery(ctx *fasthttp.RequestCtx) {
	known := false
	defer func() {
		if !known {
			unknown(ctx)
		}
	}()
	err := h.Query.Head(ctx)
	if err == nil {
		member := h.bodies.enter(ctx)
		defer member.Leave()
		var body []byte
		if body, err = readBody(ctx, member); err == nil {
			h.Query.Serve(ctx, body, awsquery.Origin{Address: ctx.RemoteIP().String(), Secure: ctx.IsTLS()}, func() {
				known = true
				prove(ctx)
			})
			return
		}
	}
	var ours *exception
	if errors.As(err, &ours) { // the body did not arrive
		err = awsquery.Fail(ours.status, ours.code, "%s", ours.message)
	}
	h.Query.Refuse(ctx, err)
	drain(ctx)
}

func (h *Handler) serve(ctx *fasthttp.RequestCtx, requestID string) (_ any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = keystore.Panicked(v)
		}
	}()
	if !ctx.IsPost() {
		return nil, unknownOperation()
	}
	body, caller, err := h.authenticated(ctx)
	if err != nil {
		return nil, err
	}
	caller.RequestID = requestID
	if h.Service == nil {
		return nil, &exception{400, "UnknownOperationException", "The keys of this waxseal are with another key service (--kms-provider): manage them there. This port answers IAM and STS."}
	}
	name, ok := strings.CutPrefix(string(ctx.Request.Header.Peek("X-Amz-Target")), targetPrefix)
	op := operations[name]
	if !ok || op == nil {
		return nil, unknownOperation()
	}
	timeout := h.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	// Not a child of fasthttp's context: that context does not end with the client's connection, and is reused for the
	// next request.
	deadline, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return op.perform(deadline, h.Service, caller, body)
}

// decode reads a body, a JSON object. The body decides about keys, so decode is strict.
func decode(body []byte) (tree, error) {
	document, err := strictjson.Decode(body)
	if err != nil {
		return nil, serialization("The request body could not be read: %v.", err)
	}
	request, ok := document.(tree)
	if !ok {
		return nil, serialization("The request body is not a JSON object.")
	}
	return request, nil
}

func (h *Handler) fail(ctx *fasthttp.RequestCtx, err error) {
	e := exceptionOf(err)
	if e.status >= 500 {
		h.log().Error("kms: request failed", "code", e.code, "err", err)
	}
	ctx.SetStatusCode(e.status)
	body, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message,omitempty"` // AWS leaves out an empty message
	}{e.code, e.message})
	if err != nil {
		panic("kmsapi: internal error: an exception cannot be encoded: " + err.Error())
	}
	ctx.SetBody(body)
}

// badRequest answers bytes that are not HTTP, and requests too large for the server to read.
func (h *Handler) badRequest(ctx *fasthttp.RequestCtx, err error) {
	if unproven.Unheard(err) {
		_ = ctx.Conn().Close() // what is answered goes nowhere
		return
	}
	ctx.Response.Header.Set("x-amzn-RequestId", uuid.NewString())
	ctx.SetContentType(contentType)
	ctx.Response.Header.SetConnectionClose()
	e := &exception{400, "SerializationException", "The request could not be read."}
	if err == fasthttp.ErrBodyTooLarge { //nolint:errorlint // fasthttp passes the value itself
		e = &exception{413, "RequestEntityTooLargeException", "The request is too large."}
	}
	h.fail(ctx, e)
}

func (h *Handler) log() *slog.Logger {
	if h.Log == nil {
		return slog.Default()
	}
	return h.Log
}

// SigV4 authenticates with AWS Signature Version 4. The verifier's service must be "kms". used, if set, is called for
// each request with a valid signature.
func SigV4(v *sigv4.Verifier, used func(who *iam.Requester, service, region string)) Authenticator {
	return signatures{v, used}
}

type signatures struct {
	verifier *sigv4.Verifier
	used     func(who *iam.Requester, service, region string)
}

func (s signatures) Head(ctx *fasthttp.RequestCtx) error {
	return s.verifier.VerifyHead(inbound.Signed(ctx, nil))
}

func (s signatures) Request(ctx *fasthttp.RequestCtx, body []byte) (keystore.Caller, error) {
	auth, err := s.verifier.Verify(inbound.Signed(ctx, body))
	if err != nil {
		return keystore.Caller{}, err
	}
	if s.used != nil {
		s.used(auth.Owner, "kms", auth.Region)
	}
	return inbound.Caller(ctx, auth.Owner), nil
}

// serverLog logs fasthttp's messages about single connections, at the level for debugging.
type serverLog struct{ h *Handler }

func (l serverLog) Printf(format string, args ...any) {
	l.h.log().Debug("kms: " + fmt.Sprintf(format, args...))
}
