package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

// Intervals of the progress report. On a terminal it is a single line, written anew; elsewhere each report is a line.
const (
	progressEvery    = 10 * time.Second
	progressTerminal = time.Second

	clearLine = "\r\x1b[K"
)

// isTerminal reports whether somebody looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// countAll lists everything once, for the total behind percent and remaining time. Versions count, delete markers do
// not.
func (j *Job) countAll(ctx context.Context, list minio.ListObjectsOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range j.s3.core.Client.ListObjects(ctx, j.bucket, list) {
		if o.Err != nil {
			return o.Err
		}
		if !o.IsDeleteMarker {
			j.mu.Lock()
			j.total++
			j.mu.Unlock()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count, j.begun = false, time.Now()
	return ctx.Err()
}

// wait keeps to the rate.
func (j *Job) wait(ctx context.Context) error {
	if j.limit == nil {
		return nil
	}
	return j.limit.Wait(ctx)
}

// failureReport is a failed object in JSON.
type failureReport struct {
	Key     string `json:"key"`
	Version string `json:"version,omitempty"`
	Error   string `json:"error"`
}

// note counts an object's result, and reports a failure.
func (j *Job) note(o minio.ObjectInfo, what string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen++
	j.bytes += o.Size
	if err == nil {
		j.counts[what]++
		return
	}
	j.failed++
	if j.shown > 0 && j.failed > j.shown {
		return
	}
	j.clear()
	if j.json {
		j.encode(failureReport{o.Key, o.VersionID, err.Error()})
		return
	}
	name := o.Key
	if o.VersionID != "" {
		name += " version " + o.VersionID
	}
	fmt.Fprintf(j.failures, "FAILED  %s: %v\n", name, err)
}

// encode writes a line of JSON. An error means a reader is gone: the next write fails, too, as it does for text.
func (j *Job) encode(v any) {
	if err := json.NewEncoder(j.out).Encode(v); err != nil {
		fmt.Fprintln(j.failures, err)
	}
}

// say prints a line: among the results, unless they are JSON.
func (j *Job) say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.clear()
	to := j.out
	if j.json {
		to = j.failures
	}
	fmt.Fprintf(to, format+"\n", args...)
}

// clear removes the progress line from a terminal, to make room.
func (j *Job) clear() {
	if j.terminal {
		fmt.Fprint(j.progress, clearLine)
	}
}

func (j *Job) reportProgress(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	every := progressEvery
	if j.terminal {
		every = progressTerminal
	}
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				j.showProgress(time.Now())
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		j.clear()
	}
}

func (j *Job) showProgress(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.clear()
	fmt.Fprint(j.progress, j.progressLine(now.Sub(j.begun)))
	if !j.terminal {
		fmt.Fprintln(j.progress)
	}
}

// progressLine describes the progress. Percent and remaining time need the total of --count.
func (j *Job) progressLine(took time.Duration) string {
	if j.count {
		return fmt.Sprintf("counting: %d objects so far", j.total)
	}
	line := fmt.Sprintf("%v: %d objects (%.0f/s), %d MB, %d failed", took.Round(time.Second), j.seen, float64(j.seen)/took.Seconds(), j.bytes/1e6, j.failed)
	if j.total == 0 {
		return line
	}
	done := min(j.seen, j.total) // objects may have come since
	line += fmt.Sprintf(", %d%% of %d", 100*done/j.total, j.total)
	if done == 0 {
		return line
	}
	left := time.Duration(float64(took) * float64(j.total-done) / float64(done))
	return line + fmt.Sprintf(", about %v left", left.Round(time.Second))
}

// jobReport is a job's last line in JSON.
type jobReport struct {
	Objects int            `json:"objects"`
	Bytes   int64          `json:"bytes"` // of plaintext, as they are listed
	Failed  int            `json:"failed"`
	Counts  map[string]int `json:"counts"`
	Seconds float64        `json:"seconds"`
	Keys    []keyUseCount  `json:"keys,omitempty"`
}

// summary prints the counts in the given order and makes failures the job's error.
func (j *Job) summary(order ...string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.json {
		j.encode(jobReport{j.seen, j.bytes, j.failed, j.counts, time.Since(j.begun).Seconds(), j.keys})
	} else {
		fmt.Fprintf(j.out, "%d objects: %s\n", j.seen, j.sums(order))
	}
	if j.shown > 0 && j.failed > j.shown {
		fmt.Fprintf(j.failures, "%d more objects failed: --show-failures 0 names all\n", j.failed-j.shown)
	}
	if j.failed > 0 {
		return fmt.Errorf("%d of %d objects failed", j.failed, j.seen)
	}
	return nil
}

func (j *Job) sums(order []string) string {
	var parts []string
	for _, what := range order {
		if n := j.counts[what]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	if j.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", j.failed))
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing to do")
}
