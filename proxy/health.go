package proxy

import (
	"context"
	"net/http"
)

// StoreHealth sends the store a signed request and says what keeps waxseal from working with it: no answer, credentials
// or a region that it refuses, TLS on one side only, a server that does not speak S3. An answer that these credentials
// may not list buckets is health: the store knew them.
func (s *Server) StoreHealth(ctx context.Context) error { return s.up.Health(ctx) }

// asksHealth reports whether a request is a balancer's: GET or HEAD of the configured path, without a signature or
// query. A bucket of that name stays reachable with a signature.
func (c *call) asksHealth() bool {
	path := c.s.cfg.HealthPath
	h := &c.ctx.Request.Header
	n := h.ContentLength()
	return path != "" && (c.method == http.MethodGet || c.method == http.MethodHead) &&
		string(h.RequestURI()) == path && len(h.Peek("Authorization")) == 0 && n <= 0 && n != -1 && c.virtualBucket() == ""
}

// answerHealth tells a stranger one word only.
func (c *call) answerHealth() {
	status, text := http.StatusOK, "ready\n"
	if !c.s.cfg.Ready() {
		status, text = http.StatusServiceUnavailable, "not ready\n"
	}
	c.res.SkipBody = c.method == http.MethodHead
	c.answer(status, "text/plain; charset=utf-8", []byte(text))
}
