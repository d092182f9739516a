package proxy

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

const hdrSource = "x-amz-copy-source-"

// copying is an object on its way to another name, another mode or another key.
//
// Where both modes seal in the same number of layers, nothing but the data key is wrapped anew, and the store copies
// the ciphertext itself. Source and copy then share a data key: the threat model says what that means.
type copying struct {
	*call
	source   *stored
	from     *opened      // the source with its keys, once they were needed
	customer *customerKey // of an SSE-C source
	version  string       // of the source, where the request names one
	past     bool         // the request names a version that is not the current one
	to       sealTarget
	enc      *encryption
	header   http.Header // of the copy, without its envelope
	keepETag bool        // UpdateObjectEncryption and the operator's rewrap: the copy shows the source's ETag
	tags     tagCopy

	// What the copy came to.
	env      *sse.Envelope
	facts    *sse.Facts
	shown    string // its ETag; empty: the store's
	resp     http.Header
	storeTag string
	modified string
}

// copyObject copies an object. https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func (c *call) copyObject() error {
	for range 5 {
		err := c.copyOnce()
		if !errors.Is(err, errChanged) {
			return err
		}
		// Source and target are one, and somebody wrote it meanwhile: copy what it is now.
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

func (c *call) copyOnce() error {
	p, err := c.copySource()
	if err != nil {
		return err
	}
	p.keepETag = p.ordered(orderRewrap)
	if err := p.checkSize(p.source.size); err != nil && !p.keepETag {
		return err
	}
	if p.enc, err = c.encryptionFor(c); err != nil {
		return err
	}
	p.keepContext()
	if err := p.checkSelfCopy(); err != nil {
		return err
	}
	if p.replaces() && p.call.header("If-None-Match") == "*" {
		return errPrecondition("If-None-Match")
	}
	if err := p.targetHeaders(); err != nil {
		return err
	}
	if err := c.writeConditions(p.header); err != nil {
		return err
	}
	if err := p.run(); err != nil {
		return err
	}
	return p.answerCopy()
}

// copySource finds the source, and checks that the requester may read it and that it is what they expect.
func (c *call) copySource() (*copying, error) {
	src, err := s3.ParseCopySource(c.header("x-amz-copy-source"))
	if err != nil {
		return nil, err
	}
	if !plausibleBucket(src.Bucket) {
		return nil, errBucketName()
	}
	if err := c.s.checkKey(src.Key); err != nil {
		return nil, err
	}
	p := &copying{call: c, to: c.place()}
	if p.customer, err = c.customerKey(c, sourceCustomer); err != nil {
		return nil, err
	}
	action := "s3:GetObject"
	if src.VersionID != "" {
		action = "s3:GetObjectVersion"
	}
	if err := c.authorizeAction(action, src.Bucket, src.Key, noFields{}); err != nil {
		return nil, err
	}
	at := sealTarget{src.Bucket, src.Key}
	if p.source, err = c.lookupBy(c.readRequest(at, src.VersionID, ""), at, sse.TailSize); err != nil {
		return nil, err
	}
	if err := c.vouchWith(p.source, p.customer); err != nil {
		return nil, err
	}
	if err := p.nameVersion(src.VersionID); err != nil {
		return nil, err
	}
	if err := openable(p.source, p.customer); err != nil {
		return nil, err
	}
	if err := readCondition(c, hdrSource, p.source); err != nil {
		return nil, err
	}
	return p, nil
}

// nameVersion takes down which version the request names. A copy in place of another version than the current one
// replaces what it has not read; of the current one, by whichever name, it must not lose a write that comes between.
func (p *copying) nameVersion(version string) error {
	if version == "" {
		return nil
	}
	named := p.source.version
	p.version, p.source.version = version, version
	if !p.inPlace() || named == "" {
		return nil // a store that names no version of the object has but the current one
	}
	now, err := p.lookupBy(p.readRequest(p.to, "", ""), p.to, sse.TailSize)
	if err != nil && !isNotFound(err) {
		return err
	}
	p.past = err != nil || now.version != named && !(named == "null" && now.version == "")
	return nil
}

// replaces says whether what the copy overwrites is what it was made of.
func (p *copying) replaces() bool { return p.inPlace() && !p.past }

func (p *copying) checkSize(size int64) error {
	if size > maxPut {
		return s3.Errorf(s3.InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(maxPut))
	}
	return nil
}

// noFields are the parameters of a request that has none.
type noFields struct{}

func (noFields) header(string) string  { return "" }
func (noFields) hasHeader(string) bool { return false }

func (p *copying) inPlace() bool { return p.source.at == p.to }

func (p *copying) replacesMetadata() bool {
	return strings.EqualFold(p.call.header("x-amz-metadata-directive"), "REPLACE")
}

// checkSelfCopy refuses a copy onto itself that would change nothing.
func (p *copying) checkSelfCopy() error {
	if !p.inPlace() || p.version != "" {
		return nil
	}
	conf, err := p.s.buckets.get(p.up, p.to.bucket)
	if err != nil {
		return err
	}
	changes := p.replacesMetadata() || p.hasHeader(hdrSSE) || p.hasHeader(hdrSSEC+"algorithm") || p.customer != nil ||
		p.hasHeader("x-amz-storage-class") || p.hasHeader("x-amz-website-redirect-location") ||
		conf.Encryption != nil || p.source.env == nil || p.keepETag || p.ordered(orderReencrypt)
	if changes {
		return nil
	}
	return s3.Errorf(s3.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
}

// copiedHeaders are the system headers that belong to an object's metadata.
var copiedHeaders = []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

// targetHeaders makes the copy's headers: the source's metadata or the request's.
func (p *copying) targetHeaders() error {
	switch d := p.call.header("x-amz-metadata-directive"); strings.ToUpper(d) {
	case "", "COPY", "REPLACE":
	default:
		return s3.InvalidArgument("x-amz-metadata-directive", d, "Unknown metadata directive.")
	}
	p.header = p.storeHeader()
	if !p.replacesMetadata() {
		p.takeMetadata()
	}
	return p.tagDirective()
}

// takeMetadata puts the source's metadata in the place of the request's.
func (p *copying) takeMetadata() {
	for name := range p.header {
		if strings.HasPrefix(strings.ToLower(name), metaPrefix) {
			p.header.Del(name)
		}
	}
	for _, name := range copiedHeaders {
		p.header.Del(name)
		if v := p.source.header.Get(name); v != "" {
			p.header.Set(name, v)
		}
	}
	if enc := clientEncoding(p.source.header.Get("Content-Encoding")); enc != "" {
		p.header.Set("Content-Encoding", enc)
	} else {
		p.header.Del("Content-Encoding")
	}
	for name, values := range p.source.header {
		if l := strings.ToLower(name); strings.HasPrefix(l, metaPrefix) && l != envelopeHeader {
			p.header[name] = values
		}
	}
}

// tagCopy says where the copy's tags come from.
type tagCopy uint8

const (
	tagsOfSource  tagCopy = iota
	tagsOfRequest         // x-amz-tagging, or none
)

func (p *copying) tagDirective() error {
	switch d := p.call.header("x-amz-tagging-directive"); strings.ToUpper(d) {
	case "", "COPY":
		p.header.Del("x-amz-tagging")
	case "REPLACE":
		p.tags = tagsOfRequest
	default:
		return s3.InvalidArgument("x-amz-tagging-directive", d, "Unknown tagging directive.")
	}
	return nil
}

// run copies, by the cheapest way that is exact and safe.
func (p *copying) run() error {
	rewrap := p.rewrappable()
	if err := p.checkStore(rewrap); err != nil {
		return err
	}
	if !rewrap || !p.inPlace() && !p.s.capabilities().CopySourcePinned {
		// Unpinned, the store might copy another object than the one that was opened, under its envelope. In place the
		// condition on the target says the same.
		return p.reencrypt()
	}
	if err := p.rewrap(); err != nil {
		return err
	}
	if p.inPlace() || p.source.bodySize > maxPut || p.conditional() {
		// A store's CopyObject onto itself loses concurrent writes, has a size limit, and ignores conditions on its
		// target: attacks on earlier drafts of the design, B1.
		return p.copyByParts()
	}
	return p.copyByStore()
}

// checkStore refuses a change in place at a store that cannot compare and replace in one step: an acknowledged write
// that comes between would be lost.
func (p *copying) checkStore(rewrap bool) error {
	caps := p.s.capabilities()
	switch {
	case !p.inPlace():
	case rewrap && !caps.CompleteIfMatch:
		return s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour If-Match on CompleteMultipartUpload, without which an object cannot be changed in place safely")
	case !rewrap && !caps.PutIfMatch:
		return s3.Errorf(s3.NotImplemented, "The store behind waxseal does not honour If-Match on PutObject, without which an object cannot be changed in place safely")
	}
	return nil
}

func (p *copying) conditional() bool {
	return p.header.Get("If-Match") != "" || p.header.Get("If-None-Match") != ""
}

// rewrappable says whether the ciphertext can stay as it is.
func (p *copying) rewrappable() bool {
	src := p.source.env
	switch {
	case src == nil:
		return false // plaintext
	case p.ordered(orderReencrypt):
		return false
	case src.Mode.Double() != p.enc.mode.Double():
		return false // another number of layers
	case src.Mode.Double():
		return false // both layers need keys of their own
	case src.Compressed && p.enc.mode == sse.SSEC, src.Bodyless():
		return false
	case p.source.size == 0 && strings.HasSuffix(p.to.key, "/"):
		return false // a folder's marker has no body (see sendBodyless)
	}
	alg := p.call.header("x-amz-checksum-algorithm")
	return alg == "" || p.keepETag || p.hasChecksum(alg)
}

// hasChecksum says whether the source's checksum is already what the copy is to have: of that algorithm, and of the whole
// object, as that of a copy is.
func (p *copying) hasChecksum(alg string) bool {
	o, err := p.openSource()
	if err != nil || o.facts == nil || len(o.facts.Checksums) == 0 {
		return false
	}
	sum := o.facts.Checksums[0]
	return sum.Algorithm == checksumID(alg) && !sum.Composite
}

// openSource opens the source's data key, once.
func (p *copying) openSource() (*opened, error) {
	if p.from != nil {
		return p.from, nil
	}
	o, err := p.open(p.source, p.customer)
	if err != nil {
		return nil, changedError(err) // a manifest is fetched pinned
	}
	p.from = o
	return o, nil
}

// rewrap opens the source's data key and seals it under the copy's key-encryption key.
func (p *copying) rewrap() error {
	src, err := p.openSource()
	if err != nil {
		return err
	}
	old := p.source.env
	p.env = &sse.Envelope{
		Manifest: old.Manifest, Compressed: old.Compressed, Size: old.Size, Headers: old.Headers, HasHeaders: old.HasHeaders,
	}
	p.facts = src.facts
	tag := p.etagAfter(src)
	kek, err := p.newKEK(p.env, p.enc, p.to)
	if err != nil {
		return err
	}
	defer kek.Release()
	// The facts of an object with a manifest stay where they are.
	facts := src.facts
	if old.Manifest {
		facts, tag = nil, nil
	}
	text, err := p.sealEnvelope(p.env, src.keys, kek, p.to, facts, tag)
	if err != nil {
		return err
	}
	p.header.Set(envelopeHeader, text)
	return checkMetadata(p.header)
}

// etagAfter decides the copy's ETag. An SSE-S3 object shows the MD5 of its plaintext where it is known. Where it is
// not, or where a manifest that stays shows an MD5 that the new mode must not, the ETag gets a hyphen, which tells
// clients not to take it for an MD5.
func (p *copying) etagAfter(src *opened) *sse.Tag {
	md5Wanted := p.enc.mode == sse.SSES3 && !p.s.cfg.OpaqueETag
	switch {
	case p.keepETag:
		return p.keptETag(src)
	case src.tag.Kind == sse.TagParts:
		p.shown = src.tag.String()
		return &src.tag
	case md5Wanted && src.tag.Kind == sse.TagMD5:
		p.shown = src.tag.String()
		return &src.tag
	case md5Wanted && !src.env.Manifest && src.facts != nil && src.facts.HasMD5:
		t := &sse.Tag{Kind: sse.TagMD5, MD5: src.facts.MD5}
		p.shown = t.String()
		return t
	case md5Wanted, src.env.Manifest && src.tag.Kind == sse.TagMD5:
		p.env.VisibleETag = hyphenETag()
		p.shown = p.env.VisibleETag
	}
	return &sse.Tag{}
}

// keptETag keeps what the source shows, the store's own ETag included, which changes under it.
func (p *copying) keptETag(src *opened) *sse.Tag {
	p.shown = src.visibleETag()
	if src.tag.Kind == sse.TagNone || src.env.VisibleETag != "" {
		p.env.VisibleETag = p.shown
	}
	return &src.tag
}

func hyphenETag() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:]) + "-1"
}

// pin is the store's name of exactly the source that was looked at.
func (p *copying) pin(h http.Header) {
	src := s3.CopySource{Bucket: p.source.at.bucket, Key: p.source.at.key, VersionID: p.version}
	h.Set("X-Amz-Copy-Source", src.String())
	h.Set("X-Amz-Copy-Source-If-Match", quote(p.source.etag))
	if v := p.call.header(hdrSourceOwner); v != "" {
		h.Set(hdrSourceOwner, v)
	}
}

// copyByStore is one CopyObject at the store, to another name.
func (p *copying) copyByStore() error {
	h := p.header.Clone()
	p.pin(h)
	h.Set("X-Amz-Metadata-Directive", "REPLACE")
	if p.tags == tagsOfRequest {
		h.Set("X-Amz-Tagging-Directive", "REPLACE")
	}
	resp, err := p.send(&storeRequest{method: http.MethodPut, bucket: p.to.bucket, key: p.to.key, header: h})
	if err != nil {
		return err
	}
	var doc s3.CopyObjectResult
	if err := p.storeResult(resp, &doc); err != nil {
		return changedError(err) // the pin is the only condition
	}
	p.resp, p.storeTag, p.modified = resp.Header, s3.Unquote(doc.ETag), doc.LastModified
	return nil
}

// storeResult reads a document of the store. A long operation's error comes with status 200.
func (c *call) storeResult(resp *http.Response, doc any) error {
	if resp.StatusCode != http.StatusOK {
		return upstreamFailure(resp)
	}
	body, err := readDocument(resp)
	if err != nil {
		return err
	}
	if e := s3.ParseError(http.StatusInternalServerError, body); e.Code != "" {
		e.HTTPStatus = 0
		return &storeAnswer{cause: e, header: resp.Header}
	}
	return s3.DecodeReply(bytes.NewReader(body), maxStoreDocument, doc)
}

// targetChanged tells what a write's condition on its target means: in place it is the pin of what was copied, which
// was written meanwhile.
func (p *copying) targetChanged(err error) error {
	if p.conditional() && !p.inPlace() {
		return err // it is the client's own
	}
	return changedError(err)
}

// reencrypt reads the source and writes it anew: for plaintext, for DSSE-KMS, and for a checksum that must be
// computed. It is pinned to the source, and in place to what it replaces.
func (p *copying) reencrypt() error {
	if err := checkPut(p.source.size, layersOf(p.enc.mode)); err != nil {
		return err
	}
	body, err := p.plaintext()
	if err != nil {
		return err
	}
	defer body.Close()
	want := &declared{}
	if want.algorithm, err = p.checksumOfCopy(); err != nil {
		return err
	}
	if p.tags == tagsOfSource {
		if err := p.takeTagsOfData(); err != nil {
			return err
		}
	}
	if p.replaces() && !p.conditional() {
		p.header.Set("If-Match", quote(p.source.etag))
	}
	w := &write{call: p.call, at: p.to, enc: p.enc, header: p.header, body: body, size: p.source.size, want: want}
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
		id := checksumID(alg)
		if id == 0 {
			return 0, s3.InvalidArgument("x-amz-checksum-algorithm", alg, "Checksum algorithm provided is unsupported.")
		}
		return id, nil
	}
	if p.from != nil && p.from.facts != nil && len(p.from.facts.Checksums) > 0 {
		return p.from.facts.Checksums[0].Algorithm, nil
	}
	return sse.CRC64NVME, nil
}

// plaintext is the source's plaintext, pinned to the version that was looked at.
func (p *copying) plaintext() (io.ReadCloser, error) {
	return p.plaintextOf(0, p.source.size)
}

// findModified asks for the LastModified of what a PUT has just written: PUT does not tell. The copy is there, whatever
// becomes of the question: without an answer it is as old as this request.
func (p *copying) findModified() {
	p.modified = s3.FormatTime(p.s.cfg.Now().UTC())
	r := p.readRequest(p.to, p.resp.Get("X-Amz-Version-Id"), "")
	r.own = r.query != "" // of the version that this request has made
	o, err := p.lookupBy(r, p.to, sse.TailSize)
	if err != nil {
		p.s.log.Warn("a copy could not be looked at", "id", p.id, "bucket", p.to.bucket, "key", p.to.key, "err", err)
		return
	}
	p.modified = s3.FormatTime(o.modified)
}

// answerCopy tells the client what the copy came to.
func (p *copying) answerCopy() error {
	p.copyHeaders(without(p.resp, "Content-Type", "Last-Modified"))
	if p.source.version != "" {
		p.res.Header.Set("x-amz-copy-source-version-id", p.source.version)
	}
	p.showEncryption(p.env, p.enc.customer)
	doc := s3.CopyObjectResult{LastModified: p.modified, ETag: quote(p.shownETag())}
	if p.facts != nil {
		for _, sum := range p.facts.Checksums {
			*doc.Field(checksumName(sum.Algorithm)) = checksumText(sum, p.source.tag.Parts)
			doc.ChecksumType = checksumType(sum)
		}
	}
	return p.answerXML(http.StatusOK, doc)
}

func (p *copying) shownETag() string {
	if p.shown != "" {
		return p.shown
	}
	return p.storeTag
}

func without(h http.Header, names ...string) http.Header {
	out := h.Clone()
	for _, n := range names {
		out.Del(n)
	}
	return out
}
