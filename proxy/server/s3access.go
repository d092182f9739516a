package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
)

// S3Access is a job's access to waxseal's S3 endpoint.
type S3Access struct {
	Socket    string `json:"socket"` // the operator's listener
	Region    string `json:"region"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Store     string `json:"store"` // location of the objects: a URL, "embedded", or a waxseal elsewhere

	ReadThrough []string `json:"read_through"` // buckets with plaintext served as it is
	Operator    bool     `json:"-"`            // reached over the operator's listener

	// BeginWalk begins a walk for the ledger; nil for a waxseal elsewhere.
	BeginWalk func(context.Context) (*LedgerWalk, error) `json:"-"`

	URL       *url.URL        `json:"-"`
	Transport *http.Transport `json:"-"` // reaches the endpoint
}

// WithS3 gives a job access to a waxseal: at the endpoint, if given; else the waxseal serving from the data directory;
// else a waxseal assembled for the job.
func WithS3(ctx context.Context, c *Config, endpoint string, task Task, stderr io.Writer, do func(*S3Access) error) error {
	if endpoint != "" {
		a, err := c.accessElsewhere(endpoint)
		if err != nil {
			return err
		}
		return do(a)
	}
	body, err := ask(ctx, dataDir(c.DataDir), http.MethodGet, "/s3?"+task.query().Encode())
	if errors.Is(err, errNobodyServes) {
		return withOwnS3(ctx, c, task, stderr, do)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	a := new(S3Access)
	if err := json.NewDecoder(body).Decode(a); err != nil {
		return err
	}
	err = a.open("http://operator", nil, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.Socket)
	})
	if err != nil {
		return err
	}
	a.Operator = true
	a.BeginWalk = func(ctx context.Context) (*LedgerWalk, error) { return beginServedWalk(ctx, dataDir(c.DataDir)) }
	begun := time.Now()
	err = do(a)
	return errors.Join(err, task.ended(ctx, dataDir(c.DataDir), time.Since(begun), err))
}

// open makes the transport.
func (a *S3Access) open(endpoint string, conf *tls.Config, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (err error) {
	if a.URL, err = url.Parse(endpoint); err != nil || a.URL.Host == "" {
		return errNoURL("--endpoint", endpoint)
	}
	a.Transport = &http.Transport{DialContext: dial, TLSClientConfig: conf, DisableCompression: true, MaxIdleConnsPerHost: 64,
		IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 15 * time.Minute}
	return nil
}

// accessElsewhere returns access to a waxseal at a URL. It trusts the data directory's own certificate, if there is
// one.
func (c *Config) accessElsewhere(endpoint string) (*S3Access, error) {
	dir := dataDir(c.DataDir)
	root, err := rootOf(dir)
	if err != nil {
		return nil, err
	}
	a := &S3Access{Region: c.Region, AccessKey: root.AccessKey, SecretKey: root.SecretKey, Store: "behind " + endpoint}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	switch pem, err := os.ReadFile(dir.tlsCert()); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
			conf.RootCAs = x509.NewCertPool()
		}
		conf.RootCAs.AppendCertsFromPEM(pem)
	}
	return a, a.open(endpoint, conf, nil)
}

// rootOf reads the root credentials. It generates none.
func rootOf(dir dataDir) (Credentials, error) {
	root, err := rootFromEnv(os.LookupEnv)
	if err != nil || root.AccessKey != "" {
		return root, err
	}
	root, err = dir.readCredentials()
	if errors.Is(err, fs.ErrNotExist) {
		return root, errors.New("--endpoint needs WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY, or a data directory with credentials")
	}
	return root, err
}

// withOwnS3 assembles a waxseal for the job alone.
func withOwnS3(ctx context.Context, c *Config, task Task, stderr io.Writer, do func(*S3Access) error) error {
	if err := c.exists(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := Assemble(ctx, c, log)
	if err != nil {
		return err
	}
	// The store's capabilities decide which changes are safe, so the job waits for the probe.
	select {
	case <-p.Probed:
	case <-ctx.Done():
	}
	l := fasthttputil.NewInmemoryListener()
	ended := make(chan error, 1)
	go func() { ended <- p.S3.ServeOperator(l) }()
	a := &S3Access{Region: c.Region, AccessKey: p.root.AccessKey, SecretKey: p.root.SecretKey, Store: c.storeName(),
		ReadThrough: c.ReadThrough, Operator: true, BeginWalk: p.beginWalk}
	err = a.open("http://operator", nil, func(context.Context, string, string) (net.Conn, error) { return l.Dial() })
	if err == nil {
		err = p.record(ctx, c, thisOperator(), task.event("StartJob"))
	}
	if err == nil {
		err = do(a)
		e := task.event("EndJob")
		e.err = err
		err = errors.Join(err, p.record(ctx, c, thisOperator(), e))
		a.Transport.CloseIdleConnections()
	}
	ending, cancel := c.ending(ctx)
	defer cancel()
	return errors.Join(err, p.Shutdown(ending), <-ended)
}

// storeName tells apart the stores of a data directory.
func (c *Config) storeName() string { return cmp.Or(c.UpstreamEndpoint, "embedded") }

// openJobs serves the operator's own listener, a socket for this user only, until Shutdown. It is part of the S3
// endpoint, and ends with it.
func (p *App) openJobs(_ context.Context, c *Config, log *slog.Logger) error {
	path := dataDir(c.DataDir).jobs()
	if len(path) > maxControlPath {
		return nil // openControl has reported it
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("operator socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	go func() {
		if err := p.S3.ServeOperator(l); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Error("the operator socket has ended", "err", err)
		}
	}()
	return nil
}

// tellJobs responds with the access to the running S3 endpoint.
func (p *App) tellJobs(c *Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := p.record(r.Context(), c, operatorOf(r), taskOf(r.URL.Query()).event("StartJob")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		a := S3Access{Socket: dataDir(c.DataDir).jobs(), Region: c.Region, AccessKey: p.root.AccessKey, SecretKey: p.root.SecretKey,
			Store: c.storeName(), ReadThrough: c.ReadThrough}
		if err := json.NewEncoder(w).Encode(a); err != nil {
			panic(http.ErrAbortHandler) // the reader sees an incomplete response
		}
	}
}

// exists refuses a missing data directory: a job creates none.
func (c *Config) exists() error {
	if _, err := os.Stat(dataDir(c.DataDir).state()); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}
