package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/awsquery"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/directory"
	"waxseal/keystore/iam"
	"waxseal/keystore/kmsapi"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/keystore/state/etcd"
	"waxseal/keystore/usage"
	"waxseal/proxy"
	"waxseal/proxy/embedded"
	"waxseal/proxy/ledger"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// App holds all components of a running waxseal in the order of their assembly. Shutdown goes in reverse order.
type App struct {
	root         Credentials
	rootMade     bool
	deliveryUser Credentials // delivers audit records, if an audit bucket is configured
	tls          *tls.Config
	ca           string

	dir      dataDir
	secret   *rootkey.Secret
	state    *state.Sealed
	audit    *audit.FileSink
	usage    *usage.Counter
	ledger   *ledger.Ledger // nil: the App was opened for its keys alone
	walkable time.Time      // earliest start of a walk for the ledger
	users    *iam.Directory
	people   *directory.Directory
	sts      *awsquery.Port // on the S3 endpoint
	own      []iam.User     // waxseal's own users, beside root
	provider keystore.Provider
	behind   keystore.Provider // the external key service; nil with the embedded one
	sseRoot  keystore.Root
	store    *embedded.Store // nil: an external store
	kms      *fasthttp.Server
	admin    *http.Server
	pprof    *http.Server // nil: profiles are off
	console  *http.Server // nil: no console
	health   *health
	registry *prometheus.Registry

	shared     *etcd.Store     // nil: the state is a file
	replicas   *state.Replicas // nil: a single process
	deployment deployment      // shared by the replicas

	KeyService  *local.Service // nil: an external key service
	ServiceKeys *rootkey.Ring
	BucketKeys  *bucketkey.Keys
	S3          *proxy.Server
	Probed      chan struct{} // closed when the store's capabilities are known

	ends     []func(context.Context) error
	rekeying sync.Mutex

	with    Substitutes
	looking bool // the state is not in service: due deletions are not carried out
}

// Assemble assembles a waxseal. On an error it closes the components opened so far.
func Assemble(ctx context.Context, c *Config, log *slog.Logger) (*App, error) {
	return AssembleWith(ctx, c, log, Substitutes{})
}

func (p *App) assemble(ctx context.Context, c *Config, log *slog.Logger) (*App, error) {
	for _, step := range []func(context.Context, *Config, *slog.Logger) error{
		p.openData, p.openLedger, p.openKeys, p.begun, p.openStore, p.openControl, p.openEndpoints, p.openJobs,
	} {
		if err := step(ctx, c, log); err != nil {
			return nil, errors.Join(err, p.Shutdown(ctx))
		}
	}
	return p, nil
}

// onClose registers a cleanup; Shutdown runs cleanups in reverse order.
func (p *App) onClose(end func(context.Context) error) { p.ends = append(p.ends, end) }

// background runs work until Shutdown reaches it: components assembled earlier are still open then.
func (p *App) background(work func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { work(ctx) })
	p.onClose(func(context.Context) error { stop(); done.Wait(); return nil })
}

// Shutdown runs the cleanups, the last registered first. Requests in flight are finished, or cut when ctx ends.
func (p *App) Shutdown(ctx context.Context) error {
	var failed []error
	for i := len(p.ends) - 1; i >= 0; i-- {
		failed = append(failed, p.ends[i](ctx))
	}
	p.ends = nil
	return errors.Join(failed...)
}

// begun ends a first start: from now on a missing state counts as lost.
func (p *App) begun(context.Context, *Config, *slog.Logger) error {
	return errors.Join(p.dir.started(p.secret), p.dir.beginBackupTime())
}

// openData opens the data directory: credentials, root secret, state, audit records.
func (p *App) openData(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	dir := dataDir(c.DataDir)
	if err := dir.make(); err != nil {
		return err
	}
	if c.shared() {
		err = p.openShared(ctx, dir, c, log)
	} else {
		err = p.openState(ctx, dir, c.NewState)
	}
	if err != nil {
		return err
	}
	if p.root, p.rootMade, err = dir.rootCredentials(os.LookupEnv); err != nil {
		return err
	}
	if err := p.openUsers(ctx, c, log); err != nil {
		return err
	}
	if err := p.openAudit(ctx, c, log); err != nil {
		return err
	}
	p.tls, p.ca, err = c.tlsConfig(dir, log)
	return err
}

// openStore opens the embedded store, unless an external store is configured.
func (p *App) openStore(_ context.Context, c *Config, log *slog.Logger) (err error) {
	if c.UpstreamEndpoint != "" {
		return nil
	}
	if p.store, err = c.openEmbedded(log); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return p.store.Close() })
	return nil
}

// diskReserve is the space that writes leave free on the embedded store's disk: for its index, the state and deletes.
const diskReserve = 256 << 20

// openEmbedded opens the embedded store of the data directory. Its objects are sealed, so no client sees the store's
// own ETags. They are a hash cheaper than MD5.
func (c *Config) openEmbedded(log *slog.Logger) (*embedded.Store, error) {
	return embedded.Open(dataDir(c.DataDir).store(), embedded.Config{Region: c.UpstreamRegion, Reserve: diskReserve, Log: log,
		NewETag: func() hash.Hash { return s3.NewChecksum("XXHASH128") }})
}

// Fsck checks the embedded store of a data directory without a running waxseal. With repair it removes files without an
// object.
func Fsck(ctx context.Context, c *Config, log *slog.Logger, readData, repair bool) (*embedded.Report, error) {
	if _, err := os.Stat(embedded.IndexPath(dataDir(c.DataDir).store())); err != nil {
		return nil, fmt.Errorf("--data-dir: there is no embedded store: %w", err)
	}
	s, err := c.openEmbedded(log)
	if err != nil {
		return nil, err
	}
	report, err := s.Check(ctx, readData, repair)
	return report, errors.Join(err, s.Close())
}

// openEndpoints makes the servers. They serve after they get listeners.
func (p *App) openEndpoints(ctx context.Context, c *Config, log *slog.Logger) error {
	up, err := p.upstream(c)
	if err != nil {
		return err
	}
	metrics := proxy.NewMetrics()
	p.registry = newRegistry()
	collectors := append(p.operatorMetrics(), metrics, newKeyMetrics(p.BucketKeys.Stats))
	if p.KeyService != nil {
		collectors = append(collectors, newServiceMetrics(kmsapi.Operations(), p.KeyService.Counts))
	}
	p.openKMS(c, log)
	for _, c := range collectors {
		if err := p.registry.Register(c); err != nil {
			return err
		}
	}
	p.health = p.readiness(c)
	p.admin = newAdmin(p.registry, p.health, c.adminNames(), log)
	p.onClose(p.admin.Shutdown)
	if c.PprofListen != "" {
		p.pprof = newPprof(c.adminNames(), log)
		p.onClose(func(context.Context) error { return p.pprof.Close() }) // a profile can take as long as its client wants, so it is cut
	}
	p.S3, err = proxy.New(proxy.Config{
		Upstream: up, Users: p.users, Resolve: p.people.Resolve, Used: p.people.Used, STS: p.sts, Provider: p.provider, Keys: p.BucketKeys, Root: p.sseRoot,
		State: p.state, Ledger: p.ledger, HeldDir: dataDir(c.DataDir).held(),
		Replicas: p.replicas, Window: c.BucketKeyTTL, StagingBucket: c.StagingBucket, Deployment: p.deployment.ID,
		Region: c.Region, Account: c.Account, Domain: c.Domain,
		ReadThrough: c.ReadThrough, BucketAliases: c.BucketAliases, Compression: c.compressionRules(),
		OpaqueETag: c.ETag == "opaque", AllowInsecureSSEC: c.AllowInsecureSSEC, BlockSSEC: c.BlockSSEC, Anonymous: c.Anonymous,
		AllowSigV2: c.SigV2, CompatCeph: c.Compat == "ceph", TrustedProxies: c.trustedProxies,
		Audit: p.audit, DataEvents: proxy.DataEvents(c.AuditS3), Courier: c.courierARN(),
		HealthPath: c.HealthPath, Ready: p.health.ready,
		Log: log, Metrics: metrics, Traces: p.openTraces(c, log),
	})
	if err != nil {
		return err
	}
	p.onClose(p.S3.Shutdown)
	if err := p.registry.Register(p.health); err != nil {
		return err
	}
	if err := p.adoptStaging(ctx, log); err != nil {
		return err
	}
	p.openConsole(c, log)
	p.Probed = make(chan struct{})
	p.background(func(ctx context.Context) { defer close(p.Probed); p.S3.Probe(ctx) })
	return p.openDelivery(c, log)
}

// upstream returns the configuration of the S3 endpoint's client for the store.
func (p *App) upstream(c *Config) (store.Config, error) {
	if p.store != nil {
		return store.Config{Region: c.UpstreamRegion, Local: &store.Local{
			Transport: p.store, Owner: embedded.AsOwner,
			Anonymous: func(ctx context.Context, conditions map[string][]string) context.Context {
				return embedded.AsAnonymous(ctx, conditions)
			}}}, nil
	}
	up := store.Config{
		Endpoint: c.UpstreamEndpoint, Region: c.UpstreamRegion, VirtualHost: !c.UpstreamPathStyle,
		AccessKey: os.Getenv("WAXSEAL_UPSTREAM_ACCESS_KEY"), SecretKey: os.Getenv("WAXSEAL_UPSTREAM_SECRET_KEY"),
	}
	if up.AccessKey == "" || up.SecretKey == "" {
		return up, errors.New("--upstream-endpoint needs WAXSEAL_UPSTREAM_ACCESS_KEY and WAXSEAL_UPSTREAM_SECRET_KEY")
	}
	if c.UpstreamCA == "" {
		return up, nil
	}
	pem, err := os.ReadFile(c.UpstreamCA)
	if err != nil {
		return up, fmt.Errorf("--upstream-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return up, fmt.Errorf("--upstream-ca: %s: no certificate in it", c.UpstreamCA)
	}
	up.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return up, nil
}

func (c *Config) compressionRules() []proxy.CompressionRule {
	var rules []proxy.CompressionRule
	for _, r := range c.Compression {
		rules = append(rules, proxy.CompressionRule{Bucket: r.Bucket, Types: r.Types})
	}
	return rules
}

// fileUsers returns the root user, waxseal's own users and the users of the configuration.
func (c *Config) fileUsers(root Credentials, own ...iam.User) ([]iam.User, error) {
	users := append([]iam.User{{
		Name: "root", ARN: iam.RootARN(c.Account), AccountID: c.Account, Root: true,
		AccessKey: root.AccessKey, Secret: iam.NewSecret(root.SecretKey),
	}}, own...)
	for _, u := range c.Users {
		user, err := u.user(c.Account)
		if err != nil {
			return nil, fmt.Errorf("config: users: %s: %w", u.Name, err)
		}
		users = append(users, user)
	}
	return users, nil
}

// directory makes the directory of the configured users as a start does.
func (c *Config) directory(root Credentials) (*iam.Directory, error) {
	users, err := c.fileUsers(root)
	if err != nil {
		return nil, err
	}
	d, err := iam.NewDirectory(users)
	if err != nil {
		return nil, fmt.Errorf("config: users: %w", err)
	}
	return d, nil
}

func (u UserConfig) user(account string) (iam.User, error) {
	account = cmp.Or(accountOf(u.ARN), u.Account, account)
	user := iam.User{Name: u.Name, ARN: u.ARN, AccountID: account, AccessKey: u.AccessKey, Secret: iam.NewSecret(u.SecretKey)}
	if user.ARN == "" {
		user.ARN = iam.UserARN(account, u.Name)
	}
	if u.Upstream != nil {
		user.Upstream = &iam.Credentials{AccessKey: u.Upstream.AccessKey, Secret: iam.NewSecret(u.Upstream.SecretKey)}
	}
	if u.Policy == nil {
		user.Everything = true
		return user, nil
	}
	var err error
	user.Policy, err = iam.ParsePolicy(u.Policy.json, iam.Options{Kind: iam.Identity})
	return user, err
}
