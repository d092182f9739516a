package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

const (
	versioningEnabled   = "Enabled"
	versioningSuspended = "Suspended"
)

// bucket is a bucket as the index has it. It is never changed once it was read.
type bucket struct {
	Name       string
	ID         uint64
	Created    time.Time
	Versioning string            `json:",omitempty"` // "", Enabled or Suspended
	Lock       bool              `json:",omitempty"` // objects can be locked
	ACL        string            `json:",omitempty"` // canned; "" is private
	Documents  map[string][]byte `json:",omitempty"` // sub-resource -> configuration, as it came

	rules rules
}

// rules are a bucket's configurations, read.
type rules struct {
	policy    *iam.Policy
	cors      *s3.CORSConfiguration
	lifecycle *s3.LifecycleConfiguration
	retention *s3.DefaultRetention
	public    s3.PublicAccessBlockConfiguration
	ownership string
}

func (b *bucket) encode() ([]byte, error) { return json.Marshal(b) }

// with gives a changed copy.
func (b *bucket) with(change func(*bucket)) *bucket {
	c := *b
	c.Documents = make(map[string][]byte, len(b.Documents))
	for name, document := range b.Documents {
		c.Documents[name] = document
	}
	change(&c)
	return &c
}

// newVersionID is what x-amz-version-id says of a PUT or an upload: of the null version nothing, though a copy and every
// read do. LocalStack's recordings of S3 have it so (test_put_object_on_suspended_bucket, test_s3_copy_object_in_place_suspended_only).
func (b *bucket) newVersionID(o *object) string {
	if b.Versioning != versioningEnabled {
		return ""
	}
	return o.versionID()
}

// versionID is what x-amz-version-id says, which is nothing in a bucket that never had versions.
func (b *bucket) versionID(o *object) string {
	if b.Versioning == "" {
		return ""
	}
	return o.versionID()
}

func (b *bucket) arn() string { return "arn:aws:s3:::" + b.Name }

// read parses the configurations. Each was checked before it was stored.
func (b *bucket) read() error {
	decode := func(name string, into any) error {
		document := b.Documents[name]
		if document == nil {
			return nil
		}
		return s3.Decode(bytes.NewReader(document), maxDocument, into)
	}
	r := &b.rules
	if b.Documents["cors"] != nil {
		r.cors = new(s3.CORSConfiguration)
	}
	if b.Documents["lifecycle"] != nil {
		r.lifecycle = new(s3.LifecycleConfiguration)
	}
	var lock s3.ObjectLockConfiguration
	var owner s3.OwnershipControls
	for name, into := range map[string]any{"cors": r.cors, "lifecycle": r.lifecycle, "object-lock": &lock,
		"publicAccessBlock": &r.public, "ownershipControls": &owner} {
		if err := decode(name, into); err != nil {
			return fmt.Errorf("%w: ?%s of bucket %s: %w", errDamaged, name, b.Name, err)
		}
	}
	if lock.Rule != nil {
		r.retention = lock.Rule.DefaultRetention
	}
	if r.ownership = ownershipWriter; len(owner.Rules) > 0 {
		r.ownership = owner.Rules[0].ObjectOwnership
	}
	if policy := b.Documents["policy"]; policy != nil {
		var err error
		if r.policy, err = iam.ParsePolicy(policy, policyOptions); err != nil {
			return fmt.Errorf("%w: the policy of bucket %s: %w", errDamaged, b.Name, err)
		}
	}
	return nil
}

// bucketCache keeps the buckets that were read last, each as long as its record stays the same.
type bucketCache struct {
	mu    sync.RWMutex
	known map[string]cachedBucket
}

type cachedBucket struct {
	record []byte
	bucket *bucket
}

// decode reads a bucket's record; nil where there is none.
func (c *bucketCache) decode(name string, record []byte) (*bucket, error) {
	if record == nil {
		return nil, nil
	}
	c.mu.RLock()
	known, ok := c.known[name]
	c.mu.RUnlock()
	if ok && bytes.Equal(known.record, record) {
		return known.bucket, nil
	}
	b := new(bucket)
	if err := json.Unmarshal(record, b); err != nil {
		return nil, fmt.Errorf("%w: bucket %s: %w", errDamaged, name, err)
	}
	if err := b.read(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) > 10_000 {
		c.known = map[string]cachedBucket{}
	}
	c.known[name] = cachedBucket{bytes.Clone(record), b}
	return b, nil
}

// putBucket stores a bucket.
func (t *txn) putBucket(b *bucket) error {
	record, err := b.encode()
	if err != nil {
		return err
	}
	return t.tx.put(bucketSpace, []byte(b.Name), record)
}
