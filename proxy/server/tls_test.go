package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func writeCertificate(t *testing.T, dir string, names ...string) {
	t.Helper()
	cert, key, err := newCertificate(names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"c.pem": cert, "k.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangedCertificateIsUsed(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "one.example")
	r := &reloader{cert: filepath.Join(dir, "c.pem"), key: filepath.Join(dir, "k.pem"), log: quiet}
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	now := func() string {
		r.looked = time.Time{} // as if relookAfter had passed
		c, err := r.certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.DNSNames[0]
	}
	if got := now(); got != "one.example" {
		t.Errorf("first %s", got)
	}
	writeCertificate(t, dir, "two.example")
	later := time.Now().Add(time.Second)
	for _, name := range []string{r.cert, r.key} {
		if err := os.Chtimes(name, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if got := now(); got != "two.example" {
		t.Errorf("after the change %s", got)
	}
	// After a broken pair, the last good pair stays in use.
	if err := os.WriteFile(r.key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := now(); got != "two.example" {
		t.Errorf("after a broken change %s", got)
	}
}

func TestSelfSignedIsVerified(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	if err := selfSign(cert, key, []string{"127.0.0.1", "*.s3.example"}); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) { defer c.Close(); _, _ = io.Copy(io.Discard, c) }(c)
		}
	}()
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for _, name := range []string{"", "bucket.s3.example"} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: name})
		if err != nil {
			t.Errorf("as %q: %v", name, err)
			continue
		}
		c.Close()
	}
	if !stillServes(cert, key, []string{"127.0.0.1"}) || stillServes(cert, key, []string{"other.example"}) {
		t.Error("a certificate is made again without need, or not when there is")
	}
}

// TestCertificateEnds: the log says it once a day, from thirty days before on.
func TestCertificateEnds(t *testing.T) {
	var log bytes.Buffer
	cert, key, err := newCertificate([]string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	r := &reloader{cert: "c.pem", current: &pair, log: slog.New(slog.NewTextHandler(&log, nil))}
	end := pair.Leaf.NotAfter
	for _, left := range []time.Duration{100 * 24 * time.Hour, 30*24*time.Hour + time.Hour, 29 * 24 * time.Hour, 29*24*time.Hour - time.Hour, 28 * 24 * time.Hour} {
		r.warn(end.Add(-left))
	}
	if n := strings.Count(log.String(), "ends soon"); n != 2 || !strings.Contains(log.String(), "file=c.pem") {
		t.Errorf("%d lines: %s", n, log.String())
	}
}
