package embedded

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

func (d *durable) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	layout := d.attrs.layout
	bucket := layout.bucket(*in.Bucket)
	defer d.locks.share(bucket)()
	out, err := d.Posix.CreateMultipartUpload(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.attrs.sync.chain(layout.upload(*in.Bucket, *in.Key, out.UploadId), bucket)
}

func (d *durable) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	upload, err := d.uploadOf(in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	// The part is linked under the upload's lock: the backend would make the upload's directory anew for a part that
	// comes after Complete or Abort.
	var unlock func()
	defer func() {
		if unlock != nil {
			unlock()
		}
	}()
	gone := false
	out, err := d.Posix.UploadPartWithPostFunc(ctx, in, func(*os.File) error {
		unlock = d.locks.lock(upload)
		if gone = !exists(upload); gone {
			return s3err.GetNoSuchUploadErr(*in.UploadId)
		}
		return nil
	})
	if gone {
		return nil, s3err.GetNoSuchUploadErr(*in.UploadId)
	}
	if err != nil {
		return nil, err
	}
	return out, d.settlePart(upload, in.PartNumber)
}

func (d *durable) UploadPartCopy(ctx context.Context, in *s3.UploadPartCopyInput) (s3response.CopyPartResult, error) {
	upload, err := d.uploadOf(in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return s3response.CopyPartResult{}, err
	}
	defer d.locks.lock(upload)()
	out, err := d.Posix.UploadPartCopy(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.settlePart(upload, in.PartNumber)
}

func (d *durable) settlePart(upload string, number *int32) error {
	if err := d.attrs.sync.path(filepath.Join(upload, strconv.Itoa(int(*number)))); err != nil {
		return err
	}
	return d.attrs.sync.path(upload)
}

// CompleteMultipartUpload makes the object of its parts. Completed already, it answers the same again; the backend
// would answer so for any upload id, as long as an object of that name exists or another Complete is under way.
func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	none := s3response.CompleteMultipartUploadResult{}
	upload, err := d.uploadOf(in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return none, "", err
	}
	defer d.locks.lock(upload)()
	c, err := d.begin(*in.Bucket, *in.Key)
	if err != nil {
		return none, "", err
	}
	defer c.end()
	if !exists(upload) {
		return d.completedBefore(in)
	}
	out, version, err := d.Posix.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return out, version, err
	}
	if err := c.settle(); err != nil {
		return none, "", err
	}
	return out, version, d.settleUploads(*in.Bucket, *in.Key)
}

func (d *durable) completedBefore(in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	none := s3response.CompleteMultipartUploadResult{}
	path := d.attrs.layout.object(*in.Bucket, *in.Key)
	by, err := d.attrs.uploadOf(path)
	if err != nil {
		return none, "", err
	}
	if by != *in.UploadId {
		return none, "", s3err.GetNoSuchUploadErr(*in.UploadId)
	}
	etag, err := d.attrs.text(path, attrETag)
	if err != nil {
		return none, "", err
	}
	version, err := d.attrs.text(path, attrVersionID)
	return s3response.CompleteMultipartUploadResult{Bucket: in.Bucket, Key: in.Key, ETag: &etag}, version, err
}

func (d *durable) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) error {
	upload, err := d.uploadOf(in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return err
	}
	defer d.locks.lock(upload)()
	if err := d.Posix.AbortMultipartUpload(ctx, in); err != nil {
		return err
	}
	return d.settleUploads(*in.Bucket, *in.Key)
}

// settleUploads makes an upload's end durable.
func (d *durable) settleUploads(bucket, key string) error {
	uploads := d.attrs.layout.uploads(bucket, key)
	return d.attrs.sync.chain(uploads, filepath.Dir(uploads))
}

// uploadOf is an upload's directory. An id that the backend did not make is no path.
func (d *durable) uploadOf(bucket, key, id *string) (string, error) {
	if key == nil {
		return "", s3err.GetAPIError(s3err.ErrNoSuchKey)
	}
	if id == nil {
		return "", s3err.GetNoSuchUploadErr("")
	}
	if parsed, err := uuid.Parse(*id); err != nil || parsed.String() != *id {
		return "", s3err.GetNoSuchUploadErr(*id)
	}
	return d.attrs.layout.upload(*bucket, *key, *id), nil
}
