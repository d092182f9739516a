package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/bench/nullstore"
	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/proxy"
	"waxseal/proxy/store"
)

// A lab is a whole deployment in this process: null store, key service, and waxseals in front of them, with a clock
// set by the experiment. KMS calls are counted in the audit log, the basis of a bill.
type lab struct {
	clock    labClock
	log      countingSink
	service  *local.Service
	provider keystore.Provider
	users    []user
	replicas []*replica
	ends     []func()
}

// replica is a waxseal of the deployment.
type replica struct {
	addr string
	keys *bucketkey.Keys
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
	endpoint, err := l.listen(nullstore.New(benchBucket).Serve)
	if err != nil {
		return err
	}
	users, err := l.makeUsers(cfg.users)
	if err != nil {
		return err
	}
	now := l.clock.now
	if cfg.real {
		now = time.Now
	}
	st := state.NewMemory()
	secret := rootkey.New(keystore.RandomSecret())
	ring, err := rootkey.OpenRing(ctx, st, secret.Sealer("service-keys"))
	if err != nil {
		return err
	}
	l.service, err = local.Open(ctx, local.Config{State: st, Secrets: secret, Audit: &l.log, Region: benchRegion,
		AccountID: labAccount, Identities: users, Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	l.ends = append(l.ends, func() { _ = l.service.Close() }) // nothing of it outlives the experiment
	l.provider = l.service.Provider()
	if cfg.wrap != nil {
		l.provider = cfg.wrap(l.provider)
	}
	for range max(1, cfg.replicas) {
		keys := bucketkey.New(l.provider, st, secret.Sealer("bucket-keys"), bucketkey.Config{
			PlaintextTTL: cfg.lifetime, Period: cfg.period, Now: now,
			Service: keystore.Caller{ARN: iam.RootARN(labAccount), AccountID: labAccount, ViaService: "s3." + benchRegion + ".amazonaws.com"},
		})
		l.ends = append(l.ends, keys.Close)
		err := l.startReplica(keys, proxy.Config{
			Upstream: store.Config{Endpoint: "http://" + endpoint, AccessKey: "store", SecretKey: "store-secret"},
			Users:    users, Provider: l.provider, Keys: keys, Root: l.service.Root(ring), State: st, Account: labAccount,
			Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) makeUsers(n int) (*iam.Directory, error) {
	all := []iam.User{{Name: "root", ARN: iam.RootARN(labAccount), AccountID: labAccount, AccessKey: "AKIABENCHROOT", Secret: iam.NewSecret("secret-of-root"), Root: true}}
	for i := range max(1, n) {
		u := user{fmt.Sprintf("AKIABENCH%011d", i), fmt.Sprintf("secret-of-user-%025d", i)}
		name := fmt.Sprintf("user-%d", i)
		l.users = append(l.users, u)
		all = append(all, iam.User{Name: name, ARN: iam.UserARN(labAccount, name), AccountID: labAccount, AccessKey: u.access, Secret: iam.NewSecret(u.secret), Everything: true})
	}
	return iam.NewDirectory(all)
}

func (l *lab) startReplica(keys *bucketkey.Keys, cfg proxy.Config) error {
	held, err := os.MkdirTemp("", "waxseal-bench-held-")
	if err != nil {
		return err
	}
	l.ends = append(l.ends, func() { os.RemoveAll(held) })
	cfg.HeldDir = held
	server, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	addr, err := l.listen(func(n net.Listener) error { return server.Serve(n, nil) })
	if err != nil {
		return err
	}
	r := &replica{addr: addr, keys: keys, conn: client{addr: addr}}
	l.replicas = append(l.replicas, r)
	l.ends = append(l.ends, func() {
		r.conn.close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // a cut connection is no loss here
	})
	return nil
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
	out, err := l.service.CreateKey(ctx, keystore.CallerOf(iam.RootOf(labAccount)), &local.CreateKeyRequest{})
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
