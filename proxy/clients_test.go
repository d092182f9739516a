package proxy

import (
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// limited makes testAccess a user with this policy, beside a root user.
func limited(t testing.TB, statements string) func(*Config) {
	t.Helper()
	policy, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[`+statements+`]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	users, err := iam.NewDirectory([]iam.User{
		{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: "AKIAROOT", Secret: iam.NewSecret("s"), Root: true},
		{Name: "limited", ARN: iam.UserARN("000000000000", "limited"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Policy: policy},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Users = users }
}

// asRoot sends a request of the user whom nothing limits.
func (k *kit) asRoot(t testing.TB, method, target string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	resp, got := k.doAs(t, "AKIAROOT", "s", method, target, header, body)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s\n%s", method, target, resp.Status, got)
	}
	return resp, got
}

// TestStoresOwnPaths: what a store has beside its buckets is no bucket, and no client comes near it.
func TestStoresOwnPaths(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	u.ClearRequests()
	for _, r := range []struct {
		method, target string
		header         map[string]string
	}{
		{"GET", "/minio/admin/v3/info?acl", nil},
		{"PUT", "/minio/admin/v3/add-canned-policy?name=evil&acl", nil},
		{"DELETE", "/minio/admin/v3/remove-canned-policy?name=evil", nil},
		{"GET", "/%6dinio/admin/v3/info?acl", nil},
		{"GET", "/admin/user?acl", nil},
		{"PUT", "/swift/v1/a", nil},
		{"GET", "/.minio.sys/config", nil},
		{"GET", "/_localstack/health", nil},
		{"PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/minio/admin/v3/info"}},
		{"PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/bkt%3Fx/a"}},
	} {
		resp, body := k.do(t, r.method, r.target, r.header, nil)
		wantError(t, resp, body, http.StatusBadRequest, s3.InvalidBucketName)
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
	up, err := newUpstream(UpstreamConfig{Endpoint: "http://store.test", VirtualHost: true})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"a/b": "http://bkt.store.test/a/b", "minio/admin/v3/info": "http://store.test/bkt/minio/admin/v3/info",
	} {
		if got := up.url(&storeRequest{bucket: "bkt", key: key}).String(); !strings.EqualFold(got, want) {
			t.Errorf("key %s goes to %s", key, got)
		}
	}
}
