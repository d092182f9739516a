package proxytest

import (
	"net/http"
	"time"

	"waxseal/proxy/s3"
)

func failed(condition string) error {
	return s3.NewError(s3.PreconditionFailed).With("Condition", condition)
}

func etags(header string) (s3.ETags, error) {
	t, ok := s3.ParseETags(header)
	if !ok {
		return t, s3.InvalidArgument("If-Match", header, "Invalid entity tag")
	}
	return t, nil
}

// conditionNames are the four read conditions: of GET and HEAD, or of a copy's source.
type conditionNames struct{ match, noneMatch, modified, unmodified string }

var (
	readConditions = conditionNames{s3.HeaderIfMatch, s3.HeaderIfNoneMatch, s3.HeaderIfModifiedSince, s3.HeaderIfUnmodifiedSince}
	copyConditions = conditionNames{s3.HeaderCopyIfMatch, s3.HeaderCopyIfNoneMatch, s3.HeaderCopyIfModifiedSince, s3.HeaderCopyIfUnmodifiedSince}
)

// readable evaluates the conditions as RFC 9110 orders them: an ETag condition silences the date condition
// of its kind. unmet is what to say to If-None-Match and If-Modified-Since.
func (n conditionNames) readable(h http.Header, v *version, unmet func(condition string) error) error {
	if value := h.Get(n.match); value != "" {
		tags, err := etags(value)
		if err != nil {
			return err
		}
		if !tags.Match(v.etag) {
			return failed(n.match)
		}
	} else if since, ok := s3.ParseTime(h.Get(n.unmodified)); ok && v.modified.Truncate(time.Second).After(since) {
		return failed(n.unmodified)
	}
	if value := h.Get(n.noneMatch); value != "" {
		tags, err := etags(value)
		if err != nil {
			return err
		}
		if tags.MatchWeak(v.etag) {
			return unmet(n.noneMatch)
		}
	} else if since, ok := s3.ParseTime(h.Get(n.modified)); ok && !v.modified.Truncate(time.Second).After(since) {
		return unmet(n.modified)
	}
	return nil
}

// writable evaluates the conditions of a write against what is there; the caller holds mu, so that nothing
// comes between the comparison and the write.
func writable(h http.Header, key string, there *version) error {
	if value := h.Get(s3.HeaderIfMatch); value != "" {
		tags, err := etags(value)
		if err != nil {
			return err
		}
		if there == nil {
			return s3.NewError(s3.NoSuchKey).With("Key", key)
		}
		if !tags.Match(there.etag) {
			return failed(s3.HeaderIfMatch)
		}
	}
	if value := h.Get(s3.HeaderIfNoneMatch); value != "" {
		tags, err := etags(value)
		if err != nil {
			return err
		}
		if !tags.Any {
			return s3.NewError(s3.NotImplemented).With("Header", s3.HeaderIfNoneMatch)
		}
		if there != nil {
			return failed(s3.HeaderIfNoneMatch)
		}
	}
	return nil
}
