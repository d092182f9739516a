package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	mc "github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
)

// forEachStore runs a test in front of the in-memory store, and of each store that WAXSEAL_TEST_STORES names: URLs
// with credentials, separated by spaces, as in http://user:passsecret@127.0.0.1:7070.
func forEachStore(t *testing.T, f func(t *testing.T, up store.Config)) {
	t.Run("memory", func(t *testing.T) {
		srv := httptest.NewServer(proxytest.NewUpstream())
		defer srv.Close()
		f(t, store.Config{Endpoint: srv.URL, AccessKey: "memory", SecretKey: "memory-secret"})
	})
	for _, s := range strings.Fields(os.Getenv("WAXSEAL_TEST_STORES")) {
		u, err := url.Parse(s)
		if err != nil || u.User == nil {
			t.Fatalf("WAXSEAL_TEST_STORES: %q is not a URL with credentials", s)
		}
		secret, _ := u.User.Password()
		t.Run(u.Host, func(t *testing.T) {
			f(t, store.Config{Endpoint: u.Scheme + "://" + u.Host, AccessKey: u.User.Username(), SecretKey: secret})
		})
	}
}

// client is a minio-go client of the proxy.
func (k *kit) client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(k.endpoint, &minio.Options{Creds: mc.NewStaticV4(testAccess, testSecret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bucket makes a bucket of a new name.
func (k *kit) bucket(t testing.TB) string {
	t.Helper()
	var b [5]byte
	rand.Read(b[:])
	name := "test-" + hex.EncodeToString(b[:])
	if err := k.client(t).MakeBucket(context.Background(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
