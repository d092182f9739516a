package proxytest

import (
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// source gives the version that a copy reads, if its conditions hold; the caller holds mu.
func (u *Upstream) source(q *request) (*version, *bucket, error) {
	src, err := s3.ParseCopySource(q.Header.Get(s3.HeaderCopySource))
	if err != nil {
		return nil, nil, err
	}
	b, err := u.lookup(src.Bucket)
	if err != nil {
		return nil, nil, err
	}
	v, err := b.find(src.Key, src.VersionID)
	if err != nil {
		return nil, nil, err
	}
	if !u.IgnoreSourceConditions {
		if err := copyConditions.readable(q.Header, v, failed); err != nil {
			return nil, nil, err
		}
	}
	return v, b, nil
}

func (u *Upstream) copyObject(q *request) (*response, error) {
	drain(q.Body)
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.lookup(q.bucket); err != nil {
		return nil, err
	}
	src, from, err := u.source(q)
	if err != nil {
		return nil, err
	}
	v, err := u.copyOf(q, src, from)
	if err != nil {
		return nil, err
	}
	srcID := from.versionID(src)
	b, err := u.commit(q, v, u.HonourCopyConditions)
	if err != nil {
		return nil, err
	}
	result := s3.CopyObjectResult{LastModified: s3.FormatTime(v.modified), ETag: s3.Quote(v.etag), ChecksumType: v.checksum.kind}
	v.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, b.versionID(v)).set(s3.HeaderCopyVersionID, srcID), nil
}

// copyOf makes the new version. A copy is one piece: it keeps the ETag of a single part, and one of many
// parts gets the MD5 of the whole.
func (u *Upstream) copyOf(q *request, src *version, from *bucket) (*version, error) {
	v := &version{key: q.key, body: src.body, etag: src.etag, header: src.header, tags: src.tags, checksum: src.checksum}
	if strings.Contains(src.etag, "-") {
		v.etag = md5Hex(src.body)
	}
	replace := q.Header.Get(s3.HeaderMetadataDirect) == "REPLACE"
	if replace {
		var err error
		if v.header, err = u.keep(q.Header); err != nil {
			return nil, err
		}
	} else if class := q.Header.Get(s3.HeaderStorageClass); class != "" {
		v.header = v.header.Clone()
		v.header.Set(s3.HeaderStorageClass, class)
	}
	if q.Header.Get(s3.HeaderTaggingDirect) == "REPLACE" {
		var err error
		if v.tags, err = parseTags(q.Header.Get(s3.HeaderTagging)); err != nil {
			return nil, err
		}
	}
	if err := v.rechecksum(q.Header.Get(s3.HeaderChecksumAlgorithm)); err != nil {
		return nil, err
	}
	named, err := s3.ParseCopySource(q.Header.Get(s3.HeaderCopySource))
	if err != nil {
		return nil, err
	}
	self := from.name == q.bucket && src.key == q.key && named.VersionID == ""
	if self && !replace && q.Header.Get(s3.HeaderStorageClass) == "" && q.Header.Get(s3.HeaderSSE) == "" {
		return nil, s3.Errorf(s3.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return v, nil
}

// rechecksum gives a copy the checksum of the wanted algorithm, and of the whole object.
func (v *version) rechecksum(algorithm string) error {
	if algorithm == "" {
		if v.checksum.kind != s3.ChecksumComposite {
			return nil
		}
		algorithm = v.checksum.algorithm
	}
	if hashes[algorithm] == nil {
		return s3.Errorf(s3.InvalidRequest, "Checksum algorithm provided is unsupported.")
	}
	v.checksum = checksum{algorithm, sum(algorithm, v.body), s3.ChecksumFullObject}
	return nil
}

func (c checksum) into(all *s3.Checksums) {
	if field := all.Field(c.algorithm); field != nil {
		*field = c.value
	}
}

func (u *Upstream) uploadPartCopy(q *request) (*response, error) {
	drain(q.Body)
	number, err := partNumber(q)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	up, err := b.upload(q)
	if err != nil {
		return nil, err
	}
	src, from, err := u.source(q)
	if err != nil {
		return nil, err
	}
	data, err := u.copyRange(q, src)
	if err != nil {
		return nil, err
	}
	p := part{number: number, body: data, size: int64(len(data)), etag: md5Hex(data), modified: u.now()}
	if a := up.checksum.algorithm; a != "" {
		p.checksum = checksum{a, sum(a, data), s3.ChecksumFullObject}
	}
	up.parts[number] = p
	result := s3.CopyPartResult{LastModified: s3.FormatTime(p.modified), ETag: s3.Quote(p.etag)}
	p.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderCopyVersionID, from.versionID(src)), nil
}

func (u *Upstream) copyRange(q *request, src *version) ([]byte, error) {
	data := src.body
	if header := q.Header.Get(s3.HeaderCopyRange); header != "" {
		r, err := s3.ParseCopyRange(header)
		if err != nil {
			return nil, err
		}
		if r.Last >= int64(len(data)) {
			return nil, s3.InvalidArgument("x-amz-copy-source-range", header, "Range specified is not valid for source object of size: "+strconv.Itoa(len(data)))
		}
		data = data[r.First : r.Last+1]
	}
	if int64(len(data)) > orDefault(u.MaxPutSize, s3.MaxPartSize) {
		return nil, s3.NewError(s3.EntityTooLarge)
	}
	return slices.Clip(data), nil
}
