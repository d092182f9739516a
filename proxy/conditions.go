package proxy

import (
	"errors"
	"net/http"

	"waxseal/proxy/s3"
)

// readCondition evaluates a read's conditions against the object that was found. The store is not asked to: it knows
// another ETag. Answer and evaluation are of the same version, so this is as atomic as the store's own.
// Order: https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
func readCondition(f fields, prefix string, o *stored) error {
	if v := f.header(prefix + "If-Match"); v != "" {
		if tags, ok := s3.ParseETags(v); ok && !tags.Match(o.visibleETag()) {
			return errPrecondition("If-Match")
		}
	} else if t, ok := s3.ParseTime(f.header(prefix + "If-Unmodified-Since")); ok && o.modified.After(t) {
		return errPrecondition("If-Unmodified-Since")
	}
	if v := f.header(prefix + "If-None-Match"); v != "" {
		if tags, ok := s3.ParseETags(v); ok && tags.MatchWeak(o.visibleETag()) {
			return errNotModified(prefix, o)
		}
	} else if t, ok := s3.ParseTime(f.header(prefix + "If-Modified-Since")); ok && !o.modified.After(t) {
		return errNotModified(prefix, o)
	}
	return nil
}

func errPrecondition(header string) *s3.Error {
	return s3.Errorf(s3.PreconditionFailed, "At least one of the pre-conditions you specified did not hold").With("Condition", header)
}

// errNotModified is 304 for a read, and a failed precondition where the object was to be copied.
func errNotModified(prefix string, o *stored) error {
	if prefix != "" {
		return errPrecondition(prefix + "If-None-Match")
	}
	e := s3.NewError(s3.NotModified).WithHeader("Etag", quote(o.visibleETag()))
	if lm := o.header.Get("Last-Modified"); lm != "" {
		e.WithHeader("Last-Modified", lm)
	}
	if o.version != "" {
		e.WithHeader("x-amz-version-id", o.version)
	}
	return e
}

// writeConditions turns a write's conditions, which speak of ETags that clients see, into the store's own, so that
// the store still compares and writes in one step.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (c *call) writeConditions(h http.Header) error {
	switch v := c.header("If-None-Match"); {
	case v == "":
	case v == "*":
		h.Set("If-None-Match", "*")
	case c.s.cfg.CompatCeph && c.header("If-Match") == "":
		return c.unlessETag(h, v)
	default:
		return s3.Errorf(s3.NotImplemented, "A header you provided implies functionality that is not implemented").With("Header", "If-None-Match").With("additionalMessage", "We don't accept the provided value of If-None-Match header for this API")
	}
	v := c.header("If-Match")
	if v == "" {
		return nil
	}
	if c.header("If-None-Match") != "" {
		return s3.Errorf(s3.NotImplemented, "A header you provided implies functionality that is not implemented").With("Header", "If-Match,If-None-Match")
	}
	etag, err := c.storeETagFor(c.place(), v, "")
	if err != nil {
		return err
	}
	h.Set("If-Match", etag)
	return nil
}

// honoured refuses a write whose condition the store was seen to pass over: it would be answered as if it had held.
func honoured(h http.Header, operation string, match, noneMatch bool) error {
	for _, c := range []struct {
		header   string
		honoured bool
	}{{"If-Match", match}, {"If-None-Match", noneMatch}} {
		if h.Get(c.header) != "" && !c.honoured {
			return s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour %s on %s", c.header, operation).With("Header", c.header)
		}
	}
	return nil
}

func (s *Server) honouredOnPut(h http.Header) error {
	caps := s.capabilities()
	return honoured(h, "PutObject", caps.PutIfMatch, caps.PutIfNoneMatch)
}

func (s *Server) honouredOnComplete(h http.Header) error {
	caps := s.capabilities()
	return honoured(h, "CompleteMultipartUpload", caps.CompleteIfMatch, caps.CompleteIfNoneMatch)
}

// unlessETag is If-None-Match with ETags, which S3 does not know on writes and Ceph does: the write is pinned to the
// object that was found not to have one of them. Should another come in between, the store refuses the write.
func (c *call) unlessETag(h http.Header, ifNoneMatch string) error {
	tags, ok := s3.ParseETags(ifNoneMatch)
	if !ok {
		return s3.InvalidArgument("If-None-Match", ifNoneMatch, "The If-None-Match header is not an ETag")
	}
	o, err := c.lookup(c.place(), "", "")
	switch {
	case isNotFound(err):
		h.Set("If-None-Match", "*")
	case err != nil:
		return err
	case tags.MatchWeak(o.visibleETag()):
		return errPrecondition("If-None-Match")
	default:
		h.Set("If-Match", quote(o.etag))
	}
	return nil
}

// storeETagFor finds the store's ETag for an If-Match that names one that clients see. When the object is already
// another, nobody need ask the store.
func (c *call) storeETagFor(at sealTarget, ifMatch, version string) (string, error) {
	tags, ok := s3.ParseETags(ifMatch)
	if !ok {
		return "", s3.InvalidArgument("If-Match", ifMatch, "The If-Match header is not an ETag")
	}
	if tags.Any {
		return "*", nil
	}
	o, err := c.lookup(at, version, "")
	var answered *storeAnswer
	if errors.As(err, &answered) {
		return "", answered.cause // without the headers, which speak of a read
	}
	if err != nil {
		return "", err
	}
	if !tags.Match(o.visibleETag()) {
		return "", errPrecondition("If-Match")
	}
	return quote(o.etag), nil
}
