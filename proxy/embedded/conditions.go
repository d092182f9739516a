package embedded

import (
	"net/http"
	"time"

	"waxseal/proxy/s3"
)

func failed(condition string) error {
	return s3.NewError(s3.PreconditionFailed).With("Condition", condition)
}

// etags reads a condition. One that is no entity tag matches none: it is not passed over.
func etags(header string) s3.ETags {
	t, _ := s3.ParseETags(header)
	return t
}

// conditionNames are the four read conditions: of GET and HEAD, or of a copy's source.
type conditionNames struct{ match, noneMatch, modified, unmodified string }

var (
	readConditions = conditionNames{s3.HeaderIfMatch, s3.HeaderIfNoneMatch, s3.HeaderIfModifiedSince, s3.HeaderIfUnmodifiedSince}
	copyConditions = conditionNames{s3.HeaderCopyIfMatch, s3.HeaderCopyIfNoneMatch, s3.HeaderCopyIfModifiedSince, s3.HeaderCopyIfUnmodifiedSince}
)

// readable evaluates the conditions as RFC 9110 orders them: an ETag condition silences the date condition of its kind.
// unmet is the answer to If-None-Match and If-Modified-Since. A date in the future is no condition.
func (n conditionNames) readable(h http.Header, o *object, now time.Time, unmet func(condition string) error) error {
	modified := o.time().Truncate(time.Second)
	if value := h.Get(n.match); value != "" {
		if !etags(value).Match(o.etag) {
			return failed(n.match)
		}
	} else if since, ok := s3.ParseTime(h.Get(n.unmodified)); ok && modified.After(since) {
		return failed(n.unmodified)
	}
	if value := h.Get(n.noneMatch); value != "" {
		if etags(value).MatchWeak(o.etag) {
			return unmet(n.noneMatch)
		}
	} else if since, ok := s3.ParseTime(h.Get(n.modified)); ok && !since.After(now) && !modified.After(since) {
		return unmet(n.modified)
	}
	return nil
}

// writable evaluates the conditions of a write against the current object, which is nil where there is none or a delete
// marker hides it.
func writable(h http.Header, key string, there *object) error {
	if value := h.Get(s3.HeaderIfMatch); value != "" {
		switch {
		case there == nil:
			return s3.NewError(s3.NoSuchKey).With("Key", key)
		case !etags(value).Match(there.etag):
			return failed(s3.HeaderIfMatch)
		}
	}
	if value := h.Get(s3.HeaderIfNoneMatch); value != "" {
		tags, _ := s3.ParseETags(value)
		if !tags.Any {
			return s3.Errorf(s3.NotImplemented, "A header you provided implies functionality that is not implemented").With("Header", s3.HeaderIfNoneMatch)
		}
		if there != nil {
			return failed(s3.HeaderIfNoneMatch)
		}
	}
	return nil
}

// deletable evaluates the conditions of a delete, in headers or in the entry of a list. Of an object that is not there
// no condition holds.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
func deletable(c deleteConditions, key string, there *object) error {
	if c == (deleteConditions{}) {
		return nil
	}
	if there == nil || there.marker {
		return s3.NewError(s3.NoSuchKey).With("Key", key)
	}
	if c.etag != "" && !etags(c.etag).Match(there.etag) {
		return failed(s3.HeaderIfMatch)
	}
	if c.modified != "" {
		at, ok := s3.ParseTime(c.modified)
		if !ok {
			var err error
			if at, err = time.Parse(time.RFC3339, c.modified); err != nil {
				return s3.InvalidArgument("x-amz-if-match-last-modified-time", c.modified, "Invalid date")
			}
		}
		if !there.time().Truncate(time.Second).Equal(at.Truncate(time.Second)) {
			return failed(s3.HeaderIfMatchLastModified)
		}
	}
	if c.size != "" && c.size != itoa(there.size) {
		return failed(s3.HeaderIfMatchSize)
	}
	return nil
}

type deleteConditions struct{ etag, modified, size string }
