package proxy

import (
	"net/http"
	"time"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/trace"
)

// span is a request's place in its client's trace.
type span struct {
	trace.Context
	parent [8]byte // the client's span
}

// traced sends a request to the store with a span of its own. The headers are not signed: proxies on the way may change
// them.
func (c *call) traced(r *store.Request, send func() (*http.Response, error)) (*http.Response, error) {
	if !c.span.Valid() || c.s.cfg.Upstream.Local != nil {
		return send()
	}
	child := c.span.Child()
	h := make(http.Header, len(r.Header)+2)
	for name, values := range r.Header {
		h[name] = values
	}
	h.Set("Traceparent", child.Parent())
	if child.State != "" {
		h.Set("Tracestate", child.State)
	}
	r.Header = h
	begun := c.s.cfg.Now()
	resp, err := send()
	if c.s.cfg.Traces.Wants(child) {
		c.s.cfg.Traces.Record(c.storeSpan(child, r, resp, err, begun))
	}
	return resp, err
}

func (c *call) storeSpan(child trace.Context, r *store.Request, resp *http.Response, err error, begun time.Time) trace.Span {
	status := 0
	if resp != nil {
		status = resp.StatusCode
	}
	return trace.Span{Context: child, ParentID: c.span.SpanID, Name: "store " + r.Method, Kind: trace.Client, Begun: begun, Ended: c.s.cfg.Now(),
		Failed:     err != nil || status >= http.StatusInternalServerError,
		Attributes: []trace.Attribute{{Key: "http.request.method", Value: r.Method}, {Key: "http.response.status_code", Value: statusText(status)}, {Key: "aws.s3.bucket", Value: r.Bucket}}}
}

// endSpan records the request's span, with what the access log has of it.
func (c *call) endSpan(took time.Duration) {
	if !c.s.cfg.Traces.Wants(c.span.Context) {
		return
	}
	c.s.cfg.Traces.Record(trace.Span{Context: c.span.Context, ParentID: c.span.parent, Name: "S3 " + c.operation(), Kind: trace.Server,
		Begun: c.start, Ended: c.start.Add(took), Failed: c.status >= http.StatusInternalServerError,
		Attributes: []trace.Attribute{
			{Key: "http.request.method", Value: c.method}, {Key: "http.response.status_code", Value: statusText(c.status)},
			{Key: "aws.request_id", Value: c.id}, {Key: "aws.s3.bucket", Value: c.bucket}, {Key: "aws.s3.key", Value: c.key},
			{Key: "client.address", Value: c.clientIP().String()}, {Key: "user_agent.original", Value: c.agent()}, {Key: "enduser.id", Value: c.arn()},
			{Key: "error.type", Value: string(c.errCode)}, {Key: "waxseal.encryption", Value: c.shown(s3.HeaderSSE)}, {Key: "waxseal.kms_key", Value: c.shown(s3.HeaderSSEKMSKeyID)},
			{Key: "waxseal.bytes_in", Value: c.gotBytes}, {Key: "waxseal.bytes_out", Value: c.sentBytes},
		}})
}

func statusText(status int) any {
	if status == 0 {
		return ""
	}
	return int64(status)
}

// maxAgent bounds what a client may have the log say of it.
const maxAgent = 256

// agent is the client's User-Agent.
func (c *call) agent() string {
	agent := c.ctx.Request.Header.UserAgent()
	return string(agent[:min(len(agent), maxAgent)])
}

// shown is a header of the answer.
func (c *call) shown(name string) string { return string(c.res.Header.Peek(name)) }

// arn is the requester's; empty for nobody.
func (c *sender) arn() string {
	if c.user == nil {
		return ""
	}
	return c.user.ARN
}
