package proxy

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// factsCache remembers what an object's end says, so that a warm read or listing asks the store once or not at all.
// It is a cache only: what it holds was authenticated when it was put in, and is sealed or public; losing it costs a
// request.
//
// A store keeps an ETag when it copies an object under another name or other metadata, so that the ETag alone names
// no facts: an entry belongs to one name, version, size and time (attacks on earlier drafts of the design: A5).
type factsCache struct {
	entries *lru.Cache[factsKey, factsEntry]
}

type factsKey struct {
	bucket, key, version, etag string
	size                       int64
	modified                   time.Time
}

type factsEntry struct {
	tail []byte // the manifest's end
	list listFacts
}

// listFacts is what a listing shows of an object.
type listFacts struct {
	known bool
	plain bool // stored without an envelope
	size  int64
	etag  string // as clients see it, without quotes
}

const factsCacheEntries = 200_000

func newFactsCache(n int) *factsCache {
	c, err := lru.New[factsKey, factsEntry](n)
	if err != nil {
		panic(err) // n is a positive constant
	}
	return &factsCache{entries: c}
}

func (o *stored) factsKey() factsKey {
	return factsKey{o.at.bucket, o.at.key, o.version, o.etag, o.bodySize, o.modified.Truncate(time.Second)}
}

// cachedTail bounds what is kept of one object.
const cachedTail = 1024

func (f *factsCache) tail(o *stored) []byte {
	e, _ := f.entries.Get(o.factsKey())
	return e.tail
}

func (f *factsCache) putTail(o *stored) {
	tail := o.tail
	if len(tail) > cachedTail {
		tail = tail[len(tail)-cachedTail:]
	}
	e, _ := f.entries.Peek(o.factsKey())
	e.tail = append([]byte(nil), tail...)
	e.list = listFacts{known: true, size: o.size, etag: o.visibleETag()}
	f.entries.Add(o.factsKey(), e)
}

// listed gives what is known of an object for a listing.
func (f *factsCache) listed(k factsKey) listFacts {
	e, _ := f.entries.Get(k)
	return e.list
}

func (f *factsCache) putListed(o *stored) {
	e, _ := f.entries.Peek(o.factsKey())
	e.list = listFacts{known: true, plain: o.env == nil, size: o.size, etag: o.visibleETag()}
	f.entries.Add(o.factsKey(), e)
}
