package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/proxytest"
)

// strictStore is a store with checks of signatures and regions: the S3 endpoint of another waxseal.
func strictStore(t *testing.T) (url string, down func()) {
	t.Helper()
	b := newKit(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go b.app.S3.Serve(l, nil)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", b.app.root.AccessKey)
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", b.app.root.SecretKey)
	return "http://" + l.Addr().String(), func() {
		b.transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.app.Shutdown(ctx) // connections are cut here on purpose
	}
}

// healthOf assembles a waxseal and gives its health, without the cache.
func healthOf(t *testing.T, conf Config) func() (int, string) {
	t.Helper()
	conf.DataDir = t.TempDir()
	p, err := Assemble(t.Context(), &conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Log(err)
		}
	})
	return func() (int, string) {
		p.health.mu.Lock()
		p.health.at = time.Time{}
		p.health.mu.Unlock()
		return p.health.answer()
	}
}

// TestNeverReady checks that waxseal does not become ready with an unusable store, and that /readyz says why.
func TestNeverReady(t *testing.T) {
	url, _ := strictStore(t)
	access, secret := os.Getenv("WAXSEAL_UPSTREAM_ACCESS_KEY"), os.Getenv("WAXSEAL_UPSTREAM_SECRET_KEY")
	over := httptest.NewTLSServer(http.NotFoundHandler())
	defer over.Close()
	over.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>It works!</html>")
	}))
	defer page.Close()
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hangs.Close()
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"right":                {func(*Config) {}, ""},
		"wrong secret":         {func(*Config) { os.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "another-secret") }, "SignatureDoesNotMatch"},
		"unknown access key":   {func(*Config) { os.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "AKIANOBODY") }, "InvalidAccessKeyId"},
		"wrong region":         {func(c *Config) { c.UpstreamRegion = "eu-west-9" }, `the region "eu-west-9"`},
		"https to a plain one": {func(c *Config) { c.UpstreamEndpoint = strings.Replace(url, "http:", "https:", 1) }, "does not speak TLS"},
		"http to one with TLS": {func(c *Config) { c.UpstreamEndpoint = strings.Replace(over.URL, "https:", "http:", 1) }, "should its URL say https"},
		"unknown authority":    {func(c *Config) { c.UpstreamEndpoint = over.URL }, "--upstream-ca"},
		"no S3 at all":         {func(c *Config) { c.UpstreamEndpoint = page.URL }, "not as S3 does"},
		"nobody there":         {func(c *Config) { c.UpstreamEndpoint = "http://127.0.0.1:1" }, "refused"},
		"no answer":            {func(c *Config) { c.UpstreamEndpoint = hangs.URL }, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", access)
			t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", secret)
			conf := Default()
			conf.UpstreamEndpoint = url
			c.change(&conf)
			status, text := healthOf(t, conf)()
			switch {
			case c.says == "" && (status != 200 || !strings.Contains(text, "store: ok\n")):
				t.Errorf("%d %s", status, text)
			case c.says != "" && (status != 503 || !strings.Contains(text, "store: failed: ") || !strings.Contains(text, c.says)):
				t.Errorf("%d %s; want %q", status, text, c.says)
			case strings.Contains(text, secret):
				t.Errorf("a secret: %s", text)
			}
		})
	}
}

// TestStoreDown checks that an absent store gates readiness; after its first success, a failure is "degraded", with a
// metric.
func TestStoreDown(t *testing.T) {
	url, down := strictStore(t)
	front, open := switchable(t, strings.TrimPrefix(url, "http://"))
	conf := Default()
	conf.UpstreamEndpoint = "http://" + front
	ask := healthOf(t, conf)
	if status, text := ask(); status != 503 || !strings.Contains(text, "store: failed: ") {
		t.Errorf("before it is there: %d %s", status, text)
	}
	open()
	if status, text := ask(); status != 200 || !strings.Contains(text, "store: ok") {
		t.Errorf("when it is there: %d %s", status, text)
	}
	down()
	if status, text := ask(); status != 200 || !strings.Contains(text, "store: degraded: ") {
		t.Errorf("when it has gone: %d %s", status, text)
	}
}

// switchable returns an address that closes each connection until open is called, and then forwards to behind.
func switchable(t *testing.T, behind string) (addr string, open func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var mu sync.Mutex
	isOpen := false
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			through := isOpen
			mu.Unlock()
			out, err := net.Dial("tcp", behind)
			if !through || err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return l.Addr().String(), func() { mu.Lock(); isOpen = true; mu.Unlock() }
}

// TestWrongTokenIsNeverReady: Transit answers its health without a token, so the first success takes the root key.
func TestWrongTokenIsNeverReady(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"right":        func(*Config) {},
		"wrong token":  func(*Config) { os.Setenv(envKMSToken, "s.wrong") },
		"no such root": func(c *Config) { c.KMSRootKey = "nobody" },
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := strictStore(t)
			external, _ := transitBehind(t)
			conf := Default()
			conf.UpstreamEndpoint = url
			external(&conf)
			change(&conf)
			status, text := healthOf(t, conf)()
			if want := map[bool]int{true: 200, false: 503}[name == "right"]; status != want {
				t.Errorf("%d %s", status, text)
			}
		})
	}
}

// served is a waxseal as `serve` runs it.
type served struct {
	s3, admin string
	log       *lockedBuffer
	end       func() // SIGTERM
	ended     chan error
}

var bannerLine = regexp.MustCompile(`ready: S3 http://([^,]+), .*admin http://([^,\s]+)`)

func startServed(t *testing.T, change func(*Config)) *served {
	t.Helper()
	conf := Default()
	conf.DataDir, conf.Listen, conf.KMSListen, conf.AdminListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	change(&conf)
	t.Setenv("WAXSEAL_ACCESS_KEY", "AKIASERVED")
	t.Setenv("WAXSEAL_SECRET_KEY", "served-secret")
	ctx, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	s := &served{log: new(lockedBuffer), end: end, ended: make(chan error, 1)}
	out := new(lockedBuffer)
	go func() { s.ended <- serve(ctx, &conf, Process{Stdout: out}, slog.New(slog.NewTextHandler(s.log, nil))) }()
	for range 1000 {
		if m := bannerLine.FindStringSubmatch(out.String()); m != nil {
			s.s3, s.admin = m[1], m[2]
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it does not serve: %s", s.log)
	return nil
}

func (s *served) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end: %s", s.log)
		return nil
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// slowDownload begins a GET of a large object and reads none of it until rest is called.
func slowDownload(t *testing.T, s *served) (rest func() (int64, error)) {
	t.Helper()
	const size = 40 << 20 // beyond all socket buffers
	access := storeAccess{Endpoint: "http://" + s.s3, Region: "us-east-1", AccessKey: "AKIASERVED", SecretKey: "served-secret"}
	core, err := access.client()
	if err != nil {
		t.Fatal(err)
	}
	put := bytes.NewReader(make([]byte, size))
	if _, err := core.PutObject(t.Context(), kitBucket, "large", put, size, "", "", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	body, _, _, err := core.GetObject(t.Context(), kitBucket, "large", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = body.Close() })
	return func() (int64, error) {
		n, err := io.Copy(io.Discard, body)
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
}

// TestDrain checks a SIGTERM: /readyz is 503 at once, S3 accepts new requests for the drain delay, and requests in
// flight after that are finished.
func TestDrain(t *testing.T) {
	_, url := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	s := startServed(t, func(c *Config) {
		c.UpstreamEndpoint, c.DrainDelay, c.ShutdownTimeout, c.HealthPath = url, 1500*time.Millisecond, 0, "/healthz"
	})
	for _, path := range []string{s.admin + "/readyz", s.s3 + "/healthz"} {
		if got := status(t, "http://"+path); got != 200 {
			t.Errorf("%s: %d", path, got)
		}
	}
	rest := slowDownload(t, s)
	s.end()
	time.Sleep(100 * time.Millisecond)
	for path, want := range map[string]int{s.admin + "/readyz": 503, s.s3 + "/healthz": 503, s.s3 + "/": 403, s.admin + "/healthz": 200} {
		if got := status(t, "http://"+path); got != want {
			t.Errorf("while it drains, %s: %d, want %d", path, got, want)
		}
	}
	time.Sleep(2 * time.Second)
	if got := status(t, "http://"+s.s3+"/"); got != 0 {
		t.Errorf("after the drain delay a new request: %d", got)
	}
	if got := status(t, "http://"+s.admin+"/readyz"); got != 503 {
		t.Errorf("/readyz at the end: %d", got)
	}
	if n, err := rest(); err != nil {
		t.Errorf("the download in flight: %d bytes, %v", n, err)
	}
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
}

// TestCutAtShutdown checks that a download longer than --shutdown-timeout is cut, that the log names it, and that the
// state is released.
func TestCutAtShutdown(t *testing.T) {
	_, url := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	var dir string
	s := startServed(t, func(c *Config) {
		c.UpstreamEndpoint, c.DrainDelay, c.ShutdownTimeout = url, 0, 500*time.Millisecond
		dir = c.DataDir
	})
	rest := slowDownload(t, s)
	began := time.Now()
	s.end()
	if err := s.wait(t); err == nil || !strings.Contains(err.Error(), "1 requests were cut") {
		t.Error(err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	if text := s.log.String(); !strings.Contains(text, `msg="request cut at shutdown"`) || !strings.Contains(text, "op=GetObject bucket=photos key=large") {
		t.Errorf("the log does not say what was cut: %s", text)
	}
	if file, err := dataDir(dir).openExisting(); err != nil {
		t.Errorf("the state is not released: %v", err)
	} else if err := file.Close(); err != nil {
		t.Error(err)
	}
	if n, err := rest(); err == nil {
		t.Errorf("the download was whole: %d", n)
	}
}

// TestHangupIsIgnored checks that SIGHUP does not end the process, and that the log says so.
func TestHangupIsIgnored(t *testing.T) {
	log := new(lockedBuffer)
	stop := ignoreHangup(slog.New(slog.NewTextHandler(log, nil)))
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if strings.Contains(log.String(), "SIGHUP is ignored") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no line in the log")
}
