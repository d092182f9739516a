package proxy

import (
	"context"
	"net/http"
	"regexp"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestProbeFindsWhatStoresHonour runs the probe and checks that it leaves nothing behind.
func TestProbeFindsWhatStoresHonour(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil {
			t.Fatal(err)
		}
		caps := k.server.up.Capabilities()
		t.Logf("%+v", caps)
		if !caps.Probed || !caps.Trailers || caps.CutCommits || !caps.PutIfMatch || !caps.PutIfNoneMatch || !caps.CompleteIfNoneMatch || !caps.CompleteIfMatch || !caps.CopySourcePinned {
			t.Errorf("a store that was tried before lacks what it had: %+v", caps)
		}
		wantNoScratch(t, k)
	})
}

// wantNoScratch: no scratch bucket of this server is at the store, and none is recorded.
func wantNoScratch(t *testing.T, k *kit) {
	t.Helper()
	if recorded := scratchRecords(t, k); len(recorded) != 0 {
		t.Errorf("recorded: %v", recorded)
	}
	if named := scratchAt(t, k); len(named) != 0 {
		t.Errorf("at the store: %v", named)
	}
}

func scratchRecords(t *testing.T, k *kit) (names []string) {
	t.Helper()
	entries, err := k.server.cfg.State.Range(t.Context(), scratchState, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Key)
	}
	return names
}

// scratchAt are the store's scratch buckets, as waxseal itself sees them.
func scratchAt(t *testing.T, k *kit) (names []string) {
	t.Helper()
	var doc s3.ListAllMyBucketsResult
	if err := store.Result(askStore(t, k, &store.Request{Method: http.MethodGet}), &doc); err != nil {
		t.Fatal(err)
	}
	for _, b := range doc.Buckets.Buckets {
		if scratchNames.MatchString(b.Name) {
			names = append(names, b.Name)
		}
	}
	return names
}

// scratchNames matches the names of the probe's buckets.
var scratchNames = regexp.MustCompile(`^waxseal-probe-`)

// askStore sends the store a request of waxseal's own.
func askStore(t *testing.T, k *kit, r *store.Request) *http.Response {
	t.Helper()
	resp, err := k.server.up.Send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestKilledProbe: whatever a killed probe leaves, clients do not see it, and the next probe removes it: by its record
// at once, without one when it is old and holds nothing but a probe's keys.
func TestKilledProbe(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		if left := scratchAt(t, k); len(left) != 0 {
			t.Skip("somebody else probes this store: ", left)
		}
		for _, locked := range []bool{false, true} {
			bucket := "waxseal-probe-0123456789ab"
			var header http.Header
			if locked {
				bucket, header = bucket+"-lock", http.Header{"X-Amz-Bucket-Object-Lock-Enabled": {"true"}}
			}
			if err := k.server.scratch().Records.Add(t.Context(), bucket); err != nil {
				t.Fatal(err)
			}
			made := askStore(t, k, &store.Request{Method: http.MethodPut, Bucket: bucket, Header: header})
			store.Drain(made)
			if made.StatusCode != http.StatusOK {
				if !locked {
					t.Fatal(made.Status)
				}
				if err := k.server.scratch().Records.Remove(t.Context(), bucket); err != nil {
					t.Fatal(err)
				}
				continue // a store without locks
			}
			for _, key := range []string{"source", "locked", "path/double"} {
				resp := askStore(t, k, &store.Request{Method: http.MethodPut, Bucket: bucket, Key: key, Body: []byte("1")})
				store.Drain(resp)
				if resp.StatusCode != http.StatusOK {
					t.Fatal(key, resp.Status)
				}
			}
			store.Drain(askStore(t, k, &store.Request{Method: http.MethodPost, Bucket: bucket, Key: "complete", Query: "uploads="}))
		}
		buckets, err := k.client(t).ListBuckets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range buckets {
			if scratchNames.MatchString(b.Name) {
				t.Errorf("a client sees %s", b.Name)
			}
		}
		if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil {
			t.Fatal(err)
		}
		wantNoScratch(t, k)
	})
}

// TestScratchOfOthers: a bucket with a scratch bucket's name is removed only when it is old and holds nothing but a
// probe's keys.
func TestScratchOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		later time.Duration
		key   string
		gone  bool
	}{
		"young":         {0, "cut", false},
		"old":           {2 * time.Hour, "cut", true},
		"somebody uses": {2 * time.Hour, "photo.jpg", false},
	} {
		t.Run(name, func(t *testing.T) {
			u, endpoint := proxytest.StartUpstream(t, proxytest.Options{}, "waxseal-probe-ba9876543210", "photos")
			u.PutObject("waxseal-probe-ba9876543210", c.key, []byte("1"), nil)
			k := start(t, store.Config{Endpoint: endpoint, AccessKey: "a", SecretKey: "s"}, func(conf *Config) {
				conf.Now = func() time.Time { return time.Now().Add(c.later) }
			})
			if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil {
				t.Fatal(err)
			}
			if left := scratchAt(t, k); (len(left) == 0) != c.gone {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestScratchRecordOfAnother: a bucket without a scratch bucket's name is not emptied, whatever the state says of it.
func TestScratchRecordOfAnother(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("x"))
	if err := k.server.scratch().Records.Add(t.Context(), "bkt"); err != nil {
		t.Fatal(err)
	}
	if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil || !k.server.up.Capabilities().Probed {
		t.Errorf("%v, %+v", err, k.server.up.Capabilities())
	}
	k.mustDo(t, "GET", "/bkt/k", nil, nil)
}

// TestProbeInARegion: a store that wants its region named is probed as well.
func TestProbeInARegion(t *testing.T) {
	const region = "eu-central-1"
	u, endpoint := proxytest.StartUpstream(t, proxytest.Options{Region: region})
	k := start(t, store.Config{Endpoint: endpoint, AccessKey: "own", SecretKey: "own-secret", Region: region}, func(c *Config) { c.Region = region })
	if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil || !k.server.up.Capabilities().Probed {
		t.Errorf("%v, %+v", err, k.server.up.Capabilities())
	}
	if n := count(u.Operations(), "DeleteBucket"); n != 2 {
		t.Errorf("%d buckets were made and removed", n)
	}
}

// TestPathsBeforeProbe: a key that a store may take for another one's name reaches no store before the probe has seen
// what becomes of such keys there.
func TestPathsBeforeProbe(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
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
