package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/proxy/embedded"
)

// storeAccess is a job's access to the store behind waxseal.
type storeAccess struct {
	Endpoint  string `json:"endpoint"`
	Region    string `json:"region"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	Socket    string `json:"socket"` // of the embedded store

	virtualHost bool
	tls         *tls.Config
	transport   http.RoundTripper // nil: the network
}

// client returns a client with waxseal's access to the store.
func (a storeAccess) client() (*minio.Core, error) {
	u, err := url.Parse(a.Endpoint)
	if err != nil {
		return nil, err
	}
	opts := &minio.Options{
		Creds: miniocreds.NewStaticV4(a.AccessKey, a.SecretKey, ""), Region: a.Region, Secure: u.Scheme == "https",
		BucketLookup: minio.BucketLookupPath,
	}
	if a.virtualHost {
		opts.BucketLookup = minio.BucketLookupDNS
	}
	if a.transport != nil {
		opts.Transport = a.transport
		return minio.NewCore(u.Host, opts)
	}
	t := &http.Transport{TLSClientConfig: a.tls, DisableCompression: true, Proxy: http.ProxyFromEnvironment}
	if a.Socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", a.Socket)
		}
	}
	opts.Transport = t
	return minio.NewCore(u.Host, opts)
}

// WithStore opens the configured store, or the embedded store: that of the waxseal serving from the data directory or,
// without one, the store opened here.
func WithStore(ctx context.Context, c *Config, do func(*minio.Core) error) error {
	if c.UpstreamEndpoint != "" {
		up, err := (&App{}).upstream(c)
		if err != nil {
			return err
		}
		return storeAccess{Endpoint: up.Endpoint, Region: up.Region, AccessKey: up.AccessKey, SecretKey: up.SecretKey,
			virtualHost: up.VirtualHost, tls: up.TLS}.use(do)
	}
	body, err := ask(ctx, dataDir(c.DataDir), http.MethodGet, "/store")
	if errors.Is(err, errNobodyServes) {
		return withEmbedded(ctx, c, do)
	}
	if err != nil {
		return err
	}
	defer body.Close()
	var a storeAccess
	if err := json.NewDecoder(body).Decode(&a); err != nil {
		return err
	}
	return a.use(do)
}

func (a storeAccess) use(do func(*minio.Core) error) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	return do(client)
}

func withEmbedded(ctx context.Context, c *Config, do func(*minio.Core) error) error {
	dir := dataDir(c.DataDir)
	lock, err := dir.openExisting() // no process starts to serve meanwhile
	if err != nil {
		return err
	}
	s, err := c.openEmbedded(slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	a := storeAccess{Endpoint: embeddedEndpoint, Region: c.UpstreamRegion, transport: ownerOf{s}}
	return errors.Join(a.use(do), s.Close(), lock.Close())
}

// embeddedHost is the Host of requests to the embedded store on the control socket.
const (
	embeddedHost     = "embedded.waxseal"
	embeddedEndpoint = "http://" + embeddedHost
)

// ownerOf sends requests to a store as its owner.
type ownerOf struct{ store http.RoundTripper }

func (o ownerOf) RoundTrip(r *http.Request) (*http.Response, error) {
	return o.store.RoundTrip(r.WithContext(embedded.AsOwner(r.Context())))
}

// withEmbeddedStore serves the embedded store for requests with its Host, and h for the rest.
func (p *App) withEmbeddedStore(h http.Handler) http.Handler {
	if p.store == nil {
		return h
	}
	store := embedded.Handler(ownerOf{p.store})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == embeddedHost {
			store.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
