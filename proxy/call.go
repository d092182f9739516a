package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/keyed"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// call is one request: what was parsed of it, who sent it, and what is to be cleaned up after it.
//
// Everything kept beyond the handler (response bodies run after it returns) is copied out of fasthttp's buffers. What
// begins its answer early (see patiently) may go on reading the request's head: it is there until the answer ends.
type call struct {
	s     *Server
	ctx   *fasthttp.RequestCtx
	res   *fasthttp.Response // where the answer is made
	id    string
	start time.Time

	method  string
	rawPath string // as on the wire, without the query
	query   s3.Query
	head    []sigv4.Header // names in lower case
	hoisted []s3.Param     // x-amz-* headers of a presigned URL, once it is verified
	bucket  string
	key     string
	route   *route

	auth   *sigv4.Auth
	user   *iam.Requester // nil when anonymous
	secure bool           // the client's connection is TLS, here or at a trusted proxy

	admission *error    // admit's verdict, once it has been given
	leave     func()    // gives back the place that the call holds; nil when it holds none
	alone     func()    // has the call's work go on when its client leaves
	taken     time.Time // when the call took its place
	unread    bool      // a body may still be on the wire
	refused   bool      // the answer is an error's: what is unread is to be drained

	cors http.Header // of the store's answer to a request with the client's Origin

	up      context.Context // for requests to the store and the KMS; ends with the call
	abandon context.CancelCauseFunc

	status     int
	errCode    s3.Code
	errMessage string
	deleting   []string // the keys of a DeleteObjects
	recorded   bool     // its data event is in the audit records
	cleanups   []func()
	streaming  bool // the answer's body is still to be sent; its Close ends the call
	sentBytes  int64
	gotBytes   int64
}

const callKey = "waxseal.call"

// hostID is what S3's answers and errors call x-amz-id-2 and HostId: there to be told to support.
const hostID = "waxseal"

// callOf is the request's call: made by Expect or by serve, whichever comes first.
func (s *Server) callOf(ctx *fasthttp.RequestCtx) *call {
	if c, ok := ctx.UserValue(callKey).(*call); ok {
		return c
	}
	c := &call{s: s, ctx: ctx, res: &ctx.Response, id: newRequestID(), start: s.cfg.Now(), unread: true}
	c.method = string(ctx.Method())
	c.up, c.abandon = context.WithCancelCause(s.base)
	ctx.SetUserValue(callKey, c)
	c.res.Header.Set("x-amz-request-id", c.id)
	c.res.Header.Set("x-amz-id-2", hostID)
	return c
}

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

// clientIP is the client's address, also behind proxies that the operator trusts.
func (c *call) clientIP() net.IP {
	return c.s.cfg.TrustedProxies.Client(c.ctx.RemoteIP(), c.ctx.Request.Header.PeekAll("X-Forwarded-For")...)
}

// caller is how the KMS sees the requester.
func (c *call) caller() keystore.Caller {
	k := keystore.CallerOf(c.user)
	k.SourceIP, k.UserAgent, k.RequestID = c.clientIP().String(), c.header("User-Agent"), c.id
	k.Transport = keystore.TransportOf(c.secure)
	k.ViaService = "s3." + c.s.cfg.Region + ".amazonaws.com"
	return k
}

// resource is the ARN of what the request names.
func (c *call) resource() string {
	if c.key == "" {
		return bucketARN(c.bucket)
	}
	return objectARN(c.bucket, c.key)
}

func bucketARN(bucket string) string      { return "arn:aws:s3:::" + bucket }
func objectARN(bucket, key string) string { return "arn:aws:s3:::" + bucket + "/" + key }

// lock waits for its turn at what a name stands for.
func (c *call) lock(m *keyed.Mutex, name string) (unlock func(), err error) {
	if unlock, err = m.Lock(c.up, name); err != nil {
		return nil, store.Unanswered(c.up, err)
	}
	return unlock, nil
}

// onDone runs f when the call, its answer's body included, is over.
func (c *call) onDone(f func()) { c.cleanups = append(c.cleanups, f) }

// done ends the call, unless its answer is still to be streamed: then the stream's Close does. What is left of a
// refused body is read only now, when the call holds nothing any more.
func (c *call) done() {
	if c.streaming {
		return
	}
	if err := c.recordDataEvent(); err != nil {
		c.fail(err) // a change that was made stays made; who asks again is recorded then
	}
	c.finish()
	if c.refused {
		c.drainRequest()
	}
}

func (c *call) finish() {
	for i := len(c.cleanups) - 1; i >= 0; i-- {
		c.cleanups[i]()
	}
	c.cleanups = nil
	c.abandon(nil)
	c.leavePlace()
	c.s.running.remove(c)
	if err := c.recordDataEvent(); err != nil { // of an answer that was streamed, with its bytes
		c.s.log.Error("an answer was sent and is not in the audit records", "id", c.id, "op", c.operation(), "err", err)
	}
	c.logAccess()
}

// answer sets status and body of a small answer. The body is not copied: it is not to be changed any more.
func (c *call) answer(status int, contentType string, body []byte) {
	c.status = status
	c.showCORS()
	c.res.SetStatusCode(status)
	if contentType != "" {
		c.res.Header.SetContentType(contentType)
	}
	c.res.SetBodyRaw(body)
	c.sentBytes = int64(len(body))
}

// answerXML sends an XML document.
func (c *call) answerXML(status int, doc any) error {
	body, err := s3.Encode(doc)
	if err != nil {
		return err
	}
	c.answer(status, "application/xml", body)
	return nil
}
