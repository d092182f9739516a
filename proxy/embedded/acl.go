package embedded

import (
	"net/http"
	"strings"

	"waxseal/proxy/s3"
)

// owner is whom everything belongs to. S3's ids of owners are 64 hexadecimal digits.
var owner = &s3.Owner{ID: "77617873656163c0ffee0000000000000000000000000000000000000000acc0"}

const xsi = "http://www.w3.org/2001/XMLSchema-instance"

// cannedACL is the ACL that a request asks for: private or public-read, where ACLs count at all.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl
func (b *bucket) cannedACL(acl string, h http.Header) (string, error) {
	for name := range h {
		if strings.HasPrefix(name, s3.PrefixGrant) && h.Get(name) != "" {
			return "", s3.Errorf(s3.NotImplemented, "The embedded store has the canned ACLs private and public-read, and not the header %s", strings.ToLower(name))
		}
	}
	switch acl {
	case "", aclPrivate, "bucket-owner-full-control", "bucket-owner-read":
		return "", nil // one account owns everything
	case aclPublicRead:
	case "public-read-write", "authenticated-read", "aws-exec-read", "log-delivery-write":
		return "", s3.Errorf(s3.NotImplemented, "The embedded store has the canned ACLs private and public-read, and not %s", acl)
	default:
		return "", s3.InvalidArgument("x-amz-acl", acl, "")
	}
	if b.rules.ownership == ownershipEnforced {
		return "", s3.NewError(s3.AccessControlListNotSupported)
	}
	if b.rules.public.BlockPublicAcls {
		return "", s3.NewError(s3.AccessDenied)
	}
	return aclPublicRead, nil
}

// aclDocument is how S3 shows a canned ACL.
func aclDocument(acl string) *s3.AccessControlPolicy {
	grants := []s3.Grant{{Grantee: s3.Grantee{XMLNS: xsi, Type: "CanonicalUser", ID: owner.ID}, Permission: "FULL_CONTROL"}}
	if acl == aclPublicRead {
		grants = append(grants, s3.Grant{Grantee: s3.Grantee{XMLNS: xsi, Type: "Group", URI: s3.AllUsers}, Permission: "READ"})
	}
	return &s3.AccessControlPolicy{Owner: owner, List: s3.AccessControlList{Grants: grants}}
}

// requestedACL reads an ACL from the header or the document of a request, as far as it is a canned one.
func (s *Store) requestedACL(q *request) (string, error) {
	document, err := s.document(q)
	if err != nil {
		return "", err
	}
	canned := q.header.Get(s3.HeaderACL)
	if len(document) == 0 {
		if canned == "" {
			return "", s3.Errorf(s3.MissingSecurityHeader, "Your request was missing a required header")
		}
		return canned, nil
	}
	if canned != "" {
		return "", s3.NewError(s3.UnexpectedContent)
	}
	var p s3.AccessControlPolicy
	if err := s3.DecodeReply(strings.NewReader(string(document)), maxDocument, &p); err != nil {
		return "", s3.NewError(s3.MalformedACLError)
	}
	full := false
	canned = aclPrivate
	for _, g := range p.List.Grants {
		switch {
		case g.Grantee.ID == owner.ID && g.Permission == "FULL_CONTROL":
			full = true
		case g.Grantee.URI == s3.AllUsers && g.Permission == "READ":
			canned = aclPublicRead
		default:
			return "", errGrants()
		}
	}
	if !full {
		return "", errGrants() // an ACL that takes the owner's rights
	}
	return canned, nil
}

func errGrants() error {
	return s3.Errorf(s3.NotImplemented, "The embedded store has the grants of the canned ACLs private and public-read only")
}

func (s *Store) getBucketACL(q *request) (*response, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	return answerXML(aclDocument(b.ACL))
}

func (s *Store) putBucketACL(q *request) (*response, error) {
	acl, err := s.requestedACL(q)
	if err != nil {
		return nil, err
	}
	return s.changeBucket(q, http.StatusOK, func(b *bucket) error {
		b.ACL, err = b.cannedACL(acl, q.header)
		return err
	})
}

func (s *Store) getObjectACL(q *request) (*response, error) {
	b, o, err := s.versionOf(q)
	if err != nil {
		return nil, err
	}
	resp, err := answerXML(aclDocument(o.acl))
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, b.versionID(o)), nil
}

func (s *Store) putObjectACL(q *request) (*response, error) {
	acl, err := s.requestedACL(q)
	if err != nil {
		return nil, err
	}
	return s.changeObject(q, http.StatusOK, func(b *bucket, o *object) error {
		o.acl, err = b.cannedACL(acl, q.header)
		return err
	})
}
