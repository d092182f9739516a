package proxy

import (
	"errors"
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// copyObject copies an object. https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func (c *call) copyObject() error {
	if err := c.copyRequest(); err != nil {
		return err
	}
	for range 5 {
		err := c.copyOnce()
		if !errors.Is(err, objects.ErrChanged) {
			return err
		}
		// Source and target are one, and somebody wrote it meanwhile: copy what it is now.
	}
	return s3.NewError(s3.ConditionalRequestConflict)
}

// copyRequest refuses what a copy cannot do whatever its source is; S3 does so before it looks at the source.
func (c *parsed) copyRequest() error {
	for _, kind := range []string{"metadata", "tagging"} {
		header := "x-amz-" + kind + "-directive"
		switch d := c.header(header); strings.ToUpper(d) {
		case "", "COPY", "REPLACE":
		default:
			return s3.InvalidArgument(header, d, "Unknown "+kind+" directive.")
		}
	}
	if alg := c.header("x-amz-checksum-algorithm"); alg != "" && s3.ChecksumID(alg) == 0 {
		return s3.UnsupportedChecksum()
	}
	return nil
}

func (c *call) copyOnce() error {
	p, err := c.copySource()
	if err != nil {
		return err
	}
	p.keepETag = p.ordered(s3.OrderRewrap)
	if err := p.checkSize(p.source.Size); err != nil && !p.keepETag {
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
	p.targetHeaders()
	if err := c.writeConditions(p.header); err != nil {
		return err
	}
	if err := p.mayTakeTags(); err != nil {
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
		return nil, s3.InvalidArgument("x-amz-copy-source", c.header("x-amz-copy-source"), "Invalid copy source bucket name")
	}
	if err := c.s.refuseOwn(src.Bucket); err != nil {
		return nil, err
	}
	if err := c.s.checkKey(src.Key); err != nil {
		return nil, err
	}
	if src.VersionID != "" && !plausibleIdentifier(src.VersionID) {
		return nil, errVersionID(src.VersionID)
	}
	p := &copying{call: c, to: c.place()}
	if p.customer, err = c.customerKey(c, sourceCustomer); err != nil {
		return nil, err
	}
	if err := c.authorizeAction("s3:GetObject", src.Bucket, src.Key, noFields{src.VersionID}); err != nil {
		return nil, err
	}
	at := objects.Place{Bucket: src.Bucket, Key: src.Key}
	found, err := c.LookupBy(c.ReadRequest(at, src.VersionID, ""), at, sse.TailSize)
	if err != nil {
		return nil, sourceError(err)
	}
	if p.source, err = c.Verify(found, p.customer); err != nil {
		return nil, err
	}
	if err := p.nameVersion(src.VersionID); err != nil {
		return nil, err
	}
	if err := objects.Openable(p.source, p.customer); err != nil {
		return nil, err
	}
	if err := c.readCondition(hdrSource, p.source); err != nil {
		return nil, err
	}
	return p, nil
}

// checkSelfCopy refuses a copy onto itself that would change nothing.
func (p *copying) checkSelfCopy() error {
	if !p.inPlace() || p.version != "" {
		return nil
	}
	conf, err := p.s.buckets.get(p.Up, p.to.Bucket)
	if err != nil {
		return err
	}
	changes := p.replacesMetadata() || p.hasHeader(hdrSSE) || p.hasHeader(hdrSSEC+"algorithm") || p.customer != nil ||
		p.hasHeader("x-amz-storage-class") || p.hasHeader("x-amz-website-redirect-location") ||
		conf.Encryption != nil || p.source.Envelope == nil || p.source.Envelope.Mode != sse.SSES3 || p.keepETag || p.ordered(s3.OrderReencrypt)
	if changes {
		return nil
	}
	return s3.Errorf(s3.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
}

// copiedHeaders are the system headers that belong to an object's metadata.
var copiedHeaders = []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

// targetHeaders makes the copy's headers: the source's metadata or the request's.
func (p *copying) targetHeaders() {
	p.header = p.storeHeader()
	if !p.replacesMetadata() {
		p.takeMetadata()
	}
	if strings.EqualFold(p.call.header("x-amz-tagging-directive"), "REPLACE") {
		p.tags = tagsOfRequest
	} else {
		p.header.Del("x-amz-tagging")
	}
}

// takeMetadata puts the source's metadata in the place of the request's.
func (p *copying) takeMetadata() {
	for name := range p.header {
		if strings.HasPrefix(strings.ToLower(name), s3.MetaPrefix) {
			p.header.Del(name)
		}
	}
	for _, name := range copiedHeaders {
		p.header.Del(name)
		if v := p.source.Header.Get(name); v != "" {
			p.header.Set(name, v)
		}
	}
	if enc := s3.ClientEncoding(p.source.Header.Get("Content-Encoding")); enc != "" {
		p.header.Set("Content-Encoding", enc)
	} else {
		p.header.Del("Content-Encoding")
	}
	for name, values := range p.source.Header {
		if l := strings.ToLower(name); strings.HasPrefix(l, s3.MetaPrefix) && l != s3.HeaderEnvelope {
			p.header[name] = values
		}
	}
}

// sourceError is S3's error for a copy's source that is a delete marker, named by its version.
func sourceError(err error) error {
	if errors.Is(err, s3.NewError(s3.MethodNotAllowed)) {
		return s3.Errorf(s3.InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id.")
	}
	return err
}

// findModified asks for the LastModified of what a PUT has just written: PUT does not tell. The copy is there, whatever
// becomes of the question: without an answer it is as old as this request.
func (p *copying) findModified() {
	p.modified = s3.FormatTime(p.s.cfg.Now().UTC())
	r := p.ReadRequest(p.to, p.resp.Get("X-Amz-Version-Id"), "")
	r.Own = r.Query != "" // of the version that this request has made
	o, err := p.LookupBy(r, p.to, sse.TailSize)
	if err != nil {
		p.s.log.Warn("a copy could not be looked at", "id", p.id, "bucket", p.to.Bucket, "key", p.to.Key, "err", err)
		return
	}
	p.modified = s3.FormatTime(o.Modified)
}

// answerCopy tells the client what the copy came to.
func (p *copying) answerCopy() error {
	p.copyHeaders(without(p.resp, "Content-Type", "Last-Modified"))
	if p.source.Version != "" {
		p.res.Header.Set("x-amz-copy-source-version-id", p.source.Version)
	}
	p.showEncryption(p.env, p.enc.Customer)
	doc := s3.CopyObjectResult{LastModified: p.modified, ETag: s3.Quote(p.shownETag())}
	if p.facts != nil {
		for _, sum := range p.facts.Checksums {
			*doc.Field(s3.ChecksumName(sum.Algorithm)) = s3.ChecksumText(sum, p.source.Tag.Parts)
			doc.ChecksumType = s3.ChecksumType(sum)
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

// keepContext leaves the client's encryption context as it is where the operator orders an object to be sealed anew.
func (p *copying) keepContext() {
	kms := p.enc.Mode == sse.SSEKMS || p.enc.Mode == sse.DSSEKMS
	if (p.ordered(s3.OrderRewrap) || p.ordered(s3.OrderReencrypt)) && kms && p.enc.Context == nil && p.source.Envelope != nil {
		p.enc.Context = p.source.Envelope.Context
	}
}
