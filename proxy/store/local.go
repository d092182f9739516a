package store

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
)

// Local is a store in this process. Its requests are unsigned: the context names the requester.
type Local struct {
	// Transport serves a request in the caller's goroutine. It commits a body only after the body's reader has returned
	// io.EOF.
	Transport http.RoundTripper
	// Owner marks the context of a request as waxseal's own. Anonymous marks it as unsigned, with the condition values
	// for the store's policies.
	Owner     func(context.Context) context.Context
	Anonymous func(ctx context.Context, conditions map[string][]string) context.Context
}

// localBase is the URL of requests to a store in this process.
var localBase = url.URL{Scheme: "http", Host: "embedded"}

// localCapabilities returns the capabilities of a store in this process. They are known, so no probe is needed.
func localCapabilities() Capabilities {
	return Capabilities{Probed: true, Trailers: true, PutIfNoneMatch: true, PutIfMatch: true, CompleteIfNoneMatch: true, CompleteIfMatch: true,
		CopySourcePinned: true, DeleteIfMatch: true}
}

// local sends a request to a store in this process. Its body needs no frame: an error of the reader ends it.
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
