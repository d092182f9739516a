package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/bench/nullstore"
	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/state"
	"waxseal/proxy/server"
)

// A lab is a whole deployment in this process: null store, key service, and waxseals in front of them, with a clock
// set by the experiment. KMS calls are counted in the audit log, the basis of a bill.
type lab struct {
	clock    labClock
	log      countingSink
	users    []user
	replicas []*replica
	ends     []func()
}

// replica is a waxseal of the deployment.
type replica struct {
	app  *server.App
	dir  string
	addr string
	conn client
}

// labConfig has the varied parameters of an experiment.
type labConfig struct {
	lifetime time.Duration // of opened bucket keys: the revocation window
	period   time.Duration // a bucket key's time for wrapping new objects
	replicas int
	users    int
	// wrap puts something between waxseal and the key service.
	wrap func(keystore.Provider) keystore.Provider
	// real makes the lab's clock the machine's.
	real bool
}

const labAccount = "111122223333"

// labClock starts at a fixed moment, so that two runs see the same days.
type labClock struct{ nanos atomic.Int64 }

func (c *labClock) now() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(c.nanos.Load()))
}

func (c *labClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// countingSink is an audit log of counts only.
type countingSink struct {
	mu     sync.Mutex
	counts map[string]int64
	failed int64
}

// Write counts a record.
func (s *countingSink) Write(_ context.Context, r *audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ErrorCode != "" {
		s.failed++
	}
	s.counts[r.EventName]++
	return nil
}

func (s *countingSink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.failed = make(map[string]int64), 0
}

// total is how many requests S3 has made: each is billed.
func (s *countingSink) total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts["GenerateDataKey"] + s.counts["Decrypt"]
}

func (s *countingSink) of(event string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[event]
}

// newLab starts a deployment.
func newLab(ctx context.Context, cfg labConfig) (*lab, error) {
	l := &lab{log: countingSink{counts: make(map[string]int64)}}
	// The store takes any credentials, and waxseal starts with none.
	if err := errors.Join(os.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "store"), os.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "store-secret")); err != nil {
		return nil, err
	}
	if err := l.start(ctx, cfg); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	for i := len(l.ends) - 1; i >= 0; i-- {
		l.ends[i]()
	}
}

func (l *lab) start(ctx context.Context, cfg labConfig) error {
	store, err := l.listen(nullstore.New(benchBucket).Serve)
	if err != nil {
		return err
	}
	conf := server.Default()
	conf.UpstreamEndpoint, conf.Region, conf.Account = "http://"+store, benchRegion, labAccount
	conf.BucketKeyTTL, conf.BucketKeyPeriod = cmp.Or(cfg.lifetime, conf.BucketKeyTTL), cmp.Or(cfg.period, conf.BucketKeyPeriod)
	conf.Users = l.makeUsers(cfg.users)
	with := server.Substitutes{State: state.NewMemory(), Audit: &l.log, Now: l.clock.now, Provider: cfg.wrap}
	if cfg.real {
		with.Now = nil
	}
	l.ends = append(l.ends, func() { _ = with.State.Close() }) // nothing of it outlives the experiment
	for range max(1, cfg.replicas) {
		if err := l.startReplica(ctx, conf, with); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) makeUsers(n int) (all []server.UserConfig) {
	for i := range max(1, n) {
		u := user{fmt.Sprintf("AKIABENCH%011d", i), fmt.Sprintf("secret-of-user-%025d", i)}
		l.users = append(l.users, u)
		all = append(all, server.UserConfig{Name: fmt.Sprintf("user-%d", i), AccessKey: u.access, SecretKey: u.secret})
	}
	return all
}

// startReplica starts a waxseal on a data directory of its own. Its root secret is the first replica's, as their state is.
func (l *lab) startReplica(ctx context.Context, conf server.Config, with server.Substitutes) error {
	dir, err := os.MkdirTemp("", "waxseal-bench-")
	if err != nil {
		return err
	}
	l.ends = append(l.ends, func() { os.RemoveAll(dir) })
	conf.DataDir = dir
	if len(l.replicas) > 0 {
		if err := copyFile(filepath.Join(dir, "root.key"), filepath.Join(l.replicas[0].dir, "root.key")); err != nil {
			return err
		}
	}
	app, err := server.AssembleWith(ctx, &conf, slog.New(slog.DiscardHandler), with)
	if err != nil {
		return err
	}
	r := &replica{app: app, dir: dir}
	l.ends = append(l.ends, func() {
		r.conn.close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = app.Shutdown(ctx) // a cut connection is no loss here
	})
	select {
	case <-app.Probed:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.addr, err = l.listen(func(n net.Listener) error { return app.S3.Serve(n, nil) }); err != nil {
		return err
	}
	r.conn = client{addr: r.addr}
	l.replicas = append(l.replicas, r)
	return nil
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// listen serves on a loopback port until the lab is closed.
func (l *lab) listen(serve func(net.Listener) error) (string, error) {
	n, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = serve(n) }() // it ends with the listener
	l.ends = append(l.ends, func() { n.Close() })
	return n.Addr().String(), nil
}

// newKey makes a customer managed key and gives its ARN.
func (l *lab) newKey(ctx context.Context) (string, error) {
	out, err := l.replicas[0].app.KeyService.CreateKey(ctx, keystore.CallerOf(iam.RootOf(labAccount)), &local.CreateKeyRequest{})
	if err != nil {
		return "", err
	}
	return out.KeyMetadata.Arn, nil
}

// send sends a request to a replica; anything but success is an error.
func (l *lab) send(r *replica, a *ask) error {
	a.host = r.addr
	got, err := r.conn.do(sign(a), nil)
	if err == nil && got.status/100 != 2 {
		err = errors.New("status " + fmt.Sprint(got.status))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", a.method, a.path, err)
	}
	return nil
}
