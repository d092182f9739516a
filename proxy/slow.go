package proxy

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/proxy/s3"
)

// patiently does what can take a store minutes. When it does, the answer is begun before the outcome is known, as S3
// begins it: status 200, and white space until there is a document, which may be an error's.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
//
// Only a Complete is answered so. S3 answers copies so too, but minio-go takes any document after a 200 for that of a
// copy that was made.
//
// early sets the headers that can be told at the beginning. The request must have been read.
func (c *call) patiently(early func(*fasthttp.ResponseHeader), work func() error) error {
	if !c.ctx.Request.Header.IsHTTP11() || c.header("Origin") != "" {
		// HTTP/1.0 has no chunks, and what a browser is to be told of CORS comes with the store's own answer.
		return work()
	}
	c.alone()
	a := &slowAnswer{call: c, res: fasthttp.AcquireResponse(), over: make(chan struct{})}
	c.res.CopyTo(a.res)
	c.res = a.res
	go func() {
		defer close(a.over)
		defer caught(&a.err)
		a.err = work()
	}()
	silent := time.NewTimer(c.s.cfg.patience)
	defer silent.Stop()
	select {
	case <-a.over:
		c.res = &c.ctx.Response
		a.res.CopyTo(c.res)
		fasthttp.ReleaseResponse(a.res)
		return a.err
	case <-silent.C:
	}
	begun := &c.ctx.Response
	early(&begun.Header)
	begun.Header.SetContentType("application/xml")
	begun.SetBodyStream(a, -1)
	c.streaming = true
	return nil
}

// slowAnswer is the body of an answer that is begun while the work goes on. Until the work is over, the call belongs to
// it, but for streaming.
type slowAnswer struct {
	call *call
	over chan struct{}
	err  error              // of the work, once it is over
	res  *fasthttp.Response // that the work makes

	next        []byte // to be sent
	sent        int64
	begun, last bool
	closed      bool
}

// Read gives the XML declaration, since nothing may stand before it, a blank now and then, and the document.
func (a *slowAnswer) Read(p []byte) (int, error) {
	switch {
	case len(a.next) > 0:
	case !a.begun:
		a.begun, a.next = true, []byte(s3.Declaration)
	case a.last:
		return 0, io.EOF
	default:
		a.wait()
	}
	n := copy(p, a.next)
	a.next, a.sent = a.next[n:], a.sent+int64(n)
	return n, nil
}

func (a *slowAnswer) wait() {
	silent := time.NewTimer(a.call.s.cfg.patience)
	defer silent.Stop()
	select {
	case <-silent.C:
		a.next = []byte(" ")
	case <-a.over:
		if a.err != nil {
			a.call.refuse(a.err)
		}
		a.last, a.next = true, bytes.TrimPrefix(a.res.Body(), []byte(s3.Declaration))
	}
}

// Close ends the call. A client that is gone does not end the work: it is done, or fails, as if the client had waited.
func (a *slowAnswer) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	<-a.over
	c := a.call
	if a.err != nil && !a.last {
		c.refuse(a.err) // nobody reads it, but the operator's log and counters have it
	}
	c.res = &c.ctx.Response
	fasthttp.ReleaseResponse(a.res)
	c.status, c.sentBytes, c.streaming = http.StatusOK, a.sent, false
	c.finish()
	return nil
}
