package proxytest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"waxseal/proxy/s3"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (u *Upstream) listBuckets(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	result := s3.ListAllMyBucketsResult{Owner: *theOwner, Prefix: q.query.Get("prefix")}
	for _, name := range sortedKeys(u.buckets) {
		if only := q.query.Get("bucket-region"); strings.HasPrefix(name, result.Prefix) && (only == "" || only == u.region()) {
			result.Buckets.Buckets = append(result.Buckets.Buckets, s3.Bucket{Name: name, CreationDate: s3.FormatTime(u.buckets[name].created), BucketRegion: u.Options.Region})
		}
	}
	return answerXML(&result)
}

func (u *Upstream) createBucket(q *request) (*response, error) {
	body, err := u.document(q)
	if err != nil {
		return nil, err
	}
	var wanted s3.CreateBucketConfiguration
	if len(body) > 0 {
		if err := s3.Decode(bytes.NewReader(body), 1<<20, &wanted); err != nil {
			return nil, err
		}
	}
	if at := u.Options.Region; at != "" && wanted.LocationConstraint != constraintOf(at) {
		return nil, s3.NewError(s3.IllegalLocationConstraintException)
	}
	if !bucketName.MatchString(q.bucket) {
		return nil, s3.NewError(s3.InvalidBucketName).With("BucketName", q.bucket)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.buckets[q.bucket] != nil {
		return nil, s3.NewError(s3.BucketAlreadyOwnedByYou).With("BucketName", q.bucket)
	}
	b := newBucket(q.bucket, u.now())
	if q.Header.Get("X-Amz-Bucket-Object-Lock-Enabled") == "true" {
		b.versioning = "Enabled"
		b.documents["object-lock"] = []byte(`<ObjectLockConfiguration xmlns="` + s3.Namespace + `"><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`)
	}
	u.buckets[q.bucket] = b
	return answer(http.StatusOK).set(s3.HeaderLocation, "/"+q.bucket), nil
}

func (u *Upstream) deleteBucket(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	if len(b.keys) > 0 {
		return nil, s3.NewError(s3.BucketNotEmpty).With("BucketName", q.bucket)
	}
	delete(u.buckets, q.bucket)
	return answer(http.StatusNoContent), nil
}

func (u *Upstream) headBucket(q *request) (*response, error) {
	if err := u.exists(q.bucket); err != nil {
		return nil, err
	}
	return answer(http.StatusOK).set(s3.HeaderBucketRegion, u.region()), nil
}

func (u *Upstream) region() string {
	if u.Options.Region == "" {
		return "us-east-1"
	}
	return u.Options.Region
}

// constraintOf is how a region is called in CreateBucket and GetBucketLocation.
func constraintOf(region string) string {
	if region == "us-east-1" {
		return ""
	}
	return region
}

func (u *Upstream) getLocation(q *request) (*response, error) {
	if err := u.exists(q.bucket); err != nil {
		return nil, err
	}
	return answerXML(&s3.LocationConstraint{Location: constraintOf(u.region())})
}

func (u *Upstream) getVersioning(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	return answerXML(&s3.VersioningConfiguration{Status: b.versioning})
}

func (u *Upstream) putVersioning(q *request) (*response, error) {
	body, err := u.document(q)
	if err != nil {
		return nil, err
	}
	var c s3.VersioningConfiguration
	if err := s3.Decode(bytes.NewReader(body), 1<<20, &c); err != nil {
		return nil, err
	}
	if c.Status != "Enabled" && c.Status != "Suspended" {
		return nil, s3.NewError(s3.IllegalVersioningConfigurationException)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	b.versioning = c.Status
	return answer(http.StatusOK), nil
}

// missing says what a bucket answers that does not have a document. The others have an empty one.
var missing = map[string]s3.Code{
	"policy": s3.NoSuchBucketPolicy, "lifecycle": s3.NoSuchLifecycleConfiguration, "cors": s3.NoSuchCORSConfiguration, "tagging": s3.NoSuchTagSet,
	"encryption": s3.ServerSideEncryptionConfigurationNotFoundError, "website": s3.NoSuchWebsiteConfiguration,
	"replication": s3.ReplicationConfigurationNotFoundError, "object-lock": s3.ObjectLockConfigurationNotFoundError,
	"publicAccessBlock": s3.NoSuchPublicAccessBlockConfiguration, "ownershipControls": s3.OwnershipControlsNotFoundError,
}

var empty = map[string]string{
	"logging": "BucketLoggingStatus", "notification": "NotificationConfiguration", "accelerate": "AccelerateConfiguration", "requestPayment": "RequestPaymentConfiguration",
}

func getDocument(sub string) handler {
	return func(u *Upstream, q *request) (*response, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		b, err := u.lookup(q.bucket)
		if err != nil {
			return nil, err
		}
		resp := answer(http.StatusOK).set(s3.HeaderContentType, "application/xml")
		if sub == "policy" {
			resp.set(s3.HeaderContentType, "application/json")
		}
		var ok bool
		if resp.body, ok = b.documents[sub]; ok {
			return resp, nil
		}
		if root, ok := empty[sub]; ok {
			resp.body = []byte("<" + root + ` xmlns="` + s3.Namespace + `"></` + root + ">")
			return resp, nil
		}
		return nil, s3.NewError(missing[sub]).With("BucketName", q.bucket)
	}
}

func putDocument(sub string) handler {
	return func(u *Upstream, q *request) (*response, error) {
		body, err := u.document(q)
		if err != nil {
			return nil, err
		}
		status := http.StatusOK
		if sub == "policy" {
			if status = http.StatusNoContent; !json.Valid(body) {
				return nil, s3.NewError(s3.MalformedPolicy)
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		b, err := u.lookup(q.bucket)
		if err != nil {
			return nil, err
		}
		b.documents[sub] = body
		return answer(status), nil
	}
}

func deleteDocument(sub string) handler {
	return func(u *Upstream, q *request) (*response, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		b, err := u.lookup(q.bucket)
		if err != nil {
			return nil, err
		}
		delete(b.documents, sub)
		return answer(http.StatusNoContent), nil
	}
}

// preflight answers any origin, if the bucket has CORS rules at all.
func (u *Upstream) preflight(q *request) (*response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	if b.documents["cors"] == nil {
		return nil, s3.Errorf(s3.AccessDenied, "CORSResponse: CORS is not enabled for this bucket.")
	}
	return answer(http.StatusOK).set("Access-Control-Allow-Origin", q.Header.Get("Origin")).
		set("Access-Control-Allow-Methods", q.Header.Get("Access-Control-Request-Method")).
		set("Access-Control-Allow-Headers", q.Header.Get("Access-Control-Request-Headers")), nil
}
