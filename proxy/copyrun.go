package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// run copies, by the cheapest way that is exact and safe.
func (p *copying) run() error {
	rewrap := p.rewrappable()
	if err := p.checkStore(rewrap); err != nil {
		return err
	}
	if !rewrap || !p.inPlace() && !p.s.up.Capabilities().CopySourcePinned {
		// Unpinned, the store might copy another object than the one that was opened, under its envelope. In place the
		// condition on the target says the same.
		return p.reencrypt()
	}
	if err := p.rewrap(); err != nil {
		return err
	}
	if p.inPlace() || p.source.BodySize > maxPut || p.conditional() {
		// A store's CopyObject onto itself loses concurrent writes, has a size limit, and ignores conditions on its
		// target: attacks on earlier drafts of the design, B1.
		return p.copyByParts()
	}
	return p.copyByStore()
}

// checkStore refuses a change in place at a store that cannot compare and replace in one step: an acknowledged write
// that comes between would be lost.
func (p *copying) checkStore(rewrap bool) error {
	caps := p.s.up.Capabilities()
	switch {
	case !p.inPlace():
	case rewrap && !caps.CompleteIfMatch:
		return s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour If-Match on CompleteMultipartUpload, without which an object cannot be changed in place safely")
	case !rewrap && !caps.PutIfMatch:
		return s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour If-Match on PutObject, without which an object cannot be changed in place safely")
	}
	return nil
}

// rewrappable says whether the ciphertext can stay as it is.
func (p *copying) rewrappable() bool {
	src := p.source.Envelope
	switch {
	case src == nil:
		return false // plaintext
	case p.ordered(s3.OrderReencrypt):
		return false
	case src.Mode.Double() != p.enc.Mode.Double():
		return false // another number of layers
	case src.Mode.Double():
		return false // both layers need keys of their own
	case src.Compressed && p.enc.Mode == sse.SSEC, src.Bodyless():
		return false
	case p.replaces() && !p.keepETag && p.source.BodySize <= s3.MinPartSize+1:
		// In place, the store's ETag must change, because it fences writes with If-Match: that of other clients, and of
		// other replicas. A body that cannot be cut in two would give the same one (see firstPart). Sealed anew it differs.
		return false
	case p.source.Size == 0 && strings.HasSuffix(p.to.Key, "/"):
		return false // a folder's marker has no body (see sendBodyless)
	}
	alg := p.call.header("x-amz-checksum-algorithm")
	return alg == "" || p.keepETag || p.hasChecksum(alg)
}

// hasChecksum says whether the source's checksum is already what the copy is to have: of that algorithm, and of the whole
// object, as that of a copy is.
func (p *copying) hasChecksum(alg string) bool {
	o, err := p.openSource()
	if err != nil || o.Facts == nil || len(o.Facts.Checksums) == 0 {
		return false
	}
	sum := o.Facts.Checksums[0]
	return sum.Algorithm == s3.ChecksumID(alg) && !sum.Composite
}

// rewrap opens the source's data key and seals it under the copy's key-encryption key.
func (p *copying) rewrap() error {
	src, err := p.openSource()
	if err != nil {
		return err
	}
	old := p.source.Envelope
	p.env = &sse.Envelope{
		Manifest: old.Manifest, Compressed: old.Compressed, Size: old.Size, Headers: old.Headers, HasHeaders: old.HasHeaders,
	}
	p.facts = src.Facts
	tag := p.etagAfter(src)
	kek, err := p.NewKEK(p.env, p.enc, p.to)
	if err != nil {
		return err
	}
	defer kek.Release()
	// The facts of an object with a manifest stay where they are.
	facts := src.Facts
	if old.Manifest {
		p.env.NameChecksum(facts)
		facts, tag = nil, nil
	}
	s := &objects.Sealing{Envelope: p.env, Keys: src.Keys, KEK: kek, Size: p.source.Size}
	defer s.Keys.Zero()
	text, err := p.SealEnvelope(s, p.to, objects.KnownFacts{Facts: facts, Tag: tag})
	if err != nil {
		return err
	}
	p.header.Set(s3.HeaderEnvelope, text)
	return s3.CheckMetadata(p.header)
}

// etagAfter decides the copy's ETag. An SSE-S3 object shows the MD5 of its plaintext where it is known. Where it is
// not, or where a manifest that stays shows an MD5 that the new mode must not, the ETag gets a hyphen, which tells
// clients not to take it for an MD5.
func (p *copying) etagAfter(src *objects.Opened) *sse.Tag {
	md5Wanted := p.enc.Mode == sse.SSES3 && !p.s.cfg.OpaqueETag
	switch {
	case p.keepETag:
		return p.keptETag(src)
	case src.Tag.Kind == sse.TagParts:
		p.shown = src.Tag.String()
		return &src.Tag
	case md5Wanted && src.Tag.Kind == sse.TagMD5:
		p.shown = src.Tag.String()
		return &src.Tag
	case md5Wanted && !src.Envelope.Manifest && src.Facts != nil && src.Facts.HasMD5:
		t := &sse.Tag{Kind: sse.TagMD5, MD5: src.Facts.MD5}
		p.shown = t.String()
		return t
	case md5Wanted, src.Envelope.Manifest && src.Tag.Kind == sse.TagMD5:
		p.env.VisibleETag = hyphenETag()
		p.shown = p.env.VisibleETag
	}
	return &sse.Tag{}
}

// keptETag keeps what the source shows, the store's own ETag included, which changes under it.
func (p *copying) keptETag(src *objects.Opened) *sse.Tag {
	p.shown = src.VisibleETag()
	if src.Tag.Kind == sse.TagNone || src.Envelope.VisibleETag != "" {
		p.env.VisibleETag = p.shown
	}
	return &src.Tag
}

func hyphenETag() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:]) + "-1"
}

// copyByStore is one CopyObject at the store, to another name.
func (p *copying) copyByStore() error {
	h := p.header.Clone()
	p.pin(h)
	h.Set("X-Amz-Metadata-Directive", "REPLACE")
	if p.tags == tagsOfRequest {
		h.Set("X-Amz-Tagging-Directive", "REPLACE")
	}
	resp, err := p.Send(&store.Request{Method: http.MethodPut, Bucket: p.to.Bucket, Key: p.to.Key, Header: h})
	if err != nil {
		return err
	}
	var doc s3.CopyObjectResult
	if err := store.Result(resp, &doc); err != nil {
		return objects.ChangedError(err) // the pin is the only condition
	}
	p.resp, p.storeTag, p.modified = resp.Header, s3.Unquote(doc.ETag), doc.LastModified
	return nil
}

// reencrypt reads the source and writes it anew: for plaintext, for DSSE-KMS, and for a checksum that must be
// computed. It is pinned to the source, and in place to what it replaces.
func (p *copying) reencrypt() error {
	if err := checkPut(p.source.Size, layersOf(p.enc.Mode)); err != nil {
		return err
	}
	body, err := p.plaintext()
	if err != nil {
		return err
	}
	defer body.Close()
	want := &s3.Declared{}
	if want.Algorithm, err = p.checksumOfCopy(); err != nil {
		return err
	}
	if p.tags == tagsOfSource {
		if err := p.takeTagsOfData(); err != nil {
			return err
		}
	}
	if p.replaces() && !p.conditional() {
		p.header.Set("If-Match", s3.Quote(p.source.ETag))
	}
	w := &write{call: p.call, at: p.to, enc: p.enc, header: p.header, body: body, size: p.source.Size, want: want}
	var done *written
	err = p.inTurn(func() (err error) {
		done, err = w.send()
		return err
	})
	if err != nil {
		return p.targetChanged(err)
	}
	p.env, p.facts, p.resp, p.storeTag = done.env, &done.facts, done.resp.Header, done.etag
	p.findModified()
	return nil
}

// checksumOfCopy is the algorithm that the request names, else the source's.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func (p *copying) checksumOfCopy() (uint8, error) {
	if alg := p.call.header("x-amz-checksum-algorithm"); alg != "" {
		id := s3.ChecksumID(alg)
		if id == 0 {
			return 0, s3.UnsupportedChecksum()
		}
		return id, nil
	}
	if p.from != nil && p.from.Facts != nil && len(p.from.Facts.Checksums) > 0 {
		return p.from.Facts.Checksums[0].Algorithm, nil
	}
	return sse.CRC64NVME, nil
}

// plaintext is the source's plaintext, pinned to the version that was looked at.
func (p *copying) plaintext() (io.ReadCloser, error) {
	return p.plaintextOf(0, p.source.Size)
}
