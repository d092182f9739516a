package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// readCondition evaluates a read's conditions against the object that was found. The store is not asked to: it knows
// another ETag. Answer and evaluation are of the same version, so this is as atomic as the store's own. An ETag that is
// none matches no object. A date that is none, or that lies in the future, is passed over in a read.
// https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2 (order), #section-13.1.3 (dates)
func (c *call) readCondition(prefix string, o *objects.Object) error {
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		v, came := c.condition(prefix + name)
		if _, ok := s3.ParseTime(v); came && !ok && prefix != "" {
			return s3.InvalidArgument(prefix+name, v, "The date must be an HTTP date, such as Wed, 12 Oct 2009 17:50:00 GMT")
		}
	}
	if v, ok := c.condition(prefix + "If-Match"); ok {
		if !matches(v, o) {
			return errPrecondition("If-Match")
		}
	} else if t, ok := c.conditionTime(prefix + "If-Unmodified-Since"); ok && o.Modified.After(t) {
		return errPrecondition("If-Unmodified-Since")
	}
	if v, ok := c.condition(prefix + "If-None-Match"); ok {
		if tags, _ := s3.ParseETags(v); tags.MatchWeak(o.VisibleETag()) {
			return errNotModified(prefix, "If-None-Match", o)
		}
	} else if t, ok := c.conditionTime(prefix + "If-Modified-Since"); ok && !o.Modified.After(t) && !t.After(c.s.cfg.Now()) {
		return errNotModified(prefix, "If-Modified-Since", o)
	}
	return nil
}

// condition gives a conditional header's value, and whether it came at all: an empty one is a condition, too. Repeated
// lines are one list: If-Match: "a" and If-Match: "b" mean If-Match: "a", "b".
// https://www.rfc-editor.org/rfc/rfc9110#section-5.3
func (c *parsed) condition(name string) (value string, came bool) {
	return c.joined(strings.ToLower(name)), c.hasHeader(name)
}

// conditionTime gives a conditional header's date, if it is one.
func (c *parsed) conditionTime(name string) (time.Time, bool) {
	v, _ := c.condition(name)
	return s3.ParseTime(v)
}

func errPrecondition(header string) *s3.Error {
	return s3.Errorf(s3.PreconditionFailed, "At least one of the pre-conditions you specified did not hold").With("Condition", header)
}

// errNotModified is 304 for a read, and a failed precondition where the object was to be copied.
func errNotModified(prefix, condition string, o *objects.Object) error {
	if prefix != "" {
		return errPrecondition(prefix + condition)
	}
	e := s3.NewError(s3.NotModified).WithHeader("Etag", s3.Quote(o.VisibleETag()))
	if lm := o.Header.Get("Last-Modified"); lm != "" {
		e.WithHeader("Last-Modified", lm)
	}
	if o.Version != "" {
		e.WithHeader("x-amz-version-id", o.Version)
	}
	return e
}

// writeConditions turns a write's conditions, which speak of ETags that clients see, into the store's own, so that
// the store still compares and writes in one step.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (c *call) writeConditions(h http.Header) error {
	match, hasMatch := c.condition("If-Match")
	noneMatch, hasNoneMatch := c.condition("If-None-Match")
	switch {
	case !hasNoneMatch:
	case noneMatch == "*":
		h.Set("If-None-Match", "*")
	case c.s.cfg.CompatCeph && !hasMatch:
		return c.unlessETag(h, noneMatch)
	default:
		return s3.Errorf(s3.NotImplemented, "A header you provided implies functionality that is not implemented").With("Header", "If-None-Match").With("additionalMessage", "We don't accept the provided value of If-None-Match header for this API")
	}
	if !hasMatch {
		return nil
	}
	if hasNoneMatch || match == "*" && !c.s.cfg.CompatCeph {
		return errConditionNotImplemented("If-Match")
	}
	if match == "*" {
		h.Set("If-Match", match) // Ceph: the object must be there
		return nil
	}
	o, err := c.lookupTarget(c.place(), "")
	if err != nil {
		return err
	}
	if !matches(match, o) {
		return errPrecondition("If-Match")
	}
	h.Set("If-Match", s3.Quote(o.ETag))
	return nil
}

// errConditionNotImplemented is what S3 answers to a conditional header that an operation does not have.
func errConditionNotImplemented(header string) error {
	return s3.Errorf(s3.NotImplemented, "A header you provided implies functionality that is not implemented").With("Header", header)
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
	caps := s.up.Capabilities()
	return honoured(h, "PutObject", caps.PutIfMatch, caps.PutIfNoneMatch)
}

func (s *Server) honouredOnComplete(h http.Header) error {
	caps := s.up.Capabilities()
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
	case tags.MatchWeak(o.VisibleETag()):
		return errPrecondition("If-None-Match")
	default:
		h.Set("If-Match", s3.Quote(o.ETag))
	}
	return nil
}

// lookupTarget looks up what a conditional write or delete is about to replace. Its errors are those of the write:
// without the headers of an answer to a read.
func (c *call) lookupTarget(at objects.Place, version string) (*objects.Object, error) {
	o, err := c.lookup(at, version, "")
	var answered *store.AnswerError
	if errors.As(err, &answered) {
		return nil, answered.Cause
	}
	return o, err
}

// pinLost tells a condition that failed from a pin that was lost. A copy in place replaces the store's object, to whose ETag
// a conditional write is pinned, and may leave the ETag that clients see: then their condition holds, and the store's 412
// becomes S3's 409 for a conflict with a concurrent request. A client sends such a write again.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (c *call) pinLost(err error, at objects.Place) error {
	match, came := c.condition("If-Match")
	if !came || match == "*" || objects.ChangedError(err) != objects.ErrChanged {
		return err
	}
	if o, failed := c.lookupTarget(at, ""); failed != nil || !matches(match, o) {
		return err
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

// deletePinLost is pinLost for a DELETE.
func (c *call) deletePinLost(err error, d deleteConditions, at objects.Place, version string) error {
	if !d.any() || objects.ChangedError(err) != objects.ErrChanged {
		return err
	}
	if _, failed := c.pinDelete(d, at, version); failed != nil {
		return err
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

// deleteConditions are the conditions on what is deleted, nil where there is none. Size and time are S3's for
// directory buckets; here they hold everywhere.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
type deleteConditions struct{ etag, size, modified *string }

func (d deleteConditions) any() bool { return d != deleteConditions{} }

// deleteConditions reads the conditions in a DELETE's header.
func (c *parsed) deleteConditions() deleteConditions {
	read := func(name string) *string {
		if v, ok := c.condition(name); ok {
			return &v
		}
		return nil
	}
	return deleteConditions{read("If-Match"), read("x-amz-if-match-size"), read("x-amz-if-match-last-modified-time")}
}

// pinDelete evaluates the conditions against the object and gives the store's ETag, to which the delete is pinned: of an
// object written in between the store refuses it.
func (c *call) pinDelete(d deleteConditions, at objects.Place, version string) (string, error) {
	if !c.s.up.Capabilities().DeleteIfMatch {
		return "", s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour If-Match on DELETE")
	}
	size, modified, err := d.parse()
	if err != nil {
		return "", err
	}
	o, err := c.lookupTarget(at, version)
	if err != nil {
		return "", err
	}
	switch {
	case d.etag != nil && !matches(*d.etag, o):
		return "", errPrecondition("If-Match")
	case d.size != nil && size != o.Size:
		return "", errPrecondition("x-amz-if-match-size")
	case d.modified != nil && !modified.Truncate(time.Second).Equal(o.Modified.Truncate(time.Second)):
		return "", errPrecondition("x-amz-if-match-last-modified-time")
	}
	return s3.Quote(o.ETag), nil
}

// matches reports whether If-Match holds of an object. A value that is no list of ETags matches none.
func matches(ifMatch string, o *objects.Object) bool {
	tags, _ := s3.ParseETags(ifMatch)
	return tags.Match(o.VisibleETag())
}

// parse reads the size and the time.
func (d deleteConditions) parse() (size int64, modified time.Time, err error) {
	if d.size != nil {
		if size, err = strconv.ParseInt(*d.size, 10, 64); err != nil || size < 0 {
			return 0, modified, s3.InvalidArgument("x-amz-if-match-size", *d.size, "The size must be a number of bytes")
		}
	}
	if d.modified != nil {
		var ok bool
		if modified, ok = parseAnyTime(*d.modified); !ok {
			return 0, modified, s3.InvalidArgument("x-amz-if-match-last-modified-time", *d.modified, "The time must be an HTTP date or in ISO 8601")
		}
	}
	return size, modified, nil
}

// parseAnyTime reads an HTTP date, or the ISO 8601 of XML documents.
func parseAnyTime(text string) (time.Time, bool) {
	if t, ok := s3.ParseTime(text); ok {
		return t, true
	}
	t, err := time.Parse(time.RFC3339, text)
	return t, err == nil
}

// hasConditions reports whether the operation evaluates a conditional header.
func (r *route) hasConditions(header string) bool {
	switch r.name {
	case "GetObject", "HeadObject", "GetObjectAttributes":
		return true
	case "PutObject", "CopyObject", "CompleteMultipartUpload":
		return header == "If-Match" || header == "If-None-Match"
	case "DeleteObject":
		return header == "If-Match"
	}
	// A read that ignores "only if changed" answers in full, which is always right.
	return r.method == http.MethodGet && (header == "If-None-Match" || header == "If-Modified-Since")
}

// checkConditions refuses, as S3 does, a conditional header that the operation does not have.
func (c *parsed) checkConditions() error {
	for _, name := range conditionalHeaders {
		if c.hasHeader(name) && c.method != http.MethodOptions && !c.route.hasConditions(name) {
			return errConditionNotImplemented(name)
		}
	}
	return nil
}
