package proxytest

import (
	"bytes"
	"net/http"

	"waxseal/proxy/s3"
)

// ownerACL is the list that everything has until it is given another.
const ownerACL = `<AccessControlPolicy xmlns="` + s3.Namespace + `"><Owner><ID>proxytest</ID></Owner><AccessControlList><Grant>` +
	`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>proxytest</ID></Grantee>` +
	`<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`

func (u *Upstream) getBucketACL(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	return answerDocument(b.documents["acl"], ownerACL), nil
}

func (u *Upstream) putBucketACL(q *request) (*response, error) {
	body, err := u.document(q)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		b.documents["acl"] = body
	}
	return answer(http.StatusOK), nil
}

func answerDocument(body []byte, standard string) *response {
	resp := answer(http.StatusOK).set(s3.HeaderContentType, "application/xml")
	if resp.body = body; body == nil {
		resp.body = []byte(standard)
	}
	return resp
}

// object finds the version that a subresource belongs to; the caller holds mu.
func (u *Upstream) object(q *request) (*bucket, *version, error) {
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, nil, err
	}
	v, err := b.find(q.key, q.query.Get("versionId"))
	return b, v, err
}

func objectDocument(sub string) handler {
	return func(u *Upstream, q *request) (*response, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		_, v, err := u.object(q)
		if err != nil {
			return nil, err
		}
		if sub == "acl" {
			return answerDocument(v.documents[sub], ownerACL), nil
		}
		if v.documents[sub] == nil {
			return nil, s3.NewError(s3.NoSuchObjectLockConfiguration).With("Key", q.key)
		}
		return answerDocument(v.documents[sub], ""), nil
	}
}

func putObjectDocument(sub string) handler {
	return func(u *Upstream, q *request) (*response, error) {
		body, err := u.document(q)
		if err != nil {
			return nil, err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		_, v, err := u.object(q)
		if err != nil {
			return nil, err
		}
		if v.documents == nil {
			v.documents = map[string][]byte{}
		}
		if len(body) > 0 {
			v.documents[sub] = body
		}
		return answer(http.StatusOK), nil
	}
}

func (u *Upstream) getTagging(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, v, err := u.object(q)
	if err != nil {
		return nil, err
	}
	resp, err := answerXML(&s3.Tagging{TagSet: s3.TagSet{Tags: v.tags}})
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, b.versionID(v)), nil
}

func (u *Upstream) putTagging(q *request) (*response, error) {
	body, err := u.document(q)
	if err != nil {
		return nil, err
	}
	var t s3.Tagging
	if err := s3.Decode(bytes.NewReader(body), 1<<20, &t); err != nil {
		return nil, err
	}
	if err := validTags(t.TagSet.Tags); err != nil {
		return nil, err
	}
	return u.setTags(q, t.TagSet.Tags, http.StatusOK)
}

func (u *Upstream) deleteTagging(q *request) (*response, error) {
	return u.setTags(q, nil, http.StatusNoContent)
}

func (u *Upstream) setTags(q *request, tags []s3.Tag, status int) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, v, err := u.object(q)
	if err != nil {
		return nil, err
	}
	v.tags = tags
	return answer(status).set(s3.HeaderVersionID, b.versionID(v)), nil
}
