package proxy

import (
	"bytes"
	"errors"
	"net/http"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// maxDeleteDocument bounds the list of keys, as S3 does.
const maxDeleteDocument = 2 << 20

// deleteObjects deletes up to 1,000 objects. Each key is authorised by itself, as S3 does it; those that may not be
// deleted, and those under a condition that the store would pass over, are errors in the answer and never sent.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
func (c *call) deleteObjects() error {
	request, err := c.deleteRequest()
	if err != nil {
		return err
	}
	c.deleting = keysOf(request.Objects)
	d := &deletion{call: c, forStore: c.storeHeader(), results: make(map[objectName]deleted, len(request.Objects))}
	if err := d.sort(request.Objects); err != nil {
		return err
	}
	if err := d.sendPlain(); err != nil {
		return err
	}
	for _, o := range d.conditional {
		d.set(o, d.sendConditional(o))
	}
	return c.answerXML(http.StatusOK, d.result(request))
}

// deleteRequest reads the document, whose digest is required: a flipped bit would delete something else.
func (c *call) deleteRequest() (*s3.Delete, error) {
	want, err := c.declaredOf(c)
	if err != nil {
		return nil, err
	}
	if want.MD5 == nil && !want.Named {
		return nil, s3.Errorf(s3.InvalidRequest, "Missing required header for this request: Content-MD5")
	}
	body, err := c.document(maxDeleteDocument)
	if err != nil {
		return nil, err
	}
	request := new(s3.Delete)
	if err := s3.Decode(bytes.NewReader(body), maxDeleteDocument, request); err != nil {
		return nil, err
	}
	if n := len(request.Objects); n == 0 || n > s3.MaxDeleteObjects {
		return nil, s3.NewError(s3.MalformedXML)
	}
	for _, o := range request.Objects {
		if _, _, err := conditionsOf(o).parse(); err != nil || o.Key == "" {
			return nil, s3.NewError(s3.MalformedXML)
		}
	}
	return request, nil
}

// deletion is a DeleteObjects on its way.
type deletion struct {
	*call
	forStore           http.Header
	plain, conditional []s3.DeleteObject // to be sent
	results            map[objectName]deleted
}

type objectName struct{ key, version string }

// deleted is what became of one object: one of the two.
type deleted struct {
	done s3.Deleted
	err  *s3.Error
}

func nameOf(o s3.DeleteObject) objectName { return objectName{o.Key, o.VersionID} }

// set notes what became of an object. Errors here are the object's, not the request's.
func (d *deletion) set(o s3.DeleteObject, err error) {
	if err != nil {
		e := d.toS3(err)
		d.logFailure(e, err)
		d.results[nameOf(o)] = deleted{err: e}
	}
}

// sort tells what is sent, and how, from what is refused. An object that is named twice is sent once.
func (d *deletion) sort(objects []s3.DeleteObject) error {
	for _, o := range objects {
		if _, twice := d.results[nameOf(o)]; twice {
			continue
		}
		// Until the store has said more:
		d.results[nameOf(o)] = deleted{err: s3.Errorf(s3.InternalError, "We encountered an internal error. Please try again.")}
		if err := d.permit(o); err != nil {
			if errors.Is(err, store.ErrUnreachable) {
				return err
			}
			d.set(o, err)
			continue
		}
		if conditionsOf(o).any() {
			d.conditional = append(d.conditional, o)
		} else {
			d.plain = append(d.plain, o)
		}
	}
	return nil
}

// listedFields are a request's parameters for one object of its list.
type listedFields struct {
	*call
	namedVersion string
}

func (f listedFields) versionNamed() string { return f.namedVersion }

// permit says whether an object may be asked to be deleted.
func (d *deletion) permit(o s3.DeleteObject) error {
	named := listedFields{d.call, o.VersionID}
	if err := d.authorizeAction("s3:DeleteObject", d.bucket, o.Key, named); err != nil {
		return err
	}
	if d.hasHeader("x-amz-bypass-governance-retention") {
		if err := d.authorizeAction("s3:BypassGovernanceRetention", d.bucket, o.Key, named); err != nil {
			return err
		}
	}
	if err := d.s.checkKey(o.Key); err != nil {
		return err
	}
	if o.VersionID != "" && !plausibleIdentifier(o.VersionID) {
		return errVersionID(o.VersionID)
	}
	return nil
}

// conditionsOf are those that the document sets on an object.
func conditionsOf(o s3.DeleteObject) deleteConditions {
	c := deleteConditions{etag: o.ETag, modified: o.LastModifiedTime}
	if o.Size != nil {
		size := itoa64(*o.Size)
		c.size = &size
	}
	return c
}

// sendPlain sends the objects without a condition in one request, never a quiet one: each must be accounted for.
func (d *deletion) sendPlain() error {
	if len(d.plain) == 0 {
		return nil
	}
	body, err := s3.Encode(s3.Delete{Objects: d.plain})
	if err != nil {
		return err
	}
	resp, err := d.Send(&store.Request{Method: http.MethodPost, Bucket: d.bucket, Query: "delete=", Header: d.forStore, Body: body})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return store.Failure(resp)
	}
	doc, err := store.ReadDocument(resp)
	if err != nil {
		return err
	}
	result := new(s3.DeleteResult)
	if err := s3.DecodeReply(bytes.NewReader(doc), store.MaxDocument, result); err != nil {
		return errors.Join(store.ErrUnreachable, err)
	}
	d.take(result)
	return nil
}

// take notes the store's results, of what it was asked for and nothing else.
func (d *deletion) take(result *s3.DeleteResult) {
	for _, done := range result.Deleted {
		name := objectName{done.Key, done.VersionID}
		if _, asked := d.results[name]; asked {
			d.results[name] = deleted{done: done}
		}
	}
	for _, e := range result.Errors {
		name := objectName{e.Key, e.VersionID}
		if _, asked := d.results[name]; asked {
			d.results[name] = deleted{err: &s3.Error{Code: e.Code, Message: e.Message}}
		}
	}
}

// sendConditional deletes one object by a DELETE with If-Match, which the store was seen to honour: of conditions
// inside DeleteObjects nothing is known.
func (d *deletion) sendConditional(o s3.DeleteObject) error {
	etag, err := d.pinDelete(conditionsOf(o), objects.Place{Bucket: d.bucket, Key: o.Key}, o.VersionID)
	if err != nil {
		return err
	}
	r := &store.Request{Method: http.MethodDelete, Bucket: d.bucket, Key: o.Key, Header: d.forStore.Clone()}
	r.Header.Set("If-Match", etag)
	if o.VersionID != "" {
		r.Query = "versionId=" + s3.EscapeQuery(o.VersionID)
	}
	resp, err := d.Send(r)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return d.deletePinLost(store.Failure(resp), conditionsOf(o), objects.Place{Bucket: d.bucket, Key: o.Key}, o.VersionID)
	}
	store.Drain(resp)
	done := s3.Deleted{Key: o.Key, VersionID: o.VersionID, DeleteMarker: resp.Header.Get(s3.HeaderDeleteMarker) == "true"}
	if done.DeleteMarker {
		done.DeleteMarkerVersionID = resp.Header.Get(s3.HeaderVersionID)
	}
	d.results[nameOf(o)] = deleted{done: done}
	return nil
}

// result is the answer, in the order of the request. A quiet one names failures only.
func (d *deletion) result(request *s3.Delete) *s3.DeleteResult {
	result := new(s3.DeleteResult)
	for _, o := range request.Objects {
		switch r := d.results[nameOf(o)]; {
		case r.err != nil:
			result.Errors = append(result.Errors, s3.DeleteError{Key: o.Key, VersionID: o.VersionID, Code: r.err.Code, Message: r.err.Message})
		case !request.Quiet:
			result.Deleted = append(result.Deleted, r.done)
		}
	}
	return result
}
