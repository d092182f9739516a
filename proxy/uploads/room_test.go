package uploads

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// TestHeldShares checks the shares of users: a single user may have half of the space, several users share it, and each
// new user finds some. Shares survive a restart.
func TestHeldShares(t *testing.T) {
	dir := t.TempDir()
	h, err := NewSpace(dir, 64<<10)
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
	if h, err = NewSpace(dir, 64<<10); err != nil || h.used != used || h.owned[heldOwner("user0")] != 32<<10 {
		t.Errorf("after a restart %d of %d bytes, %v: %v", h.used, used, h.owned, err)
	}
	if got := most("user0"); got != 0 {
		t.Errorf("after a restart the first user holds %d bytes more", got)
	}
}

// TestHeldByUse checks that an announced size reserves nothing, and that bytes reserved and not received are released.
func TestHeldByUse(t *testing.T) {
	h, err := NewSpace(t.TempDir(), 64<<20)
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

// TestHeldNotDurable checks that a part is neither staged nor counted if its name could not be made durable.
func TestHeldNotDurable(t *testing.T) {
	h, err := NewSpace(t.TempDir(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	h.sync = func(string) error { return errors.New("the disk is gone") }
	if _, err := h.put("a", strings.NewReader("data"), 4); err == nil {
		t.Error("a part that may be lost is acknowledged")
	}
	left := 0
	if err := h.scan(func(string, int64, time.Time) { left++ }); err != nil || left != 0 || h.used != 0 {
		t.Errorf("%d files are left, %d bytes are counted: %v", left, h.used, err)
	}
}
