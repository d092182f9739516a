package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// attributes are those of an object that a GetObjectAttributes asks for.
type attributes struct {
	etag, checksum, parts, class, size bool
}

// attributesOf reads x-amz-object-attributes, also one that is sent in several headers.
func (c *parsed) attributesOf() (*attributes, error) {
	a, found := &attributes{}, false
	known := map[string]*bool{"ETag": &a.etag, "Checksum": &a.checksum, "ObjectParts": &a.parts, "StorageClass": &a.class, "ObjectSize": &a.size}
	for header, value := range c.headers() {
		if header != "x-amz-object-attributes" {
			continue
		}
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			wanted, ok := known[name]
			if !ok {
				return nil, s3.InvalidArgument("x-amz-object-attributes", value, "Invalid attribute name specified.")
			}
			*wanted, found = true, true
		}
	}
	if !found {
		return nil, s3.Errorf(s3.InvalidRequest, "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	return a, nil
}

// getObjectAttributes says of an object what was asked for: one request to the store, and the data key only for what
// is sealed under it, checksums and the parts.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
func (c *call) getObjectAttributes() error {
	want, err := c.attributesOf()
	if err != nil {
		return err
	}
	r, err := c.readOf()
	if err != nil {
		return err
	}
	return objects.WhileChanging(func() error { return c.attributesOnce(want, r) })
}

func (c *call) attributesOnce(want *attributes, r *read) error {
	o, err := c.lookup(c.place(), r.version, "")
	if err != nil {
		return err
	}
	c.s.facts.saw(o, r.version)
	if err := objects.Openable(o, r.customer); err != nil {
		return err
	}
	if err := c.readCondition("", o); err != nil {
		return err
	}
	p := &objects.Opened{Object: o}
	if o.Envelope != nil && (want.checksum || want.parts && !o.Envelope.HasHeaders || r.customer != nil) {
		if p, err = c.Open(o, r.customer); err != nil {
			return err
		}
	}
	c.attributeHeaders(o)
	return c.answerXML(http.StatusOK, c.describeAttributes(p, want))
}

// attributeHeaders are the few that S3 has here: none about encryption, none that belong to the object's body.
func (c *call) attributeHeaders(o *objects.Object) {
	h := &c.res.Header
	for _, name := range []string{s3.HeaderLastModified, s3.HeaderVersionID, s3.HeaderRequestCharged} {
		if v := o.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	if o.Envelope == nil {
		c.s.metrics.plaintextReads.Inc()
		h.Set(s3.HeaderPlaintext, "true")
	}
}

func (c *call) describeAttributes(p *objects.Opened, want *attributes) *s3.GetObjectAttributesResponse {
	doc := &s3.GetObjectAttributesResponse{}
	if want.etag {
		doc.ETag = p.VisibleETag()
	}
	if want.size {
		doc.ObjectSize = &p.Size
	}
	if want.class {
		if doc.StorageClass = p.Header.Get(s3.HeaderStorageClass); doc.StorageClass == "" {
			doc.StorageClass = "STANDARD" // S3 leaves the header out for it, but not the element
		}
	}
	if want.checksum && p.Facts != nil {
		doc.Checksum = c.attributeChecksum(p)
	}
	if want.parts && p.Manifest != nil && p.Manifest.UploadID != "" {
		doc.ObjectParts = c.attributeParts(p.Manifest, isComposite(p.Facts))
	}
	return doc
}

// attributeChecksum is the object's checksum. A composite one stands here without its number of parts, which only
// ceph/s3-tests has (test_get_multipart_checksum_object_attributes).
func (c *call) attributeChecksum(p *objects.Opened) *s3.AttributeChecksum {
	doc := &s3.AttributeChecksum{}
	for _, sum := range p.Facts.Checksums {
		parts := uint32(0)
		if c.s.cfg.CompatCeph {
			parts = p.Tag.Parts
		}
		setChecksum(&doc.Checksums, sum, parts)
		doc.ChecksumType = s3.ChecksumType(sum)
	}
	if doc.ChecksumType == "" {
		return nil
	}
	return doc
}

func setChecksum(doc *s3.Checksums, sum sse.Checksum, parts uint32) {
	if field := doc.Field(s3.ChecksumName(sum.Algorithm)); field != nil {
		*field = s3.ChecksumText(sum, parts)
	}
}

const maxAttributeParts = 1000

// attributeParts is a page of a multipart object's parts. S3 lists them only where the upload had checksums of its
// parts; otherwise there is their number alone.
func (c *call) attributeParts(m *sse.Manifest, composite bool) *s3.AttributeParts {
	doc := &s3.AttributeParts{PartsCount: len(m.Parts), MaxParts: maxAttributeParts}
	// S3 passes over values that are no numbers.
	if n, err := strconv.Atoi(c.header("x-amz-max-parts")); err == nil && n >= 0 {
		doc.MaxParts = min(n, maxAttributeParts)
	}
	if n, err := strconv.Atoi(c.header("x-amz-part-number-marker")); err == nil && n >= 0 {
		doc.PartNumberMarker = n
	}
	if !composite && !c.s.cfg.CompatCeph {
		return doc
	}
	first := min(doc.PartNumberMarker, len(m.Parts))
	last := min(first+doc.MaxParts, len(m.Parts))
	for i := first; i < last; i++ {
		doc.Parts = append(doc.Parts, attributePart(m, i, composite))
		doc.NextPartNumberMarker = i + 1
	}
	doc.IsTruncated = last < len(m.Parts) && doc.MaxParts > 0
	return doc
}

// attributePart numbers a part by its position, as ?partNumber does.
func attributePart(m *sse.Manifest, i int, composite bool) s3.AttributePart {
	part := s3.AttributePart{PartNumber: i + 1, Size: m.Parts[i].Size}
	if composite && m.Parts[i].Checksum != nil {
		setChecksum(&part.Checksums, sse.Checksum{Algorithm: m.ChecksumAlgorithm, Value: m.Parts[i].Checksum}, 0)
	}
	return part
}
