package proxytest

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"waxseal/proxy/s3"
)

// A Stored is an object as the store holds it: what an attacker on the store sees and can change.
type Stored struct {
	Key, VersionID string
	DeleteMarker   bool
	Body           []byte
	ETag           string // without quotes
	Header         http.Header
	Tags           []s3.Tag
	PartSizes      []int64 // nil unless it came by a multipart upload
}

// Object gives the current version of an object; false if there is none.
func (u *Upstream) Object(bucket, key string) (Stored, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.buckets[bucket]
	if b == nil || b.current(key) == nil {
		return Stored{}, false
	}
	return b.current(key).stored(), true
}

// Versions gives all versions and delete markers of an object, oldest first.
func (u *Upstream) Versions(bucket, key string) []Stored {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []Stored
	if b := u.buckets[bucket]; b != nil {
		for _, v := range b.keys[key] {
			all = append(all, v.stored())
		}
	}
	return all
}

// Keys gives the keys of a bucket that have any version, sorted.
func (u *Upstream) Keys(bucket string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b := u.buckets[bucket]; b != nil {
		return sortedKeys(b.keys)
	}
	return nil
}

// Uploads counts the uploads that were begun and neither completed nor aborted, in all buckets.
func (u *Upstream) Uploads() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, b := range u.buckets {
		n += len(b.uploads)
	}
	return n
}

func (v *version) stored() Stored {
	s := Stored{Key: v.key, VersionID: v.id, DeleteMarker: v.marker, Body: slices.Clone(v.body), ETag: v.etag, Header: v.header.Clone(), Tags: slices.Clone(v.tags)}
	for _, p := range v.parts {
		s.PartSizes = append(s.PartSizes, p.size)
	}
	return s
}

// PutObject stores an object directly, behind everyone's back, as a new current version.
func (u *Upstream) PutObject(bucket, key string, body []byte, header http.Header) {
	u.mu.Lock()
	defer u.mu.Unlock()
	h := http.Header{s3.HeaderContentType: {"binary/octet-stream"}}
	for name, values := range header {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	body = slices.Clone(body)
	u.put(u.buckets[bucket], &version{key: key, body: body, etag: md5Hex(body), header: h})
}

// Mutate changes the current version of an object in place: body, headers, ETag, tags. Time, version and
// ETag stay what they were unless change sets them, so that no cache has a reason to look again. It reports
// whether there was an object.
func (u *Upstream) Mutate(bucket, key string, change func(*Stored)) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.buckets[bucket]
	if b == nil || b.current(key) == nil {
		return false
	}
	v := b.current(key)
	s := v.stored()
	change(&s)
	if !bytes.Equal(s.Body, v.body) {
		v.checksum = checksum{} // the store must not find out
	}
	v.body, v.header, v.etag, v.tags = s.Body, s.Header, s.ETag, s.Tags
	return true
}

// MutateParts changes the bytes of the parts of all uploads that are still open.
func (u *Upstream) MutateParts(change func(key string, number int, body []byte) []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, b := range u.buckets {
		for _, up := range b.uploads {
			for n, p := range up.parts {
				p.body = change(up.key, n, slices.Clone(p.body))
				p.size = int64(len(p.body))
				up.parts[n] = p
			}
		}
	}
}

// Delete removes an object and all its versions, behind everyone's back.
func (u *Upstream) Delete(bucket, key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b := u.buckets[bucket]; b != nil {
		delete(b.keys, key)
	}
}

// Contains reports whether the bytes are anywhere in the store: in a body, a part of an open upload, in
// metadata, tags or a bucket's documents. An empty needle is never there.
func (u *Upstream) Contains(needle []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, b := range u.buckets {
		if len(needle) > 0 && b.contains(needle) {
			return true
		}
	}
	return false
}

func (b *bucket) contains(needle []byte) bool {
	for _, document := range b.documents {
		if bytes.Contains(document, needle) {
			return true
		}
	}
	for _, versions := range b.keys {
		if slices.ContainsFunc(versions, func(v *version) bool {
			return bytes.Contains(v.body, needle) || metadataContains(v.header, v.tags, needle)
		}) {
			return true
		}
	}
	for _, up := range b.uploads {
		if metadataContains(up.header, up.tags, needle) {
			return true
		}
		for _, p := range up.parts {
			if bytes.Contains(p.body, needle) {
				return true
			}
		}
	}
	return false
}

func metadataContains(h http.Header, tags []s3.Tag, needle []byte) bool {
	text := string(needle)
	return headerContains(h, text) || slices.ContainsFunc(tags, func(t s3.Tag) bool {
		return strings.Contains(t.Key, text) || strings.Contains(t.Value, text)
	})
}
