package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// callOf is the request's call: made by Expect or by serve, whichever comes first.
func (s *Server) callOf(ctx *fasthttp.RequestCtx) *call {
	if c, ok := ctx.UserValue(callKey).(*call); ok {
		return c
	}
	c := &call{s: s, ctx: ctx, id: newRequestID(), stay: stay{start: s.cfg.Now()}}
	c.res, c.unread = &ctx.Response, true
	c.Vault, c.From = s.vault, c
	c.method = string(ctx.Method())
	c.span.Context, c.parent = s.cfg.Traces.Begin(string(ctx.Request.Header.Peek("traceparent")), string(ctx.Request.Header.Peek("tracestate")))
	c.Up, c.abandon = context.WithCancelCause(s.base)
	ctx.SetUserValue(callKey, c)
	c.res.Header.Set("x-amz-request-id", c.id)
	c.res.Header.Set("x-amz-id-2", hostID)
	return c
}

const callKey = "waxseal.call"

// newRequestID is unique among all replicas, and neither secret nor unpredictable.
func newRequestID() string {
	const digits = "0123456789ABCDEF"
	var id [16]byte
	for i, n := 0, rand.Uint64(); i < len(id); i, n = i+1, n>>4 {
		id[i] = digits[n&15]
	}
	return string(id[:])
}

// parse reads method, address and query, and finds the route.
func (c *call) parse() error {
	c.readHead()
	if len(c.head) > sigv4.MaxHeaders {
		return s3.Errorf(s3.InvalidRequest, "The request has more than %d headers.", sigv4.MaxHeaders)
	}
	h := &c.ctx.Request.Header
	if len(h.Peek("Transfer-Encoding")) > 0 && len(h.Peek("Content-Length")) > 0 {
		// RFC 9112 6.1: both together is how requests are smuggled.
		return s3.Errorf(s3.InvalidRequest, "Content-Length and Transfer-Encoding together are not allowed")
	}
	uri := string(h.RequestURI())
	if i := strings.Index(uri, "://"); i >= 0 && !strings.HasPrefix(uri, "/") {
		// Absolute form, as a client of an HTTP proxy sends it. RFC 9112 3.2.2 has its host replace the header's, but
		// the signature covers the header.
		host, rest := uri[i+3:], "/"
		if j := strings.IndexAny(host, "/?"); j >= 0 {
			host, rest = host[:j], host[j:]
		}
		if !strings.EqualFold(host, c.host()) {
			return s3.Errorf(s3.InvalidRequest, "The host of the request's target is not that of its Host header")
		}
		uri = rest
	}
	rawQuery := ""
	if i := strings.IndexByte(uri, '?'); i >= 0 {
		uri, rawQuery = uri[:i], uri[i+1:]
	}
	c.rawPath = uri
	q, err := s3.ParseQuery(rawQuery, sigv4.MaxParameters)
	if err != nil {
		return err
	}
	c.query = q
	c.secure = c.ctx.IsTLS() || c.behindTrustedTLS()
	if err := c.address(); err != nil {
		return err
	}
	return c.findOperation()
}

func (c *call) findOperation() error {
	c.route = findRoute(c)
	if c.route == nil {
		return errUnknownOperation(c)
	}
	return c.route.checkQuery(c)
}

// address finds bucket and key, path-style or virtual-host.
func (c *call) address() error {
	path := strings.TrimPrefix(c.rawPath, "/")
	if b := c.virtualBucket(); b != "" {
		c.bucket = b
	} else {
		raw, rest, _ := strings.Cut(path, "/")
		b, err := s3.Unescape(raw)
		if err != nil {
			return err
		}
		c.bucket, path = b, rest
	}
	key, err := s3.Unescape(path)
	if err != nil {
		return err
	}
	if err := c.s.checkKey(key); err != nil {
		return err
	}
	c.key = key
	if c.bucket != "" && !plausibleBucket(c.bucket) {
		return errBucketName()
	}
	if err := c.s.refuseOwn(c.bucket); err != nil {
		return err
	}
	return nil
}

func errBucketName() error {
	return s3.Errorf(s3.InvalidBucketName, "The specified bucket is not valid.")
}

// plausibleBucket keeps out what could change the meaning of a path or a policy, and what lies beside the buckets in a
// store's paths; the store has the last word on names.
func plausibleBucket(b string) bool {
	// AWS has every name begin with a letter or a digit. Stores put what is theirs behind a dot or an underscore.
	if len(b) < 1 || len(b) > 255 || b[0] == '.' || b[0] == '_' || store.Reserved(b) {
		return false
	}
	for i := range len(b) {
		ch := b[i]
		if ch <= ' ' || ch >= 0x7f || strings.IndexByte(`/\?#%*"<>|`, ch) >= 0 {
			return false
		}
	}
	return true
}

// host is the Host header. fasthttp's own idea of the host prefers what stands in the request's target, which nobody
// has signed.
func (c *call) host() string { return string(c.ctx.Request.Header.Host()) }

func (c *call) virtualBucket() string {
	if c.s.cfg.Domain == "" {
		return ""
	}
	host := c.host()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	b, ok := strings.CutSuffix(strings.ToLower(host), "."+strings.ToLower(c.s.cfg.Domain))
	if !ok {
		return ""
	}
	return b
}

// behindTrustedTLS says whether a proxy that the operator trusts ended TLS for this request.
func (c *call) behindTrustedTLS() bool {
	if !strings.EqualFold(string(c.ctx.Request.Header.Peek("X-Forwarded-Proto")), "https") {
		return false
	}
	return c.s.cfg.TrustedProxies.Has(c.ctx.RemoteIP())
}

func errUnknownOperation(c *call) error {
	switch c.method {
	case "GET", "PUT", "POST", "DELETE", "HEAD":
		for _, p := range c.query.Params {
			if slices.Contains(selectors[p.Name], c.level()) {
				return errMethodOf(c, p.Name, c.level())
			}
		}
		for _, p := range c.query.Params {
			if p.Value == "" && !parameters[p.Name] {
				return errSubResource(p.Name, c.level())
			}
		}
		return s3.Errorf(s3.NotImplemented, "waxseal knows no operation %s with this address and query", c.method)
	}
	return errMethod(c)
}

// refuseBody refuses a body where there is none to read, without reading it.
func (c *call) refuseBody() error {
	if n := c.ctx.Request.Header.ContentLength(); n <= 0 && n != -1 { // -1: chunked
		return nil
	}
	c.unread = false
	c.ctx.SetConnectionClose()
	return s3.Errorf(s3.InvalidRequest, "A request with the method %s has no body", c.method)
}

// findRoute finds the row of a request: the first whose method, level, query and header all fit. Rows with a query
// stand before the plain one of their method.
func findRoute(c *call) *route {
	on := c.level()
	for i := range routes {
		r := &routes[i]
		if r.method != c.method || r.on != on {
			continue
		}
		if r.query != "" && !c.query.Has(r.query) {
			continue
		}
		if r.header != "" && !c.hasHeader(r.header) {
			continue
		}
		return r
	}
	return nil
}

// checkQuery refuses a query that selects another operation than the row's: of two sub-resources each store takes the
// one that it looks for first, which need not be the one that was authorised. Parameters that nobody knows are passed
// over, as on S3.
func (r *route) checkQuery(c *call) error {
	if r.method == http.MethodOptions {
		return nil // the query is that of the request to come
	}
	for _, p := range c.query.Params {
		on := selectors[p.Name]
		switch {
		case on == nil, p.Name == r.query, slices.Contains(r.params, p.Name):
		case r.query != "":
			names := []string{r.query, p.Name}
			slices.Sort(names)
			return s3.InvalidArgument("ResourceType", names[0], "Conflicting query string parameters: "+strings.Join(names, ", "))
		case slices.Contains(on, r.on):
			return errMethodOf(c, p.Name, r.on)
		default:
			return s3.Errorf(s3.InvalidRequest, "There is no such thing as the ?%s sub-resource for a %s", p.Name, r.on)
		}
	}
	if r.on == onObject && r.method == http.MethodPut && r.query == "" && c.query.Has("partNumber") {
		return s3.InvalidArgument("partNumber", c.query.Get("partNumber"), "This operation does not accept partNumber without uploadId")
	}
	return nil
}
