package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAdmin(t *testing.T) {
	var broken, away error
	h := &health{checks: []*readiness{
		{name: "state", check: func(context.Context, bool) error { return broken }},
		{name: "keys", shared: true, check: func(context.Context, bool) error { return away }},
	}}
	s := httptest.NewServer(newAdmin(newRegistry(), h, quiet).Handler)
	defer s.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "keys: ok", "/metrics": "go_goroutines", "/debug/pprof/": "goroutine",
	} {
		if status, text := get(path); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.200s", path, status, text)
		}
	}
	again := func() { h.at = time.Time{} }
	away = errors.New("away")
	if status, text := get("/readyz"); status != 200 || !strings.Contains(text, "keys: ok") {
		t.Errorf("/readyz is not cached: %d %s", status, text)
	}
	again()
	if status, text := get("/readyz"); status != 200 || !strings.Contains(text, "keys: degraded: away") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	again()
	broken = errors.New("damaged")
	if status, text := get("/readyz"); status != 503 || !strings.Contains(text, "state: failed: damaged") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	again()
	broken, away = nil, nil
	h.draining.Store(true)
	if status, text := get("/readyz"); status != 503 || !strings.Contains(text, "draining") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	addr := strings.TrimPrefix(s.URL, "http://")
	if err := healthcheck(context.Background(), addr); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := healthcheck(context.Background(), addr); err == nil {
		t.Error("health of what is gone")
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", "10.0.0.1:1": "10.0.0.1:1", "host:1": "host:1",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
	for in, want := range map[string]string{"/a/b-c.d": "/a/b-c.d", "/a b": "'/a b'", "/it's": `'/it'\''s'`} {
		if got := shellQuote(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
