package proxytest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

func (u *Upstream) createUpload(q *request) (*response, error) {
	drain(q.Body)
	header, err := u.keep(q.Header)
	if err != nil {
		return nil, err
	}
	tags, err := parseTags(q.Header.Get(s3.HeaderTagging))
	if err != nil {
		return nil, err
	}
	sum, err := uploadChecksum(q.Header)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	up := &upload{id: u.id(), key: q.key, initiated: u.now(), header: header, tags: tags, checksum: sum, parts: map[int]part{}}
	b.uploads[up.id] = up
	resp, err := answerXML(&s3.InitiateMultipartUploadResult{Bucket: q.bucket, Key: q.key, UploadID: up.id})
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderChecksumAlgorithm, sum.algorithm).set(s3.HeaderChecksumType, sum.kind), nil
}

// uploadChecksum says which checksum the completed object has.
func uploadChecksum(h http.Header) (checksum, error) {
	c := checksum{algorithm: h.Get(s3.HeaderChecksumAlgorithm), kind: h.Get(s3.HeaderChecksumType)}
	if c.algorithm == "" {
		if c.kind != "" {
			return c, s3.Errorf(s3.InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return c, nil
	}
	if hashes[c.algorithm] == nil {
		return c, s3.Errorf(s3.InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, SHA1, SHA256]")
	}
	full, sha := c.algorithm == "CRC64NVME", strings.HasPrefix(c.algorithm, "SHA")
	switch {
	case c.kind == "" && full:
		c.kind = s3.ChecksumFullObject
	case c.kind == "":
		c.kind = s3.ChecksumComposite
	case full && c.kind == s3.ChecksumComposite, sha && c.kind == s3.ChecksumFullObject:
		return c, s3.Errorf(s3.InvalidRequest, "The %s checksum type cannot be used with the %s checksum algorithm.", c.kind, strings.ToLower(c.algorithm))
	}
	return c, nil
}

// upload finds the request's upload; the caller holds mu.
func (b *bucket) upload(q *request) (*upload, error) {
	up := b.uploads[q.query.Get("uploadId")]
	if up == nil || up.key != q.key {
		return nil, s3.NewError(s3.NoSuchUpload).With("UploadId", q.query.Get("uploadId"))
	}
	return up, nil
}

func partNumber(q *request) (int, error) {
	n, err := strconv.Atoi(q.query.Get("partNumber"))
	if err != nil || n < 1 || n > s3.MaxPartNumber {
		return 0, s3.InvalidArgument("partNumber", q.query.Get("partNumber"), "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func (u *Upstream) uploadPart(q *request) (*response, error) {
	number, err := partNumber(q)
	if err != nil {
		return nil, err
	}
	if err := u.uploadExists(q); err != nil {
		return nil, err
	}
	p, err := u.read(q)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	up, err := b.upload(q) // it may have ended while the body came
	if err != nil {
		return nil, err
	}
	if want := up.checksum.algorithm; want != "" && p.checksum.algorithm != "" && p.checksum.algorithm != want {
		return nil, s3.Errorf(s3.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			strings.ToLower(want), strings.ToLower(p.checksum.algorithm))
	}
	up.parts[number] = part{number: number, body: p.data, size: int64(len(p.data)), etag: md5Hex(p.data), checksum: p.checksum, modified: u.now()}
	resp := answer(http.StatusOK).set("ETag", s3.Quote(up.parts[number].etag))
	if p.checksum.value != "" {
		resp.set(s3.ChecksumHeader(p.checksum.algorithm), p.checksum.value)
	}
	return resp, nil
}

func (u *Upstream) uploadExists(q *request) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return err
	}
	_, err = b.upload(q)
	return err
}

func (u *Upstream) abortUpload(q *request) (*response, error) {
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
	delete(b.uploads, up.id)
	return answer(http.StatusNoContent), nil
}

func (u *Upstream) completeUpload(q *request) (*response, error) {
	body, err := u.documentUnchecked(q)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	id := q.query.Get("uploadId")
	if done := b.completed[id]; done != nil && done.key == q.key && !u.ForgetCompleted {
		return done.answer(q)
	}
	up, err := b.upload(q)
	if err != nil {
		return nil, err
	}
	var list s3.CompleteMultipartUpload
	if err := s3.Decode(bytes.NewReader(body), 4<<20, &list); err != nil {
		return nil, err
	}
	parts, err := u.chosen(up, list.Parts)
	if err != nil {
		return nil, err
	}
	v, err := assemble(q, up, parts)
	if err != nil {
		return nil, err
	}
	if _, err := u.commit(q, v, !u.IgnoreWriteConditions); err != nil {
		return nil, err
	}
	delete(b.uploads, id)
	done := &completed{key: q.key, etag: v.etag, version: b.versionID(v), checksum: v.checksum}
	b.completed[id] = done
	return done.answer(q)
}

// documentUnchecked reads the document of Complete, whose x-amz-checksum-* are the object's, not the body's.
func (u *Upstream) documentUnchecked(q *request) ([]byte, error) {
	r := *q
	r.Request = q.Clone(q.Context())
	for _, a := range s3.ChecksumAlgorithms {
		r.Header.Del(s3.ChecksumHeader(a))
	}
	return u.document(&r)
}

func (d *completed) answer(q *request) (*response, error) {
	result := s3.CompleteMultipartUploadResult{Location: "http://" + q.Host + "/" + q.bucket + "/" + s3.EscapePath(q.key),
		Bucket: q.bucket, Key: q.key, ETag: s3.Quote(d.etag), ChecksumType: d.checksum.kind}
	d.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, d.version), nil
}

// chosen picks the listed parts and applies S3's rules about them.
func (u *Upstream) chosen(up *upload, list []s3.CompletePart) ([]part, error) {
	if len(list) == 0 {
		return nil, s3.NewError(s3.MalformedXML)
	}
	for i := range list[1:] {
		if list[i+1].PartNumber <= list[i].PartNumber {
			return nil, s3.NewError(s3.InvalidPartOrder).With("UploadId", up.id)
		}
	}
	var parts []part
	for i, l := range list {
		p, ok := up.parts[l.PartNumber]
		if !ok || s3.Unquote(l.ETag) != p.etag {
			return nil, s3.NewError(s3.InvalidPart).With("UploadId", up.id).With("PartNumber", strconv.Itoa(l.PartNumber)).With("ETag", s3.Unquote(l.ETag))
		}
		if field := l.Field(p.checksum.algorithm); field != nil && *field != "" && *field != p.checksum.value {
			return nil, s3.NewError(s3.InvalidPart).With("UploadId", up.id).With("PartNumber", strconv.Itoa(l.PartNumber))
		}
		if least := orDefault(u.MinPartSize, s3.MinPartSize); i < len(list)-1 && p.size < least {
			return nil, s3.NewError(s3.EntityTooSmall).With("ProposedSize", strconv.FormatInt(p.size, 10)).With("MinSizeAllowed", strconv.FormatInt(least, 10)).
				With("PartNumber", strconv.Itoa(l.PartNumber)).With("ETag", p.etag)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// assemble makes the object of its parts, with an ETag of S3's kind.
func assemble(q *request, up *upload, parts []part) (*version, error) {
	v := &version{key: up.key, header: up.header, tags: up.tags}
	var digests []byte
	var body bytes.Buffer
	for _, p := range parts {
		digest, _ := hex.DecodeString(p.etag)
		digests = append(digests, digest...)
		body.Write(p.body)
		p.body = nil
		v.parts = append(v.parts, p)
	}
	digest := md5.Sum(digests)
	v.etag = hex.EncodeToString(digest[:]) + "-" + strconv.Itoa(len(parts))
	v.body = slices.Clip(body.Bytes())
	if size := q.Header.Get(s3.HeaderMPObjectSize); size != "" && size != strconv.Itoa(len(v.body)) {
		return nil, s3.Errorf(s3.InvalidRequest, "The provided 'x-amz-mp-object-size' header value %s does not match what was computed: %d", size, len(v.body))
	}
	return v, v.uploadedChecksum(q, up.checksum)
}

// uploadedChecksum computes the object's checksum and compares it with the one in the request.
func (v *version) uploadedChecksum(q *request, c checksum) error {
	if c.algorithm == "" {
		return nil
	}
	if kind := q.Header.Get(s3.HeaderChecksumType); kind != "" && kind != c.kind {
		return s3.Errorf(s3.InvalidRequest, "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", c.kind)
	}
	if c.value = sum(c.algorithm, v.body); c.kind == s3.ChecksumComposite {
		var all []byte
		for _, p := range v.parts {
			if p.checksum.value == "" {
				return s3.Errorf(s3.InvalidRequest, "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.",
					strings.ToLower(c.algorithm), p.number)
			}
			one, _ := base64.StdEncoding.DecodeString(p.checksum.value)
			all = append(all, one...)
		}
		c.value = sum(c.algorithm, all) + "-" + strconv.Itoa(len(v.parts))
	}
	if want := q.Header.Get(s3.ChecksumHeader(c.algorithm)); want != "" && want != c.value && want+"-"+strconv.Itoa(len(v.parts)) != c.value {
		return s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", strings.ToLower(c.algorithm))
	}
	v.checksum = c
	return nil
}
