package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

func (d *durable) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	out, err := d.remove(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.settleRemoved(*in.Bucket, *in.Key)
}

// DeleteObjects deletes one after the other and makes a directory durable once, however many objects it lost.
func (d *durable) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	var result s3response.DeleteResult
	dirs := make(map[string]string) // directory -> a key in it
	for _, obj := range in.Delete.Objects {
		if obj.Key == nil {
			return result, s3err.GetAPIError(s3err.ErrMalformedXML)
		}
		dir := filepath.Dir(d.attrs.layout.object(*in.Bucket, *obj.Key))
		if older := d.attrs.layout.olderVersions(*in.Bucket, *obj.Key); exists(older) {
			dir = older
		}
		out, err := d.remove(ctx, &s3.DeleteObjectInput{Bucket: in.Bucket, Key: obj.Key, VersionId: obj.VersionId})
		if err != nil {
			result.Error = append(result.Error, s3err.ObjectDeleteError(obj.Key, obj.VersionId, err))
			continue
		}
		result.Deleted = append(result.Deleted, deleted(obj, out))
		dirs[dir] = *obj.Key
	}
	for _, key := range dirs {
		if err := d.settleRemoved(*in.Bucket, key); err != nil {
			return s3response.DeleteResult{}, err
		}
	}
	return result, nil
}

func deleted(obj types.ObjectIdentifier, out *s3.DeleteObjectOutput) types.DeletedObject {
	entry := types.DeletedObject{Key: obj.Key, VersionId: obj.VersionId, DeleteMarker: out.DeleteMarker}
	if out.DeleteMarker != nil && *out.DeleteMarker {
		entry.DeleteMarkerVersionId = out.VersionId
	}
	return entry
}

// remove deletes an object, a version, or puts a delete marker, one change of the name at a time.
func (d *durable) remove(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	c, err := d.begin(*in.Bucket, *in.Key)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if version := backend.GetStringFromPtr(in.VersionId); version != "" && version == c.previous {
		out, err := d.removeCurrentVersion(c, in)
		if out != nil || err != nil {
			return out, err
		}
	}
	out, err := d.Posix.DeleteObject(ctx, in)
	if err != nil {
		return out, err
	}
	return out, c.keepPreviousTime()
}

// removeCurrentVersion replaces the current version by the one before it, in one step. (The backend removes the
// first and then copies the second: a crash between leaves the older versions without a name.) It leaves a current
// version with none before it to the backend.
func (d *durable) removeCurrentVersion(c *commit, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	layout := d.attrs.layout
	dir := layout.olderVersions(c.bucket, c.key)
	older, err := newest(dir)
	if older == "" || err != nil {
		return nil, err
	}
	path := layout.object(c.bucket, c.key)
	marker, err := d.mayRemove(path, in)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(older, path); err != nil {
		return nil, err
	}
	if err := removeEmpty(dir, filepath.Join(layout.versions, c.bucket)); err != nil {
		return nil, err
	}
	return &s3.DeleteObjectOutput{DeleteMarker: &marker, VersionId: in.VersionId}, nil
}

// mayRemove checks a delete's conditions and says whether what goes is a delete marker.
func (d *durable) mayRemove(path string, in *s3.DeleteObjectInput) (marker bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	etag, err := d.attrs.text(path, attrETag)
	if err != nil {
		return false, err
	}
	err = backend.EvaluateObjectDeletePreconditions(etag, info.ModTime(), info.Size(), backend.ObjectDeletePreconditions{
		IfMatch:            in.IfMatch,
		IfMatchLastModTime: in.IfMatchLastModifiedTime,
		IfMatchSize:        in.IfMatchSize,
	})
	if err != nil {
		return false, err
	}
	return d.attrs.has(path, attrDeleteMarker)
}

// newest is the path of the version written last, empty when there is none. (By time: "null" sorts after every id.)
func newest(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var best fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return "", err
		}
		if best == nil || !info.ModTime().Before(best.ModTime()) {
			best = info
		}
	}
	if best == nil {
		return "", nil
	}
	return filepath.Join(dir, best.Name()), nil
}

// removeEmpty removes dir and the directories above it below top, as far as they are empty.
func removeEmpty(dir, top string) error {
	for dir != top && strings.HasPrefix(dir, top) {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			return err
		}
		if err := os.Remove(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

// settleRemoved makes a removal durable, among the current objects and among the older versions.
func (d *durable) settleRemoved(bucket, key string) error {
	layout := d.attrs.layout
	if err := d.attrs.sync.chain(filepath.Dir(layout.object(bucket, key)), layout.bucket(bucket)); err != nil {
		return err
	}
	if !exists(filepath.Join(layout.versions, bucket)) {
		return nil
	}
	return d.attrs.sync.chain(layout.olderVersions(bucket, key), filepath.Join(layout.versions, bucket))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
