package proxy

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"waxseal/proxy/s3"
)

// listObjects answers ListObjects, ListObjectsV2 and ListObjectVersions: the store's own page, with each object's
// size and ETag turned into the plaintext's. Order, markers, prefixes and owners pass untouched.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (c *call) listObjects() error {
	for try := 1; ; try++ {
		resp, page, err := c.listPage()
		if err != nil {
			return err
		}
		l := &listing{call: c, page: page, answer: resp.Header, metadata: c.wantsMetadata()}
		if err := l.fill(); err != nil {
			return err
		}
		if l.allGone() && try < 3 {
			// A truncated page without a key would leave clients of ListObjects nothing to go on from.
			continue
		}
		c.copyHeaders(resp.Header)
		body := page.Append
		if c.query.get("encoding-type") == "url" && !page.Encoded() {
			body = page.AppendEncoded
		}
		c.answer(http.StatusOK, "application/xml", body(nil))
		return nil
	}
}

// listPage gets the page that the client asked for, with the client's own rights at the store.
func (c *call) listPage() (*http.Response, *s3.Listing, error) {
	resp, err := c.send(&storeRequest{
		method: http.MethodGet, bucket: c.bucket, query: c.listQuery(), header: c.storeHeader(),
	})
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, upstreamFailure(resp)
	}
	doc, err := readDocument(resp)
	if err != nil {
		return nil, nil, err
	}
	page, err := s3.ParseListing(doc)
	if err != nil {
		return nil, nil, errors.Join(errStoreUnreachable, err)
	}
	return resp, page, nil
}

// metadataParam is MinIO's extension of ListObjectsV2 and ListObjectVersions: with it a listing has each object's
// metadata, and most objects' facts with them. Other stores pass over it.
const metadataParam = "metadata"

func (c *call) listQuery() string {
	q := c.storeQuery()
	if c.route.name == "ListObjects" {
		return q
	}
	return q + "&" + metadataParam + "=true"
}

// wantsMetadata says whether the client itself asked for it.
func (c *call) wantsMetadata() bool {
	return c.route.name != "ListObjects" && c.query.get(metadataParam) == "true"
}

// listing is one page on its way to the client.
type listing struct {
	*call
	page     *s3.Listing
	answer   http.Header // that the page came with
	metadata bool        // the client gets MinIO's metadata
	cold     []*s3.ListEntry
	vouching sync.Mutex
}

// fill turns every entry's facts into the plaintext's, from what is at hand where that is enough.
func (l *listing) fill() error {
	for i := range l.page.Entries {
		e := &l.page.Entries[i]
		text := envelopeOf(e)
		l.hide(e)
		if e.Kind != s3.KindDeleteMarker && !l.warm(e, text) {
			l.cold = append(l.cold, e)
		}
	}
	return l.lookAll()
}

func (l *listing) allGone() bool {
	for i := range l.page.Entries {
		if !l.page.Entries[i].Drop {
			return false
		}
	}
	return len(l.page.Entries) > 0
}

// envelopeOf is the envelope in an entry's metadata. That there is none says nothing: MinIO leaves the metadata out
// for a requester who may not read the object.
func envelopeOf(e *s3.ListEntry) string {
	for _, f := range e.UserMetadata {
		if strings.EqualFold(f.Name, envelopeHeader) {
			return f.Value
		}
	}
	return ""
}

// hide takes out of an entry what only waxseal asked for, and what no client may see.
func (l *listing) hide(e *s3.ListEntry) {
	if !l.metadata {
		e.DropMetadata, e.DropInternal = true, true
		return
	}
	var kept []s3.Field
	for _, f := range e.UserMetadata {
		name := strings.ToLower(f.Name)
		if name == "content-encoding" {
			f.Value = clientEncoding(f.Value)
		} else if !returned(name) {
			continue
		}
		kept = append(kept, f)
	}
	e.UserMetadata = kept
}

// warm fills an entry without a request to the store, if that can be.
func (l *listing) warm(e *s3.ListEntry, text string) bool {
	key, f := l.factsKeyOf(e), listFacts{}
	known := l.s.facts.listed(key)
	switch {
	case text == "" && known.known && known.settled:
		f = known
	case text == "":
		return false
	case known.known && known.envelope == hashEnvelope(text):
		f = known
	default:
		o := &stored{at: l.placeOf(e), etag: s3.Unquote(e.ETag), bodySize: e.Size, modified: modifiedOf(e)}
		if err := l.readEnvelope(o, text); err != nil || o.env.Manifest || o.unvouched {
			return false // a look at the object itself has the last word
		}
		f = o.listFacts(text, l.answer)
		l.s.facts.putListed(key, f)
	}
	show(e, f)
	return true
}

func (l *listing) placeOf(e *s3.ListEntry) sealTarget { return sealTarget{l.bucket, e.Key} }

func (l *listing) factsKeyOf(e *s3.ListEntry) factsKey {
	return l.s.facts.key(l.placeOf(e), e.VersionID, s3.Unquote(e.ETag), e.Size, modifiedOf(e))
}

func modifiedOf(e *s3.ListEntry) time.Time {
	t, _ := time.Parse(time.RFC3339, e.LastModified)
	return t
}

// show puts an object's facts into its entry. Of its checksum nothing is known without its data key: the elements,
// which S3 has, are left out.
func show(e *s3.ListEntry, f listFacts) {
	e.Size = f.size
	if f.etag != "" && s3.Unquote(e.ETag) != s3.Unquote(f.etag) {
		e.ETag = f.etag
	}
	if !f.plain {
		e.ChecksumAlgorithm, e.ChecksumType = nil, ""
	}
}
