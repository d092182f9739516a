package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"waxseal/keystore/state"
)

const (
	maxReads  = 3
	readPause = 50 * time.Millisecond
)

var errCompacted = errors.New("state: the revision was compacted")

// read reads from etcd, again on another member when the first member goes away. Reads are linearizable, clientv3's
// default.
func (s *Store) read(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		before := s.newest.Load()
		req, cancel := s.request(ctx)
		resp, err := s.client.Get(req, key, opts...)
		cancel()
		if err == nil {
			return resp, s.saw(resp.Header, before)
		}
		if failed := s.failure(ctx, err); try == maxReads || !unavailable(err) {
			return nil, failed
		}
		select {
		case <-time.After(readPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// unavailable reports whether another member may succeed after this error.
func unavailable(err error) bool {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

// revision returns the cluster's current revision.
func (s *Store) revision(ctx context.Context) (int64, error) {
	resp, err := s.read(ctx, s.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// saw checks the header of a linearizable answer against the newest revision known before the request was sent.
func (s *Store) saw(h *etcdserverpb.ResponseHeader, before int64) error {
	if h.Revision < before || !s.cluster.CompareAndSwap(0, h.ClusterId) && s.cluster.Load() != h.ClusterId {
		s.end(ErrRolledBack)
		return ErrRolledBack
	}
	for {
		now := s.newest.Load()
		if h.Revision <= now || s.newest.CompareAndSwap(now, h.Revision) {
			return nil
		}
	}
}

// failure returns the error of a request: why the store or the caller ended, else etcd's.
func (s *Store) failure(ctx context.Context, err error) error {
	if ended := s.usable(ctx); ended != nil {
		return ended
	}
	if errors.Is(err, rpctypes.ErrCompacted) {
		return errCompacted
	}
	if Refused(err) {
		return fmt.Errorf("state: etcd: %w", err)
	}
	// The text alone: to a caller, etcd's deadline is not its own.
	return fmt.Errorf("%w: etcd: %v", state.ErrUnavailable, err)
}

// Txn implements state.Store.
func (s *Store) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if err := state.CheckTxn(conds, ops); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	before := s.newest.Load()
	req, cancel := s.request(context.WithoutCancel(ctx))
	defer cancel()
	req, sent := watchSend(req)
	resp, err := s.client.Txn(req).If(s.compares(conds)...).Then(s.operations(ops)...).Else(s.lookup()).Commit()
	if err != nil {
		return s.afterFailure(ctx, err, sent.Load(), before, ops)
	}
	if err := s.saw(resp.Header, before); err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, state.ErrConflict
	}
	return resp.Header.Revision, nil
}

func (s *Store) compares(conds []state.Cond) []clientv3.Cmp {
	all := make([]clientv3.Cmp, len(conds))
	for i, c := range conds {
		all[i] = clientv3.Compare(clientv3.ModRevision(s.prefix+c.Key), "=", c.Revision)
	}
	return all
}

func (s *Store) operations(ops []state.Op) []clientv3.Op {
	if len(ops) == 0 {
		return []clientv3.Op{s.lookup()}
	}
	all := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Delete {
			all[i] = clientv3.OpDelete(s.prefix + op.Key)
		} else {
			all[i] = clientv3.OpPut(s.prefix+op.Key, string(op.Value))
		}
	}
	return all
}

// lookup returns an operation without an effect. etcd answers some transactions from a member's own, perhaps outdated
// copy: transactions without operations, or with failed conditions and no operation for that case. lookup prevents it.
func (s *Store) lookup() clientv3.Op { return clientv3.OpGet(s.prefix, clientv3.WithCountOnly()) }

// Refused reports whether etcd rejects a request or its sender. Waiting does not help then.
func Refused(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
		return true
	}
	return false
}

// afterFailure finds out the outcome of a failed transaction. It never sends the transaction again.
func (s *Store) afterFailure(ctx context.Context, err error, sent bool, before int64, ops []state.Op) (int64, error) {
	if s.life.Err() != nil && !sent {
		return 0, context.Cause(s.life)
	}
	if !sent || len(ops) == 0 || refused(err) {
		return 0, s.failure(ctx, err)
	}
	rev, found := s.readBack(context.WithoutCancel(ctx), before, ops)
	if found {
		return rev, nil
	}
	return 0, fmt.Errorf("%w: etcd: %v", state.ErrUnknown, err)
}

// refused reports whether etcd's error proves that the transaction is not applied and will not be. Errors of timeouts
// and of lost leaders or connections prove nothing.
func refused(err error) bool {
	var e rpctypes.EtcdError
	if !errors.As(rpctypes.Error(err), &e) {
		return false
	}
	switch e.Code() {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition:
		return true
	}
	return false
}

// readBack reports whether the values of a transaction are in etcd, all written by the same revision after the
// transaction was sent. Sealed values never repeat, so no other writer can have written them. readBack asks until etcd
// answers or its time is up: answers are lost when a member dies, and another member may answer soon.
func (s *Store) readBack(ctx context.Context, before int64, ops []state.Op) (rev int64, found bool) {
	puts, want := s.puts(ops)
	if len(puts) == 0 {
		return 0, false
	}
	ctx, cancel := s.request(ctx)
	defer cancel()
	for {
		resp, err := s.client.Txn(ctx).Then(puts...).Commit()
		if err == nil {
			if s.saw(resp.Header, before) != nil {
				return 0, false
			}
			return wrote(resp, before, want)
		}
		select {
		case <-time.After(readPause):
		case <-ctx.Done():
			return 0, false
		}
	}
}

// wrote reports whether a transaction's reads returned these values, of one revision after before.
func wrote(resp *clientv3.TxnResponse, before int64, want [][]byte) (rev int64, found bool) {
	for i, r := range resp.Responses {
		kvs := r.GetResponseRange().Kvs
		if len(kvs) == 0 || !bytes.Equal(kvs[0].Value, want[i]) || kvs[0].ModRevision <= before {
			return 0, false
		}
		if rev == 0 {
			rev = kvs[0].ModRevision
		}
		if kvs[0].ModRevision != rev {
			return 0, false
		}
	}
	return rev, true
}

// puts returns reads of the keys written by a transaction, and the written values.
func (s *Store) puts(ops []state.Op) (reads []clientv3.Op, want [][]byte) {
	for _, op := range ops {
		if !op.Delete {
			reads, want = append(reads, clientv3.OpGet(s.prefix+op.Key)), append(want, op.Value)
		}
	}
	return reads, want
}

func (s *Store) entry(kv *mvccpb.KeyValue) state.Entry {
	return state.Entry{Key: strings.TrimPrefix(string(kv.Key), s.prefix), Value: kv.Value, Revision: kv.ModRevision}
}

// sendWatch records whether a request was handed to a connection. A request never handed over has no effect.
type sendWatch struct{}

type sentKey struct{}

// watchSend returns a context that records the sending of its request.
func watchSend(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return context.WithValue(ctx, sentKey{}, sent), sent
}

// TagRPC implements stats.Handler.
func (sendWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (sendWatch) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutPayload); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

// TagConn implements stats.Handler.
func (sendWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (sendWatch) HandleConn(context.Context, stats.ConnStats) {}
