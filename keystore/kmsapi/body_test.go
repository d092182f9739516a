package kmsapi

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/unproven"
)

// head returns a request's head with an invalid signature by the access key.
func (e *endpoint) head(accessKey string, length int) string {
	now := time.Now().UTC().Format("20060102T150405Z")
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: TrentService.ListKeys\r\nX-Amz-Date: %s\r\nContent-Length: %d\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/kms/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=%s\r\n\r\n",
		e.host, now, length, accessKey, now[:8], strings.Repeat("0", 64))
}

// TestUnverifiedBodies: connections with announced bodies and no proof of identity hold little memory, and a client
// with a valid signature is served among them.
func TestUnverifiedBodies(t *testing.T) {
	const connections = 600
	e := start(t)
	client := e.client("alice")
	must(client.ListKeys(background, nil))(t)
	for name, text := range map[string]string{
		"silence":             "",
		"half a head":         e.head("AKIAALICE", 100)[:60],
		"unsigned":            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", prefetchBytes),
		"an unknown key":      e.head("AKIAMALLORY", MaxBody) + strings.Repeat("x", prefetchBytes),
		"no signature, early": e.head("AKIAALICE", MaxBody),
		"a wrong signature":   e.head("AKIAALICE", MaxBody) + strings.Repeat("x", prefetchBytes+1),
		"half of a body":      e.head("AKIAALICE", MaxBody) + strings.Repeat("x", MaxBody/2),
		"too large a body":    e.head("AKIAALICE", 4*MaxBody-1) + strings.Repeat("x", prefetchBytes),
	} {
		before := heap()
		most := uint64(0)
		for i := range connections {
			c, err := net.Dial("tcp", e.host)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(c, text) // it may be cut already
			if i%100 == 99 {
				must(client.ListKeys(background, nil))(t)
				must(e.client("alice").ListKeys(background, nil))(t) // by a new connection
				most = max(most, heap())
			}
		}
		grown := (int64(most) - int64(before)) >> 20
		t.Logf("%s: %d MiB more", name, grown)
		if grown > 64 {
			t.Errorf("%s: %d connections take %d MiB", name, connections, grown)
		}
	}
}

// heap returns the bytes of live objects.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestBodiesShareABudget: the oldest of the unverified bodies gives way, and received bytes count as its memory.
func TestBodiesShareABudget(t *testing.T) {
	cut := 0
	pool := unproven.NewPool(MaxUnverified)
	for range 3 * MaxUnverified / MaxBody {
		pool.Enter(0, func() { cut++ }).Grow(MaxBody)
	}
	if pool.Used() != MaxUnverified || cut != 2*MaxUnverified/MaxBody {
		t.Errorf("%d bytes, %d were cut", pool.Used(), cut)
	}
}

// TestCutBody: a body cut short is refused, not taken for a shorter body.
func TestCutBody(t *testing.T) {
	e := start(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(open(t, e), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	body := "{" + strings.Repeat(" ", prefetchBytes) + "}"
	if _, err := io.WriteString(c, e.head("AKIAALICE", len(body)+1000)+body); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "SerializationException") || !strings.Contains(string(answer), "could not be read") {
		t.Errorf("%v: %s", err, answer)
	}
}
