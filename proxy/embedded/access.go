package embedded

import (
	"errors"
	"strings"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// grant is what a canned ACL can give everybody.
type grant uint8

const (
	none       grant = iota
	readBucket       // to list
	readObject       // its bytes and what HEAD shows
)

// Object ownership: ACLs count unless it is enforced, which it is in a new bucket. Without ownership controls, because they
// were deleted, an object is its writer's.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
const (
	ownershipEnforced  = "BucketOwnerEnforced"
	ownershipPreferred = "BucketOwnerPreferred"
	ownershipWriter    = "ObjectWriter"
)

const (
	aclPrivate    = "private"
	aclPublicRead = "public-read"
)

// policyOptions are what S3 takes for a bucket policy.
var policyOptions = iam.Options{Kind: iam.Resource, MaxBytes: s3.MaxPolicyDocument, ActionPrefixes: []string{"s3"}}

// authorize decides whether the requester may do what is asked: the owner may, and everybody else what a bucket policy
// or a canned ACL gives to everybody.
func (s *Store) authorize(q *request, o op) error {
	if q.who.owner || q.op == "Preflight" {
		return nil
	}
	if o.on == onService {
		return s3.NewError(s3.AccessDenied)
	}
	return s.view(func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		if o.action == "" {
			return nil // the handler asks for each key
		}
		granted, err := t.granted(b, q, o)
		if err != nil {
			return err
		}
		for i, action := range q.actions(o) {
			if !b.allows(q, action, q.resource(b, o), granted && i == 0) {
				return s3.NewError(s3.AccessDenied)
			}
		}
		return nil
	})
}

func (q *request) resource(b *bucket, o op) string {
	if o.on == onObject {
		return b.arn() + "/" + q.key
	}
	return b.arn()
}

// actions are the permissions that a request needs: its operation's, and those that its headers ask for.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func (q *request) actions(o op) []string {
	actions := []string{versionedAction(o.action, q.query.Has("versionId"))}
	for _, extra := range []struct{ header, action string }{
		{s3.HeaderTagging, "s3:PutObjectTagging"},
		{s3.HeaderACL, "s3:PutObjectAcl"},
		{headerLockMode, "s3:PutObjectRetention"},
		{headerLockUntil, "s3:PutObjectRetention"},
		{headerLockHold, "s3:PutObjectLegalHold"},
		{s3.HeaderBypassRetention, "s3:BypassGovernanceRetention"},
	} {
		if o.on == onObject && q.header.Get(extra.header) != "" {
			actions = append(actions, extra.action)
		}
	}
	if q.op == "GetObjectAttributes" {
		actions = append(actions, versionedAction("s3:GetObject", q.query.Has("versionId")))
	}
	return actions
}

// versionedAction returns the permission that a request with a version id needs. Retentions and legal holds have a single
// permission for all versions: s3:GetObjectRetention.
func versionedAction(action string, versioned bool) string {
	switch action {
	case "s3:GetObject", "s3:GetObjectAcl", "s3:GetObjectAttributes", "s3:GetObjectTagging", "s3:GetObjectTorrent",
		"s3:PutObjectAcl", "s3:PutObjectTagging", "s3:DeleteObject", "s3:DeleteObjectTagging":
		if versioned {
			return strings.Replace(action, "Object", "ObjectVersion", 1)
		}
	}
	return action
}

// granted reports whether a canned ACL gives everybody what is asked.
func (t *txn) granted(b *bucket, q *request, o op) (bool, error) {
	if o.grant == none || b.rules.ownership == ownershipEnforced || b.rules.public.IgnorePublicAcls {
		return false, nil
	}
	if o.grant == readBucket {
		return b.ACL == aclPublicRead, nil
	}
	object, err := t.find(b, q.key, q.query.Get("versionId"))
	var refused *s3.Error
	if errors.As(err, &refused) {
		return b.listable(q), nil // who may list is told what is not there
	}
	return err == nil && object.acl == aclPublicRead, err
}

// allows reports whether everybody may do something: the policy must not deny it, and it or an ACL must allow it.
func (b *bucket) allows(q *request, action, resource string, byACL bool) bool {
	policy := b.rules.policy
	if policy == nil {
		return byACL
	}
	decision, _ := policy.Evaluate(&iam.Request{Principal: iam.Principal{Anonymous: true}, Action: action, Resource: resource, Conditions: q.who.conditions})
	switch decision {
	case iam.Deny:
		return false
	case iam.Allow:
		// A policy with a public statement gives nobody outside of the account anything then.
		return byACL || !(b.rules.public.RestrictPublicBuckets && policy.Public())
	}
	return byACL
}

// mayKey asks for the rights to one of many keys.
func (q *request) mayKey(b *bucket, action, key string, versioned bool) error {
	if q.who.owner || b.allows(q, versionedAction(action, versioned), b.arn()+"/"+key, false) {
		return nil
	}
	return s3.NewError(s3.AccessDenied)
}

// mayRead asks for the rights to the source of a copy.
func (t *txn) mayRead(b *bucket, q *request, src s3.CopySource) error {
	if q.who.owner {
		return nil
	}
	of := *q
	of.key, of.query = src.Key, map[string][]string{}
	if src.VersionID != "" {
		of.query.Set("versionId", src.VersionID)
	}
	granted, err := t.granted(b, &of, op{grant: readObject})
	if err != nil {
		return err
	}
	for i, action := range []string{"s3:GetObject", "s3:GetObjectTagging"} {
		if !b.allows(q, versionedAction(action, src.VersionID != ""), b.arn()+"/"+src.Key, granted && i == 0) {
			return s3.NewError(s3.AccessDenied)
		}
	}
	return nil
}

// hideMissing says to somebody who may not list the bucket no more of a missing object than that it is not theirs.
func (s *Store) hideMissing(q *request, err error) error {
	if q.who.owner || !errors.Is(err, s3.NewError(s3.NoSuchKey)) && !errors.Is(err, s3.NewError(s3.NoSuchVersion)) {
		return err
	}
	return s.view(func(t *txn) error {
		b, missing := t.bucket(q.bucket)
		if missing != nil {
			return missing
		}
		if b.listable(q) {
			return err
		}
		return s3.NewError(s3.AccessDenied)
	})
}

// listable reports whether everybody may list a bucket.
func (b *bucket) listable(q *request) bool {
	byACL := b.ACL == aclPublicRead && b.rules.ownership != ownershipEnforced && !b.rules.public.IgnorePublicAcls
	return b.allows(q, "s3:ListBucket", b.arn(), byACL)
}
