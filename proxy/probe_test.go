package proxy

import (
	"context"
	"strings"
	"testing"
)

// TestProbeFindsWhatStoresHonour runs the probe and checks that it leaves nothing behind.
func TestProbeFindsWhatStoresHonour(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		before, err := k.client(t).ListBuckets(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.server.probeOnce(context.Background()); err != nil {
			t.Fatal(err)
		}
		caps := k.server.capabilities()
		t.Logf("%+v", caps)
		if !caps.Probed || !caps.Trailers || caps.CutCommits || !caps.PutIfMatch || !caps.PutIfNoneMatch || !caps.CompleteIfMatch || !caps.CopySourcePinned {
			t.Errorf("a store that was tried before lacks what it had: %+v", caps)
		}
		after, err := k.client(t).ListBuckets(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		// Others may be at work on a real store.
		if strings.HasSuffix(t.Name(), "/memory") && len(after) != len(before) {
			t.Errorf("%d buckets before the probe, %d after", len(before), len(after))
		}
	})
}
