package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/inbound"
	"waxseal/proxy/s3"
)

// STS is where the clients of Ceph and MinIO look for it: on the S3 endpoint, as POST / with a urlencoded body. S3 has no such
// request: its forms go to a bucket and are multipart.

// maxSTSBody bounds the body of a request to STS: a web identity token has 20,000 characters at most.
const maxSTSBody = 128 << 10

// stsRoute names requests to STS in logs and metrics.
var stsRoute = &route{name: "STS", method: http.MethodPost, on: onService}

// isForSTS reports whether a request is for STS: signed for it, or unsigned.
func (c *call) isForSTS() bool {
	h := &c.ctx.Request.Header
	path, _, _ := strings.Cut(string(h.RequestURI()), "?")
	if c.s.cfg.STS == nil || c.method != http.MethodPost || path != "/" || c.virtualBucket() != "" ||
		!bytes.HasPrefix(h.ContentType(), []byte("application/x-www-form-urlencoded")) {
		return false
	}
	authorization := string(h.Peek("Authorization"))
	return authorization == "" || inbound.Service(authorization) == "sts"
}

// answerSTS reads a request to STS and has it answered. Who is not known yet is held to the limits of those who send forms.
func (c *call) answerSTS() (err error) {
	defer caught(&err)
	c.route, c.secure = stsRoute, c.ctx.IsTLS() || c.behindTrustedTLS()
	if err := c.s.cfg.STS.Head(c.ctx); err != nil {
		c.s.cfg.STS.Refuse(c.ctx, err)
		c.refused = true
		c.showSTS()
		return nil
	}
	body, err := c.readSTS()
	if err != nil {
		return err
	}
	if len(c.ctx.Request.Header.Peek("Authorization")) == 0 {
		err = c.takeAnonymous()
	} else {
		err = c.takeInFlight()
	}
	if err != nil {
		return err
	}
	c.s.running.add(c)
	c.s.cfg.STS.Serve(c.ctx, body, awsquery.Origin{Address: c.clientIP().String(), Secure: c.secure}, c.prove)
	c.showSTS()
	return nil
}

// showSTS tells the log what was answered.
func (c *call) showSTS() {
	c.status = c.ctx.Response.StatusCode()
	c.sentBytes = int64(len(c.ctx.Response.Body()))
}

// readSTS reads a body whole.
func (c *call) readSTS() ([]byte, error) {
	announced := c.ctx.Request.Header.ContentLength()
	if announced > maxSTSBody {
		return nil, s3.NewError(s3.MaxMessageLengthExceeded)
	}
	defer c.readingForm()()
	stream := c.ctx.RequestBodyStream()
	if stream == nil {
		c.unread = false
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(stream, maxSTSBody+1))
	switch {
	case len(body) > maxSTSBody:
		return nil, s3.NewError(s3.MaxMessageLengthExceeded)
	case err != nil, announced >= 0 && len(body) < announced:
		c.ctx.SetConnectionClose()
		return nil, s3.NewError(s3.IncompleteBody)
	}
	c.unread = false
	c.gotBytes = int64(len(body))
	return body, nil
}
