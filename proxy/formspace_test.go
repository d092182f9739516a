package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
)

// TestFormsTakeWhatTheyUse: forms whose policies allow a few bytes, whatever length they announce, leave the space for
// parts to parts.
func TestFormsTakeWhatTheyUse(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.MaxHeld = 64 << 20 })
	for _, high := range []int{10, inlineLimit - 1, 5 << 30} {
		for i := range 8 {
			f := newForm([]byte("x"), "key", fmt.Sprint("form", i))
			f.conditions = []any{[]any{"content-length-range", 0, high}}
			f.sign()
			body := f.body()
			k.dial(t).send(fmt.Sprintf("POST /bkt HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n",
				testBoundary, int64(5)<<30-1<<20) + string(body[:bytes.LastIndex(body, []byte("--"+testBoundary))]) + strings.Repeat("y", prefetchBytes))
		}
		u := k.rawUpload(t, "/bkt/k", nil)
		u.mustPut(1, nil, noise(1, 600))
		if resp, body := k.post(t, newForm(noise(2, 2<<20), "key", "mine")); resp.StatusCode != http.StatusNoContent {
			t.Errorf("%d: %s %s", high, resp.Status, body)
		}
		if used := k.server.uploads.Space.Used(); used > 32<<20 {
			t.Errorf("%d: %d bytes are taken", high, used)
		}
	}
}
