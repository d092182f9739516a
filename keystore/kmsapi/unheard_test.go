package kmsapi

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"
)

// TestUnheard: a connection without a request is closed without an answer, which its client would take for that of the
// next request it sends. A request that has begun, and goes no further, is answered.
func TestUnheard(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	server := (&Handler{}).Server()
	server.ReadTimeout = 200 * time.Millisecond
	for _, secure := range []bool{false, true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener = Listen(listener)
		if secure {
			listener = tls.NewListener(listener, &tls.Config{Certificates: certified.TLS.Certificates})
		}
		go func() { _ = server.Serve(listener) }()
		for sent, answered := range map[string]bool{"": false, "POST / HT": true} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the certificate is the test's own
			}
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(conn)
			if (len(got) > 0) != answered {
				t.Errorf("TLS %v, after %q: %q", secure, sent, got)
			}
		}
	}
	if err := server.Shutdown(); err != nil {
		t.Error(err)
	}
}
