package proxy

import (
	"net/http"
	"sync"
	"time"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// listing is one page on its way to the client.
type listing struct {
	*call
	page      *s3.Listing
	answer    http.Header // that the page came with
	metadata  bool        // the client gets MinIO's metadata
	misses    int         // entries that the cache alone could not fill
	cold      []*s3.ListEntry
	verifying sync.Mutex
}

func (l *listing) placeOf(e *s3.ListEntry) objects.Place {
	return objects.Place{Bucket: l.bucket, Key: e.Key}
}

func (l *listing) factsKeyOf(e *s3.ListEntry) factsKey {
	return l.s.facts.key(l.placeOf(e), e.VersionID, s3.Unquote(e.ETag), e.Size, modifiedOf(e))
}

func modifiedOf(e *s3.ListEntry) time.Time {
	t, _ := time.Parse(time.RFC3339, e.LastModified)
	return t
}

// show puts an object's facts into its entry. An envelope from before envelopes named their checksum shows none: a list
// opens no data key.
func show(e *s3.ListEntry, f listFacts) {
	e.Size = f.size
	if f.etag != "" && s3.Unquote(e.ETag) != s3.Unquote(f.etag) {
		e.ETag = f.etag
	}
	if f.plain {
		return
	}
	e.ChecksumAlgorithm, e.ChecksumType = nil, ""
	if f.checksum != 0 {
		e.ChecksumAlgorithm, e.ChecksumType = checksumNames[f.checksum], s3.ChecksumType(sse.Checksum{Composite: f.composed})
	}
}

// checksumNames has each algorithm's name as lists have it. The entries of a page share it.
var checksumNames = func() map[uint8][]string {
	m := make(map[uint8][]string)
	for _, k := range s3.Algorithms {
		m[k.ID] = []string{k.Name}
	}
	return m
}()
