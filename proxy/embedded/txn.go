package embedded

import (
	"bytes"
	"encoding/binary"

	"waxseal/proxy/s3"
)

// txn is a transaction with what the store means by the index. A read-only one has no writes.
type txn struct {
	tx
	store   *Store
	dropped bool // files wait to be unlinked
}

// bucket finds a bucket by its name.
func (t *txn) bucket(name string) (*bucket, error) {
	b, err := t.store.buckets.decode(name, t.get(bucketSpace, []byte(name)))
	if err == nil && b == nil {
		err = s3.NewError(s3.NoSuchBucket).With("BucketName", name)
	}
	return b, err
}

// same finds a bucket that a request has looked at before: one that was made anew since is another.
func (t *txn) same(b *bucket) (*bucket, error) {
	now, err := t.bucket(b.Name)
	if err == nil && now.ID != b.ID {
		err = s3.NewError(s3.NoSuchBucket).With("BucketName", b.Name)
	}
	return now, err
}

func (t *txn) object(s space, key []byte) (*object, error) {
	record := t.get(s, key)
	if record == nil {
		return nil, nil
	}
	return decodeObject(record)
}

// current is a key's object, nil if there is none or a delete marker hides it.
func (t *txn) current(b *bucket, key string) (*object, error) {
	return t.object(currentSpace, objectKey(b.ID, key))
}

// noncurrent is the newest version of a key besides its current object, or the delete marker on top.
func (t *txn) noncurrent(b *bucket, key string) (*object, error) {
	prefix := objectKey(b.ID, key)
	k, v := t.cursor(versionSpace).seek(prefix)
	if k == nil || !bytes.HasPrefix(k, prefix) {
		return nil, nil
	}
	return decodeObject(v)
}

// newest is a key's current object, or the delete marker that hides it.
func (t *txn) newest(b *bucket, key string) (*object, error) {
	o, err := t.current(b, key)
	if o != nil || err != nil || b.Versioning == "" {
		return o, err
	}
	return t.noncurrent(b, key)
}

// version finds a version or delete marker by its id, nil if there is none.
func (t *txn) version(b *bucket, key, id string) (*object, error) {
	current, err := t.current(b, key)
	if err != nil || current != nil && current.versionID() == id {
		return current, err
	}
	var seq uint64
	if id == "null" {
		at := t.get(nullSpace, objectKey(b.ID, key))
		if at == nil {
			return nil, nil
		}
		seq = idOf(at)
	} else {
		var ok bool
		if seq, _, ok = parseID(id); !ok {
			return nil, nil
		}
	}
	o, err := t.object(versionSpace, versionKey(b.ID, key, seq))
	if err != nil || o == nil || o.versionID() != id {
		return nil, err
	}
	return o, nil
}

// find finds the version to read, or says as S3 does why there is none.
func (t *txn) find(b *bucket, key, id string) (*object, error) {
	if id == "" {
		o, err := t.newest(b, key)
		switch {
		case err != nil:
			return nil, err
		case o == nil:
			return nil, s3.NewError(s3.NoSuchKey).With("Key", key)
		case o.marker:
			return nil, s3.NewError(s3.NoSuchKey).With("Key", key).
				WithHeader(s3.HeaderDeleteMarker, "true").WithHeader(s3.HeaderVersionID, o.versionID())
		}
		return o, nil
	}
	o, err := t.version(b, key, id)
	switch {
	case err != nil:
		return nil, err
	case o == nil && !plausibleID(id):
		return nil, s3.InvalidArgument("versionId", id, "Invalid version id specified")
	case o == nil:
		return nil, s3.NewError(s3.NoSuchVersion).With("Key", key).With("VersionId", id)
	case o.marker:
		return nil, s3.NewError(s3.MethodNotAllowed).With("Method", "GET").With("ResourceType", "DeleteMarker").
			WithHeader(s3.HeaderDeleteMarker, "true").WithHeader(s3.HeaderVersionID, id).WithHeader("Allow", "DELETE").
			WithHeader(s3.HeaderLastModified, s3.FormatHTTPTime(o.time()))
	}
	return o, nil
}

func plausibleID(id string) bool {
	_, _, ok := parseID(id)
	return ok || id == "null"
}

// put makes o the newest version of a key, as the bucket's versioning has it.
func (t *txn) put(b *bucket, key string, o *object) error {
	o.seq, o.salt = t.store.nextSeq(), randomID()
	o.modified = t.store.now().UnixMilli()
	o.null = b.Versioning != versioningEnabled
	at := objectKey(b.ID, key)
	current, err := t.object(currentSpace, at)
	if err != nil {
		return err
	}
	if o.null && b.Versioning != "" {
		if err := t.dropNull(b, key); err != nil {
			return err
		}
	}
	switch {
	case current == nil:
	case o.null && current.null:
		if err := t.drop(current); err != nil {
			return err
		}
	default:
		if err := t.putNoncurrent(b, key, current); err != nil {
			return err
		}
	}
	if !o.marker {
		return t.tx.put(currentSpace, at, o.encode())
	}
	if err := t.del(currentSpace, at); err != nil {
		return err
	}
	return t.putNoncurrent(b, key, o)
}

func (t *txn) putNoncurrent(b *bucket, key string, o *object) error {
	if o.null {
		if err := t.tx.put(nullSpace, objectKey(b.ID, key), idKey(o.seq)); err != nil {
			return err
		}
	}
	return t.tx.put(versionSpace, versionKey(b.ID, key, o.seq), o.encode())
}

// dropNull removes the noncurrent version with the id null.
func (t *txn) dropNull(b *bucket, key string) error {
	at := t.get(nullSpace, objectKey(b.ID, key))
	if at == nil {
		return nil
	}
	o, err := t.object(versionSpace, versionKey(b.ID, key, idOf(at)))
	if err != nil || o == nil {
		return err
	}
	return t.removeNoncurrent(b, key, o)
}

func (t *txn) removeNoncurrent(b *bucket, key string, o *object) error {
	if o.null {
		if err := t.del(nullSpace, objectKey(b.ID, key)); err != nil {
			return err
		}
	}
	if err := t.del(versionSpace, versionKey(b.ID, key, o.seq)); err != nil {
		return err
	}
	return t.drop(o)
}

// remove takes a version away for good. What was hidden by it becomes current.
func (t *txn) remove(b *bucket, key string, o *object) error {
	at := objectKey(b.ID, key)
	current, err := t.object(currentSpace, at)
	if err != nil {
		return err
	}
	if current == nil || current.seq != o.seq {
		if err := t.removeNoncurrent(b, key, o); err != nil || current != nil {
			return err
		}
		return t.promote(b, key)
	}
	if err := t.drop(current); err != nil {
		return err
	}
	if err := t.del(currentSpace, at); err != nil || b.Versioning == "" {
		return err
	}
	return t.promote(b, key)
}

// promote makes the newest version of a key current, if it is no delete marker.
func (t *txn) promote(b *bucket, key string) error {
	o, err := t.noncurrent(b, key)
	if err != nil || o == nil || o.marker {
		return err
	}
	if o.null {
		if err := t.del(nullSpace, objectKey(b.ID, key)); err != nil {
			return err
		}
	}
	if err := t.del(versionSpace, versionKey(b.ID, key, o.seq)); err != nil {
		return err
	}
	return t.tx.put(currentSpace, objectKey(b.ID, key), o.encode())
}

// rewrite stores a version whose facts were changed in place.
func (t *txn) rewrite(b *bucket, key string, o *object) error {
	current, err := t.current(b, key)
	if err != nil {
		return err
	}
	if current != nil && current.seq == o.seq {
		return t.tx.put(currentSpace, objectKey(b.ID, key), o.encode())
	}
	return t.tx.put(versionSpace, versionKey(b.ID, key, o.seq), o.encode())
}

// keep makes a body the index's.
func (t *txn) keep(body spooled) error {
	switch {
	case body.inline:
		return t.tx.put(inlineSpace, idKey(body.id), body.bytes)
	case body.id != 0:
		return t.tx.put(fileSpace, idKey(body.id), nil)
	}
	return nil
}

// drop gives up an object's bytes. Files go when nobody reads them any more.
func (t *txn) drop(o *object) error {
	if o.parts == 0 {
		return t.dropBody(o.body)
	}
	parts, err := t.layout(o)
	if err != nil {
		return err
	}
	for i := range parts {
		if err := t.dropBody(parts[i].body); err != nil {
			return err
		}
	}
	return t.del(layoutSpace, idKey(o.seq))
}

func (t *txn) dropBody(x extent) error {
	switch {
	case x.id == 0:
		return nil
	case x.inline:
		return t.del(inlineSpace, idKey(x.id))
	}
	t.dropped = true
	if err := t.del(fileSpace, idKey(x.id)); err != nil {
		return err
	}
	return t.tx.put(trashSpace, idKey(x.id), nil)
}

// layout reads the parts of an object.
func (t *txn) layout(o *object) ([]part, error) {
	record := t.get(layoutSpace, idKey(o.seq))
	if record == nil {
		return nil, errDamaged
	}
	return decodeLayout(record)
}

// Counters in the meta space.
var (
	formatKey = []byte("format")
	nextKey   = []byte("next") // ids and sequences below it may be in use
	lowKey    = []byte("low")  // files below it are the index's, or in the trash
)

// reservation is how many ids and sequences one write of the counters makes room for.
const reservation = 4096

func (t *txn) counter(key []byte) uint64 { return idOf(t.get(metaSpace, key)) }

func (t *txn) setCounter(key []byte, v uint64) error {
	return t.tx.put(metaSpace, key, binary.BigEndian.AppendUint64(nil, v))
}

// advance makes room for more ids, once the reserved ones are nearly used up, and notes below which id no file can be
// that a crash would leave without an entry.
func (t *txn) advance() error {
	next := t.store.ids.Load()
	if reserved := t.counter(nextKey); next+reservation/2 < reserved {
		return nil
	}
	if err := t.setCounter(lowKey, t.store.lowest(next)); err != nil {
		return err
	}
	return t.setCounter(nextKey, next+reservation)
}
