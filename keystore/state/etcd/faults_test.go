package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waxseal/keystore/state"
)

// wire stands between a store and etcd: it sees each request, and can lose requests and answers.
type wire struct {
	mu       sync.Mutex
	requests []any
	before   func(req any) error // not nil: etcd does not get the request
	after    func(req any) error // not nil: etcd's answer is lost
}

func (w *wire) use(cfg *Config) { cfg.dial = append(cfg.dial, grpc.WithChainUnaryInterceptor(w.call)) }

func (w *wire) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	w.mu.Lock()
	w.requests = append(w.requests, req)
	before, after := w.before, w.after
	w.mu.Unlock()
	if before != nil {
		if err := before(req); err != nil {
			return err
		}
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err == nil && after != nil {
		return after(req)
	}
	return err
}

func (w *wire) set(before, after func(any) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after, w.requests = before, after, nil
}

// writes counts the transactions with write operations.
func (w *wire) writes() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if isWrite(r) {
			n++
		}
	}
	return n
}

func isWrite(req any) bool {
	txn, ok := req.(*etcdserverpb.TxnRequest)
	if !ok {
		return false
	}
	for _, op := range txn.Success {
		if op.GetRequestRange() == nil {
			return true
		}
	}
	return false
}

// lostAnswers are the errors of a client when a transaction's answer is lost.
var lostAnswers = map[string]error{
	"connection lost":      status.Error(codes.Unavailable, "error reading from server: EOF"),
	"etcd ran out of time": status.Error(codes.DeadlineExceeded, "context deadline exceeded"),
	"etcd gave up":         status.Error(codes.Unavailable, "etcdserver: request timed out"),
	"leader lost":          status.Error(codes.Unavailable, "etcdserver: leader changed"),
	"cancelled":            status.Error(codes.Canceled, "grpc: the client connection is closing"),
	"internal":             status.Error(codes.Internal, "stream terminated by RST_STREAM"),
}

// TestAnswerLost (attack R4): a committed transaction with a lost answer is sent once, and reported as done after its
// values are read back. If nothing can be read back it is ErrUnknown, never a conflict and never a success.
func TestAnswerLost(t *testing.T) {
	m := member(t)
	for name, lost := range lostAnswers {
		t.Run(name, func(t *testing.T) {
			w := new(wire)
			s := open(t, m, w.use, func(c *Config) { c.Timeout = time.Second })
			losing := func(req any) error {
				if isWrite(req) {
					return lost
				}
				return nil
			}
			w.set(nil, losing)
			rev, err := s.Txn(t.Context(), []state.Cond{{Key: "a"}}, []state.Op{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}})
			if err != nil || w.writes() != 1 {
				t.Fatalf("committed: %v, sent %d times", err, w.writes())
			}
			for _, key := range []string{"a", "b"} {
				if e, err := s.Get(t.Context(), key); err != nil || e.Revision != rev {
					t.Errorf("%s: revision %d, %v; the transaction said %d", key, e.Revision, err, rev)
				}
			}
			// A removal leaves nothing to read back.
			if _, err := s.Txn(t.Context(), []state.Cond{{Key: "a", Revision: rev}}, []state.Op{{Key: "a", Delete: true}}); !errors.Is(err, state.ErrUnknown) {
				t.Errorf("a removal: %v", err)
			}
			if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a", Value: []byte("again")}}); err != nil {
				t.Errorf("the next transaction: %v", err)
			}
			w.set(nil, func(any) error { return lost })
			if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "c", Value: []byte("3")}}); !errors.Is(err, state.ErrUnknown) {
				t.Errorf("nothing to be read: %v", err)
			}
		})
	}
}

// TestAnswerLostNotCommitted: a transaction sent and not committed is ErrUnknown: it may still be on its way.
func TestAnswerLostNotCommitted(t *testing.T) {
	w := new(wire)
	s := open(t, member(t), w.use)
	rev, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a", Value: []byte("same")}})
	if err != nil {
		t.Fatal(err)
	}
	w.set(nil, func(req any) error {
		if isWrite(req) {
			return status.Error(codes.Unavailable, "error reading from server: EOF")
		}
		return nil
	})
	// The conditions do not hold, and the value of before equals the transaction's own.
	_, err = s.Txn(t.Context(), []state.Cond{{Key: "a", Revision: rev + 1}}, []state.Op{{Key: "a", Value: []byte("same")}})
	if !errors.Is(err, state.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// TestRefusedIsNotUnknown: a transaction never sent, or refused by etcd by name, is an ordinary error: its caller may
// undo the work around it.
func TestRefusedIsNotUnknown(t *testing.T) {
	w := new(wire)
	s := open(t, member(t), w.use)
	w.set(func(req any) error {
		if isWrite(req) {
			return status.Error(codes.Unavailable, "connection refused")
		}
		return nil
	}, nil)
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a"}}); err == nil || errors.Is(err, state.ErrUnknown) {
		t.Errorf("never sent: %v", err)
	}
	for _, refusal := range []error{
		status.Error(codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
		status.Error(codes.ResourceExhausted, "etcdserver: too many requests"),
		status.Error(codes.InvalidArgument, "etcdserver: request is too large"),
		status.Error(codes.PermissionDenied, "etcdserver: permission denied"),
	} {
		w.set(nil, func(req any) error {
			if isWrite(req) {
				return refusal
			}
			return nil
		})
		if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a"}}); err == nil || errors.Is(err, state.ErrUnknown) {
			t.Errorf("%v: %v", refusal, err)
		}
	}
}

// TestLinearizable: no request may be answered from a member's own copy: none is serializable, and no branch of a
// transaction is empty.
func TestLinearizable(t *testing.T) {
	w := new(wire)
	s := open(t, member(t), w.use)
	put := []state.Op{{Key: "a", Value: []byte("1")}}
	calls := map[string]func() error{
		"Get":            func() error { _, err := s.Get(t.Context(), "a"); return err },
		"Range":          func() error { _, err := s.Range(t.Context(), "", "", 0); return err },
		"Watch":          func() error { _, err := s.Watch(t.Context(), ""); return err },
		"Txn":            func() error { _, err := s.Txn(t.Context(), nil, put); return err },
		"conditions":     func() error { _, err := s.Txn(t.Context(), []state.Cond{{Key: "zz"}}, nil); return err },
		"nothing at all": func() error { _, err := s.Txn(t.Context(), nil, nil); return err },
	}
	if err := calls["Txn"](); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		w.set(nil, nil)
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		w.mu.Lock()
		if len(w.requests) == 0 {
			t.Errorf("%s sent nothing", name)
		}
		for _, r := range w.requests {
			if why := serializable(r); why != "" {
				t.Errorf("%s: %s: %v", name, why, r)
			}
		}
		w.mu.Unlock()
	}
}

func serializable(req any) string {
	switch r := req.(type) {
	case *etcdserverpb.RangeRequest:
		if r.Serializable {
			return "a serializable read"
		}
	case *etcdserverpb.TxnRequest:
		if len(r.Success) == 0 && len(r.Failure) == 0 {
			return "a transaction without operations"
		}
		for _, op := range append(r.Success, r.Failure...) {
			if op.GetRequestRange().GetSerializable() {
				return "a serializable read in a transaction"
			}
		}
	}
	return ""
}

// admin returns a client beside the store.
func admin(t *testing.T, m *embed.Etcd) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint(m)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestOthersKeysAreOutOfSight: the store sees and changes keys under its prefix only, also next to a longer prefix.
func TestOthersKeysAreOutOfSight(t *testing.T) {
	m := member(t)
	s := open(t, m)
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(s.prefix, "/")
	for _, key := range []string{"other/a", prefix, prefix + "x/a", prefix + "0"} {
		if _, err := admin(t, m).Put(t.Context(), key, "not ours"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a", Value: []byte("ours")}}); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Key != "a" {
		t.Errorf("the watch brings %s", e.Key)
	}
	if all, err := s.Range(t.Context(), "", "", 0); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestCompacted: if etcd compacts a watch's place away while out of reach, the watch says Lagged and goes on.
func TestCompacted(t *testing.T) {
	m := member(t)
	proxy := newCutter(t, endpoint(m))
	s := open(t, m, func(c *Config) { c.Endpoints = []string{proxy.addr()} })
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	proxy.cut()
	c := admin(t, m)
	var rev int64
	for i := range 5 {
		resp, err := c.Put(t.Context(), s.prefix+"a", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		rev = resp.Header.Revision
	}
	if _, err := c.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	proxy.mend()
	if e := within(t, events); !e.Lagged {
		t.Fatalf("got %+v", e)
	}
	if _, err := c.Put(t.Context(), s.prefix+"b", "after"); err != nil {
		t.Fatal(err)
	}
	if e := within(t, events); e.Key != "b" {
		t.Errorf("got %+v", e)
	}
}

func within(t *testing.T, events <-chan state.Event) state.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	panic("unreachable")
}

// TestWatchResumes: changes made while the connection is down arrive after it, each once.
func TestWatchResumes(t *testing.T) {
	m := member(t)
	proxy := newCutter(t, endpoint(m))
	s := open(t, m, func(c *Config) { c.Endpoints = []string{proxy.addr()} })
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c := admin(t, m)
	for round := range 3 {
		proxy.cut()
		for i := range 10 {
			if _, err := c.Put(t.Context(), fmt.Sprintf("%s%d/%d", s.prefix, round, i), ""); err != nil {
				t.Fatal(err)
			}
		}
		proxy.mend()
		for i := range 10 {
			if e := within(t, events); e.Key != fmt.Sprintf("%d/%d", round, i) {
				t.Fatalf("round %d: event %d is %+v", round, i, e)
			}
		}
	}
}

// cutter is a TCP proxy with a switch: when cut, it ends its connections and refuses new connections.
type cutter struct {
	t      *testing.T
	to     string
	at     string
	mu     sync.Mutex
	listen net.Listener
	conns  []net.Conn
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	c := &cutter{t: t, to: to, at: "127.0.0.1:0"}
	c.mend()
	t.Cleanup(c.cut)
	return c
}

func (c *cutter) addr() string { return c.at }

func (c *cutter) mend() {
	c.t.Helper()
	l, err := net.Listen("tcp", c.at)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.listen = l.Addr().String(), l
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			c.join(from)
		}
	}()
}

func (c *cutter) join(from net.Conn) {
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		from.Close()
		return
	}
	c.mu.Lock()
	c.conns = append(c.conns, from, to)
	c.mu.Unlock()
	pump := func(a, b net.Conn) {
		defer a.Close()
		defer b.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := b.Read(buf)
			if n > 0 {
				if _, err := a.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	go pump(from, to)
	go pump(to, from)
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listen.Close()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// TestOutage: while no member can be reached, requests fail soon and by name; after it everything goes on.
func TestOutage(t *testing.T) {
	m := member(t)
	proxy := newCutter(t, endpoint(m))
	s := open(t, m, func(c *Config) { c.Endpoints = []string{proxy.addr()} })
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	proxy.cut()
	if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, state.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a"}}); err == nil || errors.Is(err, state.ErrConflict) {
		t.Errorf("Txn: %v", err)
	}
	proxy.mend()
	for {
		e, err := s.Get(t.Context(), "a")
		if err == nil {
			if string(e.Value) != "1" {
				t.Errorf("the value is %q", e.Value)
			}
			return
		}
		time.Sleep(50 * time.Millisecond) // the client pauses between connections; the test's own limit bounds this
	}
}

// TestRolledBack (attack R13): if the cluster's revision goes back, as after the restore of a snapshot, the store ends:
// the caches of this process belong to a lost history.
func TestRolledBack(t *testing.T) {
	old := member(t)
	proxy := newCutter(t, endpoint(old))
	s := open(t, old, func(c *Config) { c.Endpoints = []string{proxy.addr()} })
	for range 10 {
		if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a", Value: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
	}
	proxy.cut()
	proxy.to = endpoint(member(t)) // empty, at revision 1
	proxy.mend()
	for {
		_, err := s.Get(t.Context(), "a")
		if errors.Is(err, state.ErrNotFound) || err == nil {
			t.Fatalf("the other cluster was believed: %v", err)
		}
		if errors.Is(err, ErrRolledBack) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: "a"}}); !errors.Is(err, ErrRolledBack) {
		t.Errorf("Txn: %v", err)
	}
	select {
	case <-s.Ended():
	default:
		t.Error("the store has not ended")
	}
}
