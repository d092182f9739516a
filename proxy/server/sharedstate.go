package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/keystore/state/etcd"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// Several processes share a state in etcd. Each has its own data directory, for audit records until their delivery. No
// process needs the directory of another.

const stateScheme = "etcd"

// Variables with the credentials for etcd.
const (
	envStateUser     = "WAXSEAL_STATE_USER"
	envStatePassword = "WAXSEAL_STATE_PASSWORD"
)

// shared reports whether the state is shared with other processes.
func (c *Config) shared() bool { return c.State != "" }

// replicaName matches valid replica names: they are parts of keys and log lines.
var replicaName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// checkShared returns the settings that cannot work with a shared state, by flag.
func (c *Config) checkShared() []error {
	if !c.shared() {
		return c.checkAlone()
	}
	_, _, err := stateAddress(c.State)
	mistakes := []error{err}
	for _, m := range []struct {
		wrong bool
		text  string
	}{
		{c.UpstreamEndpoint == "", "--upstream-endpoint: is missing: the embedded store is one machine's, and --state is for several processes"},
		{c.StagingBucket == "", "--staging-bucket: is missing: parts of uploads that one replica takes must be there for another's CompleteMultipartUpload"},
		{c.StagingBucket != "" && !bucketName.MatchString(c.StagingBucket), "--staging-bucket: this is not a bucket's name"},
		{c.TLSSelfSigned, "--tls-self-signed: each replica would make a certificate of its own: use --tls-cert and --tls-key"},
		{c.KMSRate != 0, "--kms-rate: it would be each replica's, and the limit is of all: limit requests at the balancer"},
		{(c.StateCert == "") != (c.StateKey == ""), "--state-cert and --state-key: one is missing"},
		{c.StateCert != "" && c.StateCA == "", "--state-ca: is missing: with --state-cert, etcd is reached over TLS"},
		{!replicaName.MatchString(c.replica()), "--replica: this is not a name: letters, digits, '.', '_' and '-', at most 63"},
	} {
		if m.wrong {
			mistakes = append(mistakes, errors.New(m.text))
		}
	}
	return mistakes
}

// checkAlone refuses settings that need --state. The settings for reaching etcd are allowed, because waxseal state copy
// uses them, too.
func (c *Config) checkAlone() (mistakes []error) {
	for _, f := range []struct{ flag, value string }{{"staging-bucket", c.StagingBucket}, {"replica", c.Replica}} {
		if f.value != "" {
			mistakes = append(mistakes, fmt.Errorf("--%s: there is no --state", f.flag))
		}
	}
	return mistakes
}

// stateAddress splits etcd://host:port,host:port/prefix.
func stateAddress(address string) (endpoints []string, prefix string, err error) {
	rest, ok := strings.CutPrefix(address, stateScheme+"://")
	if !ok {
		return nil, "", errors.New("--state: the address is not etcd://HOST:PORT[,HOST:PORT...]/PREFIX")
	}
	if strings.Contains(address, "@") {
		return nil, "", fmt.Errorf("--state: credentials do not belong into the address: use %s and %s", envStateUser, envStatePassword)
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	for _, host := range strings.Split(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			return nil, "", fmt.Errorf("--state: %w", err)
		}
		endpoints = append(endpoints, host)
	}
	if prefix = strings.Trim(prefix, "/"); prefix == "" || prefix != url.PathEscape(prefix) && strings.Contains(prefix, "?") {
		return nil, "", errors.New("--state: the address has no prefix: etcd://HOST:PORT/waxseal, for example")
	}
	return endpoints, prefix, nil
}

// replica returns this process's name.
func (c *Config) replica() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return cmp.Or(c.Replica, host)
}

// etcdConfig returns the configuration of the etcd client.
func (c *Config) etcdConfig(log *slog.Logger) (etcd.Config, error) {
	endpoints, prefix, err := stateAddress(c.State)
	if err != nil {
		return etcd.Config{}, err
	}
	conf := etcd.Config{Endpoints: endpoints, Prefix: prefix, User: os.Getenv(envStateUser), Password: os.Getenv(envStatePassword), Log: log}
	if (conf.User == "") != (conf.Password == "") {
		return conf, fmt.Errorf("%s and %s: one is missing", envStateUser, envStatePassword)
	}
	if c.StateCA == "" {
		return conf, passwordInClear(conf)
	}
	pem, err := os.ReadFile(c.StateCA)
	if err != nil {
		return conf, fmt.Errorf("--state-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return conf, fmt.Errorf("--state-ca: %s: no certificate in it", c.StateCA)
	}
	conf.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if c.StateCert != "" {
		pair, err := tls.LoadX509KeyPair(c.StateCert, c.StateKey)
		if err != nil {
			return conf, fmt.Errorf("--state-cert: %w", err)
		}
		conf.TLS.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// passwordInClear refuses to send a password over a network without TLS.
func passwordInClear(conf etcd.Config) error {
	for _, e := range conf.Endpoints {
		host, _, _ := net.SplitHostPort(e)
		if ip := net.ParseIP(host); conf.User != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("%s: the password would go to %s in clear: use --state-ca", envStateUser, e)
		}
	}
	return nil
}

// openPause is the pause between attempts to reach the state at a start.
const openPause = time.Second

// reachState opens the state in etcd. It waits while etcd does not answer; a refusal is an error.
func (c *Config) reachState(ctx context.Context, log *slog.Logger) (*etcd.Store, error) {
	conf, err := c.etcdConfig(log)
	if err != nil {
		return nil, err
	}
	for {
		s, err := etcd.Open(ctx, conf)
		if err == nil || etcd.Refused(err) || ctx.Err() != nil {
			return s, err
		}
		log.Warn("the state does not answer; the start waits for it", "err", err)
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openShared opens the state in etcd, as a replica. It generates no secret: other replicas could not open it.
func (p *App) openShared(ctx context.Context, dir dataDir, c *Config, log *slog.Logger) error {
	p.dir = dir
	if err := p.lockDir(dir); err != nil {
		return err
	}
	var err error
	if p.secret, err = rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), dir.rootKey(), false); err != nil {
		return fmt.Errorf("with --state the root secret is given, in WAXSEAL_ROOT_SECRET or %s, the same to each replica: %w", dir.rootKey(), err)
	}
	p.onClose(func(context.Context) error { p.secret.Zero(); return nil })
	if p.shared, err = c.reachState(ctx, log); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return p.shared.Close() })
	if err := dir.mayShare(ctx, p.shared, c.NewState); err != nil {
		return err
	}
	if p.state, err = sealShared(ctx, p.shared, p.secret); err != nil {
		return p.otherSecret(err)
	}
	if p.deployment, err = holdDeployment(ctx, p.state, c, p.secret); err != nil {
		return err
	}
	p.replicas, err = state.Join(ctx, p.state, c.replica(), log, c.BucketKeyTTL, urgentPrefixes...)
	if err != nil {
		return err
	}
	p.onClose(p.replicas.Leave)
	return nil
}

// urgentPrefixes are the records for which a client's response waits until all replicas have seen the change.
var urgentPrefixes = []string{"proxy/bucket/", "kms/key/", "servicekey", "iam/"}

// adoptStaging creates or checks the staging bucket. It waits for a store that does not answer.
func (p *App) adoptStaging(ctx context.Context, log *slog.Logger) error {
	for p.replicas != nil {
		err := p.S3.AdoptStaging(ctx)
		var answer *s3.Error
		if !errors.Is(err, store.ErrUnreachable) && !(errors.As(err, &answer) && answer.HTTPStatus >= http.StatusInternalServerError) {
			return err
		}
		log.Warn("the store does not answer; the start waits for it", "err", err)
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// lockDir locks a data directory: two processes would write the same files of audit records.
func (p *App) lockDir(dir dataDir) error {
	name := filepath.Join(string(dir), "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("--data-dir: another process uses %s: each replica needs a directory of its own", dir), f.Close())
	}
	p.onClose(func(context.Context) error { return f.Close() })
	return nil
}

// mayShare returns an error if the state in etcd is empty although a waxseal has served from this directory: the state
// was lost, or the prefix is wrong.
func (d dataDir) mayShare(ctx context.Context, s state.Store, newState bool) error {
	entries, err := s.Range(ctx, "", "", 1)
	if err != nil {
		return err
	}
	if len(entries) > 0 && newState {
		return errors.New("--new-state: there is a state in etcd: take the flag away (or WAXSEAL_NEW_STATE)")
	}
	if len(entries) > 0 || newState {
		return nil
	}
	served, err := hasContent(d.fingerprint())
	if err == nil && served {
		err = fmt.Errorf("--state: there is nothing under this prefix in etcd, but a waxseal has served from %s: KMS keys, bucket policies and "+
			"default encryption were in its state. Copy a state there (waxseal state copy), or begin without all that (waxseal serve --new-state); "+
			"what was sealed under the lost keys does not open then", d)
	}
	return err
}

// sealShared returns the state in etcd, sealed under the root secret. waxseal has never written a plain state there.
func sealShared(ctx context.Context, s state.Store, secret *rootkey.Secret) (*state.Sealed, error) {
	refuse := func(context.Context) error {
		return fmt.Errorf("%w: it is not sealed, and waxseal has written none that is not", state.ErrNotAuthentic)
	}
	sealed, err := state.Seal(ctx, s, secret.Sealer("state"), refuse, ownSeals...)
	if err != nil {
		return nil, fmt.Errorf("the state in etcd: %w", err)
	}
	return sealed, nil
}

// deploymentKey is the record of the settings common to all replicas of a state.
const deploymentKey = "deployment"

// stateFormat is the format of this version's records. Replicas with different formats do not serve together.
const stateFormat = 1

// deployment is the record at deploymentKey.
type deployment struct {
	ID     string `json:"id"` // part of the names of staged parts
	Format int    `json:"format"`
	agreed
}

// agreed holds the settings that must be equal in all replicas. Each decides the format of written data, or how long a
// revoked right stays in effect.
type agreed struct {
	Secret          string `json:"secret"` // fingerprint of the root secret
	Region          string `json:"region"`
	Account         string `json:"account"`
	KMSProvider     string `json:"kms_provider"`
	KMSRootKey      string `json:"kms_root_key"`
	StagingBucket   string `json:"staging_bucket"`
	Upstream        string `json:"upstream"`
	BucketKeyTTL    string `json:"bucket_key_ttl"`
	BucketKeyPeriod string `json:"bucket_key_period"`
	ETag            string `json:"etag"`
}

func (c *Config) agreed(secret *rootkey.Secret) (agreed, error) {
	print, err := secret.Fingerprint()
	return agreed{Secret: print, Region: c.Region, Account: c.Account, KMSProvider: c.KMSProvider, KMSRootKey: c.KMSRootKey,
		StagingBucket: c.StagingBucket, Upstream: c.UpstreamEndpoint, BucketKeyTTL: c.BucketKeyTTL.String(),
		BucketKeyPeriod: c.BucketKeyPeriod.String(), ETag: c.ETag}, err
}

// differs returns an error with the first setting in which two replicas differ.
func (a agreed) differs(b agreed) error {
	for _, f := range []struct{ name, here, there string }{
		{"the root secret (its fingerprint)", a.Secret, b.Secret}, {"--region", a.Region, b.Region}, {"--account", a.Account, b.Account},
		{"--kms-provider", a.KMSProvider, b.KMSProvider}, {"--kms-root-key", a.KMSRootKey, b.KMSRootKey},
		{"--staging-bucket", a.StagingBucket, b.StagingBucket}, {"--upstream-endpoint", a.Upstream, b.Upstream},
		{"--bucket-key-ttl", a.BucketKeyTTL, b.BucketKeyTTL}, {"--bucket-key-period", a.BucketKeyPeriod, b.BucketKeyPeriod}, {"--etag", a.ETag, b.ETag},
	} {
		if f.here != f.there {
			return fmt.Errorf("--state: %s is %s here and %s for the replicas of this state", f.name, f.here, f.there)
		}
	}
	return nil
}

// holdDeployment writes the record at the first start of a state, and compares every later start with it. While no
// replica serves, a start may change the settings. Only waxseal rekey changes the root secret.
func holdDeployment(ctx context.Context, s state.Store, c *Config, secret *rootkey.Secret) (deployment, error) {
	own, err := c.agreed(secret)
	if err != nil {
		return deployment{}, err
	}
	for {
		d, revision, err := readDeployment(ctx, s)
		if err != nil {
			return deployment{}, err
		}
		change := deployment{ID: cmp.Or(d.ID, strings.ToLower(rand.Text())), Format: stateFormat, agreed: own}
		differs := own.differs(d.agreed)
		switch {
		case revision == 0:
		case d.Format != stateFormat:
			return d, fmt.Errorf("--state: the state has format %d, this version of waxseal writes %d", d.Format, stateFormat)
		case differs == nil:
			return d, nil
		case d.Secret != own.Secret:
			return d, differs
		default:
			if alive, err := anyAlive(ctx, s); err != nil || alive {
				return d, errors.Join(differs, err)
			}
		}
		value, err := json.Marshal(change)
		if err != nil {
			return d, err
		}
		_, err = s.Txn(ctx, []state.Cond{{Key: deploymentKey, Revision: revision}}, []state.Op{{Key: deploymentKey, Value: value}})
		if err == nil {
			return change, nil
		}
		if !errors.Is(err, state.ErrConflict) && !errors.Is(err, state.ErrUnknown) {
			return d, err
		}
	}
}

func readDeployment(ctx context.Context, s state.Store) (d deployment, revision int64, err error) {
	e, err := s.Get(ctx, deploymentKey)
	if errors.Is(err, state.ErrNotFound) {
		return d, 0, nil
	}
	if err != nil {
		return d, 0, err
	}
	if err := json.Unmarshal(e.Value, &d); err != nil {
		return d, 0, fmt.Errorf("state: %s: %w", deploymentKey, err)
	}
	return d, e.Revision, nil
}

// anyAlive reports whether a replica renews its record during the observation.
func anyAlive(ctx context.Context, s state.Store) (bool, error) {
	before, err := state.ReplicaRevisions(ctx, s)
	if err != nil || len(before) == 0 {
		return false, err
	}
	select {
	case <-time.After(state.FreshFor):
	case <-ctx.Done():
		return false, ctx.Err()
	}
	after, err := state.ReplicaRevisions(ctx, s)
	for name, revision := range after {
		if before[name] != revision {
			return true, err
		}
	}
	return false, err
}

// lookShared opens the state in etcd for an operator's command, beside the serving replicas.
func (p *App) lookShared(ctx context.Context, c *Config) error {
	var err error
	if p.secret, err = rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), p.dir.rootKey(), false); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { p.secret.Zero(); return nil })
	if p.shared, err = c.reachState(ctx, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return p.shared.Close() })
	if empty, err := isEmpty(p.shared); err != nil || empty {
		return errors.Join(err, fmt.Errorf("--state: there is no waxseal's state under %s", c.State))
	}
	p.state, err = sealShared(ctx, p.shared, p.secret)
	return p.otherSecret(err)
}

// errShared refuses an operator's command for state files if the state is shared.
func (c *Config) errShared(command string) error {
	if !c.shared() {
		return nil
	}
	return fmt.Errorf("%s: the state is in etcd, and this command works on a state file: stop all replicas, copy the state into a "+
		"file and back afterwards (waxseal state copy)", command)
}
