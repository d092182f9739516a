package store

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestFirstByte checks how long a store may take to answer, by kind of request.
func TestFirstByte(t *testing.T) {
	for _, c := range []struct {
		r    Request
		want time.Duration
	}{
		{Request{Method: "GET", Key: "k"}, time.Minute},
		{Request{Method: "GET"}, time.Minute},
		{Request{Method: "HEAD", Key: "k"}, time.Minute},
		{Request{Method: "OPTIONS"}, time.Minute},
		{Request{Method: "PUT", Key: "k"}, 2 * time.Minute},
		{Request{Method: "PUT", Key: "k", Query: "partNumber=1&uploadId=a"}, 2 * time.Minute},
		{Request{Method: "DELETE", Key: "k", Query: "uploadId=a"}, 2 * time.Minute},
		{Request{Method: "POST", Query: "delete="}, 2 * time.Minute},
		{Request{Method: "POST", Key: "k", Query: "uploads="}, 2 * time.Minute},
		{Request{Method: "POST", Key: "k", Query: "uploadId=a"}, 10 * time.Minute},
		{Request{Method: "PUT", Key: "k", Header: http.Header{"X-Amz-Copy-Source": {"b/k"}}}, 10 * time.Minute},
	} {
		if got := c.r.firstByte(time.Minute); got != c.want {
			t.Errorf("%s ?%s: %v", c.r.Method, c.r.Query, got)
		}
	}
}

// TestURLOfStoresOwnPaths checks virtual-host style: a key under a store's own API goes below the bucket's path
// instead.
func TestURLOfStoresOwnPaths(t *testing.T) {
	up, err := New(Config{Endpoint: "http://store.test", VirtualHost: true})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"a/b": "http://bkt.store.test/a/b", "minio/admin/v3/info": "http://store.test/bkt/minio/admin/v3/info",
	} {
		if got := up.url(&Request{Bucket: "bkt", Key: key}).String(); !strings.EqualFold(got, want) {
			t.Errorf("key %s goes to %s", key, got)
		}
	}
}
