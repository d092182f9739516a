package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

const (
	readyTimeout = 5 * time.Second // for all checks together
	readyCache   = time.Second     // how long a result is reused
)

// readiness is a check of /readyz.
type readiness struct {
	name string
	// shared marks a component shared by all replicas. Its check gates readiness until the first success. Later
	// failures are "degraded": a slow store must not take every replica out of its load balancer at once.
	shared bool
	// check runs with first set until its first success.
	check func(ctx context.Context, first bool) error

	succeeded bool
	err       error // of the last run
}

// health answers whether this process should get requests. It is safe for concurrent use.
type health struct {
	draining atomic.Bool

	mu     sync.Mutex
	checks []*readiness
	at     time.Time // of the last run; zero: none
}

// run runs all checks in parallel, unless they ran within readyCache. mu is held.
func (h *health) run() {
	if !h.at.IsZero() && time.Since(h.at) < readyCache {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	var done sync.WaitGroup
	for _, c := range h.checks {
		done.Go(func() { c.err = c.check(ctx, !c.succeeded) })
	}
	done.Wait()
	for _, c := range h.checks {
		c.succeeded = c.succeeded || c.err == nil
	}
	h.at = time.Now()
}

// gates reports whether a failure of the check makes the process unready.
func (c *readiness) gates() bool { return !c.shared || !c.succeeded }

// answer returns the response of /readyz: a line for every check, and 503 if a check that gates fails.
func (h *health) answer() (status int, text string) {
	if h.draining.Load() {
		return http.StatusServiceUnavailable, "draining: this process was told to end\n"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run()
	status = http.StatusOK
	var b strings.Builder
	for _, c := range h.checks {
		switch {
		case c.err == nil:
			fmt.Fprintf(&b, "%s: ok\n", c.name)
		case c.gates():
			fmt.Fprintf(&b, "%s: failed: %v\n", c.name, c.err)
			status = http.StatusServiceUnavailable
		default:
			fmt.Fprintf(&b, "%s: degraded: %v\n", c.name, c.err)
		}
	}
	return status, b.String()
}

func (h *health) ready() bool {
	status, _ := h.answer()
	return status == http.StatusOK
}

// Describe implements prometheus.Collector.
func (h *health) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(h, ch) }

// Collect implements prometheus.Collector. It runs the checks, as /readyz does.
func (h *health) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run()
	for _, c := range h.checks {
		failed := 0.0
		if c.err != nil {
			failed = 1
		}
		ch <- prometheus.MustNewConstMetric(checkFailed, prometheus.GaugeValue, failed, c.name)
	}
}

var checkFailed = prometheus.NewDesc("waxseal_check_failed",
	"1 while a check of /readyz fails: state, store or keys.", []string{"check"}, nil)

// readiness makes the checks of /readyz.
func (p *App) readiness(c *Config) *health {
	return &health{checks: []*readiness{
		{name: "state", check: func(ctx context.Context, _ bool) error {
			_, err := p.state.Get(ctx, "readyz")
			if errors.Is(err, state.ErrNotFound) {
				return nil
			}
			return err
		}},
		{name: "store", shared: true, check: func(ctx context.Context, _ bool) error { return p.S3.StoreHealth(ctx) }},
		{name: "keys", shared: true, check: func(ctx context.Context, first bool) error { return p.keysHealth(ctx, c, first) }},
	}}
}

// keysHealth checks the key service. Until the first success it also asks an external key service for the SSE-S3 key:
// Transit's health endpoint needs no token.
func (p *App) keysHealth(ctx context.Context, c *Config, first bool) error {
	if err := p.provider.Health(ctx); err != nil || !first || p.behind == nil {
		return err
	}
	_, err := p.behind.Resolve(ctx, keystore.Caller{ARN: iam.RootARN(c.Account), AccountID: c.Account}, c.KMSRootKey)
	return err
}

// Healthcheck asks the admin endpoint at addr whether its process is alive.
func Healthcheck(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" || unspecified(host) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}
