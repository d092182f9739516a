package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// config is everything that can be configured. Where a field has a flag, the flag has the field's YAML key with
// hyphens, and its environment variable is WAXSEAL_ and the key in capitals. A flag wins over the environment, the
// environment over the file, the file over the default.
type config struct {
	Listen      string   `yaml:"listen"`
	KMSListen   string   `yaml:"kms_listen"`
	AdminListen string   `yaml:"admin_listen"`
	AdminHost   []string `yaml:"admin_host"`
	PprofListen string   `yaml:"pprof_listen"`
	DataDir     string   `yaml:"data_dir"`
	NewState    bool     `yaml:"new_state"`
	Domain      string   `yaml:"domain"`

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

	AuditBucket   string        `yaml:"audit_bucket"`
	AuditInterval time.Duration `yaml:"audit_interval"`

	AllowInsecureSSEC bool          `yaml:"allow_insecure_ssec"`
	BlockSSEC         bool          `yaml:"block_ssec"`
	Anonymous         bool          `yaml:"anonymous"`
	ETag              string        `yaml:"etag"`
	BucketKeyTTL      time.Duration `yaml:"bucket_key_ttl"`
	BucketKeyPeriod   time.Duration `yaml:"bucket_key_period"`

	// Only in the file.
	Users         []userConfig        `yaml:"users"`
	ReadThrough   []string            `yaml:"read_through"`
	BucketAliases map[string]string   `yaml:"bucket_aliases"`
	Compression   []compressionConfig `yaml:"compression"`
	Compat        string              `yaml:"compat"`
	SigV2         bool                `yaml:"sigv2"`

	trustedProxies []*net.IPNet
	kmsTokenFile   string // from the environment
}

type compressionConfig struct {
	Bucket string   `yaml:"bucket"`
	Types  []string `yaml:"types"`
}

func defaults() config {
	return config{
		Listen:      "127.0.0.1:9800",
		KMSListen:   "127.0.0.1:9801",
		AdminListen: "127.0.0.1:9802",
		DataDir:     "waxseal-data",

		DrainDelay:      5 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		// Every store takes it, and a store at an IP address takes nothing else.
		UpstreamPathStyle: true,
		UpstreamRegion:    "us-east-1",
		Region:            "us-east-1",
		Account:           "000000000000",
		KMSProvider:       providerLocal,
		AuditInterval:     5 * time.Minute, // as CloudTrail delivers
		ETag:              "md5",
		BucketKeyTTL:      5 * time.Minute,
		BucketKeyPeriod:   24 * time.Hour,
		Compat:            "aws",
	}
}

// flags registers a flag for every field that has one.
func (c *config) flags(f *pflag.FlagSet) {
	f.String("config", "", "configuration `FILE` (YAML)")
	f.StringVar(&c.Listen, "listen", c.Listen, "`ADDR` of the S3 endpoint")
	f.StringVar(&c.KMSListen, "kms-listen", c.KMSListen, "`ADDR` of the KMS endpoint")
	f.StringVar(&c.AdminListen, "admin-listen", c.AdminListen, "`ADDR` of metrics and health; plain HTTP, keep it on loopback")
	f.Var((*list)(&c.AdminHost), "admin-host", "`NAME` that the admin endpoint answers to, beside IP addresses and localhost; may be repeated")
	f.StringVar(&c.PprofListen, "pprof-listen", c.PprofListen, "`ADDR` of profiles (pprof), for debugging; none: off. Plain HTTP, keep it on loopback")
	f.StringVar(&c.DataDir, "data-dir", c.DataDir, "`DIR` for state, keys, credentials, audit records and the embedded store")
	f.BoolVar(&c.NewState, "new-state", c.NewState, "begin with an empty state where one was lost: what it held is gone for ever")
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
	f.Var((*list)(&c.TrustedProxy), "trusted-proxy", "believe X-Forwarded-Proto from this `CIDR`; may be repeated")
	f.StringVar(&c.Region, "region", c.Region, "`REGION` that clients sign for")
	f.StringVar(&c.Account, "account", c.Account, "account `NUMBER` in ARNs")
	c.kmsFlags(f)
	f.StringVar(&c.AuditBucket, "audit-bucket", c.AuditBucket, "deliver audit records to this `BUCKET`, too; it must exist")
	f.DurationVar(&c.AuditInterval, "audit-interval", c.AuditInterval, "`DURATION` that records wait for delivery, at most")
	f.BoolVar(&c.BlockSSEC, "block-ssec", c.BlockSSEC, "block SSE-C in buckets that are made from now on, until PutBucketEncryption unblocks it, as AWS does")
	f.BoolVar(&c.AllowInsecureSSEC, "allow-insecure-ssec", c.AllowInsecureSSEC, "take SSE-C keys over plain HTTP; for tests")
	f.BoolVar(&c.Anonymous, "anonymous", c.Anonymous, "let unsigned requests in, where a bucket's policy allows them")
	f.StringVar(&c.ETag, "etag", c.ETag, "`KIND` of the ETags of SSE-S3 objects: md5, as on S3, or opaque, which is faster")
	f.DurationVar(&c.BucketKeyTTL, "bucket-key-ttl", c.BucketKeyTTL, "`DURATION` that an opened bucket key may stay in memory: the revocation window")
	f.DurationVar(&c.BucketKeyPeriod, "bucket-key-period", c.BucketKeyPeriod, "`DURATION` that one bucket key wraps new objects")
}

// list is a flag of several values.
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

// load fills c, whose flags f were parsed, from the file, the environment and the flags, and checks it.
func (c *config) load(f *pflag.FlagSet, env func(string) (string, bool)) error {
	given := make(map[string]string)
	f.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
	file := given["config"]
	if v, ok := env(envName("config")); ok && file == "" {
		file = v
	}
	*c = defaults()
	if file != "" {
		if err := c.loadFile(file); err != nil {
			return err
		}
		if len(c.Users) > 0 { // with their secret keys
			if err := onlyMine(file); err != nil {
				return fmt.Errorf("config: %w", err)
			}
		}
	}
	if err := c.loadFlags(f, given, env); err != nil {
		return err
	}
	c.kmsTokenFile, _ = env(envKMSTokenFile)
	if err := c.makeAbsolute(); err != nil {
		return err
	}
	return c.check()
}

func (c *config) loadFlags(f *pflag.FlagSet, given map[string]string, env func(string) (string, bool)) error {
	var failed error
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
		if err := setFlag(flag.Value, value); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %q: %w", from, value, err))
		}
	})
	return failed
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

// loadFile reads YAML on top of what c holds. A key that nobody reads is a mistake, and refused.
func (c *config) loadFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	err = d.Decode(c)
	if errors.Is(err, io.EOF) {
		return nil // nothing in it
	}
	if err == nil {
		err = d.Decode(new(yaml.Node))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("has a second document, which nobody would read: take out the line --- before it")
		}
	}
	return fmt.Errorf("config: %s: %w", name, oneLine(err))
}

// misplaced is how a YAML error shows a value in the place of a user or of credentials: it may be a secret.
var misplaced = regexp.MustCompile("`.*` into (\\[\\]|\\*)*main\\.")

// oneLine joins the lines of a YAML error, which has one for each mistake.
func oneLine(err error) error {
	text := misplaced.ReplaceAllString(err.Error(), "(not shown) into ${1}main.")
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\n  ", " "), "yaml: ")
	return errors.New(strings.ReplaceAll(text, " in type main.", " in "))
}

// makeAbsolute fixes all paths before the embedded store changes the working directory.
func (c *config) makeAbsolute() error {
	for _, p := range []*string{&c.DataDir, &c.UpstreamCA, &c.TLSCert, &c.TLSKey, &c.KMSCA, &c.kmsTokenFile} {
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

// bucketName keeps wildcards out of the policy of who delivers; the store has the last word on names.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// healthPath keeps out / (the list of buckets) and whatever a client would escape.
var healthPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// check refuses what cannot work, naming the flag.
func (c *config) check() error {
	for flag, addr := range map[string]string{"listen": c.Listen, "kms-listen": c.KMSListen, "admin-listen": c.AdminListen, "pprof-listen": c.PprofListen} {
		if addr == "" && flag == "pprof-listen" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	if err := c.checkUpstream(); err != nil {
		return err
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	switch {
	case c.DataDir == "":
		return errors.New("--data-dir: is empty")
	case !accountNumber.MatchString(c.Account):
		return fmt.Errorf("--account: %q is not 12 digits", c.Account)
	case c.Region == "":
		return errors.New("--region: is empty")
	case c.BucketKeyTTL <= 0:
		return fmt.Errorf("--bucket-key-ttl: %v is not positive", c.BucketKeyTTL)
	case c.BucketKeyPeriod < c.BucketKeyTTL:
		return fmt.Errorf("--bucket-key-period: %v is shorter than --bucket-key-ttl, %v", c.BucketKeyPeriod, c.BucketKeyTTL)
	case c.AuditBucket != "" && !bucketName.MatchString(c.AuditBucket):
		return fmt.Errorf("--audit-bucket: %q is not a bucket's name", c.AuditBucket)
	case c.DrainDelay < 0:
		return fmt.Errorf("--drain-delay: %v is negative", c.DrainDelay)
	case c.ShutdownTimeout < 0:
		return fmt.Errorf("--shutdown-timeout: %v is negative; 0 waits for ever", c.ShutdownTimeout)
	case c.HealthPath != "" && !healthPath.MatchString(c.HealthPath):
		return fmt.Errorf("--health-path: %q is not a path such as /healthz", c.HealthPath)
	case c.AuditInterval <= 0:
		return fmt.Errorf("--audit-interval: %v is not positive", c.AuditInterval)
	}
	if err := oneOf("--etag", c.ETag, "md5", "opaque"); err != nil {
		return err
	}
	if err := c.checkKMS(); err != nil {
		return err
	}
	if err := oneOf("config: compat", c.Compat, "aws", "ceph"); err != nil {
		return err
	}
	return c.checkFileOnly()
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of: %s", name, value, strings.Join(allowed, ", "))
}

func (c *config) checkUpstream() error {
	if c.UpstreamEndpoint == "" {
		if c.UpstreamCA != "" {
			return errors.New("--upstream-ca: there is no --upstream-endpoint")
		}
		return nil
	}
	return checkURL("--upstream-endpoint", c.UpstreamEndpoint, "WAXSEAL_UPSTREAM_ACCESS_KEY and WAXSEAL_UPSTREAM_SECRET_KEY")
}

// checkURL takes http and https URLs without credentials in them; those belong into the variables named.
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

// errNoURL does not show what may have a password in it.
func errNoURL(flag, text string) error {
	if strings.Contains(text, "@") {
		return fmt.Errorf("%s: this is not an http or https URL", flag)
	}
	return fmt.Errorf("%s: %q is not an http or https URL", flag, text)
}

func (c *config) checkTLS() error {
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

func (c *config) checkFileOnly() error {
	for i, r := range c.Compression {
		if r.Bucket == "" || len(r.Types) == 0 {
			return fmt.Errorf("config: compression: rule %d needs a bucket and types", i+1)
		}
	}
	for bucket, sealedAs := range c.BucketAliases {
		if bucket == "" || sealedAs == "" || bucket == sealedAs {
			return fmt.Errorf("config: bucket_aliases: %q: %q names no other bucket", bucket, sealedAs)
		}
	}
	seen := make(map[string]string)
	for i := range c.Users {
		u := &c.Users[i]
		err := u.readRights()
		if err == nil {
			err = u.check()
		}
		if err != nil {
			return fmt.Errorf("config: users: user %d (%s): %w", i+1, u.Name, err)
		}
		if other, ok := seen[u.AccessKey]; ok {
			return fmt.Errorf("config: users: %s and %s have the same access_key", other, u.Name)
		}
		seen[u.AccessKey] = u.Name
	}
	return nil
}
