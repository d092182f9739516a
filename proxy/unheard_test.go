package proxy

import (
	"io"
	"net"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
)

// TestUnheard: a connection without a request is closed without an answer, which its client would take for that of the
// next request it sends. A request that has begun, and goes no further, is answered.
func TestUnheard(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.IdleTimeout = 200 * time.Millisecond })
	for sent, answered := range map[string]bool{"": false, "GET /bkt HT": true} {
		conn, err := net.Dial("tcp", k.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(conn); (len(got) > 0) != answered {
			t.Errorf("after %q: %q", sent, got)
		}
	}
}
