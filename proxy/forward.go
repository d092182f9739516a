package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// SendWithin sends a request to the store with the requester's own credentials there, where they have some.
func (c *call) SendWithin(ctx context.Context, r *store.Request) (*http.Response, error) {
	if r.Creds == nil && !r.Own {
		r.Creds = c.storeCredentials()
	}
	if r.Creds == store.Anonymous && c.s.cfg.Upstream.Local != nil {
		r.Conditions = c.conditions(c)
	}
	begin := c.s.cfg.Now()
	resp, err := c.traced(r, func() (*http.Response, error) { return c.s.up.Send(ctx, r) })
	c.s.metrics.storeRequest(r.Method, resp, err, c.s.cfg.Now().Sub(begin))
	if err == nil && resp.StatusCode/100 == 3 && resp.StatusCode != http.StatusNotModified {
		return nil, store.Redirected(resp)
	}
	if err == nil {
		c.noteCORS(r, resp)
	}
	return resp, err
}

func (c *sender) storeCredentials() *store.Credentials {
	if c.user == nil {
		return store.Anonymous
	}
	if c.user.Upstream == nil {
		return nil
	}
	return &store.Credentials{AccessKey: c.user.Upstream.AccessKey, SecretKey: c.user.Upstream.Secret.Reveal()}
}

// maxForwarded bounds the body of a forwarded request: a configuration document.
const maxForwarded = 2 << 20

// forward sends the request on and answers what the store answers. It is only for operations that carry no object
// data and no fact about it.
func (c *call) forward() error {
	body, err := c.forwardedDocument()
	if err != nil {
		return err
	}
	return c.forwardWith(c.storeQuery(), body)
}

// forwardedDocument is the body of a request that is to be forwarded.
func (c *call) forwardedDocument() ([]byte, error) {
	if c.auth.Kind == sigv4.Anonymous && c.method != http.MethodOptions && !c.s.cfg.Anonymous {
		return nil, s3.NewError(s3.AccessDenied)
	}
	doc, err := c.document(maxForwarded)
	return s3.WithoutBOM(doc), err
}

// putACL forwards an ACL. Not all stores survive a request without one.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html
func (c *call) putACL() error {
	body, err := c.forwardedDocument()
	if err != nil {
		return err
	}
	named := slices.ContainsFunc(passACL, func(name string) bool { return !slices.Contains(passOwner, name) && c.hasHeader(name) })
	if len(body) == 0 && !named {
		return s3.NewError(s3.MissingSecurityHeader).With("MissingHeaderName", "x-amz-acl")
	}
	return c.forwardWith(c.storeQuery(), body)
}

// getObjectRetention forwards, and answers with S3's root element: versitygw has another one, which SDKs do not know.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html
func (c *call) getObjectRetention() error {
	if _, err := c.forwardedDocument(); err != nil {
		return err
	}
	resp, err := c.Send(&store.Request{Method: c.method, Bucket: c.bucket, Key: c.key, Query: c.storeQuery(), Header: c.storeHeader()})
	if err != nil {
		return err
	}
	var doc s3.Retention
	if err := store.Result(resp, &doc); err != nil {
		return err
	}
	c.copyHeaders(without(resp.Header, "Content-Type"))
	return c.answerXML(http.StatusOK, doc)
}

// forwardWith forwards the request with another query or body.
func (c *call) forwardWith(query string, body []byte) error {
	resp, err := c.Send(&store.Request{
		Method: c.method, Bucket: c.bucket, Key: c.key, Query: query, Header: c.storeHeader(), Body: body,
	})
	if err != nil {
		return err
	}
	return c.relay(resp)
}

// relay answers what the store answered, errors with our own request id.
func (c *call) relay(resp *http.Response) error {
	if resp.StatusCode >= 400 && c.method != http.MethodHead {
		return store.Failure(resp)
	}
	body, err := store.ReadDocument(resp)
	if err != nil {
		return err
	}
	if body, err = c.wrapPageTokens(body); err != nil {
		return err
	}
	c.copyHeaders(resp.Header)
	if enc := resp.Header.Get("Content-Encoding"); enc != "" {
		c.res.Header.Set("Content-Encoding", enc)
	}
	c.answer(resp.StatusCode, resp.Header.Get("Content-Type"), body)
	if c.method == http.MethodHead {
		c.res.SkipBody = true
	}
	return nil
}

// document reads the whole body of a request that carries a document, its digests verified.
func (c *call) document(limit int64) ([]byte, error) {
	if c.ctx.RequestBodyStream() == nil && c.ctx.Request.Header.ContentLength() <= 0 {
		c.unread = false
		return nil, nil
	}
	want, err := c.declaredOf(c)
	if err != nil {
		return nil, err
	}
	body, size, err := c.body()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, s3.NewError(s3.MaxMessageLengthExceeded)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, s3.NewDigestReader(body, size, want, false)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// passOverBody reads the body of an operation that has none in S3's API. Digests in its header are passed over with it,
// as on S3: SDKs that were told to send a checksum send it with CreateMultipartUpload, too.
func (c *call) passOverBody() error {
	body, size, err := c.body()
	if err != nil {
		return err
	}
	if size > maxForwarded {
		return s3.NewError(s3.MaxMessageLengthExceeded)
	}
	_, err = io.Copy(io.Discard, body)
	return err
}

// storeQuery is the query that goes to the store: of the request's, what the operation has, each parameter once, and
// without the named ones. A store may know parameters that nobody thought of here, MinIO's endless ?events= for one.
func (c *parsed) storeQuery(without ...string) string {
	var b strings.Builder
	add := func(name string) {
		if name == "" || !c.query.Has(name) || slices.Contains(without, name) {
			return
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(s3.EscapeQuery(name))
		b.WriteByte('=')
		b.WriteString(s3.EscapeQuery(c.query.Get(name)))
	}
	add(c.route.query)
	for _, name := range c.route.params {
		add(name)
	}
	return b.String()
}

// deleteObject deletes at the store. A condition on the ETag is turned into the store's own.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
func (c *call) deleteObject() error {
	h := c.storeHeader()
	conditions := c.deleteConditions()
	if conditions.any() {
		etag, err := c.pinDelete(conditions, c.place(), c.query.Get("versionId"))
		if err != nil {
			return err
		}
		h.Set("If-Match", etag)
	}
	resp, err := c.Send(&store.Request{
		Method: c.method, Bucket: c.bucket, Key: c.key, Query: c.storeQuery(), Header: h,
	})
	if err != nil {
		return err
	}
	c.unread = false
	return c.deletePinLost(c.relay(resp), conditions, c.place(), c.query.Get("versionId"))
}

// storeTakesCredentials reports whether the store takes the requester's credentials for a request without anything of
// the client's in it. A client would send again what is answered with 503: that is only for a store that is in trouble.
func (c *call) storeTakesCredentials() bool {
	ctx, cancel := context.WithTimeout(c.Up, controlTime)
	defer cancel()
	resp, err := c.SendWithin(ctx, &store.Request{Method: http.MethodGet})
	if err != nil {
		return false
	}
	if resp.StatusCode < 400 {
		store.Drain(resp)
		return true
	}
	return !errors.Is(store.Failure(resp), store.ErrUnreachable)
}

// controlTime bounds the request that tells a store's trouble from a request's.
const controlTime = 5 * time.Second

// askCORS asks the store for its rules where it is asked for nothing else, as a browser would have before the request.
func (c *call) askCORS() {
	h := make(http.Header)
	if c.addOrigin(h); len(h) == 0 {
		return
	}
	if h.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Request-Method", c.method)
	}
	if resp, err := c.Send(&store.Request{Method: http.MethodOptions, Bucket: c.bucket, Key: c.key, Header: h, Creds: store.Anonymous}); err == nil {
		store.Drain(resp)
	}
}
