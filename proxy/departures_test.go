package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
)

// requestsToTheStore are a request for each kind of answer that a store may owe.
func requestsToTheStore(k *kit) map[string]string {
	large := 8 << 20
	return map[string]string{
		"GET":           k.head("GET", "/bkt/key", nil) + "\r\n",
		"HEAD":          k.head("HEAD", "/bkt/key", nil) + "\r\n",
		"list":          k.head("GET", "/bkt?list-type=2", nil) + "\r\n",
		"versions":      k.head("GET", "/bkt?versions", nil) + "\r\n",
		"buckets":       k.head("GET", "/", nil) + "\r\n",
		"HEAD bucket":   k.head("HEAD", "/bkt", nil) + "\r\n",
		"configuration": k.head("GET", "/bkt?tagging", nil) + "\r\n",
		"DELETE":        k.head("DELETE", "/bkt/key", nil) + "\r\n",
		"DELETE bucket": k.head("DELETE", "/bkt", nil) + "\r\n",
		"PUT bucket":    k.head("PUT", "/bkt", nil) + length(0),
		"PUT":           k.head("PUT", "/bkt/key", nil) + length(1000) + strings.Repeat("x", 1000),
		"large PUT":     k.head("PUT", "/bkt/key", nil) + length(large) + strings.Repeat("x", large),
		"upload":        k.head("POST", "/bkt/key?uploads", nil) + length(0),
		"preflight":     "OPTIONS /bkt/key HTTP/1.1\r\nHost: h\r\nOrigin: http://o\r\nAccess-Control-Request-Method: GET\r\n\r\n",
	}
}

// silentStore takes everything and answers nothing.
func silentStore(t *testing.T) store.Config {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	return store.Config{Endpoint: "http://" + l.Addr().String(), AccessKey: "a", SecretKey: "b"}
}

func (s *Server) held() bool { return s.places.taken() > 0 || s.places.preflights.Used() > 0 }

// TestStoreNeverAnswers: every kind of request to a store that takes it and is silent ends in its own time.
func TestStoreNeverAnswers(t *testing.T) {
	k := start(t, silentStore(t), func(c *Config) { c.IdleTimeout = 500 * time.Millisecond })
	for name, text := range requestsToTheStore(k) {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			method, _, _ := strings.Cut(text, " ")
			resp, body := k.dial(t).send(text).answer(method)
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s %s", resp.Status, body)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestClientLeaves: a client that goes away while the store is silent gives its place back within a second.
func TestClientLeaves(t *testing.T) {
	k := start(t, silentStore(t), nil).withoutPolicies()
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	conf := &tls.Config{Certificates: certified.TLS.Certificates}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go k.server.Serve(l, conf) // it ends with the server
	dials := map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return net.Dial("tcp", k.endpoint) },
		"TLS": func() (net.Conn, error) {
			return tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		},
	}
	for scheme, dial := range dials {
		for name, text := range requestsToTheStore(k) {
			t.Run(scheme+" "+name, func(t *testing.T) {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				go io.WriteString(c, text)
				k.settles(t, "no place is taken", k.server.held)
				time.Sleep(lookForClients) // the store has it
				c.Close()
				begin := time.Now()
				k.settles(t, "the place stays taken", func() bool { return !k.server.held() })
				if took := time.Since(begin); took > 3*time.Second { // on a busy machine; a second is the rule
					t.Errorf("the place stays for %v", took)
				}
			})
		}
	}
}

// lines is a log of warnings and worse.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// valueOf is the value of a counter without labels.
func valueOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// TestWhoCutAnAnswer: an answer that its client cut is no fault; one that the store cut, or that is not what was sealed, is.
func TestWhoCutAnAnswer(t *testing.T) {
	var log lines
	k, up := memoryKit(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		c.ReadThrough = []string{"plain"}
	})
	bucket := k.bucket(t)
	const size = 24 << 20
	k.mustDo(t, "PUT", "/"+bucket+"/large", nil, noise(1, size))
	cut := func() float64 { return valueOf(t, k.server.metrics.cut) }
	for i, header := range []map[string]string{nil, {"Range": "bytes=100-20000000"}, {"Range": "bytes=70000-"}} {
		c := k.dial(t).send(k.head("GET", "/"+bucket+"/large", header) + "\r\n")
		io.CopyN(io.Discard, c.r, int64(100+i*3<<20))
		c.Close()
	}
	k.settles(t, "a place stays taken", func() bool { return k.server.places.taken() == 0 })
	if n := cut(); n != 0 || log.text() != "" {
		t.Errorf("%v answers count as cut, and the log has\n%s", n, log.text())
	}
	up.SetHook(proxytest.Nth("GetObject", 0, proxytest.Fault{CutBodyAfter: 1 << 20}))
	c := k.dial(t).send(k.head("GET", "/"+bucket+"/large", nil) + "\r\n")
	io.Copy(io.Discard, c.r)
	k.settles(t, "a place stays taken", func() bool { return k.server.places.taken() == 0 })
	if n := cut(); n != 1 || !strings.Contains(log.text(), "answer cut") {
		t.Errorf("%v answers count as cut, and the log has\n%s", n, log.text())
	}
}

// TestRefusedByNameIsNoFailure: what waxseal does not support is no error of its own, on any route.
func TestRefusedByNameIsNoFailure(t *testing.T) {
	var log lines
	k, _ := memoryKit(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	asked := 0
	for i := range routes {
		r := &routes[i]
		if r.class != refuse || r.header != "" {
			continue
		}
		target := map[level]string{onService: "/", onBucket: "/bkt", onObject: "/bkt/key"}[r.on]
		if r.query != "" {
			target += "?" + r.query
		}
		resp, body := k.do(t, r.method, target, nil, nil)
		if resp.StatusCode != http.StatusNotImplemented {
			continue // another check came first
		}
		asked++
		if text := log.text(); strings.Contains(text, "level=ERROR") || !strings.Contains(text, "level=WARN") {
			t.Fatalf("%s %s: %s: %s", r.name, target, body, text)
		}
	}
	if asked < 10 {
		t.Errorf("only %d operations were refused by name", asked)
	}
}
