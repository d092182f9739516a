package embedded

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"waxseal/proxy/s3"
)

const (
	maxTagKey     = 128
	maxTagValue   = 256
	maxBucketTags = 50
)

// parseTags reads x-amz-tagging.
func parseTags(header string) ([]s3.Tag, error) {
	if header == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(header)
	if err != nil {
		return nil, s3.InvalidArgument("x-amz-tagging", header, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	var tags []s3.Tag
	for name, values := range q {
		for _, v := range values {
			tags = append(tags, s3.Tag{Key: name, Value: v})
		}
	}
	slices.SortFunc(tags, func(a, b s3.Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags, validTags(tags, s3.MaxTagsPerObject)
}

// validTags holds tags to S3's rules. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
func validTags(tags []s3.Tag, most int) error {
	seen := map[string]bool{}
	for _, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey:
			return s3.Errorf(s3.InvalidTag, "The TagKey you have provided is invalid")
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return s3.Errorf(s3.InvalidTag, "The TagValue you have provided is invalid")
		case seen[t.Key]:
			return s3.Errorf(s3.InvalidTag, "Cannot provide multiple Tags with the same key")
		case strings.HasPrefix(t.Key, "aws:"):
			return s3.Errorf(s3.InvalidTag, "System tags cannot be added/updated by requester")
		}
		seen[t.Key] = true
	}
	if len(tags) > most {
		return s3.Errorf(s3.BadRequest, "Object tags cannot be greater than %d", most)
	}
	return nil
}

func (s *Store) getTagging(q *request) (*response, error) {
	b, o, err := s.versionOf(q)
	if err != nil {
		return nil, err
	}
	resp, err := answerXML(&s3.Tagging{TagSet: s3.TagSet{Tags: o.tags}})
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, b.versionID(o)), nil
}

func (s *Store) putTagging(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var t s3.Tagging
	if err := q.decode(document, &t); err != nil {
		return nil, err
	}
	if err := validTags(t.TagSet.Tags, s3.MaxTagsPerObject); err != nil {
		return nil, err
	}
	return s.changeObject(q, http.StatusOK, func(_ *bucket, o *object) error { o.tags = t.TagSet.Tags; return nil })
}

func (s *Store) deleteTagging(q *request) (*response, error) {
	return s.changeObject(q, http.StatusNoContent, func(_ *bucket, o *object) error { o.tags = nil; return nil })
}

// versionOf finds the version that a request is about.
func (s *Store) versionOf(q *request) (b *bucket, o *object, err error) {
	id, err := q.versionID()
	if err != nil {
		return nil, nil, err
	}
	err = s.view(func(t *txn) error {
		if b, err = t.bucket(q.bucket); err != nil {
			return err
		}
		o, err = t.find(b, q.key, id)
		return err
	})
	return b, o, err
}

// changeObject changes facts of a version in place.
func (s *Store) changeObject(q *request, status int, change func(*bucket, *object) error) (*response, error) {
	id, err := q.versionID()
	if err != nil {
		return nil, err
	}
	var b *bucket
	var o *object
	err = s.commit(q.ctx, func(t *txn) error {
		if b, err = t.bucket(q.bucket); err != nil {
			return err
		}
		if o, err = t.find(b, q.key, id); err != nil {
			return err
		}
		if err := change(b, o); err != nil {
			return err
		}
		return t.rewrite(b, q.key, o)
	})
	if err != nil {
		return nil, err
	}
	return answer(status).set(s3.HeaderVersionID, b.versionID(o)), nil
}
