package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/unproven"
	"waxseal/proxy/keyed"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

// New makes a server; it sends nothing yet, so that it starts while the store or the KMS is down.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Upstream.Idle == 0 {
		cfg.Upstream.Idle = cfg.IdleTimeout
	}
	up, err := store.New(cfg.Upstream)
	if err != nil {
		return nil, err
	}
	held, err := uploads.NewSpace(cfg.HeldDir, cfg.MaxHeld)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		log:      cfg.Log,
		up:       up,
		buckets:  newBucketConfigs(cfg.State, cfg.Replicas, cfg.Window),
		facts:    newFactsCache(),
		uploads:  uploads.NewRecords(cfg.State, held, cfg.Now),
		changing: keyed.NewMutex(),
		vault:    newVault(&cfg),
		places:   newPlaces(cfg.MaxInFlight, cfg.MaxUnproven),
		looks:    make(chan struct{}, looksAtOnce),
		metrics:  cfg.Metrics,
		inline:   new(inlineBuffers),

		compressing: make(chan struct{}, compressingAtOnce),
	}
	if cfg.StagingBucket != "" {
		s.uploads.StageIn(up, cfg.StagingBucket, cfg.Deployment, cfg.Log)
	}
	s.buckets.atStore.read = s.readStorePolicy
	s.base, s.stop = context.WithCancel(context.Background())
	s.verifier = &sigv4.Verifier{
		Service: "s3",
		Region:  cfg.Region,
		Lookup:  s.resolve,
		Now:     cfg.Now,
		AllowV2: cfg.AllowSigV2,
	}
	s.http = s.newHTTP()
	s.janitor.Go(s.sweep)
	s.janitor.Go(s.watchClients)
	return s, nil
}

// resolve looks up an access key.
func (s *Server) resolve(accessKey, token string) (iam.Credential, error) {
	if s.cfg.Resolve != nil {
		return s.cfg.Resolve(accessKey, token)
	}
	return s.cfg.Users.Resolve(accessKey, token)
}

func (c *Config) check() error {
	switch {
	case c.Users == nil:
		return errors.New("proxy: no user directory")
	case c.Root == nil || c.Provider == nil || c.Keys == nil:
		return errors.New("proxy: no key service")
	case c.State == nil:
		return errors.New("proxy: no state store")
	case c.HealthPath != "" && c.Ready == nil:
		return errors.New("proxy: nobody answers for the health path")
	case c.StagingBucket != "" && c.Deployment == "":
		return errors.New("proxy: a staging bucket needs the deployment's id")
	case c.HeldDir == "":
		return errors.New("proxy: no directory for held parts")
	}
	return CheckUsers(c.Users)
}

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:       s.serve,
		ExpectHandler: s.expect,
		ErrorHandler:  s.badRequest,
		Name:          "waxseal",
		Logger:        fasthttpLog{s.log},
		Concurrency:   s.cfg.MaxConnections,
		// Headers may be this large; a metadata-heavy PUT needs more than the 4 KiB default.
		ReadBufferSize: maxHeaderBytes,
		// Below a segment's size, so that segments are written straight from their buffers.
		WriteBufferSize: 16 << 10,
		IdleTimeout:     s.cfg.IdleTimeout,
		// The body is streamed; this bounds only what is read ahead of the handler.
		StreamRequestBody:            true,
		MaxRequestBodySize:           prefetchBytes,
		DisablePreParseMultipartForm: true,
		// S3 answers carry their own Content-Type, or none.
		NoDefaultContentType: true,
		CloseOnShutdown:      true,
	}
}

// Serve answers requests from l, over TLS when conf is not nil, until Shutdown.
func (s *Server) Serve(l net.Listener, conf *tls.Config) error {
	l = s.limitListener(l)
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	return s.serveAt(l)
}

// serve is the whole life of one request.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	c := s.callOf(ctx)
	if c.asksHealth() {
		c.answerHealth()
		c.abandon(nil)
		return // balancers ask often: neither a log line nor a count
	}
	if err := c.handle(); err != nil {
		c.fail(err)
	}
	c.done()
}

// handle verifies, routes and runs a request. Expect already did the first two for a client that waits for 100.
func (c *call) handle() (err error) {
	defer caught(&err)
	if c.isForSTS() {
		return c.answerSTS()
	}
	if err := c.admit(); err != nil {
		return err
	}
	if err := c.takePlace(); err != nil {
		return err
	}
	c.s.running.add(c)
	return c.route.run(c)
}

// admit parses, verifies, routes and authorises: everything that needs no body.
func (c *call) admit() (err error) {
	if c.admission != nil {
		return *c.admission
	}
	defer caught(&err)
	err = c.parse()
	if c.isForKeyService() {
		err = errForKeyService
	}
	if err == nil && c.method == http.MethodOptions {
		err = c.refuseBody()
	}
	if err == nil {
		err = c.verify()
	}
	if err == nil && c.route.class == seal && c.method == "PUT" {
		err = c.checkLength()
	}
	c.admission = &err
	return err
}

// expect answers "Expect: 100-continue" before the client sends a body, so that a refusal costs no upload.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	if !strings.EqualFold(string(ctx.Request.Header.Peek("Expect")), "100-continue") {
		return fasthttp.StatusExpectationFailed
	}
	c := s.callOf(ctx)
	if c.isForSTS() {
		return fasthttp.StatusContinue // its body is short, and signed
	}
	err := c.admit()
	c.leavePlace() // until the body comes, if it ever does
	if err != nil {
		c.unread = false // the client holds the body back
		c.fail(err)
		c.done()
		return ctx.Response.StatusCode()
	}
	return fasthttp.StatusContinue
}

// badRequest answers what fasthttp could not parse.
func (s *Server) badRequest(ctx *fasthttp.RequestCtx, err error) {
	if unproven.Unheard(err) {
		_ = ctx.Conn().Close() // what is answered goes nowhere
		return
	}
	c := s.callOf(ctx)
	c.unread = false
	c.fail(errUnparsable(err))
	c.done()
}

// fasthttpLog sends fasthttp's own lines (broken connections, cut answers) to slog at debug level: the access log
// has a line for each request already.
type fasthttpLog struct{ log *slog.Logger }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.log.Debug("connection", "what", fmt.Sprintf(format, args...))
}
