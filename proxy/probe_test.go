package proxy

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
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
		if !caps.Probed || !caps.Trailers || caps.CutCommits || !caps.PutIfMatch || !caps.PutIfNoneMatch || !caps.CompleteIfNoneMatch || !caps.CompleteIfMatch || !caps.CopySourcePinned {
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

// TestProbeInARegion: a store that wants its region named is probed as well.
func TestProbeInARegion(t *testing.T) {
	const region = "eu-central-1"
	u, endpoint := proxytest.StartUpstream(t, proxytest.Options{Region: region})
	k := start(t, UpstreamConfig{Endpoint: endpoint, AccessKey: "own", SecretKey: "own-secret", Region: region}, func(c *Config) { c.Region = region })
	if err := k.server.probeOnce(context.Background()); err != nil || !k.server.capabilities().Probed {
		t.Errorf("%v, %+v", err, k.server.capabilities())
	}
	if n := count(u.Operations(), "DeleteBucket"); n != 2 {
		t.Errorf("%d buckets were made and removed", n)
	}
}

// TestPathsBeforeProbe: a key that a store may take for another one's name reaches no store before the probe has seen
// what becomes of such keys there.
func TestPathsBeforeProbe(t *testing.T) {
	forEachStore(t, func(t *testing.T, up UpstreamConfig) {
		k := start(t, up, nil)
		bucket := "/" + k.bucket(t)
		for _, method := range []string{"PUT", "DELETE"} {
			k.mustDo(t, "PUT", bucket+"/theirs", nil, []byte("theirs"))
			k.mustDo(t, "PUT", bucket+"/mine/x", nil, []byte("mine"))
			resp, body := k.do(t, method, bucket+"/mine/%2E%2E/theirs", nil, []byte("overwritten"))
			wantError(t, resp, body, http.StatusBadRequest, s3.InvalidArgumentCode)
			if _, got := k.mustDo(t, "GET", bucket+"/theirs", nil, nil); string(got) != "theirs" {
				t.Errorf("after a %s of another key: %q", method, got)
			}
		}
	})
}
