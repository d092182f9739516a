package main

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// TestWorkloadCounts compares a run with the known counts: without Bucket Keys a call for every request, with Bucket
// Keys at most one for each window, blob and action, and the same requests.
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

// TestChoose: objects of the history are read in proportion to the number of objects they stand for.
func TestChoose(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := &tenant{objects: 30, history: 20, stands: 90}
	var old, recent [30]int
	for range 100_000 {
		if i := h.choose(rng); i < h.history {
			old[i]++
		} else {
			recent[i]++
		}
	}
	for i := range h.history {
		if n := old[i]; n < 4200 || n > 4800 { // 0.9/20
			t.Errorf("object %d of the history: %d of 100,000 reads", i, n)
		}
	}
	for i := h.history; i < h.objects; i++ {
		if n := recent[i]; n < 900 || n > 1100 { // 0.1/10
			t.Errorf("object %d of the month: %d of 100,000 reads", i, n)
		}
	}
}
