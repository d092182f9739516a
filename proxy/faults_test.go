package proxy

import (
	"bytes"
	"net/http"
	"sync"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestStoreAnswersEarly: a store may answer before it has read a body. Its answer reaches the client, and what is
// left of the body is nobody's: the buffers that it came through serve other requests by then.
func TestStoreAnswersEarly(t *testing.T) {
	k, up := memoryKit(t, nil)
	bucket := k.bucket(t)
	up.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "PutObject" && op.Key == "refused" {
			return proxytest.Fault{Early: s3.NewError(s3.PreconditionFailed)}
		}
		return proxytest.Fault{}
	})
	var all sync.WaitGroup
	for i := range 4 {
		refused, kept := noise(1, 6<<20), noise(uint64(i), inlineLimit+100_000*i)
		all.Go(func() {
			for range 5 {
				resp, body := k.do(t, http.MethodPut, "/"+bucket+"/refused", nil, refused)
				wantError(t, resp, body, http.StatusPreconditionFailed, s3.PreconditionFailed)
			}
		})
		all.Go(func() {
			path := "/" + bucket + "/" + string(rune('a'+i))
			for range 5 {
				k.mustDo(t, http.MethodPut, path, nil, kept)
				if _, got := k.mustDo(t, http.MethodGet, path, nil, nil); !bytes.Equal(got, kept) {
					t.Errorf("%s: read back %d others", path, len(got))
				}
			}
		})
	}
	all.Wait()
}
