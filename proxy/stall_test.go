package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// stallingStore answers every request with these bytes, after which it neither sends nor reads nor closes. read is how
// much of a request it takes.
func stallingStore(t *testing.T, answer string, read int64) store.Config {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if tcp, ok := c.(*net.TCPConn); ok {
					tcp.SetReadBuffer(4 << 10)
				}
				io.CopyN(io.Discard, c, read)
				io.WriteString(c, answer)
				<-done
			}()
		}
	}()
	return store.Config{Endpoint: "http://" + l.Addr().String(), AccessKey: "a", SecretKey: "b"}
}

// TestStalledStore: a store that sends nothing more, or takes nothing more, gives the request's place back in the end.
func TestStalledStore(t *testing.T) {
	for name, c := range map[string]struct {
		answer, method string
		body           []byte
	}{
		"before its answer":            {"", "GET", nil},
		"in the middle of an object":   {"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nEtag: \"x\"\r\nLast-Modified: Mon, 02 Jan 2006 15:04:05 GMT\r\n\r\n" + strings.Repeat("x", 200_000), "GET", nil},
		"in the middle of an error":    {"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n<Error>", "GET", nil},
		"in the middle of a document":  {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<ListBucketResult>", "LIST", nil},
		"in the middle of what it got": {"", "PUT", make([]byte, 32<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := start(t, stallingStore(t, c.answer, 100), func(cfg *Config) {
				cfg.IdleTimeout = 300 * time.Millisecond
				cfg.ReadThrough = []string{"bkt"}
			}).withoutPolicies()
			method, target := c.method, "/bkt/a"
			if method == "LIST" {
				method, target = "GET", "/bkt?list-type=2"
			}
			begin := time.Now()
			if name == "in the middle of an object" {
				// The status is on the wire: the connection is cut.
				if status, _ := k.readCut(t, target); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			} else {
				resp, body := k.do(t, method, target, nil, c.body)
				wantError(t, resp, body, http.StatusServiceUnavailable, s3.ServiceUnavailable)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			for range 100 {
				if k.server.places.taken() == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("the place is still held")
		})
	}
}
