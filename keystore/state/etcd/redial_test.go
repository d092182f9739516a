package etcd

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"waxseal/keystore/state"
)

// TestRedial: a member that refused six connections in a row is tried again soon. gRPC's own pauses would add up to
// 26 seconds by then, and double with each further one.
func TestRedial(t *testing.T) {
	var refuse atomic.Int32
	m := member(t)
	proxy := newCutter(t, endpoint(m))
	s := open(t, m, func(c *Config) {
		c.Endpoints = []string{proxy.addr()}
		c.dial = append(c.dial, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if refuse.Add(-1) >= 0 {
				return nil, errors.New("refused by the test")
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}))
	})
	refuse.Store(6)
	proxy.cut()
	proxy.mend()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for {
		_, err := s.Get(ctx, "key")
		if errors.Is(err, state.ErrNotFound) {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("after %d of 6 connections: %v", 6-max(refuse.Load(), 0), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if refuse.Load() >= 0 {
		t.Error("no connection was refused")
	}
}
