package embedded

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"waxseal/proxy/s3"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Parts of names that S3 keeps for itself.
var (
	reservedPrefixes = []string{"xn--", "sthree-", "amzn-s3-demo-"}
	reservedSuffixes = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
)

// validName holds a bucket's name to S3's rules.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func validName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	return bucketName.MatchString(name) && !strings.Contains(name, "..") &&
		!slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) &&
		!slices.ContainsFunc(reservedSuffixes, func(p string) bool { return strings.HasSuffix(name, p) })
}

// bucketOf finds the bucket that a request is about.
func (s *Store) bucketOf(q *request) (b *bucket, err error) {
	return b, s.view(func(t *txn) error {
		b, err = t.bucket(q.bucket)
		return err
	})
}

// changeBucket changes a bucket's configuration.
func (s *Store) changeBucket(q *request, status int, change func(*bucket) error) (*response, error) {
	err := s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		changed := b.with(func(c *bucket) { err = change(c) })
		if err != nil {
			return err
		}
		return t.putBucket(changed)
	})
	if err != nil {
		return nil, err
	}
	return answer(status), nil
}

const maxBuckets = 10_000

func (s *Store) listBuckets(q *request) (*response, error) {
	limit, err := q.number("max-buckets", maxBuckets, maxBuckets)
	if err != nil {
		return nil, err
	}
	after, err := parseToken(q)
	if err != nil {
		return nil, err
	}
	result := s3.ListAllMyBucketsResult{Owner: *owner, Prefix: q.query.Get("prefix")}
	if only := q.query.Get("bucket-region"); only != "" && only != s.region() {
		return answerXML(&result)
	}
	err = s.view(func(t *txn) error {
		c := t.cursor(bucketSpace)
		for k, v := c.seek([]byte(max(result.Prefix, after))); k != nil && strings.HasPrefix(string(k), result.Prefix); k, v = c.next() {
			if after != "" && string(k) == after {
				continue
			}
			if len(result.Buckets.Buckets) == limit {
				if limit > 0 {
					last := result.Buckets.Buckets[limit-1].Name
					result.ContinuationToken = makeToken(last)
				}
				return nil
			}
			b, err := t.store.buckets.decode(string(k), v)
			if err != nil {
				return err
			}
			result.Buckets.Buckets = append(result.Buckets.Buckets, s3.Bucket{Name: b.Name, CreationDate: s3.FormatTime(b.Created), BucketRegion: s.region()})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerXML(&result)
}

// makeToken makes a continuation token of the key that a page ended at.
func makeToken(after string) string { return base64.URLEncoding.EncodeToString([]byte("1" + after)) }

func parseToken(q *request) (string, error) {
	token := q.query.Get("continuation-token")
	if !q.query.Has("continuation-token") {
		return "", nil
	}
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) < 2 || raw[0] != '1' {
		return "", s3.InvalidArgument("continuation-token", token, "The continuation token provided is incorrect")
	}
	return string(raw[1:]), nil
}

func (s *Store) createBucket(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var wanted s3.CreateBucketConfiguration
	if len(document) > 0 {
		if err := q.decode(document, &wanted); err != nil {
			return nil, err
		}
	}
	if err := s.checkLocation(&wanted); err != nil {
		return nil, err
	}
	if !validName(q.bucket) {
		return nil, s3.NewError(s3.InvalidBucketName).With("BucketName", q.bucket)
	}
	b, err := s.newBucket(q, &wanted)
	if err != nil {
		return nil, err
	}
	err = s.commit(q.ctx, func(t *txn) error {
		if t.get(bucketSpace, []byte(q.bucket)) != nil {
			return s.madeAgain(t, q, &wanted)
		}
		b.ID = s.nextSeq()
		return t.putBucket(b)
	})
	if err != nil {
		return nil, err
	}
	return answer(http.StatusOK).set(s3.HeaderLocation, "/"+q.bucket), nil
}

// madeAgain makes a bucket that is there: in us-east-1 that is no error and resets the ACL. What a new bucket could have been
// made with, an old one is not changed to.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html#API_CreateBucket_Errors
func (s *Store) madeAgain(t *txn, q *request, wanted *s3.CreateBucketConfiguration) error {
	h := q.header
	if s.region() != "us-east-1" || wanted.Tags != nil || h.Get(headerLockEnabled) == "true" || h.Get(s3.HeaderOwnership) != "" {
		return s3.NewError(s3.BucketAlreadyOwnedByYou).With("BucketName", q.bucket)
	}
	b, err := t.bucket(q.bucket)
	if err != nil {
		return err
	}
	changed := b.with(func(c *bucket) { c.ACL, err = b.cannedACL(h.Get(s3.HeaderACL), h) })
	if err != nil {
		return err
	}
	return t.putBucket(changed)
}

// checkLocation wants the store's region, or none in us-east-1.
func (s *Store) checkLocation(wanted *s3.CreateBucketConfiguration) error {
	switch {
	case wanted.Location != nil || wanted.Bucket != nil:
		return s3.Errorf(s3.NotImplemented, "The embedded store has no directory buckets")
	case s.cfg.AnyLocation || wanted.LocationConstraint == constraintOf(s.region()):
		return nil
	case wanted.LocationConstraint == "":
		return s3.NewError(s3.IllegalLocationConstraintException)
	}
	return s3.NewError(s3.IllegalLocationConstraintException)
}

// newBucket is a bucket as a request describes it.
func (s *Store) newBucket(q *request, wanted *s3.CreateBucketConfiguration) (*bucket, error) {
	b := &bucket{Name: q.bucket, Created: s.now().UTC(), Documents: map[string][]byte{}}
	if q.header.Get(headerLockEnabled) == "true" {
		b.Versioning, b.Lock = versioningEnabled, true
	}
	var err error
	keep := func(name string, document any) {
		if err == nil {
			b.Documents[name], err = s3.Encode(document)
		}
	}
	o := q.header.Get(s3.HeaderOwnership)
	if _, given := q.header[s3.HeaderOwnership]; !given {
		o = ownershipEnforced
	}
	switch o {
	case ownershipEnforced, ownershipPreferred, ownershipWriter:
	default:
		return nil, s3.InvalidArgument("x-amz-object-ownership", o, "Invalid x-amz-object-ownership header: "+o)
	}
	keep("ownershipControls", &s3.OwnershipControls{Rules: []s3.OwnershipRule{{ObjectOwnership: o}}})
	if wanted.Tags != nil {
		if err := validTags(wanted.Tags.Tags, maxBucketTags); err != nil {
			return nil, err
		}
		keep("tagging", &s3.Tagging{TagSet: s3.TagSet{Tags: wanted.Tags.Tags}})
	}
	if err != nil {
		return nil, err
	}
	if err := b.read(); err != nil {
		return nil, err
	}
	acl := q.header.Get(s3.HeaderACL)
	if acl == aclPublicRead && b.rules.ownership == ownershipEnforced {
		return nil, s3.Errorf(s3.InvalidBucketAclWithObjectOwnership, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	}
	b.ACL, err = b.cannedACL(acl, q.header)
	return b, err
}

// constraintOf is how a region is called in CreateBucket and GetBucketLocation.
func constraintOf(region string) string {
	if region == "us-east-1" {
		return ""
	}
	return region
}

// deleteBucket removes a bucket without objects, with its uploads.
func (s *Store) deleteBucket(q *request) (*response, error) {
	err := s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		for _, space := range []space{currentSpace, versionSpace} {
			if k, _ := t.cursor(space).seek(idKey(b.ID)); bytes.HasPrefix(k, idKey(b.ID)) {
				return s3.NewError(s3.BucketNotEmpty).With("BucketName", q.bucket)
			}
		}
		if err := t.dropUploads(b); err != nil {
			return err
		}
		return t.del(bucketSpace, []byte(q.bucket))
	})
	if err != nil {
		return nil, err
	}
	return answer(http.StatusNoContent), nil
}

func (s *Store) headBucket(q *request) (*response, error) {
	if _, err := s.bucketOf(q); err != nil {
		return nil, err
	}
	return answer(http.StatusOK).set(s3.HeaderBucketRegion, s.region()).set(s3.HeaderContentType, "application/xml"), nil
}

func (s *Store) getLocation(q *request) (*response, error) {
	if _, err := s.bucketOf(q); err != nil {
		return nil, err
	}
	return answerXML(&s3.LocationConstraint{Location: constraintOf(s.region())})
}

func (s *Store) getVersioning(q *request) (*response, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	return answerXML(&s3.VersioningConfiguration{Status: b.Versioning})
}

func (s *Store) putVersioning(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var c s3.VersioningConfiguration
	if err := q.decode(document, &c); err != nil {
		return nil, err
	}
	switch {
	case c.MFADelete == "Enabled":
		return nil, s3.Errorf(s3.NotImplemented, "The embedded store has no MFA delete")
	case c.Status != versioningEnabled && c.Status != versioningSuspended:
		return nil, s3.NewError(s3.IllegalVersioningConfigurationException)
	}
	return s.changeBucket(q, http.StatusOK, func(b *bucket) error {
		if b.Lock && c.Status == versioningSuspended {
			return s3.Errorf(s3.InvalidBucketState, "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
		}
		b.Versioning = c.Status
		return nil
	})
}
