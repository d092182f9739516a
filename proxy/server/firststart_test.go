package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"testing"

	"waxseal/proxy/proxytest"
)

// TestReplicasFirstStartTogether checks that replicas starting a new state at the same moment all serve from it.
func TestReplicasFirstStartTogether(t *testing.T) {
	_, address := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	t.Setenv("WAXSEAL_ROOT_SECRET", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32)))
	t.Setenv("WAXSEAL_ACCESS_KEY", "AKIAREPLICATEDROOT00")
	t.Setenv("WAXSEAL_SECRET_KEY", "the-root-users-secret-0123456789")
	member := etcdMember(t)
	for round := range 5 {
		ended := make(chan error)
		for i := range 4 {
			c := Default()
			c.UpstreamEndpoint, c.StagingBucket, c.Replica = address, fmt.Sprint("staged-parts-", round), fmt.Sprint("replica", i)
			c.State, c.DataDir = fmt.Sprintf("etcd://%s/round%d", member, round), t.TempDir()
			go func() {
				app, err := Assemble(t.Context(), &c, slog.New(slog.DiscardHandler))
				if err == nil {
					err = app.Shutdown(t.Context())
				}
				ended <- err
			}()
		}
		for range 4 {
			if err := <-ended; err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
	}
}
