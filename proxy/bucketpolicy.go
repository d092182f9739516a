package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// waxseal keeps a bucket's whole policy. It evaluates two kinds of statements itself: those with conditions on
// encryption, because the headers end here, and those that name users or accounts, whom the store does not know. The
// store gets the rest. Forwarded unread, a "Deny unless encrypted" would make the store refuse every write. Of users whom
// the store cannot tell apart, because waxseal's own credentials stand for them, waxseal also evaluates every Deny that
// the store holds (storepolicy.go).
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html

var encryptionKeys = []string{"s3:" + hdrSSE, "s3:" + hdrKMSKey, "s3:" + hdrSSEC + "algorithm"}

func onEncryption(s *iam.Statement) bool {
	for _, k := range encryptionKeys {
		if s.UsesConditionKey(k) {
			return true
		}
	}
	return false
}

// evaluatedHere reports whether a statement is for waxseal alone.
func evaluatedHere(s *iam.Statement) bool { return onEncryption(s) || !s.ForEverybody() }

// uploadFields are what policies see of a request about a multipart upload: parts and Complete cannot name an encryption,
// the upload's is that of Create. SSE-C is: its header must be on all of them.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
type uploadFields struct {
	*call
	env *sse.Envelope
}

// uploadFields is nil when the request is about no upload that waxseal knows.
func (c *call) uploadFields() fields {
	switch c.route.name {
	case "UploadPart", "UploadPartCopy", "CompleteMultipartUpload":
	default:
		return nil
	}
	u, err := c.s.uploads.Get(c.Up, c.bucket, c.key, c.query.Get("uploadId"))
	if err != nil {
		return nil // who is refused is not told whether there is such an upload
	}
	return &uploadFields{c, u.Env}
}

func (f *uploadFields) header(name string) string {
	switch name {
	case hdrSSE:
		return algorithmOf(f.env.Mode)
	case hdrKMSKey: // a part's own header names nothing: the operation has none
		return f.env.KeyID
	}
	return f.call.header(name)
}

func (f *uploadFields) hasHeader(name string) bool {
	if name == hdrSSE || name == hdrKMSKey {
		return f.header(name) != ""
	}
	return f.call.hasHeader(name)
}

func (c *call) getBucketPolicy() error {
	conf, err := c.s.buckets.get(c.Up, c.bucket)
	if err != nil {
		return err
	}
	if conf.policy == nil {
		return c.forward() // the store has all of it
	}
	if err := c.checkBucketExists(); err != nil {
		return err
	}
	c.answer(http.StatusOK, "application/json", conf.Policy)
	return nil
}

func (c *call) putBucketPolicy() error {
	if c.user == nil { // nobody knows whether the store would let the anonymous principal; S3 never does
		return s3.NewError(s3.AccessDenied)
	}
	body, err := c.document(maxForwarded)
	if err != nil {
		return err
	}
	policy, err := c.s.checkedPolicy(body, c.bucket)
	if err != nil {
		return c.unlessRefused(err)
	}
	own, rest := policy.Split(evaluatedHere)
	if own == nil {
		return c.putPolicy(body, body)
	}
	if rest == nil {
		if err := c.checkBucketExists(); err != nil {
			return err
		}
		return c.keepPolicyAlone(body)
	}
	return c.putPolicy(rest.Document(), body)
}

// unlessRefused is what is wrong with a policy, or the refusal of a requester whose rights are the store's to know.
func (c *call) unlessRefused(wrong error) error {
	if c.user.Upstream != nil {
		if refused := c.checkBucketExists(); refused != nil {
			return refused
		}
	}
	return wrong
}

// checkedPolicy reads a policy that a client puts on a bucket, and refuses what waxseal could not hold to.
func (s *Server) checkedPolicy(document []byte, bucket string) (*iam.Policy, error) {
	policy, err := iam.ParsePolicy(document, bucketPolicyOptions)
	if err != nil {
		return nil, malformedPolicy(err)
	}
	if policy.NamesNobody(s.cfg.Users) {
		return nil, s3.Errorf(s3.MalformedPolicy, "Invalid principal in policy")
	}
	if err := checkScope(policy, bucket); err != nil {
		return nil, err
	}
	return policy, s.checkConditions(policy)
}

// checkConditions refuses a Deny that is waxseal's to evaluate and asks for what waxseal cannot know: the policy would
// be kept, and not hold.
func (s *Server) checkConditions(p *iam.Policy) error {
	alike := s.cfg.Users.Shared()
	for _, st := range p.Statements() {
		if !alike && !evaluatedHere(st) {
			continue
		}
		if key := st.VoidKey(tellsCondition); key != "" {
			return s3.Errorf(s3.NotImplemented, "waxseal does not support the condition key %s in a statement about these actions", key)
		}
	}
	return nil
}

// CheckUsers holds users' own policies to the same: a Deny that would not hold must not be started with.
func CheckUsers(users *iam.Directory) error {
	for _, u := range users.Users() {
		if u.Policy == nil {
			continue
		}
		if err := CheckPolicy(u.Policy); err != nil {
			return fmt.Errorf("proxy: the policy of user %q: %w", u.Name, err)
		}
	}
	return nil
}

// CheckPolicy refuses an identity policy with a condition that would not hold. A statement about both services may look at
// either's own keys, which requests to the other do not have on AWS either.
func CheckPolicy(p *iam.Policy) error {
	for _, st := range p.Statements() {
		if key := st.VoidKey(tellsUser); key != "" {
			return fmt.Errorf("waxseal does not support the condition key %s in a statement about these actions", key)
		}
	}
	return nil
}

// controlKeys are the condition keys of requests to IAM, STS and waxseal itself.
var controlKeys = iam.NewKeys("sts:ExternalId", "sts:RoleSessionName")

// tellsUser says whether the requests that a statement of a user's policy is about tell a condition key.
func tellsUser(st *iam.Statement, key string) bool {
	service, _, _ := strings.Cut(key, ":")
	ofS3, ofKMS := tellsCondition(st, key), iam.KMSKeys.Has(key)
	if service == "s3" || service == "kms" {
		return service == "s3" && ofS3 || service == "kms" && ofKMS
	}
	for _, other := range []string{"iam", "sts", "waxseal"} {
		if st.AboutService(other) && !ofS3 && !ofKMS && !controlKeys.Has(key) {
			return false
		}
	}
	return (!st.AboutService("s3") || ofS3) && (!st.AboutService("kms") || ofKMS || key == "aws:referer")
}

// putPolicy gives the store its part and keeps the whole, if there is one to keep.
func (c *call) putPolicy(part, whole []byte) error {
	return c.keepPolicy(whole, func() error {
		resp, err := c.Send(&store.Request{Method: http.MethodPut, Bucket: c.bucket, Query: "policy=", Header: c.storeHeader(), Body: part})
		if err != nil {
			return err
		}
		if resp.StatusCode >= 300 {
			return store.Failure(resp)
		}
		store.Drain(resp)
		return nil
	})
}

// keepPolicyAlone keeps a policy of which the store gets nothing; one that it still has must go.
func (c *call) keepPolicyAlone(whole []byte) error { return c.keepPolicy(whole, c.deleteStorePolicy) }

// keepPolicy keeps a policy when the store has been given its part of it. Does the configuration change meanwhile, it
// does both again: of two policies at once the one that is kept is also the one that was given last.
func (c *call) keepPolicy(whole []byte, give func() error) error {
	defer c.s.buckets.forget(c.bucket) // also when the store's answer was lost
	for range 10 {
		conf, err := c.s.buckets.read(c.Up, c.bucket)
		if err != nil {
			return err
		}
		if err := give(); err != nil {
			return err
		}
		conf.Policy = whole
		err = c.s.buckets.write(c.Up, c.bucket, conf)
		if err == nil {
			c.answer(http.StatusNoContent, "", nil)
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return s3.NewError(s3.OperationAborted)
}

func (c *call) deleteBucketPolicy() error {
	if err := c.checkBucketExists(); err != nil {
		return err
	}
	return c.keepPolicyAlone(nil)
}

// deleteStorePolicy removes the store's part. A store without policies has none to remove.
func (c *call) deleteStorePolicy() error {
	resp, err := c.Send(&store.Request{Method: http.MethodDelete, Bucket: c.bucket, Query: "policy=", Header: make(http.Header)})
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotFound, http.StatusNotImplemented:
		store.Drain(resp)
		return nil
	}
	return store.Failure(resp)
}

// bucketPolicies are the policies that a request to a bucket is held to; most buckets have none. The root user can always
// mend a policy that shuts everybody out. A bucket that is to be made has no policy yet.
func (c *call) bucketPolicies(bucket string) ([]*iam.Policy, error) {
	if bucket == "" || c.user != nil && c.user.Root && strings.HasSuffix(c.route.name, "BucketPolicy") {
		return nil, nil
	}
	conf, err := c.s.buckets.get(c.Up, bucket)
	if err != nil {
		return nil, err
	}
	var all []*iam.Policy
	own := conf.policy
	if c.user != nil && c.user.Upstream == nil {
		own = conf.whole // what the store allows everybody, waxseal's own credentials cannot tell from what it allows them
	}
	if own != nil {
		all = append(all, own)
	}
	if c.user == nil || c.user.Upstream != nil || c.route.name == "CreateBucket" {
		return all, nil
	}
	atStore, err := c.s.buckets.atStore.get(c.s.base, c.Up, bucket)
	if atStore != nil {
		all = append(all, atStore)
	}
	return all, err
}

func malformedPolicy(err error) error {
	var m *iam.MalformedError
	if errors.As(err, &m) {
		return s3.Errorf(s3.MalformedPolicy, "%s", m.Message)
	}
	return s3.NewError(s3.MalformedPolicy)
}
