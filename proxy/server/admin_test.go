package server

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
	s := httptest.NewServer(newAdmin(newRegistry(), h, nil, quiet).Handler)
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
		"/healthz": "ok\n", "/readyz": "keys: ok", "/metrics": "go_goroutines",
	} {
		if status, text := get(path); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.200s", path, status, text)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		if status, text := get(path); status != 404 {
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
	if err := Healthcheck(context.Background(), addr); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := Healthcheck(context.Background(), addr); err == nil {
		t.Error("health of what is gone")
	}
}

// TestAdminHosts checks that a foreign web page whose name resolves to this address can read no path.
func TestAdminHosts(t *testing.T) {
	c := Default()
	c.AdminListen, c.PprofListen, c.AdminHost = "admin.internal:9802", "127.0.0.1:9803", []string{"waxseal"}
	h := &health{}
	for path, handler := range map[string]http.Handler{
		"/metrics": newAdmin(newRegistry(), h, c.adminNames(), quiet).Handler, "/healthz": newAdmin(newRegistry(), h, c.adminNames(), quiet).Handler,
		"/readyz": newAdmin(newRegistry(), h, c.adminNames(), quiet).Handler, "/debug/pprof/": newPprof(c.adminNames(), quiet).Handler,
		"/debug/pprof/cmdline": newPprof(c.adminNames(), quiet).Handler,
	} {
		for host, want := range map[string]bool{
			"127.0.0.1:9802": true, "127.0.0.1": true, "[::1]:9802": true, "::1": true, "10.1.2.3:80": true, "localhost:9802": true,
			"LOCALHOST": true, "a.localhost:1": true, "waxseal:9802": true, "Waxseal.": true, "admin.internal": true, "": true,
			"evil.example:9802": false, "evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
			"xlocalhost": false, "waxseal.evil.example": false, "0x7f000001": false, "evil.example.": false,
		} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if (w.Code != http.StatusMisdirectedRequest) != want || !want && (w.Body.Len() > 200 || !strings.Contains(w.Body.String(), "--admin-host")) {
				t.Errorf("%s for %q: %d %.100s", path, host, w.Code, w.Body)
			}
		}
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
