package store

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
)

// Local is a store in this process. It takes requests without a signature: their context says whose they are.
type Local struct {
	// Transport serves a request in the caller's goroutine. It commits a body only once its reader has said io.EOF.
	Transport http.RoundTripper
	// Owner and Anonymous mark the context of a request as waxseal's own, or as one of nobody in particular, with what
	// the store's policies may look at.
	Owner     func(context.Context) context.Context
	Anonymous func(ctx context.Context, conditions map[string][]string) context.Context
}

// localBase is where a store in this process would be.
var localBase = url.URL{Scheme: "http", Host: "embedded"}

// localCapabilities are those of a store in this process: it is asked for nothing that it does not do.
func localCapabilities() Capabilities {
	return Capabilities{Probed: true, Trailers: true, PutIfNoneMatch: true, PutIfMatch: true, CompleteIfNoneMatch: true, CompleteIfMatch: true,
		CopySourcePinned: true, DeleteIfMatch: true}
}

// local sends a request to a store in this process. Its body needs no frame: the reader's own error ends it.
func (u *Client) local(ctx context.Context, r *Request) (*http.Response, error) {
	if r.Creds == Anonymous {
		ctx = u.cfg.Local.Anonymous(ctx, r.Conditions)
	} else {
		ctx = u.cfg.Local.Owner(ctx)
	}
	req := (&http.Request{Method: r.Method, URL: u.url(r), Host: u.base.Host, Header: r.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if req.Header == nil {
		req.Header = http.Header{}
	}
	switch {
	case r.Stream != nil:
		req.Body, req.ContentLength = io.NopCloser(r.Stream), r.Size
	case len(r.Body) > 0:
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
	}
	return u.cfg.Local.Transport.RoundTrip(req)
}
