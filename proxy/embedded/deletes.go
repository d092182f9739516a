package embedded

import (
	"errors"
	"net/http"
	"strconv"

	"waxseal/proxy/s3"
)

// deletion is one object to delete, and what the requester may.
type deletion struct {
	key, id    string
	conditions deleteConditions
	bypass     bool
}

func (s *Store) deleteObject(q *request) (*response, error) {
	id, err := q.versionID()
	if err != nil {
		return nil, err
	}
	d := deletion{key: q.key, id: id, bypass: q.header.Get(s3.HeaderBypassRetention) == "true", conditions: deleteConditions{
		etag: q.header.Get(s3.HeaderIfMatch), modified: q.header.Get(s3.HeaderIfMatchLastModified), size: q.header.Get(s3.HeaderIfMatchSize)}}
	var done s3.Deleted
	err = s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		done, err = t.delete(b, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	resp := answer(http.StatusNoContent)
	if done.DeleteMarker {
		return resp.set(s3.HeaderDeleteMarker, "true").set(s3.HeaderVersionID, done.DeleteMarkerVersionID), nil
	}
	return resp.set(s3.HeaderVersionID, done.VersionID), nil
}

// delete deletes an object, or a version for good, as the bucket's versioning has it.
func (t *txn) delete(b *bucket, d deletion) (s3.Deleted, error) {
	done := s3.Deleted{Key: d.key, VersionID: d.id}
	if d.id != "" {
		return done, t.deleteVersion(b, d, &done)
	}
	there, err := t.current(b, d.key)
	if err == nil {
		err = deletable(d.conditions, d.key, there)
	}
	if err != nil {
		return done, err
	}
	if b.Versioning == "" {
		if there == nil {
			return done, nil
		}
		return done, t.remove(b, d.key, there)
	}
	marker := &object{marker: true}
	if err := t.put(b, d.key, marker); err != nil {
		return done, err
	}
	done.DeleteMarker, done.DeleteMarkerVersionID = true, marker.versionID()
	return done, nil
}

func (t *txn) deleteVersion(b *bucket, d deletion, done *s3.Deleted) error {
	if !plausibleID(d.id) {
		return s3.InvalidArgument("versionId", d.id, "Invalid version id specified")
	}
	o, err := t.version(b, d.key, d.id)
	if err == nil {
		err = deletable(d.conditions, d.key, o)
	}
	if err != nil || o == nil {
		return err
	}
	if err := o.deletable(t.store.now(), d.bypass); err != nil {
		return err
	}
	if o.marker {
		done.DeleteMarker, done.DeleteMarkerVersionID = true, d.id
	}
	return t.remove(b, d.key, o)
}

func (s *Store) deleteObjects(q *request) (*response, error) {
	var before *bucket
	err := s.view(func(t *txn) (err error) { before, err = t.bucket(q.bucket); return err })
	if err != nil {
		return nil, err
	}
	p, err := s.receive(q, maxDocument, false)
	if err != nil {
		return nil, err
	}
	if !p.checked && !q.who.owner {
		return nil, s3.Errorf(s3.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	var list s3.Delete
	if err := q.decode(p.body.bytes, &list); err != nil {
		return nil, err
	}
	if len(list.Objects) == 0 || len(list.Objects) > s3.MaxDeleteObjects {
		return nil, s3.NewError(s3.MalformedXML)
	}
	var result s3.DeleteResult
	err = s.commit(q.ctx, func(t *txn) error {
		b, err := t.same(before)
		if err != nil {
			return err
		}
		result = s3.DeleteResult{}
		for i := range list.Objects {
			if err := t.deleteListed(b, q, &list.Objects[i], list.Quiet, &result); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerXML(&result)
}

// deleteListed deletes one object of a list. Its error is the index's.
func (t *txn) deleteListed(b *bucket, q *request, o *s3.DeleteObject, quiet bool, result *s3.DeleteResult) error {
	d := deletion{key: o.Key, id: o.VersionID, conditions: deleteConditions{etag: condition(o.ETag), modified: condition(o.LastModifiedTime)},
		bypass: q.header.Get(s3.HeaderBypassRetention) == "true"}
	if o.Size != nil {
		d.conditions.size = strconv.FormatInt(*o.Size, 10)
	}
	err := q.mayKey(b, "s3:DeleteObject", d.key, d.id != "")
	if err == nil && d.bypass {
		err = q.mayKey(b, "s3:BypassGovernanceRetention", d.key, false)
	}
	if err == nil && len(d.key) > s3.MaxKeyLength {
		err = s3.NewError(s3.KeyTooLongError)
	}
	var done s3.Deleted
	if err == nil {
		done, err = t.delete(b, d)
	}
	var refused *s3.Error
	if errors.As(err, &refused) {
		result.Errors = append(result.Errors, s3.DeleteError{Key: o.Key, VersionID: o.VersionID, Code: refused.Code, Message: refused.Message})
		return nil
	}
	if err == nil && !quiet {
		result.Deleted = append(result.Deleted, done)
	}
	return err
}

// condition is what an element of a list asks for: none where it is not there, and what nothing fulfils where it is empty.
func condition(element *string) string {
	switch {
	case element == nil:
		return ""
	case *element == "":
		return `""`
	}
	return *element
}
