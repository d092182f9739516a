package proxy

import (
	"strconv"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// headers sets what an answer says of the object.
func (f *fetch) headers(p *opened, off, n int64) {
	f.describeTo(p.stored, p.manifest)
	f.showEncryption(p.env, f.customer)
	if f.sums {
		f.showReadChecksums(p, n)
	}
	if f.partial(n) {
		f.res.Header.Set("Content-Range", s3.ContentRange(off, n, f.size))
	}
}

// showReadChecksums shows the whole object's checksums for a read of all n bytes of it, and a part's own for a read of
// that part.
func (f *fetch) showReadChecksums(p *opened, n int64) {
	switch {
	case f.ranged && n < f.size:
	case f.part > 0 && p.manifest != nil && len(p.manifest.Parts) == 1 && p.facts != nil && !isComposite(p.facts):
		f.showChecksums(p.facts.Checksums, p.tag.Parts)
	case f.part > 0 && p.manifest != nil:
		if part := p.manifest.Parts[f.part-1]; part.Checksum != nil && (isComposite(p.facts) || f.s.cfg.CompatCeph) {
			f.showChecksums([]sse.Checksum{{Algorithm: p.manifest.ChecksumAlgorithm, Value: part.Checksum, Composite: isComposite(p.facts)}}, 0)
		}
	case p.facts != nil:
		f.showChecksums(p.facts.Checksums, p.tag.Parts)
	}
}

func isComposite(f *sse.Facts) bool {
	return f != nil && len(f.Checksums) > 0 && f.Checksums[0].Composite
}

// describeTo sets the headers that GET and HEAD have in common.
func (c *call) describeTo(o *stored, m *sse.Manifest) {
	c.copyHeaders(o.header)
	h := &c.res.Header
	h.Set("Etag", s3.Quote(o.visibleETag()))
	h.Set("Accept-Ranges", "bytes")
	if o.env == nil {
		h.Set(s3.HeaderPlaintext, "true")
	}
	if m != nil && c.query.Has("partNumber") {
		h.Set("x-amz-mp-parts-count", strconv.Itoa(len(m.Parts)))
	}
	c.hideFacts()
	c.overrideHeaders()
}

// shownTo are the headers that S3 shows of an object to requesters only who may read them by themselves.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_ResponseSyntax
var shownTo = []struct{ header, action string }{
	{"x-amz-tagging-count", "s3:GetObjectTagging"},
	{"x-amz-object-lock-mode", "s3:GetObjectRetention"},
	{"x-amz-object-lock-retain-until-date", "s3:GetObjectRetention"},
	{"x-amz-object-lock-legal-hold", "s3:GetObjectLegalHold"},
}

// hideFacts takes out of an answer what its requester may not read. Of requesters with credentials of their own at the
// store, the store has left out its share already.
func (c *call) hideFacts() {
	h := &c.res.Header
	for _, s := range shownTo {
		if len(h.Peek(s.header)) > 0 && c.authorizeAction(s.action, c.bucket, c.key, c) != nil {
			h.Del(s.header)
		}
	}
}
