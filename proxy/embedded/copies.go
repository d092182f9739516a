package embedded

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"waxseal/proxy/s3"
)

// source is what a copy reads.
type copySource struct {
	found
	name s3.CopySource
}

// source finds the version that a copy reads, if its conditions hold.
func (s *Store) sourceOf(q *request) (*copySource, error) {
	name, err := s3.ParseCopySource(q.header.Get(s3.HeaderCopySource))
	if err != nil {
		return nil, err
	}
	c := &copySource{name: name}
	return c, s.view(func(t *txn) error {
		if c.bucket, err = t.bucket(name.Bucket); err != nil {
			return err
		}
		if err := t.mayRead(c.bucket, q, name); err != nil {
			return err
		}
		if c.object, err = t.find(c.bucket, name.Key, name.VersionID); err != nil {
			return asSource(err)
		}
		if err := copyConditions.readable(q.header, c.object, s.now(), failed); err != nil {
			return err
		}
		if c.object.parts > 0 {
			c.parts, err = t.layout(c.object)
		}
		return err
	})
}

// asSource says of a source that is a delete marker what S3 says of it: it cannot be copied.
func asSource(err error) error {
	var e *s3.Error
	if errors.As(err, &e) && e.Code == s3.MethodNotAllowed {
		return s3.Errorf(s3.InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id.")
	}
	return err
}

func (c *copySource) extents() []extent {
	if c.object.parts == 0 {
		return []extent{c.object.body}
	}
	extents := make([]extent, len(c.parts))
	for i := range c.parts {
		extents[i] = c.parts[i].body
	}
	return extents
}

// copyObject makes a version that shares its source's bytes: files get a second name.
func (s *Store) copyObject(q *request) (resp *response, err error) {
	if _, err := s.document(q); err != nil { // it has none
		return nil, err
	}
	err = lookTwice(func() error {
		resp, err = s.copyOnce(q)
		return err
	})
	return resp, err
}

func (s *Store) copyOnce(q *request) (*response, error) {
	src, err := s.sourceOf(q)
	if err != nil {
		return nil, err
	}
	if src.object.size > orDefault(s.cfg.MaxPutSize, s3.MaxPutSize) {
		return nil, s3.Errorf(s3.InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: %d", orDefault(s.cfg.MaxPutSize, s3.MaxPutSize))
	}
	o, err := s.copyOf(q, src)
	if err != nil {
		return nil, err
	}
	b, err := s.target(q, o)
	if err != nil {
		return nil, err
	}
	bodies, err := s.duplicate(q.ctx, src.extents())
	if err != nil {
		return nil, err
	}
	var parts []part
	if o.parts = src.object.parts; o.parts == 0 {
		o.body = bodies[0].extent
	}
	for i := range src.parts {
		p := src.parts[i]
		p.body = bodies[i].extent
		parts = append(parts, p)
	}
	b, err = s.store(q, b, o, bodies, parts)
	if err != nil {
		return nil, err
	}
	result := s3.CopyObjectResult{LastModified: s3.FormatTime(o.time()), ETag: s3.Quote(o.etag), ChecksumType: o.checksum.kind}
	o.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, b.versionID(o)).set(s3.HeaderCopyVersionID, src.bucket.versionID(src.object)).set(s3.HeaderExpiration, b.expiration(q.key, o)), nil
}

// copyOf is the new version, but for its bytes.
func (s *Store) copyOf(q *request, src *copySource) (*object, error) {
	asked, err := s.described(q)
	if err != nil {
		return nil, err
	}
	from := src.object
	o := &object{size: from.size, etag: from.etag, checksum: from.checksum, mode: asked.mode, until: asked.until, hold: asked.hold, released: asked.released}
	replace, err := directive(q, s3.HeaderMetadataDirect)
	if err != nil {
		return nil, err
	}
	if o.header = from.header; replace {
		o.header = asked.header
	} else if class := q.header.Get(s3.HeaderStorageClass); class != from.headerValue(s3.HeaderStorageClass) {
		o.header = withClass(from.header, class)
	}
	retag, err := directive(q, s3.HeaderTaggingDirect)
	if err != nil {
		return nil, err
	}
	if o.tags = from.tags; retag {
		o.tags = asked.tags
	}
	self := src.bucket.Name == q.bucket && src.name.Key == q.key && src.name.VersionID == ""
	if self && !replace && q.header.Get(s3.HeaderStorageClass) == "" && q.header.Get(s3.HeaderSSE) == "" && q.header.Get(s3.HeaderWebsiteRedirect) == "" {
		return nil, s3.Errorf(s3.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return o, s.rechecksum(q, src, o)
}

func withClass(header []s3.Field, class string) []s3.Field {
	var out []s3.Field
	for _, f := range header {
		if f.Name != s3.HeaderStorageClass {
			out = append(out, f)
		}
	}
	if class != "" && class != "STANDARD" {
		out = append(out, s3.Field{Name: s3.HeaderStorageClass, Value: class})
	}
	return out
}

// directive reads a copy's directive, COPY or REPLACE.
func directive(q *request, name string) (replace bool, err error) {
	switch v := q.header.Get(name); v {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		return false, s3.InvalidArgument(name, v, "Unknown directive.")
	}
}

// rechecksum gives a copy the checksum of the wanted algorithm, for which its bytes are read.
func (s *Store) rechecksum(q *request, src *copySource, o *object) error {
	algorithm := q.header.Get(s3.HeaderChecksumAlgorithm)
	if algorithm == "" {
		return nil
	}
	h := s3.NewChecksum(algorithm)
	if h == nil {
		return s3.Errorf(s3.InvalidRequest, "Checksum algorithm provided is unsupported.")
	}
	r, err := s.openBodies(src.extents(), span{0, o.size})
	if err != nil {
		return err
	}
	if _, err := io.Copy(h, r); err != nil {
		return errors.Join(err, r.Close())
	}
	if err := r.Close(); err != nil {
		return err
	}
	o.checksum = checksum{algorithm, s3.ChecksumFullObject, b64(h.Sum(nil))}
	return nil
}

func (c checksum) into(all *s3.Checksums) {
	if field := all.Field(c.algorithm); field != nil {
		*field = c.value
	}
}

func (s *Store) uploadPartCopy(q *request) (resp *response, err error) {
	if _, err := s.document(q); err != nil { // it has none
		return nil, err
	}
	number, err := partNumberOf(q.query.Get("partNumber"))
	if err != nil {
		return nil, err
	}
	err = lookTwice(func() error {
		resp, err = s.copyPart(q, number)
		return err
	})
	return resp, err
}

// copyPart reads the wanted bytes as if the client had sent them: a part's ETag is of its own bytes.
func (s *Store) copyPart(q *request, number int) (*response, error) {
	u, err := s.uploadOf(q)
	if err != nil {
		return nil, err
	}
	src, err := s.sourceOf(q)
	if err != nil {
		return nil, err
	}
	at, err := s.copyRange(q, src.object.size)
	if err != nil {
		return nil, err
	}
	r, err := s.openBodies(src.extents(), at)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	of := &request{ctx: q.ctx, op: q.op, header: http.Header{}, body: r, length: at.length}
	p, err := s.receive(of, s3.MaxPartSize, true, u.checksum.algorithm)
	if err != nil {
		return nil, err
	}
	stored, err := s.storePart(q, u, number, p)
	if err != nil {
		return nil, err
	}
	result := s3.CopyPartResult{LastModified: s3.FormatTime(stored.time()), ETag: s3.Quote(stored.etag)}
	p.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderCopyVersionID, src.bucket.versionID(src.object)), nil
}

// copyRange reads which bytes of the source become a part.
func (s *Store) copyRange(q *request, size int64) (span, error) {
	at := span{0, size}
	if header := q.header.Get(s3.HeaderCopyRange); header != "" {
		r, err := s3.ParseCopyRange(header)
		switch {
		case err != nil:
			return at, err
		case r.First >= size:
			return at, s3.Errorf(s3.InvalidRequest, "The specified copy range is invalid for the source object size")
		case r.Last >= size:
			return at, s3.InvalidArgument("x-amz-copy-source-range", header, "Range specified is not valid for source object of size: "+strconv.FormatInt(size, 10))
		}
		at = span{r.First, r.Last - r.First + 1}
	}
	if at.length > orDefault(s.cfg.MaxPutSize, s3.MaxPartSize) {
		return at, s3.Errorf(s3.InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: %d", orDefault(s.cfg.MaxPutSize, s3.MaxPartSize))
	}
	return at, nil
}
