package proxytest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// kept are the headers, besides x-amz-meta-*, that an object keeps and gives back.
var kept = []string{
	s3.HeaderContentType, s3.HeaderCacheControl, s3.HeaderContentDisposition, s3.HeaderContentEncoding, s3.HeaderContentLanguage,
	s3.HeaderExpires, s3.HeaderWebsiteRedirect, s3.HeaderStorageClass,
	"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold",
}

// keep picks the headers that become the object's, within S3's limit.
func (u *Upstream) keep(h http.Header) (http.Header, error) {
	out := http.Header{}
	for _, name := range kept {
		if v := h.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	if v := withoutChunked(out.Get(s3.HeaderContentEncoding)); v != "" {
		out.Set(s3.HeaderContentEncoding, v)
	} else {
		out.Del(s3.HeaderContentEncoding)
	}
	if out.Get(s3.HeaderContentType) == "" {
		out.Set(s3.HeaderContentType, "binary/octet-stream")
	}
	var size int64
	for name, values := range h {
		if suffix, ok := strings.CutPrefix(name, s3.PrefixMeta); ok {
			joined := strings.Join(values, ",")
			out.Set(name, joined)
			size += int64(len(suffix) + len(joined))
		}
	}
	if size > orDefault(u.MaxMetadata, s3.MaxMetadata) {
		return nil, s3.NewError(s3.MetadataTooLarge).With("Size", strconv.FormatInt(size, 10))
	}
	return out, nil
}

// withoutChunked takes off the encoding that is only the transfer's.
func withoutChunked(encoding string) string {
	var rest []string
	for e := range strings.SplitSeq(encoding, ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			rest = append(rest, e)
		}
	}
	return strings.Join(rest, ",")
}

func parseTags(header string) ([]s3.Tag, error) {
	q, err := url.ParseQuery(header)
	if err != nil {
		return nil, s3.InvalidArgument("x-amz-tagging", header, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	var tags []s3.Tag
	for _, k := range sortedKeys(q) {
		tags = append(tags, s3.Tag{Key: k, Value: q.Get(k)})
	}
	return tags, validTags(tags)
}

func validTags(tags []s3.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 || seen[t.Key] {
			return s3.NewError(s3.InvalidTag)
		}
		seen[t.Key] = true
	}
	if len(tags) > s3.MaxTagsPerObject {
		return s3.Errorf(s3.BadRequest, "Object tags cannot be greater than 10")
	}
	return nil
}

func (u *Upstream) exists(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, err := u.lookup(name)
	return err
}

func (u *Upstream) putObject(q *request) (*response, error) {
	if err := u.exists(q.bucket); err != nil {
		return nil, err
	}
	header, err := u.keep(q.Header)
	if err != nil {
		return nil, err
	}
	tags, err := parseTags(q.Header.Get(s3.HeaderTagging))
	if err != nil {
		return nil, err
	}
	p, err := u.read(q)
	if err != nil {
		return nil, err
	}
	v := &version{key: q.key, body: p.data, etag: md5Hex(p.data), header: header, tags: tags, checksum: p.checksum}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.commit(q, v, !u.IgnoreWriteConditions)
	if err != nil {
		return nil, err
	}
	resp := answer(http.StatusOK).set("ETag", s3.Quote(v.etag)).set(s3.HeaderVersionID, b.versionID(v))
	return resp.checksum(v.checksum), nil
}

// commit stores the version if the request's conditions hold; the caller holds mu.
func (u *Upstream) commit(q *request, v *version, conditions bool) (*bucket, error) {
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	if conditions {
		if err := writable(q.Header, q.key, b.current(q.key)); err != nil {
			return nil, err
		}
	}
	u.put(b, v)
	return b, nil
}

func (r *response) checksum(c checksum) *response {
	if c.value != "" {
		r.set(s3.ChecksumHeader(c.algorithm), c.value).set(s3.HeaderChecksumType, c.kind)
	}
	return r
}

func (u *Upstream) getObject(q *request) (*response, error) {
	u.mu.Lock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		u.mu.Unlock()
		return nil, err
	}
	found, err := b.find(q.key, q.query.Get("versionId"))
	if err != nil {
		u.mu.Unlock()
		return nil, err
	}
	v, id := *found, b.versionID(found)
	u.mu.Unlock()

	resp := objectHeaders(q, &v).set(s3.HeaderVersionID, id)
	notModified := func(string) error {
		e := s3.NewError(s3.NotModified).WithHeader("ETag", s3.Quote(v.etag)).WithHeader(s3.HeaderLastModified, s3.FormatHTTPTime(v.modified))
		if id != "" {
			e.WithHeader(s3.HeaderVersionID, id)
		}
		return e
	}
	if err := readConditions.readable(q.Header, &v, notModified); err != nil {
		return nil, err
	}
	return resp, resp.slice(q, &v)
}

func objectHeaders(q *request, v *version) *response {
	resp := answer(http.StatusOK)
	for name, values := range v.header {
		resp.header[name] = values
	}
	for name, values := range q.query {
		if header, ok := strings.CutPrefix(name, "response-"); ok {
			resp.set(header, values[0])
		}
	}
	if v.header.Get(s3.HeaderStorageClass) == "STANDARD" {
		resp.header.Del(s3.HeaderStorageClass)
	}
	resp.set("ETag", s3.Quote(v.etag)).set(s3.HeaderLastModified, s3.FormatHTTPTime(v.modified)).set(s3.HeaderAcceptRanges, "bytes")
	if len(v.tags) > 0 {
		resp.set(s3.HeaderTaggingCount, strconv.Itoa(len(v.tags)))
	}
	return resp
}

// slice puts the asked-for bytes into the answer: all, a range, or one part.
func (r *response) slice(q *request, v *version) error {
	offset, length, size := int64(0), int64(len(v.body)), int64(len(v.body))
	partial, check := false, v.checksum
	if number := q.query.Get("partNumber"); number != "" {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > s3.MaxPartNumber {
			return s3.InvalidArgument("partNumber", number, "Part number must be an integer between 1 and 10000, inclusive")
		}
		if q.Header.Get(s3.HeaderRange) != "" {
			return s3.Errorf(s3.InvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		if offset, length, check, err = v.part(n); err != nil {
			return err
		}
		partial = true
		if v.parts != nil {
			r.set(s3.HeaderPartsCount, strconv.Itoa(len(v.parts)))
		}
	} else if rng, ok := s3.ParseRange(q.Header.Get(s3.HeaderRange)); ok {
		if offset, length, ok = rng.Resolve(size); !ok {
			return s3.NewError(s3.InvalidRange).With("RangeRequested", q.Header.Get(s3.HeaderRange)).With("ActualObjectSize", strconv.FormatInt(size, 10)).
				WithHeader(s3.HeaderContentRange, "bytes */"+strconv.FormatInt(size, 10))
		}
		partial, check = true, checksum{}
	}
	if partial && size > 0 {
		r.status = http.StatusPartialContent
		r.set(s3.HeaderContentRange, s3.ContentRange(offset, length, size))
	}
	if q.Header.Get(s3.HeaderChecksumMode) == "ENABLED" {
		r.checksum(check)
	}
	r.body = v.body[offset : offset+length]
	r.set(s3.HeaderContentLength, strconv.FormatInt(length, 10))
	return nil
}

// part finds a part by its number; an object of one piece is its own part 1.
func (v *version) part(n int) (offset, length int64, c checksum, err error) {
	if v.parts == nil && n == 1 {
		return 0, int64(len(v.body)), v.checksum, nil
	}
	for _, p := range v.parts {
		if p.number == n {
			return offset, p.size, p.checksum, nil
		}
		offset += p.size
	}
	return 0, 0, checksum{}, s3.NewError(s3.InvalidPartNumber).With("ActualPartCount", strconv.Itoa(max(len(v.parts), 1))).With("PartNumberRequested", strconv.Itoa(n))
}
