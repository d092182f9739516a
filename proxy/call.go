package proxy

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/keyed"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// call is one request: what was parsed of it, who sent it, and what is to be cleaned up after it.
//
// Everything kept beyond the handler (response bodies run after it returns) is copied out of fasthttp's buffers. What
// begins its answer early (see patiently) may go on reading the request's head: it is there until the answer ends.
type call struct {
	objects.Session
	parsed
	sender
	stay
	outgoing
	events
	span

	s       *Server
	ctx     *fasthttp.RequestCtx
	id      string
	abandon context.CancelCauseFunc // ends up
}

// parsed is what a request's head says, and how far its body has been read.
type parsed struct {
	method  string
	rawPath string // as on the wire, without the query
	query   s3.Query
	head    []sigv4.Header // names in lower case
	hoisted []s3.Param     // x-amz-* headers of a presigned URL, once it is verified
	bucket  string
	key     string
	route   *route

	unread   bool // a body may still be on the wire
	gotBytes int64
}

// sender is who sent a request.
type sender struct {
	auth      *sigv4.Auth
	user      *iam.Requester // nil when anonymous
	secure    bool           // the client's connection is TLS, here or at a trusted proxy
	admission *error         // admit's verdict, once it has been given
}

// stay is the place that a request holds among those in flight.
type stay struct {
	leave func()    // gives back the place; nil when the request holds none
	alone func()    // has the request's work go on when its client leaves
	start time.Time // when the request came
	taken time.Time // when it took its place
}

// outgoing is the answer.
type outgoing struct {
	res        *fasthttp.Response // where the answer is made
	cors       http.Header        // of the store's answer to a request with the client's Origin
	status     int
	errCode    s3.Code
	errMessage string
	refused    bool // the answer is an error's: what is unread is to be drained
	streaming  bool // the answer's body is still to be sent; its Close ends the call
	sentBytes  int64
}

// events is what a data event says of a request besides its head.
type events struct {
	deleting []string // the keys of a DeleteObjects
	recorded bool     // the event is in the audit records
}

// hostID is what S3's answers and errors call x-amz-id-2 and HostId: there to be told to support.
const hostID = "waxseal"

// clientIP is the client's address, also behind proxies that the operator trusts.
func (c *call) clientIP() net.IP {
	return c.s.cfg.TrustedProxies.Client(c.ctx.RemoteIP(), c.ctx.Request.Header.PeekAll("X-Forwarded-For")...)
}

// caller is how the KMS sees the requester.
func (c *call) Caller() keystore.Caller {
	k := keystore.CallerOf(c.user)
	k.SourceIP, k.UserAgent, k.RequestID = c.clientIP().String(), c.header("User-Agent"), c.id
	k.Transport = keystore.TransportOf(c.secure)
	k.ViaService = "s3." + c.s.cfg.Region + ".amazonaws.com"
	return k
}

// resource is the ARN of what the request names.
func (c *parsed) resource() string {
	if c.key == "" {
		return objects.BucketARN(c.bucket)
	}
	return objects.ObjectARN(c.bucket, c.key)
}

// lock waits for its turn at what a name stands for.
func (c *call) lock(m *keyed.Mutex, name string) (unlock func(), err error) {
	if unlock, err = m.Lock(c.Up, name); err != nil {
		return nil, store.Unanswered(c.Up, err)
	}
	return unlock, nil
}

// answer sets status and body of a small answer. The body is not copied: it is not to be changed any more.
func (c *outgoing) answer(status int, contentType string, body []byte) {
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
func (c *outgoing) answerXML(status int, doc any) error {
	body, err := s3.Encode(doc)
	if err != nil {
		return err
	}
	c.answer(status, "application/xml", body)
	return nil
}

func (c *parsed) place() objects.Place { return objects.Place{Bucket: c.bucket, Key: c.key} }

func (c *sender) who() string {
	if c.user == nil {
		return "anonymous"
	}
	return c.user.ARN
}
