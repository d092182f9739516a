package proxy

import (
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// ownHeaders are the names of waxseal's own response headers.
var ownHeaders = []string{s3.HeaderPlaintext, s3.HeaderKeyVersion, s3.HeaderKeyCurrent, s3.HeaderErrorKind, "x-waxseal-later"}

// TestStoreDoesNotSpeakForWaxseal walks operations: headers of waxseal's own in the store's answer reach no client, in
// success and in failure. Otherwise a store could have `waxseal verify` count a spoiled object as an SSE-C object, for
// example.
func TestStoreDoesNotSpeakForWaxseal(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("hello"))
	own := func(h http.Header) {
		for _, name := range ownHeaders {
			h.Set(name, "store")
		}
	}
	failure := s3.NewError(s3.InvalidRequest)
	for _, name := range ownHeaders {
		failure.WithHeader(name, "store")
	}
	for name, fault := range map[string]proxytest.Fault{"success": {Header: own}, "failure": {Before: failure}} {
		u.SetHook(func(proxytest.Op) proxytest.Fault { return fault })
		for _, target := range []string{"GET /bkt/k", "HEAD /bkt/k", "PUT /bkt/new", "GET /bkt?list-type=2", "HEAD /bkt", "GET /bkt/k?tagging",
			"POST /bkt/k?uploads", "GET /bkt?versioning", "DELETE /bkt/new"} {
			method, path, _ := strings.Cut(target, " ")
			resp, _ := k.do(t, method, path, nil, nil)
			if failed := resp.StatusCode >= 400; failed != (name == "failure") {
				t.Errorf("%s in %s: %s", target, name, resp.Status)
			}
			for _, own := range ownHeaders {
				if v := resp.Header.Get(own); v != "" {
					t.Errorf("%s in %s: %s: %s", target, name, own, v)
				}
			}
		}
	}
}
