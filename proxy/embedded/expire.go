package embedded

import (
	"bytes"
	"context"
	"errors"
	"time"

	"waxseal/proxy/s3"
)

// keysAtOnce bounds the keys, and so the time, of a transaction during a walk over a bucket.
const keysAtOnce = 1000

// ending is the target of a lifecycle rule: a current object, a version, or an upload.
type ending struct {
	key, id string
	seq     uint64
	upload  bool
	current bool
}

// Expire carries the lifecycle rules of all buckets out, as they stand now. The store does so every hour.
func (s *Store) Expire(ctx context.Context) error {
	var names []string
	err := s.view(func(t *txn) error {
		c := t.cursor(bucketSpace)
		for k, v := c.seek(nil); k != nil; k, v = c.next() {
			b, err := s.buckets.decode(string(k), v)
			if err != nil {
				return err
			}
			if b.rules.lifecycle != nil {
				names = append(names, b.Name)
			}
		}
		return nil
	})
	for _, name := range names {
		err = errors.Join(err, s.expireBucket(ctx, name))
	}
	return err
}

func (s *Store) expireBucket(ctx context.Context, name string) error {
	for _, find := range []func(*txn, *bucket, []byte) ([]ending, []byte, error){(*txn).endingObjects, (*txn).endingUploads} {
		for at := []byte{}; at != nil; {
			var endings []ending
			err := s.view(func(t *txn) error {
				b, err := t.bucket(name)
				if err != nil || b.rules.lifecycle == nil {
					at = nil
					return err
				}
				endings, at, err = find(t, b, at)
				return err
			})
			if errors.Is(err, s3.NewError(s3.NoSuchBucket)) {
				return nil
			}
			if err == nil && len(endings) > 0 {
				err = s.commit(ctx, func(t *txn) error { return t.end(name, endings) })
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// end carries endings out, as far as nothing has changed since they were found.
func (t *txn) end(name string, endings []ending) error {
	b, err := t.bucket(name)
	if err != nil {
		return err
	}
	for _, e := range endings {
		err := t.endOne(b, e)
		var refused *s3.Error
		if err != nil && !errors.As(err, &refused) { // what is locked stays
			return err
		}
	}
	return nil
}

func (t *txn) endOne(b *bucket, e ending) error {
	if e.upload {
		o, err := t.object(uploadSpace, uploadKey(b.ID, e.key, e.seq))
		if err != nil || o == nil {
			return err
		}
		return t.dropUpload(b, e.key, &upload{*o}, nil)
	}
	if !e.current {
		_, err := t.delete(b, deletion{key: e.key, id: e.id})
		return err
	}
	o, err := t.current(b, e.key)
	if err != nil || o == nil || o.seq != e.seq {
		return err
	}
	_, err = t.delete(b, deletion{key: e.key})
	return err
}

// endingObjects finds the objects and versions that rules end now, from an index key on, and says where to go on.
func (t *txn) endingObjects(b *bucket, at []byte) (endings []ending, next []byte, err error) {
	w := &versionWalk{current: t.cursor(currentSpace), older: t.cursor(versionSpace)}
	now := t.store.now()
	index, ok := w.seek(append(idKey(b.ID), bytes.TrimPrefix(at, idKey(b.ID))...))
	for n := 0; ok && bytes.HasPrefix(index, idKey(b.ID)); n++ {
		if n == keysAtOnce {
			return endings, bytes.Clone(index), nil
		}
		key, _ := keyOf(index)
		var versions []*object
		if err := w.each(func(o *object) bool { versions = append(versions, o); return true }); err != nil {
			return nil, nil, err
		}
		endings = append(endings, b.endings(key, versions, now)...)
		index, ok = w.next()
	}
	return endings, nil, nil
}

// endings are the versions of one key, newest first, that rules end.
func (b *bucket) endings(key string, versions []*object, now time.Time) (endings []ending) {
	newest := versions[0]
	if at, _ := b.expiresBy(key, newest); !newest.marker && !at.IsZero() && !now.Before(at) {
		endings = append(endings, ending{key: key, seq: newest.seq, current: true})
	}
	if newest.marker && len(versions) == 1 && b.endsMarker(key, newest, now) {
		endings = append(endings, ending{key: key, id: newest.versionID()})
	}
	for i := 1; i < len(versions); i++ {
		// A version is noncurrent since the one after it was written.
		if b.endsNoncurrent(key, versions[i], versions[i-1].time(), i-1, now) {
			endings = append(endings, ending{key: key, id: versions[i].versionID()})
		}
	}
	return endings
}

// endsMarker reports whether a rule removes a delete marker that hides nothing any more.
func (b *bucket) endsMarker(key string, marker *object, now time.Time) bool {
	for i := range b.rules.lifecycle.Rules {
		r := &b.rules.lifecycle.Rules[i]
		if r.Status != "Enabled" || r.Expiration == nil || !filterOf(r).covers(key, marker) {
			continue
		}
		if e := r.Expiration.ExpiredObjectDeleteMarker; e != nil && *e {
			return true
		}
		if at, ok := expires(r.Expiration, marker); ok && !now.Before(at) {
			return true
		}
	}
	return false
}

// endsNoncurrent reports whether a rule ends a noncurrent version that newer noncurrent ones stand before.
func (b *bucket) endsNoncurrent(key string, o *object, since time.Time, newer int, now time.Time) bool {
	for i := range b.rules.lifecycle.Rules {
		r := &b.rules.lifecycle.Rules[i]
		n := r.NoncurrentVersionExpiration
		if r.Status != "Enabled" || n == nil || !filterOf(r).covers(key, o) {
			continue
		}
		if n.NewerNoncurrentVersions != nil && newer < *n.NewerNoncurrentVersions {
			continue
		}
		if !now.Before(endOf(since, *n.NoncurrentDays)) {
			return true
		}
	}
	return false
}

// endingUploads finds the uploads that rules abort now.
func (t *txn) endingUploads(b *bucket, at []byte) (endings []ending, next []byte, err error) {
	c := t.cursor(uploadSpace)
	now := t.store.now()
	k, v := c.seek(append(idKey(b.ID), bytes.TrimPrefix(at, idKey(b.ID))...))
	for n := 0; bytes.HasPrefix(k, idKey(b.ID)); n++ {
		if n == keysAtOnce {
			return endings, bytes.Clone(k), nil
		}
		o, err := decodeObject(v)
		if err != nil {
			return nil, nil, err
		}
		if key, _ := keyOf(k); b.endsUpload(key, o, now) {
			endings = append(endings, ending{key: key, seq: o.seq, upload: true})
		}
		k, v = c.next()
	}
	return endings, nil, nil
}

func (b *bucket) endsUpload(key string, o *object, now time.Time) bool {
	for i := range b.rules.lifecycle.Rules {
		r := &b.rules.lifecycle.Rules[i]
		a := r.AbortIncompleteMultipartUpload
		if r.Status == "Enabled" && a != nil && filterOf(r).covers(key, o) && !now.Before(endOf(o.time(), *a.DaysAfterInitiation)) {
			return true
		}
	}
	return false
}
