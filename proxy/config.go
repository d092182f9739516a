package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/forwarded"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
	"waxseal/proxy/keyed"
	"waxseal/proxy/ledger"
	"waxseal/proxy/objects"
	"waxseal/proxy/store"
	"waxseal/proxy/trace"
	"waxseal/proxy/uploads"
)

// Config is everything the S3 endpoint stands on. All fields without a default below are required.
type Config struct {
	Upstream store.Config
	Users    *iam.Directory
	// Resolve looks up access keys; default Users.Resolve.
	Resolve func(accessKey, token string) (iam.Credential, error)
	// STS, where set, answers requests to STS on the S3 endpoint.
	STS *awsquery.Port
	// Used, where set, is told of each request that was signed rightly.
	Used     func(who *iam.Requester, service, region string)
	Provider keystore.Provider // KMS keys, for SSE-KMS and DSSE-KMS
	Keys     *bucketkey.Keys   // bucket keys in front of Provider
	Root     keystore.Root     // SSE-S3's root key and the service key
	State    state.Store       // uploads in flight and bucket configuration
	Replicas *state.Replicas   // who shares State; nil: nobody
	Window   time.Duration     // how long a replica goes on with what it knows of State while State does not answer
	Ledger   *ledger.Ledger    // counts what is sealed under which key; nil: nothing is counted
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
	Traces         *trace.Exporter // takes a span of each request; nil: a client's trace is only passed on
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
	vault    *objects.Vault
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

// defaultPatience is how long an answer may be silent: a sixth of what boto3 waits for a byte.
const defaultPatience = 10 * time.Second

// Limits of what is read before a request is understood.
const (
	maxHeaderBytes = 32 << 10
	prefetchBytes  = 8 << 10
)

func newVault(cfg *Config) *objects.Vault {
	v := &objects.Vault{Provider: cfg.Provider, Keys: cfg.Keys, Root: cfg.Root, Ledger: cfg.Ledger, Aliases: cfg.BucketAliases, Ceph: cfg.CompatCeph,
		ReadThrough: make(map[string]bool)}
	for _, b := range cfg.ReadThrough {
		v.ReadThrough[b] = true
	}
	return v
}
