package embedded

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// document is a configuration of a bucket that is kept as it came.
type document struct {
	sub, noun string
	actions   [3]string // to get, put and delete
	missing   s3.Code   // what GET says where there is none; "" is an empty document
	empty     string    // root of the empty document
	check     func(b *bucket, text []byte) error
	deletable bool
}

var documents = []document{
	{"policy", "BucketPolicy", [3]string{"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"}, s3.NoSuchBucketPolicy, "", checkPolicy, true},
	{"lifecycle", "BucketLifecycleConfiguration", [3]string{"s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration", "s3:PutLifecycleConfiguration"}, s3.NoSuchLifecycleConfiguration, "", checkLifecycle, true},
	{"cors", "BucketCors", [3]string{"s3:GetBucketCORS", "s3:PutBucketCORS", "s3:PutBucketCORS"}, s3.NoSuchCORSConfiguration, "", checkCORS, true},
	{"tagging", "BucketTagging", [3]string{"s3:GetBucketTagging", "s3:PutBucketTagging", "s3:PutBucketTagging"}, s3.NoSuchTagSet, "", checkBucketTags, true},
	{"object-lock", "ObjectLockConfiguration", [3]string{"s3:GetBucketObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", ""}, s3.ObjectLockConfigurationNotFoundError, "", checkObjectLock, false},
	{"publicAccessBlock", "PublicAccessBlock", [3]string{"s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock"}, s3.NoSuchPublicAccessBlockConfiguration, "", checkPublicAccess, true},
	{"ownershipControls", "BucketOwnershipControls", [3]string{"s3:GetBucketOwnershipControls", "s3:PutBucketOwnershipControls", "s3:PutBucketOwnershipControls"}, s3.OwnershipControlsNotFoundError, "", checkOwnership, true},

	// Of what the store does not have, S3's answer for "not configured" is the truth; to switch it on is refused by name.
	{"logging", "BucketLogging", [3]string{"s3:GetBucketLogging", "s3:PutBucketLogging", ""}, "", "BucketLoggingStatus", onlyEmpty("BucketLoggingStatus"), false},
	{"notification", "BucketNotificationConfiguration", [3]string{"s3:GetBucketNotification", "s3:PutBucketNotification", ""}, "", "NotificationConfiguration", onlyEmpty("NotificationConfiguration"), false},
	{"accelerate", "BucketAccelerateConfiguration", [3]string{"s3:GetAccelerateConfiguration", "s3:PutAccelerateConfiguration", ""}, "", "AccelerateConfiguration", checkAcceleration, false},
	{"requestPayment", "BucketRequestPayment", [3]string{"s3:GetBucketRequestPayment", "s3:PutBucketRequestPayment", ""}, "", "RequestPaymentConfiguration", checkRequestPayment, false},
	{"website", "BucketWebsite", [3]string{"s3:GetBucketWebsite", "s3:PutBucketWebsite", "s3:DeleteBucketWebsite"}, s3.NoSuchWebsiteConfiguration, "", refuseConfiguration, true},
	{"replication", "BucketReplication", [3]string{"s3:GetReplicationConfiguration", "s3:PutReplicationConfiguration", "s3:PutReplicationConfiguration"}, s3.ReplicationConfigurationNotFoundError, "", refuseConfiguration, true},
	{"encryption", "BucketEncryption", [3]string{"s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration", "s3:PutEncryptionConfiguration"}, s3.ServerSideEncryptionConfigurationNotFoundError, "", refuseConfiguration, true},
}

// addDocuments puts the operations on documents into the table.
func addDocuments() {
	for _, d := range documents {
		operations["Get"+d.noun] = op{d.actions[0], onBucket, none, d.get}
		operations["Put"+d.noun] = op{d.actions[1], onBucket, none, d.put}
		if d.deletable {
			operations["Delete"+d.noun] = op{d.actions[2], onBucket, none, d.delete}
		}
	}
}

func (d document) get(s *Store, q *request) (*response, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	text := b.Documents[d.sub]
	switch {
	case d.sub == "object-lock" && text == nil && b.Lock:
		return answerXML(&s3.ObjectLockConfiguration{ObjectLockEnabled: "Enabled"})
	case text == nil && d.missing != "":
		return nil, s3.NewError(d.missing).With("BucketName", q.bucket)
	case text == nil && d.sub == "requestPayment":
		return answerXML(&s3.RequestPaymentConfiguration{Payer: "BucketOwner"})
	case text == nil:
		return answerXMLAs(d.empty, s3.EmptyConfiguration{})
	}
	contentType := "application/xml"
	if d.sub == "policy" {
		contentType = "application/json"
	}
	return answer(http.StatusOK).bytes(contentType, text), nil
}

func (d document) put(s *Store, q *request) (*response, error) {
	text, err := s.document(q)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if d.sub == "policy" || d.sub == "tagging" {
		status = http.StatusNoContent
	}
	return s.changeBucket(q, status, func(b *bucket) error {
		if err := d.check(b, text); err != nil {
			var refused *s3.Error
			if errors.As(err, &refused) && refused.Code == s3.NotImplemented {
				return s3.Errorf(s3.NotImplemented, "The embedded store does not support Put%s: %s", d.noun, refused.Message)
			}
			return err
		}
		if d.sub == "lifecycle" {
			text, err = withRuleIDs(text)
		}
		b.Documents[d.sub] = text
		return err
	})
}

func (d document) delete(s *Store, q *request) (*response, error) {
	return s.changeBucket(q, http.StatusNoContent, func(b *bucket) error {
		delete(b.Documents, d.sub)
		return nil
	})
}

func decodeDocument(text []byte, v any) error {
	return s3.Decode(bytes.NewReader(text), maxDocument, v)
}

func checkPolicy(b *bucket, text []byte) error {
	p, err := iam.ParsePolicy(text, policyOptions)
	if err != nil {
		return s3.Errorf(s3.MalformedPolicy, "%s", strings.TrimPrefix(err.Error(), "iam: malformed policy: "))
	}
	if b.rules.public.BlockPublicPolicy && p.Public() {
		return s3.NewError(s3.AccessDenied)
	}
	return nil
}

func checkBucketTags(_ *bucket, text []byte) error {
	var t s3.Tagging
	if err := decodeDocument(text, &t); err != nil {
		return err
	}
	return validTags(t.TagSet.Tags, maxBucketTags)
}

func checkPublicAccess(_ *bucket, text []byte) error {
	return decodeDocument(text, new(s3.PublicAccessBlockConfiguration))
}

func checkOwnership(b *bucket, text []byte) error {
	var c s3.OwnershipControls
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	if len(c.Rules) != 1 || !slices.Contains([]string{ownershipEnforced, ownershipPreferred, ownershipWriter}, c.Rules[0].ObjectOwnership) {
		return s3.NewError(s3.MalformedXML)
	}
	if c.Rules[0].ObjectOwnership == ownershipEnforced && b.ACL == aclPublicRead {
		return s3.Errorf(s3.InvalidBucketAclWithObjectOwnership, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	}
	return nil
}

// checkObjectLock also turns locks on, which nothing turns off again.
func checkObjectLock(b *bucket, text []byte) error {
	var c s3.ObjectLockConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	if c.ObjectLockEnabled != "Enabled" {
		return s3.NewError(s3.MalformedXML)
	}
	if b.Versioning != versioningEnabled {
		return s3.Errorf(s3.InvalidBucketState, "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
	}
	b.Lock = true
	if c.Rule == nil {
		return nil
	}
	r := c.Rule.DefaultRetention
	if r == nil || r.Mode != governance && r.Mode != compliance || (r.Days == nil) == (r.Years == nil) {
		return s3.NewError(s3.MalformedXML)
	}
	if r.Days != nil && (*r.Days <= 0 || *r.Days > 36500) || r.Years != nil && (*r.Years <= 0 || *r.Years > 100) {
		return s3.InvalidArgument("Days", "", "Default retention period must be a positive integer value.")
	}
	return nil
}

func (s *Store) getPolicyStatus(q *request) (*response, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if b.rules.policy == nil {
		return nil, s3.NewError(s3.NoSuchBucketPolicy).With("BucketName", q.bucket)
	}
	return answerXML(&s3.PolicyStatus{IsPublic: b.rules.policy.Public()})
}
