// Package bareproxy is the cheapest proxy of fasthttp: a server and a HostClient, and nothing else. It shows what HTTP
// itself costs in Go, so that the rest of waxseal's cost is waxseal's own. It copies whole bodies, and so is for small
// requests only.
package bareproxy

import (
	"net"

	"github.com/valyala/fasthttp"
)

// maxBody bounds a body in memory.
const maxBody = 64 << 10

// Serve passes requests on to the store at this address, until the listener is closed.
func Serve(l net.Listener, store string) error {
	upstream := &fasthttp.HostClient{
		Addr: store, MaxConns: 1024, MaxResponseBodySize: maxBody,
		DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true, NoDefaultUserAgentHeader: true,
	}
	server := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			if err := upstream.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error("the store did not answer", fasthttp.StatusBadGateway)
			}
		},
		MaxRequestBodySize: maxBody, DisableHeaderNamesNormalizing: true, NoDefaultServerHeader: true, NoDefaultDate: true,
		NoDefaultContentType: true,
	}
	return server.Serve(l)
}
