package proxy

import (
	"net/http"
	"testing"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestStoreInternals: where a store keeps the parts of uploads among a bucket's keys, no key reaches them.
func TestStoreInternals(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		bucket := "/" + k.bucket(t)
		for _, method := range []string{"PUT", "GET", "DELETE"} {
			for _, key := range []string{".sgwtmp", ".sgwtmp/multipart/x/1", "%2Esgwtmp/multipart/x/1"} {
				resp, body := k.do(t, method, bucket+"/"+key, nil, nil)
				wantError(t, resp, body, http.StatusBadRequest, s3.InvalidArgumentCode)
			}
		}
		resp, body := k.do(t, "PUT", bucket+"/copy", map[string]string{"x-amz-copy-source": bucket + "/.sgwtmp/multipart/x/1"}, nil)
		wantError(t, resp, body, http.StatusBadRequest, s3.InvalidArgumentCode)
		for _, key := range []string{".sgwtmpx", "a/.sgwtmp"} {
			k.mustDo(t, "PUT", bucket+"/"+key, nil, []byte("x"))
			k.mustDo(t, "DELETE", bucket+"/"+key, nil, nil)
		}
	})
}
