package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/proxy/proxytest"
)

// TestBurstOfNewConnections: far more signed clients than there is room for unknown ones come at once, each over a
// connection of its own. All are served: those without room wait to be accepted.
func TestBurstOfNewConnections(t *testing.T) {
	const clients, room = 900, 64
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.MaxUnproven = room })
	put(t, k.client(t), "bkt", "k", noise(1, 4096), nil)
	failed := make(chan error, clients)
	start := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			<-start
			if err := k.getOverNewConnection(); err != nil {
				failed <- err
			}
		})
	}
	close(start)
	all.Wait()
	close(failed)
	counts := map[string]int{}
	for err := range failed {
		counts[err.Error()]++
	}
	if len(counts) > 0 {
		t.Errorf("of %d signed GETs these failed: %v", clients, counts)
	}
}

func (k *kit) getOverNewConnection() error {
	transport := &http.Transport{DisableKeepAlives: true}
	c, err := minio.New(k.endpoint, &minio.Options{Creds: credentials.NewStaticV4(testAccess, testSecret, ""), Region: "us-east-1",
		Transport: transport, MaxRetries: 1})
	if err != nil {
		return err
	}
	_, err = c.StatObject(context.Background(), "bkt", "k", minio.StatObjectOptions{})
	var answered minio.ErrorResponse
	if errors.As(err, &answered) {
		return fmt.Errorf("%d %s", answered.StatusCode, answered.Code)
	}
	return err
}
