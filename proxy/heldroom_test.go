package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestHeldShares: one user may hold half of the space, several share it, and each newcomer finds some; a restart knows
// whose is what.
func TestHeldShares(t *testing.T) {
	dir := t.TempDir()
	h, err := newHeld(dir, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	most := func(who string) (bytes int) {
		for ; ; bytes += 1 << 10 {
			name := fmt.Sprintf("upload-%05d-random-%s", files, heldOwner(who))
			files++
			if _, err := h.put(name, strings.NewReader(strings.Repeat("x", 1<<10)), 1<<10); err != nil {
				var e *s3.Error
				if !errors.As(err, &e) || e.Code != s3.SlowDown {
					t.Fatal(err)
				}
				return bytes
			}
		}
	}
	for i, want := range []int{32, 16, 8, 4} {
		if got := most(fmt.Sprint("user", i)); got != want<<10 {
			t.Errorf("user %d holds %d bytes, want %d KiB", i, got, want)
		}
	}
	used := h.used
	if h, err = newHeld(dir, 64<<10); err != nil || h.used != used || h.owned[heldOwner("user0")] != 32<<10 {
		t.Errorf("after a restart %d of %d bytes, %v: %v", h.used, used, h.owned, err)
	}
	if got := most("user0"); got != 0 {
		t.Errorf("after a restart the first user holds %d bytes more", got)
	}
}

// TestHeldByUse: what is announced takes no room, what did not come gives it back.
func TestHeldByUse(t *testing.T) {
	h, err := newHeld(t.TempDir(), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := h.put("upload-00001-random-owner", r, 1<<40)
		done <- err
	}()
	io.Copy(w, bytes.NewReader(make([]byte, 3<<20)))
	h.mu.Lock()
	if h.used < 2<<20 || h.used > 4<<20 {
		t.Errorf("%d bytes are taken for 3 MiB", h.used)
	}
	h.mu.Unlock()
	w.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; err == nil || h.used != 0 || len(h.owned) != 0 {
		t.Errorf("%v: %d bytes stay taken, %v", err, h.used, h.owned)
	}
}

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
		k.server.uploads.held.mu.Lock()
		if used := k.server.uploads.held.used; used > 32<<20 {
			t.Errorf("%d: %d bytes are taken", high, used)
		}
		k.server.uploads.held.mu.Unlock()
	}
}
