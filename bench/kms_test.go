package main

import (
	"context"
	"testing"
	"time"
)

// TestWorkloadCounts holds a run to what is known of it: without Bucket Keys a call for every request, with them at
// most one for each window, blob and action, and the same requests.
func TestWorkloadCounts(t *testing.T) {
	w := workload{"small", 1000, 20_000, 1, 1, 3}
	quiet := func(int64, int64) {}
	off, err := runWorkload(context.Background(), w, variant{Lifetime: 5 * time.Minute, Period: 24 * time.Hour, Replicas: 1, History: 3, Scale: 20}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if want := (w.Writes + w.Reads) / 20; off.Calls != want || off.Requests != want || off.Monthly != want*20 {
		t.Errorf("without Bucket Keys: %d calls for %d requests, want %d", off.Calls, off.Requests, want)
	}
	on, err := runWorkload(context.Background(), w, variant{BucketKeys: true, Lifetime: time.Hour, Period: 24 * time.Hour, Replicas: 1, History: 3, Scale: 20}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	// 36 hours: 36 windows, at most 5 bucket keys alive, a read and a write action each.
	if on.Requests != off.Requests || on.Calls == 0 || on.Calls > 36*7 {
		t.Errorf("with Bucket Keys: %d calls for %d requests", on.Calls, on.Requests)
	}
	t.Logf("off %d, on %d (%d generate, %d decrypt)", off.Calls, on.Calls, on.Generate, on.Decrypt)
}
