package proxytest

import (
	"net/http"
	"slices"
	"sort"
	"time"

	"waxseal/proxy/s3"
)

// bucket is guarded by Upstream.mu, like all that hangs on it. Bodies are never changed once they are stored,
// so they may be read without it.
type bucket struct {
	name       string
	created    time.Time
	versioning string                // "", Enabled or Suspended
	keys       map[string][]*version // oldest first
	uploads    map[string]*upload
	completed  map[string]*completed
	documents  map[string][]byte // policy, lifecycle, cors, ... as they came
}

// version is a version of an object, or a delete marker.
type version struct {
	key, id   string
	marker    bool
	body      []byte
	etag      string // without quotes
	modified  time.Time
	header    http.Header // what the client set and gets back: content type, x-amz-meta-*, ...
	tags      []s3.Tag
	checksum  checksum
	parts     []part            // nil unless it was a multipart upload
	documents map[string][]byte // acl, retention, legal-hold
}

type checksum struct {
	algorithm, value, kind string // value as in the header; kind FULL_OBJECT or COMPOSITE
}

type part struct {
	number   int
	etag     string
	body     []byte
	size     int64
	checksum checksum
	modified time.Time
}

type upload struct {
	id, key   string
	initiated time.Time
	header    http.Header
	tags      []s3.Tag
	checksum  checksum // algorithm and kind
	parts     map[int]part
}

// completed remembers a finished upload, for a client that did not hear the answer.
type completed struct {
	key, etag, version string
	checksum           checksum
}

func newBucket(name string, now time.Time) *bucket {
	return &bucket{name: name, created: now, keys: map[string][]*version{}, uploads: map[string]*upload{},
		completed: map[string]*completed{}, documents: map[string][]byte{}}
}

// CreateBucket makes a bucket, if there is none of the name.
func (u *Upstream) CreateBucket(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.buckets[name] == nil {
		u.buckets[name] = newBucket(name, u.now())
	}
}

// SetVersioning sets a bucket's versioning to Enabled or Suspended.
func (u *Upstream) SetVersioning(name, status string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.buckets[name].versioning = status
}

// lookup gives the bucket; the caller holds mu.
func (u *Upstream) lookup(name string) (*bucket, error) {
	if b := u.buckets[name]; b != nil {
		return b, nil
	}
	return nil, s3.NewError(s3.NoSuchBucket).With("BucketName", name)
}

// current is the newest version of a key, nil if there is none or it is a delete marker.
func (b *bucket) current(key string) *version {
	if v := b.newest(key); v != nil && !v.marker {
		return v
	}
	return nil
}

func (b *bucket) newest(key string) *version {
	if all := b.keys[key]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// find gives a version to read, or S3's error for one that cannot be read.
func (b *bucket) find(key, id string) (*version, error) {
	if id != "" {
		i := slices.IndexFunc(b.keys[key], func(v *version) bool { return v.id == id })
		if i < 0 {
			return nil, s3.NewError(s3.NoSuchVersion).With("Key", key).With("VersionId", id)
		}
		v := b.keys[key][i]
		if v.marker {
			return nil, s3.NewError(s3.MethodNotAllowed).With("Method", "GET").With("ResourceType", "DeleteMarker").
				WithHeader(s3.HeaderDeleteMarker, "true").WithHeader(s3.HeaderVersionID, id).WithHeader("Allow", "DELETE").
				WithHeader(s3.HeaderLastModified, s3.FormatHTTPTime(v.modified))
		}
		return v, nil
	}
	v := b.newest(key)
	if v == nil {
		return nil, s3.NewError(s3.NoSuchKey).With("Key", key)
	}
	if v.marker {
		return nil, s3.NewError(s3.NoSuchKey).With("Key", key).
			WithHeader(s3.HeaderDeleteMarker, "true").WithHeader(s3.HeaderVersionID, v.id)
	}
	return v, nil
}

// put makes v the newest version of its key, as the bucket's versioning has it; the caller holds mu.
func (u *Upstream) put(b *bucket, v *version) {
	v.modified = u.now()
	if b.versioning == "Enabled" {
		v.id = u.id()
	} else {
		v.id = "null"
		b.remove(v.key, "null")
	}
	b.keys[v.key] = append(b.keys[v.key], v)
}

// remove takes a version away for good.
func (b *bucket) remove(key, id string) *version {
	all := b.keys[key]
	i := slices.IndexFunc(all, func(v *version) bool { return v.id == id })
	if i < 0 {
		return nil
	}
	v := all[i]
	if all = slices.Delete(slices.Clone(all), i, i+1); len(all) == 0 {
		delete(b.keys, key)
	} else {
		b.keys[key] = all
	}
	return v
}

// sortedKeys gives the keys in S3's order, that of their UTF-8 bytes.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// versionID is what x-amz-version-id says, which is nothing in a bucket that never had versions.
func (b *bucket) versionID(v *version) string {
	if b.versioning == "" {
		return ""
	}
	return v.id
}
