package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/time/rate"
)

// TestProgressLine: percent and remaining time are there with a known total, and never beyond it.
func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		Job  *Job
		want string
	}{
		{&Job{count: true, total: 7}, "counting: 7 objects so far"},
		{&Job{seen: 50, bytes: 3e6, failed: 2}, "10s: 50 objects (5/s), 3 MB, 2 failed"},
		{&Job{seen: 0, total: 200}, "10s: 0 objects (0/s), 0 MB, 0 failed, 0% of 200"},
		{&Job{seen: 50, total: 200}, "10s: 50 objects (5/s), 0 MB, 0 failed, 25% of 200, about 30s left"},
		{&Job{seen: 300, total: 200}, "10s: 300 objects (30/s), 0 MB, 0 failed, 100% of 200, about 0s left"},
	} {
		if got := c.Job.progressLine(10 * time.Second); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestProgressOnTerminals: a terminal has a single line, written anew and removed before other output; elsewhere each
// report is a line.
func TestProgressOnTerminals(t *testing.T) {
	for terminal, want := range map[bool]string{
		true:  clearLine + "1s: 0 objects (0/s), 0 MB, 0 failed" + clearLine + "FAILED  k: no\n",
		false: "1s: 0 objects (0/s), 0 MB, 0 failed\nFAILED  k: no\n",
	} {
		var text strings.Builder
		j := &Job{progress: &text, failures: &text, terminal: terminal, begun: time.Unix(0, 0)}
		j.showProgress(time.Unix(1, 0))
		j.note(minio.ObjectInfo{Key: "k"}, "", errors.New("no"))
		if text.String() != want {
			t.Errorf("terminal %v: %q, want %q", terminal, text.String(), want)
		}
	}
}

// TestJobRate: no more objects a second than the rate, and an end without a wait for the next object.
func TestJobRate(t *testing.T) {
	j := &Job{limit: rate.NewLimiter(20, 1)}
	begun := time.Now()
	for range 5 {
		if err := j.wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took < 190*time.Millisecond {
		t.Errorf("5 objects at 20 a second took %v", took)
	}
	j = &Job{limit: rate.NewLimiter(0.001, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	if err := j.wait(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := j.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
