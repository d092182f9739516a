package proxy

import (
	"errors"
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// listObjects answers ListObjects, ListObjectsV2 and ListObjectVersions: the store's own page, with each object's
// size and ETag turned into the plaintext's. Order, markers, prefixes and owners pass untouched.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (c *call) listObjects() error {
	for try := 1; ; try++ {
		l, err := c.listing()
		if err != nil {
			return err
		}
		if err := l.lookAll(); err != nil {
			return err
		}
		if l.allGone() && try < 3 {
			// A truncated page without a key would leave clients of ListObjects nothing to go on from.
			continue
		}
		c.copyHeaders(l.answer)
		body := l.page.Append
		if c.query.Get("encoding-type") == "url" && !l.page.Encoded() {
			body = l.page.AppendEncoded
		}
		doc, err := c.wrapPageTokens(body(nil))
		if err == nil {
			c.answer(http.StatusOK, "application/xml", doc)
		}
		return err
	}
}

// listing gets the page and fills in what can be without a look at the objects.
//
// A page with metadata costs MinIO three to four times as much as one without, and tells nothing where the cache knows
// the objects: it is asked for where the last page of the prefix had more objects that were not known than are looked
// up at once, and once more where a page without turns out to have.
func (c *call) listing() (*listing, error) {
	extended, prefix := c.route.name != "ListObjects", c.s.facts.prefix(c.bucket, c.query.Get("prefix"))
	metadata := c.wantsMetadata() || extended && !c.s.facts.prefixKnown(prefix)
	for {
		resp, page, err := c.listPage(metadata)
		if err != nil {
			return nil, err
		}
		l := &listing{call: c, page: page, answer: resp.Header, metadata: c.wantsMetadata()}
		l.fill()
		many := l.misses > looksPerList
		if extended && (many || l.misses < len(page.Entries)) { // one strange object says nothing of the others
			c.s.facts.setPrefixKnown(prefix, !many)
		}
		if metadata || !many || !extended || !c.s.facts.told.Load() {
			return l, nil
		}
		metadata = true
	}
}

// listPage gets the page that the client asked for, with the client's own rights at the store.
func (c *call) listPage(metadata bool) (*http.Response, *s3.Listing, error) {
	q := c.storeQuery()
	if metadata {
		q += "&" + metadataParam + "=true"
	}
	resp, err := c.Send(&store.Request{Method: http.MethodGet, Bucket: c.bucket, Query: q, Header: c.storeHeader()})
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, store.Failure(resp)
	}
	doc, err := store.ReadDocument(resp)
	if err != nil {
		return nil, nil, err
	}
	page, err := s3.ParseListing(doc)
	if err != nil {
		return nil, nil, errors.Join(store.ErrUnreachable, err)
	}
	return resp, page, nil
}

// metadataParam is MinIO's extension of ListObjectsV2 and ListObjectVersions: with it a listing has each object's
// metadata, and most objects' facts with them. Other stores pass over it.
const metadataParam = "metadata"

// wantsMetadata says whether the client itself asked for it.
func (c *parsed) wantsMetadata() bool {
	return c.route.name != "ListObjects" && c.query.Get(metadataParam) == "true"
}

// fill turns the entries' facts into the plaintext's, from what is at hand; those for which that is not enough are cold.
func (l *listing) fill() {
	for i := range l.page.Entries {
		e := &l.page.Entries[i]
		text := envelopeOf(e)
		if text != "" {
			l.s.facts.told.Store(true)
		}
		l.hide(e)
		if e.Kind != s3.KindDeleteMarker && !l.warm(e, text) {
			l.cold = append(l.cold, e)
		}
	}
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
		if strings.EqualFold(f.Name, s3.HeaderEnvelope) {
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
			f.Value = s3.ClientEncoding(f.Value)
		} else if !returned(name) {
			continue
		}
		kept = append(kept, f)
	}
	e.UserMetadata = kept
}

// warm fills an entry without a request to the store, if that can be.
func (l *listing) warm(e *s3.ListEntry, text string) bool {
	key := l.factsKeyOf(e)
	f := l.s.facts.listed(key)
	if !f.stable {
		l.misses++
	}
	switch {
	case text == "" && f.stable:
	case text == "":
		return false
	case f.known && f.envelope == hashEnvelope(text):
		if !f.stable && stable(l.answer, modifiedOf(e)) {
			f.stable = true
			l.s.facts.putListed(key, f)
		}
	default:
		found, err := l.ReadEnvelope(objects.Stored{Place: l.placeOf(e), ETag: s3.Unquote(e.ETag), BodySize: e.Size, Modified: modifiedOf(e)}, text)
		if err != nil || found.EndsInManifest() {
			return false // a look at the object itself has the last word
		}
		o, ok := found.Verified()
		if !ok {
			return false
		}
		f = listFactsOf(o, text, l.answer)
		l.s.facts.putListed(key, f)
	}
	show(e, f)
	return true
}
