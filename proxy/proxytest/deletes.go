package proxytest

import (
	"bytes"
	"errors"
	"net/http"

	"waxseal/proxy/s3"
)

func (u *Upstream) deleteObject(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	id := q.query.Get("versionId")
	if err := u.deletable(b, q.key, id, q.Header.Get(s3.HeaderIfMatch)); err != nil {
		return nil, err
	}
	d := u.remove(b, q.key, id)
	resp := answer(http.StatusNoContent)
	if d.DeleteMarker {
		resp.set(s3.HeaderDeleteMarker, "true").set(s3.HeaderVersionID, d.DeleteMarkerVersionID)
	} else {
		resp.set(s3.HeaderVersionID, d.VersionID)
	}
	return resp, nil
}

// deletable evaluates a condition where the store has conditions on DELETE at all. An object that is not
// there is deleted already.
func (u *Upstream) deletable(b *bucket, key, id, match string) error {
	if match == "" || !u.HonourDeleteIfMatch {
		return nil
	}
	tags, err := etags(match)
	if err != nil {
		return err
	}
	there := b.current(key)
	if id != "" {
		there, _ = b.find(key, id)
	}
	if there != nil && !tags.Match(there.etag) {
		return failed(s3.HeaderIfMatch)
	}
	return nil
}

// remove deletes an object or a version the way the bucket's versioning has it; the caller holds mu.
func (u *Upstream) remove(b *bucket, key, id string) s3.Deleted {
	d := s3.Deleted{Key: key, VersionID: id}
	if id != "" {
		if v := b.remove(key, id); v != nil && v.marker {
			d.DeleteMarker, d.DeleteMarkerVersionID = true, id
		}
		return d
	}
	if b.versioning == "" {
		b.remove(key, "null")
		return d
	}
	marker := &version{key: key, marker: true, header: http.Header{}}
	u.put(b, marker)
	d.DeleteMarker, d.DeleteMarkerVersionID = true, marker.id
	return d
}

func (u *Upstream) deleteObjects(q *request) (*response, error) {
	if err := u.exists(q.bucket); err != nil {
		return nil, err
	}
	p, err := u.read(q)
	if err != nil {
		return nil, err
	}
	if !p.checked {
		return nil, s3.Errorf(s3.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	var list s3.Delete
	if err := s3.Decode(bytes.NewReader(p.data), 2<<20, &list); err != nil {
		return nil, err
	}
	if len(list.Objects) == 0 || len(list.Objects) > s3.MaxDeleteObjects {
		return nil, s3.NewError(s3.MalformedXML)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	return answerXML(u.deleteAll(b, list))
}

func (u *Upstream) deleteAll(b *bucket, list s3.Delete) *s3.DeleteResult {
	var result s3.DeleteResult
	for _, o := range list.Objects {
		match := ""
		if o.ETag != nil {
			match = *o.ETag
		}
		if err := u.deletable(b, o.Key, o.VersionID, match); err != nil {
			var e *s3.Error
			errors.As(err, &e)
			result.Errors = append(result.Errors, s3.DeleteError{Key: o.Key, VersionID: o.VersionID, Code: e.Code, Message: e.Message})
			continue
		}
		if d := u.remove(b, o.Key, o.VersionID); !list.Quiet {
			result.Deleted = append(result.Deleted, d)
		}
	}
	return &result
}
