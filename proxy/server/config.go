package server

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"waxseal/keystore/forwarded"
	"waxseal/proxy"
)

// Config is the whole configuration. A field's flag is its YAML key with hyphens; its environment variable is WAXSEAL_
// and the key in capitals. A flag wins over the environment, the environment over the file, the file over the default.
type Config struct {
	Listen      string   `yaml:"listen"`
	KMSListen   string   `yaml:"kms_listen"`
	AdminListen string   `yaml:"admin_listen"`
	AdminHost   []string `yaml:"admin_host"`
	PprofListen string   `yaml:"pprof_listen"`

	ConsoleListen string   `yaml:"console_listen"`
	ConsoleHost   []string `yaml:"console_host"`

	DataDir  string `yaml:"data_dir"`
	NewState bool   `yaml:"new_state"`

	State     string `yaml:"state"`
	StateCA   string `yaml:"state_ca"`
	StateCert string `yaml:"state_cert"`
	StateKey  string `yaml:"state_key"`
	Replica   string `yaml:"replica"`

	StagingBucket string `yaml:"staging_bucket"`

	LogFormat string `yaml:"log_format"`

	OTLPEndpoint string  `yaml:"otlp_endpoint"`
	OTLPRatio    float64 `yaml:"otlp_ratio"`

	Domain string `yaml:"domain"`

	HealthPath      string        `yaml:"health_path"`
	DrainDelay      time.Duration `yaml:"drain_delay"`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`

	UpstreamEndpoint  string `yaml:"upstream_endpoint"`
	UpstreamRegion    string `yaml:"upstream_region"`
	UpstreamCA        string `yaml:"upstream_ca"`
	UpstreamPathStyle bool   `yaml:"upstream_path_style"`

	TLSCert       string   `yaml:"tls_cert"`
	TLSKey        string   `yaml:"tls_key"`
	TLSSelfSigned bool     `yaml:"tls_self_signed"`
	TrustedProxy  []string `yaml:"trusted_proxy"`

	Region  string `yaml:"region"`
	Account string `yaml:"account"`

	KMSProvider      string   `yaml:"kms_provider"`
	KMSEndpoint      string   `yaml:"kms_endpoint"`
	KMSRegion        string   `yaml:"kms_region"`
	KMSCA            string   `yaml:"kms_ca"`
	KMSMount         string   `yaml:"kms_mount"`
	KMSNamespace     string   `yaml:"kms_namespace"`
	KMSRootKey       string   `yaml:"kms_root_key"`
	KMSFormerRootKey []string `yaml:"kms_former_root_key"`
	KMSRate          float64  `yaml:"kms_rate"`
	GuardKeyDeletion bool     `yaml:"guard_key_deletion"`

	AuditBucket   string        `yaml:"audit_bucket"`
	AuditInterval time.Duration `yaml:"audit_interval"`
	AuditS3       string        `yaml:"audit_s3"`
	AuditWebhook  string        `yaml:"audit_webhook"`

	AllowInsecureSSEC bool          `yaml:"allow_insecure_ssec"`
	BlockSSEC         bool          `yaml:"block_ssec"`
	Anonymous         bool          `yaml:"anonymous"`
	ETag              string        `yaml:"etag"`
	BucketKeyTTL      time.Duration `yaml:"bucket_key_ttl"`
	BucketKeyPeriod   time.Duration `yaml:"bucket_key_period"`
	BucketKeyChain    bool          `yaml:"bucket_key_chain"`

	// Only in the file.
	Users         []UserConfig        `yaml:"users"`
	Issuers       []IssuerConfig      `yaml:"issuers"`
	ReadThrough   []string            `yaml:"read_through"`
	BucketAliases map[string]string   `yaml:"bucket_aliases"`
	Compression   []CompressionConfig `yaml:"compression"`
	Compat        string              `yaml:"compat"`
	SigV2         bool                `yaml:"sigv2"`

	trustedProxies forwarded.Trusted
	kmsTokenFile   string // from the environment
}

// IssuerConfig says how to read the keys of a web identity's issuer, if not by discovery over the network.
type IssuerConfig struct {
	URL       string `yaml:"url"`        // as in its OpenID Connect provider
	JWKSFile  string `yaml:"jwks_file"`  // the key set, read instead of the network
	CAFile    string `yaml:"ca_file"`    // certificate authorities of the issuer
	TokenFile string `yaml:"token_file"` // a bearer token for the issuer's documents: Kubernetes requires it
}

func (i IssuerConfig) check() error {
	switch {
	case !strings.HasPrefix(i.URL, "https://"):
		return fmt.Errorf("url %q does not begin with https://", i.URL)
	case i.JWKSFile == "" && i.CAFile == "" && i.TokenFile == "":
		return errors.New("name a jwks_file, ca_file or token_file: without, there is nothing to configure")
	}
	return nil
}

type CompressionConfig struct {
	Bucket string   `yaml:"bucket" json:"bucket"`
	Types  []string `yaml:"types" json:"types"`
}

func Default() Config {
	return Config{
		Listen:      "127.0.0.1:9800",
		KMSListen:   "127.0.0.1:9801",
		AdminListen: "127.0.0.1:9802",
		DataDir:     "waxseal-data",
		LogFormat:   textLog,
		OTLPRatio:   1,

		DrainDelay:      5 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		// Every store accepts path style. A store at an IP address accepts nothing else.
		UpstreamPathStyle: true,
		UpstreamRegion:    "us-east-1",
		Region:            "us-east-1",
		Account:           "000000000000",
		KMSProvider:       providerLocal,
		AuditInterval:     5 * time.Minute, // CloudTrail's interval
		AuditS3:           string(proxy.NoDataEvents),
		ETag:              "md5",
		BucketKeyTTL:      5 * time.Minute,
		BucketKeyPeriod:   24 * time.Hour,
		BucketKeyChain:    true,
		Compat:            "aws",
	}
}

// Flags registers the flags of the fields.
func (c *Config) Flags(f *pflag.FlagSet) {
	f.String("config", "", "configuration `FILE` (YAML)")
	f.StringVar(&c.Listen, "listen", c.Listen, "`ADDR` of the S3 endpoint")
	f.StringVar(&c.KMSListen, "kms-listen", c.KMSListen, "`ADDR` of the KMS endpoint")
	f.StringVar(&c.AdminListen, "admin-listen", c.AdminListen, "`ADDR` of metrics and health; plain HTTP, keep it on loopback")
	f.Var((*list)(&c.AdminHost), "admin-host", "`NAME` that the admin endpoint answers to, beside IP addresses and localhost; may be repeated")
	f.StringVar(&c.PprofListen, "pprof-listen", c.PprofListen, "`ADDR` of profiles (pprof), for debugging; none: off. Plain HTTP, keep it on loopback")
	f.StringVar(&c.ConsoleListen, "console-listen", c.ConsoleListen, "`ADDR` of the console for browsers; none: off. It needs TLS, or a loopback address")
	f.Var((*list)(&c.ConsoleHost), "console-host", "`NAME` that browsers address the console by, beside IP addresses and localhost; may be repeated")
	f.StringVar(&c.DataDir, "data-dir", c.DataDir, "`DIR` for state, keys, credentials, audit records and the embedded store")
	f.BoolVar(&c.NewState, "new-state", c.NewState, "begin with an empty state where one was lost: what it held is gone for ever")
	f.StringVar(&c.State, "state", c.State, "`ADDRESS` of a state that several processes share, etcd://HOST:PORT[,HOST:PORT...]/PREFIX; none: state.db in the data directory")
	f.StringVar(&c.StateCA, "state-ca", c.StateCA, "PEM `FILE` with etcd's certificate authorities; none: plain TCP")
	f.StringVar(&c.StateCert, "state-cert", c.StateCert, "PEM `FILE` with a client certificate for etcd")
	f.StringVar(&c.StateKey, "state-key", c.StateKey, "PEM `FILE` with its key")
	f.StringVar(&c.Replica, "replica", c.Replica, "`NAME` of this process among those that share the state; none: the host's name")
	f.StringVar(&c.StagingBucket, "staging-bucket", c.StagingBucket, "`BUCKET` of the store for short last parts of uploads, with --state; waxseal makes it, and keeps it to itself")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "`FORMAT` of the log: text, or json with an object a line")
	f.StringVar(&c.OTLPEndpoint, "otlp-endpoint", c.OTLPEndpoint, "send traces to the OpenTelemetry collector at this `URL` by OTLP over HTTP, as http://127.0.0.1:4318; none: off")
	f.Float64Var(&c.OTLPRatio, "otlp-ratio", c.OTLPRatio, "`SHARE` of the requests that begin a trace and are sent, from 0 to 1; of a client's trace the client decides")
	f.StringVar(&c.Domain, "domain", c.Domain, "also answer BUCKET.`NAME` (virtual-host addressing)")
	f.StringVar(&c.HealthPath, "health-path", c.HealthPath, "answer an unsigned GET or HEAD of this `PATH` on the S3 port as /readyz; none: it is S3's")
	f.DurationVar(&c.DrainDelay, "drain-delay", c.DrainDelay, "`DURATION` that S3 goes on taking requests after SIGTERM, while /readyz says 503")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "`DURATION` after which requests in flight are cut at the end; 0: never")
	f.StringVar(&c.UpstreamEndpoint, "upstream-endpoint", c.UpstreamEndpoint, "`URL` of the store; none: the embedded store")
	f.StringVar(&c.UpstreamRegion, "upstream-region", c.UpstreamRegion, "`REGION` to sign requests to the store for")
	f.StringVar(&c.UpstreamCA, "upstream-ca", c.UpstreamCA, "PEM `FILE` with the store's certificate authorities")
	f.BoolVar(&c.UpstreamPathStyle, "upstream-path-style", c.UpstreamPathStyle, "address the store's buckets in the path; false: in the host name")
	f.StringVar(&c.TLSCert, "tls-cert", c.TLSCert, "PEM `FILE` with the S3 and KMS endpoints' certificate; read again when it changes")
	f.StringVar(&c.TLSKey, "tls-key", c.TLSKey, "PEM `FILE` with its key")
	f.BoolVar(&c.TLSSelfSigned, "tls-self-signed", c.TLSSelfSigned, "make a certificate in the data directory and use it")
	f.Var((*list)(&c.TrustedProxy), "trusted-proxy", "believe X-Forwarded-Proto and X-Forwarded-For from this `CIDR`; may be repeated")
	f.StringVar(&c.Region, "region", c.Region, "`REGION` that clients sign for")
	f.StringVar(&c.Account, "account", c.Account, "account `NUMBER` in ARNs")
	c.kmsFlags(f)
	f.StringVar(&c.AuditBucket, "audit-bucket", c.AuditBucket, "deliver audit records to this `BUCKET`, too; it must exist")
	f.DurationVar(&c.AuditInterval, "audit-interval", c.AuditInterval, "`DURATION` that records wait for delivery, at most")
	f.StringVar(&c.AuditWebhook, "audit-webhook", c.AuditWebhook, "post audit records to this `URL`, too; a token for it is in "+envWebhookToken)
	f.StringVar(&c.AuditS3, "audit-s3", c.AuditS3, "`REQUESTS` for objects that have an audit record of their own: off, write or all")
	f.BoolVar(&c.BlockSSEC, "block-ssec", c.BlockSSEC, "block SSE-C in buckets that are made from now on, until PutBucketEncryption unblocks it, as AWS does")
	f.BoolVar(&c.AllowInsecureSSEC, "allow-insecure-ssec", c.AllowInsecureSSEC, "take SSE-C keys over plain HTTP; for tests")
	f.BoolVar(&c.Anonymous, "anonymous", c.Anonymous, "let unsigned requests in, where a bucket's policy allows them")
	f.StringVar(&c.ETag, "etag", c.ETag, "`KIND` of the ETags of SSE-S3 objects: md5, as on S3, or opaque, which is faster")
	f.DurationVar(&c.BucketKeyTTL, "bucket-key-ttl", c.BucketKeyTTL, "`DURATION` that an opened bucket key may stay in memory: the revocation window")
	f.DurationVar(&c.BucketKeyPeriod, "bucket-key-period", c.BucketKeyPeriod, "`DURATION` that one bucket key wraps new objects")
	f.BoolVar(&c.BucketKeyChain, "bucket-key-chain", c.BucketKeyChain, "let a bucket key open the earlier ones of its bucket and KMS key, for fewer calls to the key service")
}

// list is a flag with several values.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Type() string       { return "list" }
func (l *list) GetSlice() []string { return *l }

func (l *list) Set(v string) error {
	*l = append(*l, strings.Split(v, ",")...)
	return nil
}

func (l *list) Append(v string) error {
	*l = append(*l, v)
	return nil
}

func (l *list) Replace(v []string) error {
	*l = v
	return nil
}

// load fills c from the file, the environment and the parsed flags f, and checks it. It returns the first mistake.
func (c *Config) load(f *pflag.FlagSet, env func(string) (string, bool)) error {
	return c.read(f, env).first()
}

// read does the same as load, and returns every mistake and the source of each setting.
func (c *Config) read(f *pflag.FlagSet, env func(string) (string, bool)) *reading {
	r := &reading{from: make(map[string]string)}
	given := make(map[string]string)
	f.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
	r.file = given["config"]
	if v, ok := env(envName("config")); ok && r.file == "" {
		r.file = v
	}
	*c = Default()
	if r.file != "" {
		c.readFile(r)
	}
	c.readFlags(f, given, env, r)
	c.kmsTokenFile, _ = env(envKMSTokenFile)
	r.mistake(c.makeAbsolute())
	r.mistake(c.check()...)
	return r
}

func (c *Config) readFlags(f *pflag.FlagSet, given map[string]string, env func(string) (string, bool), r *reading) {
	f.VisitAll(func(flag *pflag.Flag) {
		name, from := flag.Name, "--"+flag.Name
		value, ok := given[name]
		if !ok {
			from = envName(name)
			value, ok = env(from)
		}
		if !ok || name == "help" || name == "config" {
			return
		}
		r.from[strings.ReplaceAll(name, "-", "_")] = from
		if err := setFlag(flag.Value, value); err != nil {
			r.mistake(fmt.Errorf("%s: %q: %w", from, value, err))
		}
	})
}

func setFlag(v pflag.Value, text string) error {
	if s, ok := v.(pflag.SliceValue); ok {
		if text == "" {
			return s.Replace(nil)
		}
		return s.Replace(strings.Split(text, ","))
	}
	return v.Set(text)
}

func envName(flag string) string {
	return "WAXSEAL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// makeAbsolute makes all paths absolute: a token file, for example, is read again later.
func (c *Config) makeAbsolute() error {
	for _, p := range []*string{&c.DataDir, &c.UpstreamCA, &c.TLSCert, &c.TLSKey, &c.KMSCA, &c.StateCA, &c.StateCert, &c.StateKey, &c.kmsTokenFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// bucketName keeps wildcards out of the delivery user's policy. The store has the last word on names.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// healthPath excludes / (the list of buckets) and characters that a client would escape.
var healthPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// check returns the settings that cannot work, by flag.
func (c *Config) check() []error {
	mistakes := append(c.checkAddresses(), c.checkUpstream(), c.checkTLS(), c.checkConsole())
	for _, m := range []struct {
		wrong bool
		err   error
	}{
		{c.DataDir == "", errors.New("--data-dir: is empty")},
		{!accountNumber.MatchString(c.Account), fmt.Errorf("--account: %q is not 12 digits", c.Account)},
		{c.Region == "", errors.New("--region: is empty")},
		{c.BucketKeyTTL <= 0, fmt.Errorf("--bucket-key-ttl: %v is not positive", c.BucketKeyTTL)},
		{c.BucketKeyPeriod < c.BucketKeyTTL, fmt.Errorf("--bucket-key-period: %v is shorter than --bucket-key-ttl, %v", c.BucketKeyPeriod, c.BucketKeyTTL)},
		{c.AuditBucket != "" && !bucketName.MatchString(c.AuditBucket), fmt.Errorf("--audit-bucket: %q is not a bucket's name", c.AuditBucket)},
		{c.DrainDelay < 0, fmt.Errorf("--drain-delay: %v is negative", c.DrainDelay)},
		{c.ShutdownTimeout < 0, fmt.Errorf("--shutdown-timeout: %v is negative; 0 waits for ever", c.ShutdownTimeout)},
		{c.HealthPath != "" && !healthPath.MatchString(c.HealthPath), fmt.Errorf("--health-path: %q is not a path such as /healthz", c.HealthPath)},
		{c.AuditInterval <= 0, fmt.Errorf("--audit-interval: %v is not positive", c.AuditInterval)},
	} {
		if m.wrong {
			mistakes = append(mistakes, m.err)
		}
	}
	mistakes = append(mistakes, oneOf("--etag", c.ETag, "md5", "opaque"), oneOf("--log-format", c.LogFormat, textLog, jsonLog), c.checkTraces(), c.checkWebhook(), oneOf("--audit-s3", c.AuditS3, "off", "write", "all"), c.checkKMS(), oneOf("config: compat", c.Compat, "aws", "ceph"))
	mistakes = append(mistakes, c.checkShared()...)
	return append(mistakes, c.checkFileOnly()...)
}

func (c *Config) checkAddresses() (mistakes []error) {
	for _, a := range []struct{ flag, addr string }{
		{"listen", c.Listen}, {"kms-listen", c.KMSListen}, {"admin-listen", c.AdminListen}, {"pprof-listen", c.PprofListen},
		{"console-listen", c.ConsoleListen},
	} {
		if a.addr == "" && (a.flag == "pprof-listen" || a.flag == "console-listen") {
			continue
		}
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			mistakes = append(mistakes, fmt.Errorf("--%s: %w", a.flag, err))
		}
	}
	return mistakes
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of: %s", name, value, strings.Join(allowed, ", "))
}

func (c *Config) checkUpstream() error {
	if c.UpstreamEndpoint == "" {
		if c.UpstreamCA != "" {
			return errors.New("--upstream-ca: there is no --upstream-endpoint")
		}
		for _, u := range c.Users {
			if u.Upstream != nil {
				return fmt.Errorf("config: users: %s: upstream: there is no --upstream-endpoint: the embedded store knows no users", u.Name)
			}
		}
		return nil
	}
	return checkURL("--upstream-endpoint", c.UpstreamEndpoint, "WAXSEAL_UPSTREAM_ACCESS_KEY and WAXSEAL_UPSTREAM_SECRET_KEY")
}

// checkURL accepts http and https URLs without credentials. The error names the variables for credentials.
func checkURL(flag, text, variables string) error {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return fmt.Errorf("%s: credentials do not belong into the URL: use %s", flag, variables)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errNoURL(flag, text)
	}
	return nil
}

// errNoURL returns an error without the URL, which may contain a password.
func errNoURL(flag, text string) error {
	if strings.Contains(text, "@") {
		return fmt.Errorf("%s: this is not an http or https URL", flag)
	}
	return fmt.Errorf("%s: %q is not an http or https URL", flag, text)
}

func (c *Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key: one is missing")
	}
	if c.TLSSelfSigned && c.TLSCert != "" {
		return errors.New("--tls-self-signed: there is a --tls-cert already")
	}
	for _, cidr := range c.TrustedProxy {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			return fmt.Errorf("--trusted-proxy: %w", err)
		}
		c.trustedProxies = append(c.trustedProxies, n)
	}
	return nil
}

func (c *Config) checkFileOnly() (mistakes []error) {
	for i, r := range c.Compression {
		if r.Bucket == "" || len(r.Types) == 0 {
			mistakes = append(mistakes, fmt.Errorf("config: compression: rule %d needs a bucket and types", i+1))
		}
	}
	for _, bucket := range slices.Sorted(maps.Keys(c.BucketAliases)) {
		if sealedAs := c.BucketAliases[bucket]; bucket == "" || sealedAs == "" || bucket == sealedAs {
			mistakes = append(mistakes, fmt.Errorf("config: bucket_aliases: %q: %q names no other bucket", bucket, sealedAs))
		}
	}
	for n, i := range c.Issuers {
		if err := i.check(); err != nil {
			mistakes = append(mistakes, fmt.Errorf("config: issuers: issuer %d: %w", n+1, err))
		}
	}
	return append(mistakes, c.checkUsers()...)
}

func (c *Config) checkUsers() (mistakes []error) {
	seen := make(map[string]string)
	for i := range c.Users {
		u := &c.Users[i]
		err := u.readRights()
		if err == nil {
			err = u.check()
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("config: users: user %d (%s): %w", i+1, u.Name, err))
			continue
		}
		if other, ok := seen[u.AccessKey]; ok {
			mistakes = append(mistakes, fmt.Errorf("config: users: %s and %s have the same access_key", other, u.Name))
		}
		seen[u.AccessKey] = u.Name
	}
	return mistakes
}
