package embedded

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// keptHeaders are the headers, besides x-amz-meta-*, that an object keeps and gives back.
var keptHeaders = []string{
	s3.HeaderContentType, s3.HeaderCacheControl, s3.HeaderContentDisposition, s3.HeaderContentEncoding, s3.HeaderContentLanguage,
	s3.HeaderExpires, s3.HeaderWebsiteRedirect, s3.HeaderStorageClass,
}

// storageClasses are those that S3 has. All of them are the same disk here.
var storageClasses = []string{"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "EXPRESS_ONEZONE", "OUTPOSTS", "SNOW"}

// keep picks the headers that become the object's, within S3's limit.
func (s *Store) keep(h http.Header) (kept []s3.Field, err error) {
	hasType := false
	for _, name := range keptHeaders {
		value := h.Get(name)
		switch {
		case name == s3.HeaderContentEncoding:
			value = withoutChunked(value)
		case name == s3.HeaderStorageClass && value != "" && !contains(storageClasses, value):
			return nil, s3.NewError(s3.InvalidStorageClass)
		case name == s3.HeaderStorageClass && value == "STANDARD":
			value = ""
		}
		if value != "" {
			kept = append(kept, s3.Field{Name: name, Value: value})
			hasType = hasType || name == s3.HeaderContentType
		}
	}
	if !hasType {
		kept = append(kept, s3.Field{Name: s3.HeaderContentType, Value: "binary/octet-stream"})
	}
	var size int64
	for name, values := range h {
		if suffix, ok := strings.CutPrefix(name, s3.PrefixMeta); ok {
			value := strings.Join(values, ",")
			kept = append(kept, s3.Field{Name: name, Value: value})
			size += int64(len(suffix) + len(value))
		}
	}
	if most := orDefault(s.cfg.MaxMetadata, s3.MaxMetadata); size > most {
		return nil, s3.NewError(s3.MetadataTooLarge).With("Size", itoa(size)).With("MaxSizeAllowed", itoa(most))
	}
	return kept, nil
}

// withoutChunked takes off the encoding that is only the transfer's, and leaves the rest as it is written.
func withoutChunked(encoding string) string {
	if !strings.Contains(encoding, "aws-chunked") {
		return encoding
	}
	rest := slices.DeleteFunc(strings.Split(encoding, ","), func(e string) bool { return strings.TrimSpace(e) == "aws-chunked" })
	return strings.TrimSpace(strings.Join(rest, ","))
}

// described is an object as the headers of a request describe it, without its bytes.
func (s *Store) described(q *request) (o *object, err error) {
	o = new(object)
	if o.header, err = s.keep(q.header); err != nil {
		return nil, err
	}
	if o.tags, err = parseTags(q.header.Get(s3.HeaderTagging)); err != nil {
		return nil, err
	}
	if err := s.lockFromHeaders(q.header, o); err != nil {
		return nil, err
	}
	return o, nil
}

func (s *Store) putObject(q *request) (*response, error) {
	o, err := s.described(q)
	if err != nil {
		return nil, err
	}
	b, err := s.target(q, o)
	if err != nil {
		return nil, err
	}
	p, err := s.receive(q, orDefault(s.cfg.MaxPutSize, s3.MaxPutSize), true)
	if err != nil {
		return nil, err
	}
	o.size, o.etag, o.checksum, o.body = p.body.size, p.etag, p.checksum, p.body.extent
	if b, err = s.store(q, b, o, []spooled{p.body}, nil); err != nil {
		return nil, err
	}
	resp := answer(http.StatusOK).set(s3.HeaderETag, s3.Quote(o.etag)).set(s3.HeaderVersionID, b.newVersionID(o)).set(s3.HeaderExpiration, b.expiration(q.key, o))
	return resp.checksum(o.checksum), nil
}

// target finds the bucket of a write and refuses what is known to be refused before the body is read.
func (s *Store) target(q *request, o *object) (b *bucket, err error) {
	return b, s.view(func(t *txn) error {
		if b, err = t.bucket(q.bucket); err != nil {
			return err
		}
		if o.acl, err = b.cannedACL(q.header.Get(s3.HeaderACL), q.header); err != nil {
			return err
		}
		if err := b.lockable(o); err != nil {
			return err
		}
		there, err := t.current(b, q.key)
		if err != nil {
			return err
		}
		return writable(q.header, q.key, there)
	})
}

// store makes o the newest version of the request's key, if the request's conditions still hold, and the bodies the
// index's. An object of many parts has them in its layout.
func (s *Store) store(q *request, b *bucket, o *object, bodies []spooled, parts []part) (now *bucket, err error) {
	extents := make([]extent, len(bodies))
	for i, body := range bodies {
		extents[i] = body.extent
	}
	err = s.commit(q.ctx, func(t *txn) error {
		if now, err = t.same(b); err != nil {
			return err
		}
		there, err := t.current(now, q.key)
		if err != nil {
			return err
		}
		if err := writable(q.header, q.key, there); err != nil {
			return err
		}
		now.defaultRetention(o, s.now())
		for _, body := range bodies {
			if err := t.keep(body); err != nil {
				return err
			}
		}
		return t.putParts(now, q.key, o, parts)
	}, extents...)
	for _, body := range bodies {
		s.settle(body, err)
	}
	return now, err
}

func (r *response) checksum(c checksum) *response {
	if c.value != "" {
		r.set(s3.ChecksumHeader(c.algorithm), c.value).set(s3.HeaderChecksumType, c.kind)
	}
	return r
}

// found is an object that is to be read.
type found struct {
	bucket *bucket
	object *object
	parts  []part
	inline []byte // of an object whose bytes are in the index
}

func (s *Store) getObject(q *request) (resp *response, err error) {
	id, err := q.versionID()
	if err != nil {
		return nil, err
	}
	err = lookTwice(func() error {
		f, err := s.lookup(q, id)
		if err == nil {
			resp, err = s.read(q, f)
		}
		return err
	})
	if err != nil {
		return nil, s.hideMissing(q, err)
	}
	return resp, nil
}

// lookup finds an object and, where they are in the index, its bytes.
func (s *Store) lookup(q *request, id string) (f *found, err error) {
	return f, s.view(func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		o, err := t.find(b, q.key, id)
		if err != nil {
			return err
		}
		f = &found{bucket: b, object: o}
		if o.parts > 0 {
			f.parts, err = t.layout(o)
			return err
		}
		if o.body.inline {
			data := t.get(inlineSpace, idKey(o.body.id))
			if int64(len(data)) != o.size {
				return errDamaged
			}
			f.inline = append(make([]byte, 0, len(data)), data...)
		}
		return nil
	})
}

// read answers a GET or HEAD.
func (s *Store) read(q *request, f *found) (*response, error) {
	o := f.object
	notModified := func(string) error {
		e := s3.NewError(s3.NotModified).WithHeader(s3.HeaderETag, s3.Quote(o.etag)).WithHeader(s3.HeaderLastModified, s3.FormatHTTPTime(o.time()))
		if id := f.bucket.versionID(o); id != "" {
			e.WithHeader(s3.HeaderVersionID, id)
		}
		return e
	}
	if err := readConditions.readable(q.header, o, s.now(), notModified); err != nil {
		return nil, err
	}
	resp := f.headers(q)
	at, err := resp.span(q, f)
	if err != nil {
		return nil, err
	}
	resp.length = at.length
	if q.method == http.MethodHead {
		return resp, nil
	}
	resp.body, err = s.openFound(f, at)
	return resp, err
}

// openFound opens bytes of an object. An object in one file needs no pin: an open file stays readable.
func (s *Store) openFound(f *found, at span) (io.ReadCloser, error) {
	o := f.object
	switch {
	case o.parts > 0:
		extents := make([]extent, len(f.parts))
		for i := range f.parts {
			extents[i] = f.parts[i].body
		}
		return s.openBodies(extents, at)
	case at.length == 0:
		return http.NoBody, nil
	case o.body.inline:
		return io.NopCloser(&sliceReader{f.inline[at.offset : at.offset+at.length]}), nil
	}
	file, err := s.medium.open(o.body.id)
	if errors.Is(err, fs.ErrNotExist) {
		return s.openBodies([]extent{o.body}, at) // overwritten, or damaged: this tells
	}
	if err != nil {
		return nil, err
	}
	if n, err := file.size(); err != nil || n != o.size {
		return nil, errors.Join(errDamaged, err, file.Close())
	}
	return &fileBody{io.NewSectionReader(file, at.offset, at.length), file}, nil
}

type fileBody struct {
	*io.SectionReader
	file io.Closer
}

func (b *fileBody) Close() error { return b.file.Close() }

// headers are what GET and HEAD show of an object.
func (f *found) headers(q *request) *response {
	o := f.object
	resp := answer(http.StatusOK)
	for _, field := range o.header { // metadata may be empty, and is shown then
		resp.header[field.Name] = []string{field.Value}
	}
	for name, values := range q.query {
		if header, ok := strings.CutPrefix(name, "response-"); ok {
			resp.header.Set(header, values[0])
		}
	}
	resp.set(s3.HeaderETag, s3.Quote(o.etag)).set(s3.HeaderLastModified, s3.FormatHTTPTime(o.time())).set(s3.HeaderAcceptRanges, "bytes").
		set(s3.HeaderVersionID, f.bucket.versionID(o)).set(s3.HeaderExpiration, f.bucket.expiration(q.key, o))
	if len(o.tags) > 0 {
		resp.set(s3.HeaderTaggingCount, strconv.Itoa(len(o.tags)))
	}
	resp.showLock(o)
	return resp
}

// span finds the bytes that are asked for, all, a range or one part, and says in the header what they are.
func (r *response) span(q *request, f *found) (span, error) {
	o := f.object
	at, partial, check := span{0, o.size}, false, o.checksum
	if number := q.query.Get("partNumber"); number != "" {
		n, err := partNumberOf(number)
		if err != nil {
			return at, err
		}
		if q.header.Get(s3.HeaderRange) != "" {
			return at, s3.Errorf(s3.InvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		if at, check, err = f.part(n); err != nil {
			return at, err
		}
		partial = true
		if o.parts > 0 {
			r.set(s3.HeaderPartsCount, strconv.Itoa(o.parts))
		}
	} else if rng, ok := s3.ParseRange(q.header.Get(s3.HeaderRange)); ok && !(o.size == 0 && rng.Suffix() && rng.Last > 0) {
		offset, length, ok := rng.Resolve(o.size)
		if !ok {
			return at, s3.NewError(s3.InvalidRange).With("RangeRequested", q.header.Get(s3.HeaderRange)).With("ActualObjectSize", itoa(o.size)).
				WithHeader(s3.HeaderContentRange, "bytes */"+itoa(o.size))
		}
		at = span{offset, length}
		if partial = true; length < o.size {
			check = checksum{}
		}
	}
	if partial && o.size > 0 && at.length > 0 {
		r.status = http.StatusPartialContent
		r.set(s3.HeaderContentRange, s3.ContentRange(at.offset, at.length, o.size))
	}
	if q.header.Get(s3.HeaderChecksumMode) == "ENABLED" {
		r.checksum(check)
	}
	return at, nil
}

// part finds a part by its number; an object of one piece is its own part 1.
func (f *found) part(n int) (span, checksum, error) {
	o := f.object
	if o.parts == 0 && n == 1 {
		return span{0, o.size}, o.checksum, nil
	}
	var offset int64
	for _, p := range f.parts {
		if p.number == n {
			c := checksum{}
			if p.checksum != "" {
				c = checksum{o.checksum.algorithm, o.checksum.kind, p.checksum}
			}
			return span{offset, p.size}, c, nil
		}
		offset += p.size
	}
	return span{}, checksum{}, s3.NewError(s3.InvalidPartNumber).With("ActualPartCount", strconv.Itoa(max(o.parts, 1))).With("PartNumberRequested", strconv.Itoa(n))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
