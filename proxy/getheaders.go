package proxy

import (
	"strconv"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// headers sets what an answer says of the object.
func (f *fetch) headers(p *objects.Opened, off, n int64) {
	f.describeTo(p.Object, p.Manifest)
	f.showEncryption(p.Envelope, f.customer)
	if f.sums {
		f.showReadChecksums(p, n)
	}
	if f.partial(n) {
		f.res.Header.Set("Content-Range", s3.ContentRange(off, n, f.Size))
	}
}

// showReadChecksums shows the whole object's checksums for a read of all n bytes of it, and a part's own for a read of
// that part.
func (f *fetch) showReadChecksums(p *objects.Opened, n int64) {
	switch {
	case f.ranged && n < f.Size:
	case f.part > 0 && p.Manifest != nil && len(p.Manifest.Parts) == 1 && p.Facts != nil && !isComposite(p.Facts):
		f.showChecksums(p.Facts.Checksums, p.Tag.Parts)
	case f.part > 0 && p.Manifest != nil:
		if part := p.Manifest.Parts[f.part-1]; part.Checksum != nil && (isComposite(p.Facts) || f.s.cfg.CompatCeph) {
			f.showChecksums([]sse.Checksum{{Algorithm: p.Manifest.ChecksumAlgorithm, Value: part.Checksum, Composite: isComposite(p.Facts)}}, 0)
		}
	case p.Facts != nil:
		f.showChecksums(p.Facts.Checksums, p.Tag.Parts)
	}
}

func isComposite(f *sse.Facts) bool {
	return f != nil && len(f.Checksums) > 0 && f.Checksums[0].Composite
}

// describeTo sets the headers that GET and HEAD have in common.
func (c *call) describeTo(o *objects.Object, m *sse.Manifest) {
	c.copyHeaders(o.Header)
	h := &c.res.Header
	h.Set("Etag", s3.Quote(o.VisibleETag()))
	h.Set("Accept-Ranges", "bytes")
	if o.Envelope == nil {
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
