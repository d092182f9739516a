package embedded

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"

	"waxseal/proxy/s3"
)

// Stored is a version as the store holds it: what whoever has the disk sees, and can change.
type Stored struct {
	Key, VersionID string
	DeleteMarker   bool
	Body           []byte
	ETag           string // without quotes
	Header         http.Header
	Tags           []s3.Tag
	PartSizes      []int64 // nil unless it came by a multipart upload
}

// Tamper is a store in the hands of an attacker, who goes past all rules. It is for tests of who relies on a store.
type Tamper struct{ *Store }

// Keys gives the keys of a bucket that have any version, in order.
func (a Tamper) Keys(name string) (keys []string, err error) {
	return keys, a.walk(name, func(_ *txn, key string, _ []*object) error {
		keys = append(keys, key)
		return nil
	})
}

// walk gives the keys of a bucket with their versions, newest first. A bucket that is not there has none.
func (a Tamper) walk(name string, fn func(*txn, string, []*object) error) error {
	err := a.view(func(t *txn) error {
		b, err := t.bucket(name)
		if err != nil {
			return err
		}
		w := &versionWalk{current: t.cursor(currentSpace), older: t.cursor(versionSpace)}
		for index, ok := w.seek(idKey(b.ID)); ok && bytes.HasPrefix(index, idKey(b.ID)); index, ok = w.next() {
			var versions []*object
			if err := w.each(func(o *object) bool { versions = append(versions, o); return true }); err != nil {
				return err
			}
			key, _ := keyOf(index)
			if err := fn(t, key, versions); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, s3.NewError(s3.NoSuchBucket)) {
		return nil
	}
	return err
}

// Versions gives the versions and delete markers of a key, newest first.
func (a Tamper) Versions(name, key string) (all []Stored, err error) {
	return all, a.walk(name, func(t *txn, at string, versions []*object) error {
		if at != key {
			return nil
		}
		for _, o := range versions {
			s, err := a.stored(t, key, o)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return nil
	})
}

func (a Tamper) stored(t *txn, key string, o *object) (Stored, error) {
	s := Stored{Key: key, VersionID: o.versionID(), DeleteMarker: o.marker, ETag: o.etag, Header: http.Header{}, Tags: slices.Clone(o.tags)}
	for _, f := range o.header {
		s.Header.Set(f.Name, f.Value)
	}
	extents := []extent{o.body}
	if o.parts > 0 {
		parts, err := t.layout(o)
		if err != nil {
			return s, err
		}
		extents = nil
		for i := range parts {
			extents = append(extents, parts[i].body)
			s.PartSizes = append(s.PartSizes, parts[i].size)
		}
	}
	for _, x := range extents {
		b, err := a.bytes(t, x)
		if err != nil {
			return s, err
		}
		s.Body = append(s.Body, b...)
	}
	return s, nil
}

func (a Tamper) bytes(t *txn, x extent) ([]byte, error) {
	switch {
	case x.id == 0:
		return nil, nil
	case x.inline:
		return t.get(inlineSpace, idKey(x.id)), nil
	}
	f, err := a.medium.open(x.id)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, x.size))
	return b, errors.Join(err, f.Close())
}

// Put stores a version as the current one, whatever it says of itself. An ETag that is missing is made.
func (a Tamper) Put(name, key string, s Stored) error {
	body, err := a.spool(bytes.NewReader(s.Body))
	if err != nil {
		return err
	}
	o := &object{body: body.extent, size: body.size, etag: s.ETag, tags: s.Tags}
	o.describe(s)
	err = a.commit(context.Background(), func(t *txn) error {
		b, err := t.bucket(name)
		if err == nil {
			err = t.keep(body)
		}
		if err != nil {
			return err
		}
		return t.put(b, key, o)
	}, body.extent)
	a.settle(body, err)
	return err
}

// describe gives an object what a Stored says of it.
func (o *object) describe(s Stored) {
	o.tags, o.header = s.Tags, nil
	for name, values := range s.Header {
		o.header = append(o.header, s3.Field{Name: http.CanonicalHeaderKey(name), Value: values[0]})
	}
	if o.etag = s.ETag; o.etag == "" {
		sum := md5.Sum(s.Body)
		o.etag = hex.EncodeToString(sum[:])
	}
}

// Change changes the current version of a key in place: its time and its version stay. It reports whether there was one.
// A checksum of a body that was changed goes: the store must not find out.
func (a Tamper) Change(name, key string, change func(*Stored)) (bool, error) {
	all, err := a.Versions(name, key)
	if err != nil || len(all) == 0 || all[0].DeleteMarker {
		return false, err
	}
	s := all[0]
	s.Body = slices.Clone(s.Body)
	before := slices.Clone(s.Body)
	change(&s)
	same := bytes.Equal(before, s.Body)
	body, err := a.spool(bytes.NewReader(s.Body))
	if err != nil {
		return false, err
	}
	err = a.commit(context.Background(), func(t *txn) error {
		b, err := t.bucket(name)
		if err != nil {
			return err
		}
		o, err := t.current(b, key)
		if err != nil || o == nil {
			return errors.Join(errDamaged, err)
		}
		if !same {
			if err := t.replaceBytes(o, body); err != nil {
				return err
			}
		}
		o.describe(s)
		return t.rewrite(b, key, o)
	}, body.extent)
	if same {
		a.discard(body)
	} else {
		a.settle(body, err)
	}
	return err == nil, err
}

// replaceBytes gives an object other bytes. The sizes of its parts stay what they were.
func (t *txn) replaceBytes(o *object, body spooled) error {
	if o.parts == 0 {
		if err := t.dropBody(o.body); err != nil {
			return err
		}
		o.body = body.extent
	} else {
		parts, err := t.layout(o)
		if err != nil {
			return err
		}
		for i := range parts {
			if err := t.dropBody(parts[i].body); err != nil {
				return err
			}
			parts[i].body = extent{}
		}
		parts[0].body = body.extent
		if err := t.tx.put(layoutSpace, idKey(o.seq), encodeLayout(parts)); err != nil {
			return err
		}
	}
	o.size, o.checksum = body.size, checksum{}
	return t.keep(body)
}

// ChangeParts changes the bytes of the parts of all uploads under way.
func (a Tamper) ChangeParts(change func(key string, number int, body []byte) []byte) error {
	return a.commit(context.Background(), func(t *txn) error {
		keys := map[uint64]string{}
		c := t.cursor(uploadSpace)
		for k, _ := c.seek(nil); k != nil; k, _ = c.next() {
			key, rest := keyOf(k)
			keys[idOf(rest)] = key
		}
		var parts []part
		var places [][]byte
		c = t.cursor(partSpace)
		for k, v := c.seek(nil); k != nil; k, v = c.next() {
			p, err := decodePart(v)
			if err != nil {
				return err
			}
			parts, places = append(parts, p), append(places, bytes.Clone(k))
		}
		for i, p := range parts {
			b, err := a.bytes(t, p.body)
			if err != nil {
				return err
			}
			b = change(keys[idOf(places[i])], p.number, slices.Clone(b))
			body := spooled{extent{a.nextSeq(), int64(len(b)), true}, b}
			if err := errors.Join(t.dropBody(p.body), t.keep(body)); err != nil {
				return err
			}
			p.body, p.size = body.extent, body.size
			if err := t.tx.put(partSpace, places[i], p.encode()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Delete removes all versions of a key, whatever locks they have.
func (a Tamper) Delete(name, key string) error {
	return a.commit(context.Background(), func(t *txn) error {
		b, err := t.bucket(name)
		if err != nil {
			return err
		}
		for {
			o, err := t.newest(b, key)
			if err != nil || o == nil {
				return err
			}
			if err := t.remove(b, key, o); err != nil {
				return err
			}
		}
	})
}

// Uploads counts the uploads under way, in all buckets.
func (a Tamper) Uploads() (n int, err error) {
	return n, a.view(func(t *txn) error {
		c := t.cursor(uploadSpace)
		for k, _ := c.seek(nil); k != nil; k, _ = c.next() {
			n++
		}
		return nil
	})
}

// Contains reports whether bytes are anywhere in the store: in a body, in metadata, tags or a bucket's documents. Names of
// objects do not count. An empty needle is never there.
func (a Tamper) Contains(needle []byte) (found bool, err error) {
	if len(needle) == 0 {
		return false, nil
	}
	return found, a.view(func(t *txn) error {
		for _, s := range []space{currentSpace, versionSpace, layoutSpace, uploadSpace, partSpace, inlineSpace} {
			c := t.cursor(s)
			for k, v := c.seek(nil); k != nil; k, v = c.next() {
				found = found || bytes.Contains(v, needle)
			}
		}
		c := t.cursor(bucketSpace)
		for k, v := c.seek(nil); k != nil; k, v = c.next() {
			b, err := a.buckets.decode(string(k), v)
			if err != nil {
				return err
			}
			for _, document := range b.Documents {
				found = found || bytes.Contains(document, needle)
			}
		}
		c = t.cursor(fileSpace)
		for k, _ := c.seek(nil); k != nil && !found; k, _ = c.next() {
			f, err := a.medium.open(idOf(k))
			if err != nil {
				return err
			}
			n, err := f.size()
			var b []byte
			if err == nil {
				b, err = io.ReadAll(io.NewSectionReader(f, 0, n))
			}
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			found = bytes.Contains(b, needle)
		}
		return nil
	})
}
