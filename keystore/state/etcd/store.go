// Package etcd keeps waxseal's state in an etcd cluster, so that any number of waxseal processes share it.
//
// All reads are linearizable. A transaction is sent once. If its answer is lost, the store reads the transaction's keys
// back, and returns [state.ErrUnknown] if they leave the outcome open.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"waxseal/keystore/state"
)

// Config names an etcd cluster and waxseal's part of its key space. Endpoints and Prefix have no default.
type Config struct {
	Endpoints []string // "127.0.0.1:2379"
	Prefix    string   // every key begins with it and a slash: "waxseal"

	TLS            *tls.Config // nil: plain TCP
	User, Password string      // "": etcd without authentication

	// Timeout bounds a request to etcd, and the reading back of a lost answer. 5 s unless set.
	Timeout time.Duration
	Log     *slog.Logger // slog.Default() unless set

	dial []grpc.DialOption // tests lose answers here
}

// ErrRolledBack is returned by every method after the cluster has shown an older revision than before: the cluster was
// restored from a snapshot under this running process, and the process's caches belong to a different history.
var ErrRolledBack = errors.New("state: etcd's revision went back, or the cluster is another one: restart this process")

// Store is a state.Store in an etcd cluster.
type Store struct {
	cfg    Config
	prefix string
	client *clientv3.Client
	log    *slog.Logger

	hub     state.Hub
	newest  atomic.Int64  // the newest revision in any answer
	cluster atomic.Uint64 // etcd's id of the cluster, from the first answer

	life   context.Context // ends with Close, or with a fatal error
	end    context.CancelCauseFunc
	done   sync.WaitGroup
	closer sync.Once
	err    error // of Close
}

var _ state.Store = (*Store)(nil)

const (
	defaultTimeout = 5 * time.Second
	keepAlive      = 5 * time.Second // the client leaves a silent member after two of these
	redialAfter    = time.Second     // at most, a member that took no connection is tried again
)

// Open connects to a cluster. It returns an error when the cluster cannot be read within the context.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if len(cfg.Endpoints) == 0 || strings.Trim(cfg.Prefix, "/") == "" {
		return nil, errors.New("state: etcd needs endpoints and a prefix")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &Store{cfg: cfg, prefix: strings.Trim(cfg.Prefix, "/") + "/", log: cfg.Log, life: life, end: end}
	var err error
	if s.client, err = clientv3.New(s.clientConfig()); err != nil {
		end(state.ErrClosed)
		return nil, fmt.Errorf("state: etcd: %w", err)
	}
	rev, err := s.revision(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state: etcd at %s: %w", strings.Join(cfg.Endpoints, ","), err), s.Close())
	}
	s.done.Go(func() { s.follow(rev) })
	return s, nil
}

func (s *Store) clientConfig() clientv3.Config {
	endpoints := make([]string, len(s.cfg.Endpoints))
	for i, e := range s.cfg.Endpoints {
		endpoints[i] = scheme(s.cfg.TLS) + e
	}
	return clientv3.Config{
		Endpoints: endpoints, TLS: s.cfg.TLS, Username: s.cfg.User, Password: s.cfg.Password, Context: s.life,
		DialTimeout: s.cfg.Timeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAlive, PermitWithoutStream: true,
		// One attempt. The client's own retries would send a transaction again when etcd, not the caller, ran into the
		// deadline: the transaction could be applied, fail on its own revision and be reported as a conflict.
		MaxUnaryRetries: 1,
		Logger:          zap.NewNop(), // its lines name no request; this package logs what an operator can act on
		DialOptions: append([]grpc.DialOption{grpc.WithStatsHandler(sendWatch{}),
			// By itself, gRPC tries a member that was away for long once in two minutes.
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: s.cfg.Timeout,
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redialAfter}}),
			grpc.WithChainUnaryInterceptor(failFast)}, s.cfg.dial...),
	}
}

func scheme(secure *tls.Config) string {
	if secure == nil {
		return "http://"
	}
	return "https://"
}

// failFast has requests fail at once while no member can be reached; etcd's client would wait for the deadline.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

// usable returns why the store or the caller's context has ended.
func (s *Store) usable(ctx context.Context) error {
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	return ctx.Err()
}

// request returns a context for a request to etcd; the context ends with ctx and with the store.
func (s *Store) request(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// Get implements state.Store.
func (s *Store) Get(ctx context.Context, key string) (state.Entry, error) {
	if err := state.CheckKey(key); err != nil {
		return state.Entry{}, err
	}
	resp, err := s.read(ctx, s.prefix+key)
	if err != nil {
		return state.Entry{}, err
	}
	if len(resp.Kvs) == 0 {
		return state.Entry{}, state.ErrNotFound
	}
	return s.entry(resp.Kvs[0]), nil
}

// Range implements state.Store. All its pages are read at the same revision: they are a consistent snapshot.
func (s *Store) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	for try := 1; ; try++ {
		found, _, err := s.scan(ctx, prefix, after, limit)
		if !errors.Is(err, errCompacted) || try == maxReads {
			return found, err
		}
	}
}

// rangePage bounds an answer of etcd: 128 values of the largest size are 128 MiB, of the usual size 128 KiB.
const rangePage = 128

// scan returns entries, and the revision of the read.
func (s *Store) scan(ctx context.Context, prefix, after string, limit int) (found []state.Entry, rev int64, err error) {
	from := s.prefix + prefix
	if after != "" {
		from = max(from, s.prefix+after+"\x00")
	}
	end := clientv3.GetPrefixRangeEnd(s.prefix + prefix)
	if from >= end {
		return nil, 0, s.usable(ctx)
	}
	for {
		page := rangePage
		if limit > 0 {
			page = min(page, limit-len(found))
		}
		resp, err := s.read(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(int64(page)), clientv3.WithRev(rev))
		if err != nil {
			return nil, 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			found = append(found, s.entry(kv))
			from = string(kv.Key) + "\x00"
		}
		if !resp.More || len(found) == limit {
			return found, rev, nil
		}
	}
}

// Watch implements state.Store. It reads the current revision first, and leaves out events of the shared watch up to
// that revision.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan state.Event, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	shared, stop := context.WithCancel(ctx)
	events, err := s.hub.Watch(shared, prefix)
	if err != nil {
		stop()
		return nil, err
	}
	rev, err := s.revision(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	out := make(chan state.Event)
	s.done.Go(func() {
		defer stop()
		defer close(out)
		for e := range events {
			if !e.Lagged && e.Revision <= rev {
				continue
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			case <-s.life.Done():
				return
			}
		}
	})
	return out, nil
}

// Follow implements state.Store.
func (s *Store) Follow(prefix string, see func(string, int64)) func() {
	return s.hub.Follow(prefix, see)
}

// Backup implements state.Store: a consistent copy for OpenBolt, of a single revision.
func (s *Store) Backup(w io.Writer) error {
	entries, rev, err := s.scan(s.life, "", "", 0)
	if errors.Is(err, state.ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("state: backup: %w", err)
	}
	return state.WriteBackup(w, rev, entries)
}

// Ended returns closed at the end of the store's use: it was closed, or Err returns the fault of the cluster.
func (s *Store) Ended() <-chan struct{} { return s.life.Done() }

// Err returns why the store has ended: state.ErrClosed or ErrRolledBack; nil while it is in use.
func (s *Store) Err() error { return context.Cause(s.life) }

// Close implements state.Store.
func (s *Store) Close() error {
	s.closer.Do(func() {
		s.end(state.ErrClosed)
		s.hub.Close()
		s.err = s.client.Close()
		s.done.Wait()
		if errors.Is(s.err, context.Canceled) {
			s.err = nil // the client says so of its own end
		}
	})
	return s.err
}
