package main

import (
	"context"
	"testing"
	"time"
)

// TestReplicasShareTheState: several waxseals over one state serve each other's objects, and each opens bucket keys by itself.
func TestReplicasShareTheState(t *testing.T) {
	w := workload{"small", 1000, 20_000, 1, 1, 3}
	quiet := func(int64, int64) {}
	var calls []int64
	for _, n := range []int{1, 4} {
		v := variant{BucketKeys: true, Lifetime: time.Hour, Period: 24 * time.Hour, Replicas: n, History: 3, Scale: 20}
		o, err := runWorkload(context.Background(), w, v, quiet)
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, o.Calls)
	}
	if calls[1] <= calls[0] || calls[1] > 4*36*7 { // as in TestWorkloadCounts, by replica
		t.Errorf("%v calls to the KMS", calls)
	}
	t.Logf("%v calls", calls)
}
