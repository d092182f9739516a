package proxy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// factsCache remembers what an object's end says, so that a warm read or listing asks the store once or not at all.
// It is a cache only: what it holds was authenticated when it was put in, and is sealed or public; losing it costs a
// request.
//
// A store keeps an ETag when it copies an object under another name or other metadata, so that the ETag alone names
// no facts: an entry belongs to one name, version, size and time, and is never used for another's.
type factsCache struct {
	secret [16]byte // of the process
	tails  *lru.Cache[factsKey, []byte]
	lists  *lru.Cache[factsKey, listFacts]
	// prefixes are those whose last listed page had hardly an object that was not in lists.
	prefixes *lru.Cache[factsKey, struct{}]
	told     atomic.Bool // the store has given an envelope in a listing
}

// factsKey is a keyed hash of what an entry belongs to: much smaller than that, and nobody who chooses names can make
// two of them meet.
type factsKey [16]byte

// key takes times to the second: Last-Modified knows no more. Version null is the only one in a bucket without
// versions, where the other answers name none.
func (f *factsCache) key(at objects.Place, version, etag string, size int64, modified time.Time) factsKey {
	if version == "null" {
		version = ""
	}
	var room [512]byte
	b := append(room[:0], f.secret[:]...)
	for _, s := range [...]string{at.Bucket, at.Key, version, etag} {
		b = objects.AppendString(b, s)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint64(b, uint64(modified.Unix()))
	sum := sha256.Sum256(b)
	return factsKey(sum[:16])
}

func (f *factsCache) keyOf(o *objects.Stored, version string) factsKey {
	return f.key(o.Place, version, o.ETag, o.BodySize, o.Modified)
}

// listFacts is what a listing shows of an object.
type listFacts struct {
	known    bool
	plain    bool  // stored without an envelope
	stable   bool  // known, and to be used without a look: see stableAge
	checksum uint8 // the checksum's algorithm, 0 where the envelope names none
	composed bool  // that checksum is composite
	size     int64
	etag     string       // as clients see it, in quotes; empty where it is the store's own
	envelope envelopeHash // what the facts were read from
}

// stableAge is how old an object must have been when it was looked at for its facts to be used again without a look
// at its envelope. One that is rewritten within the same second with the same bytes, as a change of its encryption may
// do, would have the same key and other facts.
const stableAge = 2 * time.Second

// stable compares two times of the store's own clock: that of the answer, and that of the object.
func stable(answer http.Header, modified time.Time) bool {
	date, ok := s3.ParseTime(answer.Get("Date"))
	return ok && date.Sub(modified) >= stableAge
}

type envelopeHash [16]byte

func hashEnvelope(text string) envelopeHash {
	sum := sha256.Sum256([]byte(text))
	return envelopeHash(sum[:16])
}

// listFactsOf returns the facts that a listing shows of the object o, whose envelope text came in answer.
func listFactsOf(o *objects.Object, text string, answer http.Header) listFacts {
	f := listFacts{known: true, plain: o.Envelope == nil, stable: stable(answer, o.Modified), size: o.Size, envelope: hashEnvelope(text)}
	if etag := o.VisibleETag(); etag != o.ETag {
		f.etag = s3.Quote(etag)
	}
	if o.Envelope != nil {
		f.checksum, f.composed = o.Envelope.ChecksumAlgorithm, o.Envelope.ChecksumComposite
	}
	return f
}

const (
	cachedTails = 20_000
	cachedLists = 200_000
	// cachedPrefixes is for programs that list many prefixes in turn, as those do that keep tables in partitions.
	cachedPrefixes = 50_000
	// cachedTail is what is kept of a manifest: enough for its facts and tag, not for a large table.
	cachedTail = sse.TailSize
)

func newFactsCache() *factsCache {
	tails, err := lru.New[factsKey, []byte](cachedTails)
	if err != nil {
		panic(err) // the sizes are positive constants
	}
	lists, err := lru.New[factsKey, listFacts](cachedLists)
	if err != nil {
		panic(err)
	}
	prefixes, err := lru.New[factsKey, struct{}](cachedPrefixes)
	if err != nil {
		panic(err)
	}
	f := &factsCache{tails: tails, lists: lists, prefixes: prefixes}
	rand.Read(f.secret[:])
	return f
}

// tail is the end of the object's manifest, nil when it is not known.
func (f *factsCache) tail(o *objects.Stored) []byte {
	tail, _ := f.tails.Get(f.keyOf(o, o.Version))
	return tail
}

func (f *factsCache) putTail(o *objects.Object) {
	tail := o.Tail
	if len(tail) > cachedTail {
		tail = tail[len(tail)-cachedTail:]
	}
	f.tails.Add(f.keyOf(&o.Stored, o.Version), append([]byte(nil), tail...))
}

// listed gives what is known of an object for a listing.
func (f *factsCache) listed(k factsKey) listFacts {
	l, _ := f.lists.Get(k)
	return l
}

func (f *factsCache) putListed(k factsKey, l listFacts) { f.lists.Add(k, l) }

// prefix names a bucket's prefix.
func (f *factsCache) prefix(bucket, prefix string) factsKey {
	return f.key(objects.Place{Bucket: bucket, Key: prefix}, "", "", 0, time.Time{})
}

func (f *factsCache) prefixKnown(prefix factsKey) bool { return f.prefixes.Contains(prefix) }

func (f *factsCache) setPrefixKnown(prefix factsKey, known bool) {
	if known {
		f.prefixes.Add(prefix, struct{}{})
	} else {
		f.prefixes.Remove(prefix)
	}
}

// saw takes in what a read has just shown of the object that a request for version (none: the current one) gets: it
// replaces whatever the cache believed.
func (f *factsCache) saw(o *objects.Object, version string) {
	f.putListed(f.keyOf(&o.Stored, version), listFactsOf(o, o.Header.Get(s3.HeaderEnvelope), o.Header))
}
