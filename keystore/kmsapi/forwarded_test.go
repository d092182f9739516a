package kmsapi_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/kmsapi"
)

// sources is an authenticator that refuses every request and records its source address.
type sources struct{ seen []string }

func (s *sources) Head(ctx *fasthttp.RequestCtx) error {
	s.seen = append(s.seen, ctx.RemoteIP().String())
	return nil
}

func (s *sources) Request(*fasthttp.RequestCtx, []byte) (keystore.Caller, error) {
	return keystore.Caller{}, fasthttp.ErrNoMultipartForm
}

// TestClientBehindTrustedProxies: each request of a connection counts as from the client in the proxy's header.
func TestClientBehindTrustedProxies(t *testing.T) {
	_, loopback, err := net.ParseCIDR("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		s := new(sources)
		h := &kmsapi.Handler{Authenticate: s}
		want := "127.0.0.1 127.0.0.1 127.0.0.1"
		if trusted {
			h.TrustedProxies = append(h.TrustedProxies, loopback)
			want = "198.51.100.7 127.0.0.1 198.51.100.8"
		}
		server := h.Server()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		for _, forwarded := range []string{"192.0.2.1, 198.51.100.7", "", "198.51.100.8"} {
			req, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Amz-Target", "TrentService.ListKeys")
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
			if forwarded != "" {
				req.Header.Set("X-Forwarded-For", forwarded)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if got := strings.Join(s.seen, " "); got != want {
			t.Errorf("trusted %t: %s, want %s", trusted, got, want)
		}
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
		<-ended
	}
}
