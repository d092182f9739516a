package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
)

// attributes stores metadata in extended attributes and syncs at the two moments that only the metadata store sees:
//
//   - The backend stages an object in a nameless or temporary file, sets its attributes and links it last. "etag" is
//     set exactly once on every staged file, after its last byte, so that is where the bytes are synced: a crash never
//     leaves a name whose bytes are missing. Older versions staged before it are made durable there too, since the link
//     that follows takes the current name away from them.
//   - A change of attributes by name (tags, retention, delete markers, bucket settings) is one step, synced at once.
type attributes struct {
	meta.XattrMeta
	layout layout
	sync   *syncer
}

var _ meta.MetadataStorer = attributes{}

func (a attributes) StoreAttribute(f *os.File, bucket, object, attribute string, value []byte) error {
	if attribute == attrMultipart {
		trimmed, err := withoutPartTable(value)
		if err != nil {
			return err
		}
		value = trimmed
	}
	if f != nil {
		return a.storeStaged(f, bucket, object, attribute, value)
	}
	if attribute == attrDeleteMarker {
		if err := a.syncOlderVersions(bucket, object); err != nil {
			return err
		}
	}
	if err := a.XattrMeta.StoreAttribute(nil, bucket, object, attribute, value); err != nil {
		return err
	}
	return a.syncNamed(bucket, object)
}

func (a attributes) storeStaged(f *os.File, bucket, object, attribute string, value []byte) error {
	if err := a.XattrMeta.StoreAttribute(f, bucket, object, attribute, value); err != nil {
		return err
	}
	if attribute != attrETag {
		return nil
	}
	if err := a.sync.handle(f); err != nil {
		return err
	}
	return a.syncOlderVersions(bucket, object)
}

func (a attributes) DeleteAttribute(bucket, object, attribute string) error {
	if err := a.XattrMeta.DeleteAttribute(bucket, object, attribute); err != nil {
		return err
	}
	return a.syncNamed(bucket, object)
}

// syncNamed makes a named object's or bucket's attributes durable. An upload's are synced once, when all are set.
func (a attributes) syncNamed(bucket, object string) error {
	if staging(object) {
		return nil
	}
	path := filepath.Join(bucket, object)
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.layout.data, path)
	}
	err := a.sync.path(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since: nothing to keep
	}
	return err
}

// syncOlderVersions makes the names of an object's noncurrent versions durable, if it has any.
func (a attributes) syncOlderVersions(bucket, object string) error {
	if filepath.IsAbs(bucket) || object == "" || staging(object) {
		return nil // itself a version, a bucket, or a part
	}
	dir := a.layout.olderVersions(bucket, object)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return a.sync.chain(dir, a.layout.versions)
}

// withoutPartTable drops the part sizes from the record that the backend keeps of a completed upload: waxseal's
// manifest answers for parts, and ext4 gives all attributes of a file 4 KiB together.
func withoutPartTable(value []byte) ([]byte, error) {
	record, err := backend.UnmarshalMpUploadMetadata(value, false)
	if err != nil {
		return nil, fmt.Errorf("read upload record: %w", err)
	}
	record.Parts = nil
	return backend.MarshalMpUploadMetadata(record, false)
}

// has is true when the file at path has the attribute.
func (a attributes) has(path, attribute string) (bool, error) {
	_, err := a.XattrMeta.RetrieveAttribute(nil, path, "", attribute)
	if errors.Is(err, meta.ErrNoSuchKey) {
		return false, nil
	}
	return err == nil, err
}

// text is an attribute's value, empty when the file has none.
func (a attributes) text(path, attribute string) (string, error) {
	v, err := a.XattrMeta.RetrieveAttribute(nil, path, "", attribute)
	if errors.Is(err, meta.ErrNoSuchKey) {
		return "", nil
	}
	return string(v), err
}

// uploadOf is the id of the multipart upload that made the object at path, empty when none did.
func (a attributes) uploadOf(path string) (string, error) {
	v, err := a.XattrMeta.RetrieveAttribute(nil, path, "", attrMultipart)
	if errors.Is(err, meta.ErrNoSuchKey) || errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	record, err := backend.UnmarshalMpUploadMetadata(v, false)
	return record.UploadID, err
}
