package bareproxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waxseal/bench/bareproxy"
)

// start runs a bare proxy in front of a store, and returns its address.
func start(t *testing.T, store string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- bareproxy.Serve(l, store) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// TestServe: method, target, headers and body arrive at the store as they were sent, and its answer comes back.
func TestServe(t *testing.T) {
	body := strings.Repeat("x", 4096)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPut || r.RequestURI != "/b/a%2Fb//c?x=1" || r.Header.Get("X-Amz-Date") != "now" || string(got) != body {
			t.Errorf("the store got %s %s, %v, %d bytes, %v", r.Method, r.RequestURI, r.Header, len(got), err)
		}
		w.Header().Set("ETag", `"tag"`)
		w.WriteHeader(http.StatusCreated)
		w.Write(got)
	}))
	defer store.Close()
	req, err := http.NewRequest(http.MethodPut, start(t, store.Listener.Addr().String())+"/b/a%2Fb//c?x=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Date", "now")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated || resp.Header.Get("ETag") != `"tag"` || !bytes.Equal(got, []byte(body)) {
		t.Errorf("%s, %v, %d bytes, %v", resp.Status, resp.Header, len(got), err)
	}
}

// TestServeWithoutStore: a store that is away is a 502, not an empty success.
func TestServeWithoutStore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := l.Addr().String()
	l.Close()
	resp, err := http.Get(start(t, away) + "/b/k")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("%s", resp.Status)
	}
}
