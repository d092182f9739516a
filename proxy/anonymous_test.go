package proxy

import (
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
)

// TestAnonymousRequestsSayNothingOfASignature: an unsigned request to the store has no x-amz-content-sha256 of a signature,
// for which S3 and versitygw refuse it.
func TestAnonymousRequestsSayNothingOfASignature(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Anonymous = true })
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("hello"))
	u.ClearRequests()
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		unsigned := op.Header.Get("Authorization") == ""
		if value := op.Header.Get("X-Amz-Content-Sha256"); unsigned && strings.HasPrefix(value, "UNSIGNED") {
			t.Errorf("%s goes to the store unsigned and with x-amz-content-sha256: %s", op.Name, value)
		}
		return proxytest.Fault{}
	})
	for _, target := range []string{"GET /bkt/k", "HEAD /bkt/k", "GET /bkt?list-type=2", "HEAD /bkt", "GET /bkt/k?tagging", "DELETE /bkt/k"} {
		method, path, _ := strings.Cut(target, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+k.endpoint+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusBadRequest {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
	if len(u.Operations()) < 6 {
		t.Errorf("the store was asked %v", u.Operations())
	}
}
