package embedded

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/versity/versitygw/backend/posix"
)

// Names of the attributes that versitygw's posix backend keeps with each object and bucket.
const (
	attrETag         = "etag"
	attrVersionID    = "version-id"
	attrDeleteMarker = "delete-marker"
	attrMultipart    = "mp-metadata"
	attrACL          = "acl"

	nullVersion = "null"
)

// layout knows where the backend puts things.
type layout struct {
	data     string // one directory per bucket, one file per object
	versions string // one directory per bucket, one directory per object with older versions, one file each
}

func (l layout) bucket(bucket string) string      { return filepath.Join(l.data, bucket) }
func (l layout) object(bucket, key string) string { return filepath.Join(l.data, bucket, key) }

// olderVersions is the directory of an object's noncurrent versions.
func (l layout) olderVersions(bucket, key string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(key)))
	return filepath.Join(l.versions, bucket, sum[:2], sum[2:4], sum[4:6], sum)
}

// uploads is the directory of all uploads in flight to an object.
func (l layout) uploads(bucket, key string) string {
	return filepath.Join(l.data, bucket, posix.MetaTmpMultipartDir, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
}

func (l layout) upload(bucket, key, id string) string {
	return filepath.Join(l.uploads(bucket, key), id)
}

// staging is true for what is not an object: parts and uploads in flight.
func staging(object string) bool {
	return object == posix.MetaTmpDir || strings.HasPrefix(object, posix.MetaTmpDir+"/")
}
