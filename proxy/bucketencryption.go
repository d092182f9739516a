package proxy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// A bucket's default encryption is kept by waxseal: the store behind it need not know any.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html

func (c *call) getBucketEncryption() error {
	if err := c.checkBucketExists(); err != nil {
		return err
	}
	conf, err := c.s.buckets.get(c.Up, c.bucket)
	if err != nil {
		return err
	}
	if conf.Encryption == nil && c.s.cfg.CompatCeph {
		return s3.Errorf(s3.ServerSideEncryptionConfigurationNotFoundError, "The server side encryption configuration was not found")
	}
	return c.answerXML(http.StatusOK, s3.ServerSideEncryptionConfiguration{Rules: []s3.EncryptionRule{conf.rule()}})
}

// rule is the bucket's encryption as GetBucketEncryption shows it. A bucket that was never configured has SSE-S3.
func (b *bucketConfig) rule() s3.EncryptionRule {
	off := false
	r := s3.EncryptionRule{Default: &s3.EncryptionByDefault{SSEAlgorithm: algAES256}, BucketKeyEnabled: &off}
	if b.Encryption != nil {
		r = *b.Encryption
		if r.Default == nil {
			r.Default = &s3.EncryptionByDefault{SSEAlgorithm: algAES256}
		}
		if r.BucketKeyEnabled == nil {
			r.BucketKeyEnabled = &off
		}
	}
	r.BlockedEncryptionTypes = nil
	if len(b.Blocked) > 0 {
		r.BlockedEncryptionTypes = &s3.BlockedEncryptionTypes{EncryptionTypes: b.Blocked}
	}
	return r
}

func (c *call) putBucketEncryption() error {
	if err := c.checkBucketExists(); err != nil {
		return err
	}
	body, err := c.checkedDocument()
	if err != nil {
		return err
	}
	var doc s3.ServerSideEncryptionConfiguration
	if err := s3.Decode(bytes.NewReader(body), maxForwarded, &doc); err != nil {
		return err
	}
	rule, err := checkEncryptionRule(&doc)
	if err != nil {
		return err
	}
	err = c.s.buckets.update(c.Up, c.bucket, func(b *bucketConfig) error {
		b.Encryption = rule
		if t := rule.BlockedEncryptionTypes; t != nil {
			b.Blocked = blockedTypes(t.EncryptionTypes)
			rule.BlockedEncryptionTypes = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, "", nil)
	return nil
}

// checkedDocument is the body of a request that must bring a digest of it.
func (c *call) checkedDocument() ([]byte, error) {
	want, err := c.declaredOf(c)
	if err != nil {
		return nil, err
	}
	if want.MD5 == nil && !want.Named {
		return nil, s3.Errorf(s3.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return c.document(maxForwarded)
}

// checkEncryptionRule holds a document to what S3 takes: one rule, an algorithm, and a key only where it applies. The
// key itself is not looked at, as on AWS.
func checkEncryptionRule(doc *s3.ServerSideEncryptionConfiguration) (*s3.EncryptionRule, error) {
	if len(doc.Rules) != 1 {
		return nil, s3.NewError(s3.MalformedXML)
	}
	rule := &doc.Rules[0]
	if t := rule.BlockedEncryptionTypes; t != nil {
		for _, name := range t.EncryptionTypes {
			if name != "SSE-C" && name != "NONE" {
				return nil, s3.NewError(s3.MalformedXML)
			}
		}
	}
	d := rule.Default
	if d == nil {
		return rule, nil
	}
	switch d.SSEAlgorithm {
	case algAES256:
		if d.KMSMasterKeyID != "" {
			return nil, s3.InvalidArgument("ApplyServerSideEncryptionByDefault", "", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
		}
	case algKMS, algDSSE:
	default:
		return nil, s3.NewError(s3.MalformedXML)
	}
	return rule, nil
}

// blockedTypes is what a list of blocked types comes to: NONE lifts the block.
func blockedTypes(names []string) []string {
	if slices.Contains(names, "NONE") {
		return nil
	}
	return names
}

func (c *call) deleteBucketEncryption() error {
	if err := c.checkBucketExists(); err != nil {
		return err
	}
	err := c.s.buckets.update(c.Up, c.bucket, func(b *bucketConfig) error {
		b.Encryption = nil
		return nil
	})
	if err != nil {
		return err
	}
	c.answer(http.StatusNoContent, "", nil)
	return nil
}

// checkBucketExists asks the store, as the requester, before waxseal answers for a bucket. That a bucket is there says
// nothing about who may configure it: of requesters whose rights are the store's to know, it is asked for more.
func (c *call) checkBucketExists() error {
	switch {
	case c.user == nil:
		return s3.Errorf(s3.AccessDenied, "Access Denied: %s needs a signature", c.route.name)
	case c.user.Upstream != nil && c.user.Rights.Everything:
		return c.checkStoreRight("policy", "acl")
	}
	resp, err := c.Send(&store.Request{Method: http.MethodHead, Bucket: c.bucket, Header: make(http.Header)})
	if err != nil {
		return err
	}
	store.Drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return s3.NewError(s3.NoSuchBucket).With("BucketName", c.bucket)
	}
	return &s3.Error{Code: store.CodeForStatus(resp.StatusCode), Message: http.StatusText(resp.StatusCode), HTTPStatus: resp.StatusCode}
}

// checkStoreRight lets requesters in who may read the bucket's policy at the store, or, where it has no policies, the
// bucket's ACL: nothing nearer to the right to configure it can be asked for without changing something.
func (c *call) checkStoreRight(queries ...string) error {
	resp, err := c.Send(&store.Request{Method: http.MethodGet, Bucket: c.bucket, Query: queries[0] + "=", Header: make(http.Header)})
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		store.Drain(resp)
		return nil
	}
	err = store.Failure(resp)
	var e *s3.Error
	switch {
	case !errors.As(err, &e):
	case e.Code == "NoSuchBucketPolicy":
		return nil
	case e.Status() == http.StatusNotImplemented || e.Status() == http.StatusMethodNotAllowed:
		if len(queries) > 1 {
			return c.checkStoreRight(queries[1:]...)
		}
	}
	return err
}

// deleteBucket forwards, and forgets what waxseal kept of a bucket that is gone: now, or already, when the answer to an
// earlier request was lost. The configuration is read before the store is asked: what is written later may belong to a
// bucket that was made anew meanwhile.
func (c *call) deleteBucket() error {
	former, err := c.s.buckets.read(c.Up, c.bucket)
	if err != nil {
		return err
	}
	err = c.forward()
	if err != nil && !errors.Is(err, &s3.Error{Code: s3.NoSuchBucket}) || err == nil && c.status != http.StatusNoContent {
		return err
	}
	// The bucket is gone already: a client that hangs up now must not leave its configuration to a later bucket of
	// the same name.
	return errors.Join(err, c.s.buckets.removeRead(context.WithoutCancel(c.Up), c.bucket, former))
}

// forgetFormer forgets what is left of an earlier bucket of the name before a new one is made. A store may answer 200
// to who makes a bucket that they have: so it is asked first.
func (c *call) forgetFormer() error {
	conf, err := c.s.buckets.read(c.Up, c.bucket)
	if err != nil || conf.revision == 0 {
		return err
	}
	resp, err := c.Send(&store.Request{Method: http.MethodHead, Bucket: c.bucket, Own: true})
	if err != nil {
		return err
	}
	store.Drain(resp)
	if resp.StatusCode != http.StatusNotFound {
		return nil
	}
	return c.s.buckets.removeRead(c.Up, c.bucket, conf)
}
