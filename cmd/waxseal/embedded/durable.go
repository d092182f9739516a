package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// durable is the posix backend with every acknowledged change on disk, and one change of a name at a time.
//
// Locks are taken in the order upload, bucket, object. A request body is never read under one.
type durable struct {
	*posix.Posix
	attrs attributes
	locks *locks
}

var _ backend.Backend = (*durable)(nil)

// commit is the time in which one object's name may change: no other change of it, and no removal of its bucket.
type commit struct {
	d           *durable
	bucket, key string
	unlocks     []func()

	previous   string    // version id of the object that may be replaced
	previously time.Time // and when it was written
}

// begin waits for the object's turn. It refuses when the bucket went away while a body was read.
func (d *durable) begin(bucket, key string) (*commit, error) {
	c := &commit{d: d, bucket: bucket, key: key}
	c.unlocks = append(c.unlocks, d.locks.share(d.attrs.layout.bucket(bucket)))
	if _, err := os.Stat(d.attrs.layout.bucket(bucket)); err != nil {
		c.end()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, s3err.GetBucketErr(s3err.ErrNoSuchBucket, bucket)
		}
		return nil, err
	}
	path := d.attrs.layout.object(bucket, key)
	c.unlocks = append(c.unlocks, d.locks.lock(path))
	if err := c.notePrevious(path); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func (c *commit) end() {
	for i := len(c.unlocks) - 1; i >= 0; i-- {
		c.unlocks[i]()
	}
	c.unlocks = nil
}

func (c *commit) notePrevious(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return nil // nothing to replace; whatever is wrong with the path, the backend will say
	}
	c.previously = info.ModTime()
	c.previous, err = c.d.attrs.text(path, attrVersionID)
	if c.previous == "" {
		c.previous = nullVersion
	}
	return err
}

// keepPreviousTime gives the older version the time it was written; the backend's copy has the time it was replaced.
func (c *commit) keepPreviousTime() error {
	if c.previous == "" {
		return nil
	}
	older := filepath.Join(c.d.attrs.layout.olderVersions(c.bucket, c.key), c.previous)
	err := os.Chtimes(older, c.previously, c.previously)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the bucket keeps no versions
	}
	return err
}

// settle makes the object that is now at the name durable: attributes set after its bytes, and the names down to it.
func (c *commit) settle() error {
	if err := c.keepPreviousTime(); err != nil {
		return err
	}
	layout := c.d.attrs.layout
	path := layout.object(c.bucket, c.key)
	if err := c.d.attrs.sync.path(path); err != nil {
		return err
	}
	return c.d.attrs.sync.chain(filepath.Dir(path), layout.bucket(c.bucket))
}

func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	turn := putTurn{d: d, bucket: *in.Bucket, key: *in.Key}
	defer turn.end()
	if strings.HasSuffix(turn.key, "/") { // a directory: has no body, and the backend calls no hook
		if err := turn.take(nil); err != nil {
			return s3response.PutObjectOutput{}, err
		}
	}
	out, err := d.Posix.PutObjectWithPostFunc(ctx, in, turn.take)
	if turn.refused != nil {
		return s3response.PutObjectOutput{}, turn.refused
	}
	if err != nil {
		return out, err
	}
	return out, turn.commit.settle()
}

// putTurn takes a PUT's turn between the last byte of its body and its link.
type putTurn struct {
	d           *durable
	bucket, key string
	commit      *commit
	refused     error // kept here because the backend wraps it into something that is no S3 error
}

func (t *putTurn) take(*os.File) error {
	if t.commit == nil {
		t.commit, t.refused = t.d.begin(t.bucket, t.key)
	}
	return t.refused
}

func (t *putTurn) end() {
	if t.commit != nil {
		t.commit.end()
	}
}

// CopyObject copies to another name. Onto itself the backend rewrites attributes in place, one by one: a crash would
// leave an object without its envelope, so that is refused. (waxseal makes in-place changes by multipart copy.)
func (d *durable) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	srcBucket, srcKey, srcVersion, err := backend.ParseCopySource(*in.CopySource)
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	layout := d.attrs.layout
	if srcVersion == "" && layout.object(srcBucket, srcKey) == layout.object(*in.Bucket, *in.Key) {
		return s3response.CopyObjectOutput{}, s3err.GetAPIError(s3err.ErrNotImplemented)
	}
	c, err := d.begin(*in.Bucket, *in.Key)
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	defer c.end()
	if srcVersion != "" && srcVersion == c.previous && layout.object(srcBucket, srcKey) == layout.object(c.bucket, c.key) {
		return s3response.CopyObjectOutput{}, s3err.GetAPIError(s3err.ErrNotImplemented)
	}
	out, err := d.Posix.CopyObject(ctx, in)
	if err != nil {
		return out, err
	}
	return out, c.settle()
}

func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := d.Posix.CreateBucket(ctx, in, acl); err != nil {
		return err
	}
	layout := d.attrs.layout
	return d.attrs.sync.chain(layout.bucket(*in.Bucket), layout.data)
}

// DeleteBucket removes an empty bucket. While something is being written to it, it is not empty.
func (d *durable) DeleteBucket(ctx context.Context, bucket string) error {
	layout := d.attrs.layout
	unlock, ok := d.locks.try(layout.bucket(bucket))
	if !ok {
		return s3err.GetBucketErr(s3err.ErrBucketNotEmpty, bucket)
	}
	defer unlock()
	if err := d.Posix.DeleteBucket(ctx, bucket); err != nil {
		return err
	}
	return errors.Join(d.attrs.sync.path(layout.data), d.attrs.sync.path(layout.versions))
}
