package proxytest

import (
	"net/http"
	"slices"

	"waxseal/proxy/embedded"
	"waxseal/proxy/s3"
)

// A Stored is an object in the store, with everything that an attacker on the store sees and can change.
type Stored = embedded.Stored

func (u *Upstream) tamper() embedded.Tamper { return embedded.Tamper{Store: u.engine()} }

// Object returns the current version of an object; false if there is none.
func (u *Upstream) Object(bucket, key string) (Stored, bool) {
	all := u.Versions(bucket, key)
	if len(all) == 0 || all[len(all)-1].DeleteMarker {
		return Stored{}, false
	}
	return all[len(all)-1], true
}

// Versions returns all versions and delete markers of an object, oldest first.
func (u *Upstream) Versions(bucket, key string) []Stored {
	all, err := u.tamper().Versions(bucket, key)
	must(err)
	slices.Reverse(all)
	return all
}

// Keys returns the sorted keys of a bucket with at least a version.
func (u *Upstream) Keys(bucket string) []string {
	keys, err := u.tamper().Keys(bucket)
	must(err)
	return keys
}

// Uploads counts the unfinished uploads of all buckets: neither completed nor aborted.
func (u *Upstream) Uploads() int {
	n, err := u.tamper().Uploads()
	must(err)
	return n
}

// PutObject stores an object directly in the store, past waxseal, as a new current version.
func (u *Upstream) PutObject(bucket, key string, body []byte, header http.Header) {
	h := http.Header{s3.HeaderContentType: {"binary/octet-stream"}}
	for name, values := range header {
		h[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	must(u.tamper().Put(bucket, key, Stored{Body: body, Header: h}))
}

// Mutate changes the current version of an object in place: body, headers, ETag, tags. Time, version and ETag stay
// unless change sets them, so that a cache has no reason to read again. It reports whether the object exists.
func (u *Upstream) Mutate(bucket, key string, change func(*Stored)) bool {
	there, err := u.tamper().Change(bucket, key, change)
	must(err)
	return there
}

// MutateParts changes the bytes of the parts of all unfinished uploads.
func (u *Upstream) MutateParts(change func(key string, number int, body []byte) []byte) {
	must(u.tamper().ChangeParts(change))
}

// Delete removes an object and all its versions directly from the store, past waxseal.
func (u *Upstream) Delete(bucket, key string) { must(u.tamper().Delete(bucket, key)) }

// Contains reports whether the bytes are anywhere in the store: in a body, a part of an unfinished upload, in metadata,
// tags or a bucket's documents. It is false for an empty needle.
func (u *Upstream) Contains(needle []byte) bool {
	found, err := u.tamper().Contains(needle)
	must(err)
	return found
}
