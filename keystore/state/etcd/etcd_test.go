package etcd

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"waxseal/keystore/state"
	"waxseal/keystore/state/statetest"
)

// member starts an etcd with a single member within the test.
func member(t *testing.T, change ...func(*embed.Config)) *embed.Etcd {
	t.Helper()
	m := startMember(t, memberConfig(t, change...))
	t.Cleanup(m.Close)
	return m
}

func memberConfig(t *testing.T, change ...func(*embed.Config)) *embed.Config {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(t.TempDir(), "etcd")
	cfg.LogLevel, cfg.LogOutputs = "fatal", []string{"/dev/null"}
	local := local(t, "http", 0)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = local, local
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = local, local
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true // durability after a machine crash is etcd's own matter
	for _, f := range change {
		f(cfg)
	}
	return cfg
}

func local(t *testing.T, scheme string, port int) []url.URL {
	t.Helper()
	u, err := url.Parse(fmt.Sprintf("%s://127.0.0.1:%d", scheme, port))
	if err != nil {
		t.Fatal(err)
	}
	return []url.URL{*u}
}

func startMember(t *testing.T, cfg *embed.Config) *embed.Etcd {
	t.Helper()
	m, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		t.Fatal("etcd does not start")
	}
	return m
}

func endpoint(m *embed.Etcd) string { return m.Clients[0].Addr().String() }

var prefixes atomic.Int64

// open opens a store on a prefix of its own.
func open(t *testing.T, m *embed.Etcd, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Endpoints: []string{endpoint(m)}, Prefix: fmt.Sprint("test", prefixes.Add(1)), Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	m := member(t)
	statetest.Run(t, func(t *testing.T) state.Store { return open(t, m) }, func(s state.Store) state.Store { return s })
}
