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
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/forwarded"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
	"waxseal/proxy/keyed"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

// Config is everything the S3 endpoint stands on. All fields without a default below are required.
type Config struct {
	Upstream store.Config
	Users    *iam.Directory
	// Used, where set, is told of each request that was signed rightly.
	Used     func(who *iam.Requester, service, region string)
	Provider keystore.Provider // KMS keys, for SSE-KMS and DSSE-KMS
	Keys     *bucketkey.Keys   // bucket keys in front of Provider
	Root     keystore.Root     // SSE-S3's root key and the service key
	State    state.Store       // uploads in flight and bucket configuration
	Replicas *state.Replicas   // who shares State; nil: nobody
	Window   time.Duration     // how long a replica goes on with what it knows of State while State does not answer
	HeldDir  string            // where short last parts wait for Complete
	MaxHeld  int64             // bytes that may wait there; default 64 GiB

	// StagingBucket is the bucket of the store where such parts wait in place of HeldDir: any replica can complete an
	// upload then. Deployment is the id of the waxseals that share State.
	StagingBucket, Deployment string

	Region  string // default us-east-1
	Account string // default 000000000000
	Domain  string // virtual-host addressing below this name; none when empty

	ReadThrough   []string          // buckets whose plaintext objects are served
	BucketAliases map[string]string // bucket -> the name its objects were sealed under
	Compression   []CompressionRule

	OpaqueETag        bool // SSE-S3 shows the store's ETags and skips MD5
	AllowInsecureSSEC bool // SSE-C keys over plain HTTP
	Anonymous         bool // unsigned requests are let in, as the anonymous principal
	AllowSigV2        bool
	CompatCeph        bool // follow ceph/s3-tests where they contradict AWS
	BlockSSEC         bool // buckets made from now on refuse SSE-C until unblocked, as on AWS since 2026-04
	TrustedProxies    forwarded.Trusted

	// Audit takes the records of DataEvents; it is needed where there are to be some. The requests of Courier, the ARN of
	// who delivers records, have none: each delivery would be the cause of another.
	Audit      audit.Sink
	DataEvents DataEvents
	Courier    string

	HealthPath string      // GET and HEAD of it, unsigned, are answered by Ready; none when empty
	Ready      func() bool // required with HealthPath

	MaxConnections int           // default 16384
	MaxUnproven    int           // of these, whose client has not shown who it is; default 256
	MaxInFlight    int           // requests worked on at once before 503 SlowDown, a quarter of them anonymous; default 1024
	IdleTimeout    time.Duration // a connection without a byte in either direction, the store's too; default 60s
	MinRate        int64         // bytes a second a request or answer must keep up; default 1024
	RateWindow     time.Duration // of waiting for the client, over which MinRate is judged; default a minute
	Now            func() time.Time
	Log            *slog.Logger
	Metrics        *Metrics

	patience time.Duration // see patiently; tests have less
}

// CompressionRule switches S2 on for a bucket's objects of some content types.
type CompressionRule struct {
	Bucket string
	Types  []string // exact, or with a trailing /*
}

// Server answers S3 requests. Make one with New.
type Server struct {
	cfg      Config
	log      *slog.Logger
	up       *store.Client
	verifier *sigv4.Verifier
	buckets  *bucketConfigs
	facts    *factsCache
	uploads  *uploads.Records
	changing *keyed.Mutex // at ending a change of an object in place, or changing its tags
	readThru map[string]bool
	places   *places
	attended attended
	looks    chan struct{} // places for the look-ups of listings
	warned   sync.Map      // bucket and reason of warnings that are given once
	inline   *inlineBuffers

	compressing chan struct{}
	http        *fasthttp.Server
	listening   listening
	running     running
	metrics     *Metrics

	stop    context.CancelFunc // ends every upstream request
	base    context.Context
	janitor sync.WaitGroup
}

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
		readThru: make(map[string]bool),
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
	for _, b := range cfg.ReadThrough {
		s.readThru[b] = true
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.verifier = &sigv4.Verifier{
		Service: "s3",
		Region:  cfg.Region,
		Lookup:  func(key, token string) (iam.Credential, error) { return s.cfg.Users.Resolve(key, token) },
		Now:     cfg.Now,
		AllowV2: cfg.AllowSigV2,
	}
	s.http = s.newHTTP()
	s.janitor.Go(s.sweep)
	s.janitor.Go(s.watchClients)
	return s, nil
}

func (c *Config) setDefaults() {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&c.Region, "us-east-1")
	def(&c.Account, "000000000000")
	if c.MaxConnections == 0 {
		c.MaxConnections = 16384
	}
	if c.MaxUnproven == 0 {
		c.MaxUnproven = 256
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 1024
	}
	if c.patience == 0 {
		c.patience = defaultPatience
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = time.Minute
	}
	if c.RateWindow == 0 {
		c.RateWindow = time.Minute
	}
	if c.MinRate == 0 {
		c.MinRate = 1024
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 64 << 30
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
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

// Limits of what is read before a request is understood.
const (
	maxHeaderBytes = 32 << 10
	prefetchBytes  = 8 << 10
)

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
	if err := c.admit(); err != nil {
		return err
	}
	if err := c.takePlace(); err != nil {
		return err
	}
	c.s.running.add(c)
	return c.route.run(c)
}

// caught makes an error of a panic: a fault of waxseal's own in one request does not end the others.
func caught(err *error) {
	if v := recover(); v != nil {
		*err = keystore.Panicked(v)
	}
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

// refuseBody refuses a body where there is none to read, without reading it.
func (c *call) refuseBody() error {
	if n := c.ctx.Request.Header.ContentLength(); n <= 0 && n != -1 { // -1: chunked
		return nil
	}
	c.unread = false
	c.ctx.SetConnectionClose()
	return s3.Errorf(s3.InvalidRequest, "A request with the method %s has no body", c.method)
}

// expect answers "Expect: 100-continue" before the client sends a body, so that a refusal costs no upload.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	if !strings.EqualFold(string(ctx.Request.Header.Peek("Expect")), "100-continue") {
		return fasthttp.StatusExpectationFailed
	}
	c := s.callOf(ctx)
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
