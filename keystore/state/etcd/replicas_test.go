package etcd

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"waxseal/keystore/state"
)

func joined(t *testing.T, s *Store, name string) *state.Replicas {
	t.Helper()
	r, err := state.Join(t.Context(), s, name, slog.New(slog.DiscardHandler), time.Hour, "key/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Leave(context.Background()) }) // etcd may be out of reach
	return r
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

// TestReplicasOverEtcd (attacks R7, R11): a change settles after the other replica's caches have seen it. A
// disconnected replica knows that it is out of date before any replica goes on without it, and is fresh again after
// reconnection.
func TestReplicasOverEtcd(t *testing.T) {
	m := member(t)
	proxy := newCutter(t, endpoint(m))
	one := open(t, m, func(c *Config) { c.Prefix = "shared" })
	two := open(t, m, func(c *Config) { c.Prefix, c.Endpoints = "shared", []string{proxy.addr()} })
	a, b := joined(t, one, "a"), joined(t, two, "b")
	until(t, "both fresh", func() bool { return a.Fresh() && b.Fresh() })
	var seen state.Entry
	done := make(chan struct{}, 100)
	two.Follow("key/", func(key string, rev int64) { seen = state.Entry{Key: key, Revision: rev}; done <- struct{}{} })
	rev, err := one.Txn(t.Context(), nil, []state.Op{{Key: "key/1", Value: []byte("1")}})
	if err != nil {
		t.Fatal(err)
	}
	a.Settle(t.Context(), rev)
	select {
	case <-done:
	default:
		t.Fatal("settled before the other replica had seen the change")
	}
	if seen.Key != "key/1" || seen.Revision != rev {
		t.Errorf("the other saw %+v", seen)
	}

	proxy.cut()
	if rev, err = one.Txn(t.Context(), nil, []state.Op{{Key: "key/1", Value: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	a.Settle(t.Context(), rev)
	if b.Fresh() {
		t.Error("settled while a replica that is cut off takes itself for fresh")
	}
	proxy.mend()
	until(t, "fresh after the cut", b.Fresh)
}
