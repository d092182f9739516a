package embedded

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waxseal/proxy/s3"
)

func (s *Store) createUpload(q *request) (*response, error) {
	if _, err := s.document(q); err != nil { // it has none
		return nil, err
	}
	o, err := s.described(q)
	if err != nil {
		return nil, err
	}
	if o.checksum, err = uploadChecksum(q.header); err != nil {
		return nil, err
	}
	u := &upload{*o}
	err = s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		if u.acl, err = b.cannedACL(q.header.Get(s3.HeaderACL), q.header); err != nil {
			return err
		}
		if err := b.lockable(&u.object); err != nil {
			return err
		}
		u.seq, u.salt, u.modified = s.nextSeq(), randomID(), s.now().UnixMilli()
		return t.tx.put(uploadSpace, uploadKey(b.ID, q.key, u.seq), u.encode())
	})
	if err != nil {
		return nil, err
	}
	resp, err := answerXML(&s3.InitiateMultipartUploadResult{Bucket: q.bucket, Key: q.key, UploadID: u.id()})
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderChecksumAlgorithm, u.checksum.algorithm).set(s3.HeaderChecksumType, u.checksum.kind), nil
}

// uploadChecksum says which checksum the completed object will have.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func uploadChecksum(h http.Header) (checksum, error) {
	c := checksum{algorithm: h.Get(s3.HeaderChecksumAlgorithm), kind: h.Get(s3.HeaderChecksumType)}
	if c.algorithm == "" {
		if c.kind != "" {
			return c, s3.Errorf(s3.InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return c, nil
	}
	if s3.NewChecksum(c.algorithm) == nil {
		return c, s3.Errorf(s3.InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
	}
	combines := s3.Combines(c.algorithm)
	switch {
	case c.kind == "" && c.algorithm == "CRC64NVME":
		c.kind = s3.ChecksumFullObject
	case c.kind == "":
		c.kind = s3.ChecksumComposite
	case c.kind != s3.ChecksumFullObject && c.kind != s3.ChecksumComposite:
		return c, s3.Errorf(s3.InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
	case c.algorithm == "CRC64NVME" && c.kind == s3.ChecksumComposite, !combines && c.kind == s3.ChecksumFullObject:
		return c, s3.Errorf(s3.InvalidRequest, "The %s checksum type cannot be used with the %s checksum algorithm.", c.kind, strings.ToLower(c.algorithm))
	}
	return c, nil
}

func partNumberOf(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > s3.MaxPartNumber {
		return 0, s3.InvalidArgument("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

// upload finds the request's upload.
func (t *txn) upload(b *bucket, q *request) (*upload, error) {
	id := q.query.Get("uploadId")
	missing := s3.NewError(s3.NoSuchUpload).With("UploadId", id)
	seq, salt, ok := parseID(id)
	if !ok {
		return nil, missing
	}
	o, err := t.object(uploadSpace, uploadKey(b.ID, q.key, seq))
	switch {
	case err != nil:
		return nil, err
	case o == nil || o.salt != salt:
		return nil, missing
	}
	return &upload{*o}, nil
}

// uploadOf looks the request's upload up before its body is read.
func (s *Store) uploadOf(q *request) (u *upload, err error) {
	return u, s.view(func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err == nil {
			u, err = t.upload(b, q)
		}
		return err
	})
}

func (s *Store) uploadPart(q *request) (*response, error) {
	number, err := partNumberOf(q.query.Get("partNumber"))
	if err != nil {
		return nil, err
	}
	u, err := s.uploadOf(q)
	if err != nil {
		return nil, err
	}
	if err := u.takes(q.header); err != nil {
		return nil, err
	}
	p, err := s.receive(q, orDefault(s.cfg.MaxPutSize, s3.MaxPartSize), true, u.checksum.algorithm)
	if err != nil {
		return nil, err
	}
	stored, err := s.storePart(q, u, number, p)
	if err != nil {
		return nil, err
	}
	resp := answer(http.StatusOK).set(s3.HeaderETag, s3.Quote(stored.etag))
	if p.checksum.value != "" {
		resp.set(s3.ChecksumHeader(p.checksum.algorithm), p.checksum.value)
	}
	return resp, nil
}

// takes refuses a part's checksum of another algorithm than the upload's.
func (u *upload) takes(h http.Header) error {
	if u.checksum.algorithm == "" {
		return nil
	}
	for _, a := range s3.ChecksumAlgorithms {
		if h.Get(s3.ChecksumHeader(a)) != "" && a != u.checksum.algorithm {
			return s3.Errorf(s3.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
				strings.ToLower(u.checksum.algorithm), strings.ToLower(a))
		}
	}
	return nil
}

func (p *part) time() time.Time { return time.UnixMilli(p.modified).UTC() }

// storePart adds a part to its upload, which may have ended while the body came. A part with its number goes.
func (s *Store) storePart(q *request, u *upload, number int, p *payload) (*part, error) {
	stored := &part{number: number, size: p.body.size, etag: p.etag, body: p.body.extent}
	if p.checksum.algorithm == u.checksum.algorithm {
		stored.checksum = p.checksum.value
	}
	err := s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		if _, err := t.upload(b, q); err != nil {
			return err
		}
		if record := t.get(partSpace, partKey(u.seq, number)); record != nil {
			before, err := decodePart(record)
			if err != nil {
				return err
			}
			if err := t.dropBody(before.body); err != nil {
				return err
			}
		}
		if err := t.keep(p.body); err != nil {
			return err
		}
		stored.modified = s.now().UnixMilli()
		return t.tx.put(partSpace, partKey(u.seq, number), stored.encode())
	}, p.body.extent)
	s.settle(p.body, err)
	return stored, err
}

// parts reads the parts of an upload from a number on, at most limit of them.
func (t *txn) parts(u *upload, from, limit int) ([]part, error) {
	var parts []part
	c := t.cursor(partSpace)
	for k, v := c.seek(partKey(u.seq, from)); len(parts) < limit && bytes.HasPrefix(k, idKey(u.seq)); k, v = c.next() {
		p, err := decodePart(v)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (s *Store) abortUpload(q *request) (*response, error) {
	err := s.commit(q.ctx, func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		u, err := t.upload(b, q)
		if err != nil {
			return err
		}
		return t.dropUpload(b, q.key, u, nil)
	})
	if err != nil {
		return nil, err
	}
	return answer(http.StatusNoContent), nil
}

// dropUpload ends an upload. The parts in kept become an object's.
func (t *txn) dropUpload(b *bucket, key string, u *upload, kept map[int]bool) error {
	parts, err := t.parts(u, 0, s3.MaxPartNumber)
	if err != nil {
		return err
	}
	for i := range parts {
		if !kept[parts[i].number] {
			if err := t.dropBody(parts[i].body); err != nil {
				return err
			}
		}
		if err := t.del(partSpace, partKey(u.seq, parts[i].number)); err != nil {
			return err
		}
	}
	return t.del(uploadSpace, uploadKey(b.ID, key, u.seq))
}

// dropUploads ends all uploads of a bucket.
func (t *txn) dropUploads(b *bucket) error {
	for {
		k, v := t.cursor(uploadSpace).seek(idKey(b.ID))
		if !bytes.HasPrefix(k, idKey(b.ID)) {
			return nil
		}
		key, _ := keyOf(k)
		o, err := decodeObject(v)
		if err == nil {
			err = t.dropUpload(b, key, &upload{*o}, nil)
		}
		if err != nil {
			return err
		}
	}
}

func (s *Store) completeUpload(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var list s3.CompleteMultipartUpload
	if err := q.decode(document, &list); err != nil {
		return nil, err
	}
	var done *outcome
	err = s.commit(q.ctx, func(t *txn) (err error) {
		done, err = t.complete(q, list.Parts)
		return err
	})
	if err != nil {
		return nil, err
	}
	result := s3.CompleteMultipartUploadResult{Location: "http://" + q.host + "/" + q.bucket + "/" + s3.EscapePath(q.key),
		Bucket: q.bucket, Key: q.key, ETag: s3.Quote(done.etag), ChecksumType: done.checksum.kind}
	done.checksum.into(&result.Checksums)
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderVersionID, done.version), nil
}

// complete makes an object of an upload's parts, whose bytes stay where they are. An upload that was completed before
// gives the same outcome again, to a client that did not hear it.
func (t *txn) complete(q *request, list []s3.CompletePart) (*outcome, error) {
	b, err := t.bucket(q.bucket)
	if err != nil {
		return nil, err
	}
	done, err := t.outcomeOf(b, q)
	if done != nil || err != nil {
		return done, err
	}
	u, err := t.upload(b, q)
	if err != nil {
		return nil, err
	}
	parts, err := t.chosen(u, list)
	if err != nil {
		return nil, err
	}
	o := u.object
	if err := o.assemble(q, parts); err != nil {
		return nil, err
	}
	there, err := t.current(b, q.key)
	if err == nil {
		err = writable(q.header, q.key, there)
	}
	if err != nil {
		return nil, err
	}
	b.defaultRetention(&o, t.store.now())
	kept := make(map[int]bool, len(parts))
	for i := range parts {
		kept[parts[i].number] = true
	}
	if err := t.dropUpload(b, q.key, u, kept); err != nil {
		return nil, err
	}
	if err := t.putParts(b, q.key, &o, parts); err != nil {
		return nil, err
	}
	done = &outcome{bucket: b.ID, key: q.key, salt: u.salt, etag: o.etag, version: b.newVersionID(&o), checksum: o.checksum, at: t.store.now().UnixMilli()}
	return done, t.tx.put(doneSpace, idKey(u.seq), done.encode())
}

// putParts stores an object with its layout.
func (t *txn) putParts(b *bucket, key string, o *object, parts []part) error {
	if err := t.put(b, key, o); err != nil || len(parts) == 0 {
		return err
	}
	return t.tx.put(layoutSpace, idKey(o.seq), encodeLayout(parts))
}

// outcomeOf is what the request's upload came to, nil where it has not ended.
func (t *txn) outcomeOf(b *bucket, q *request) (*outcome, error) {
	seq, salt, ok := parseID(q.query.Get("uploadId"))
	record := t.get(doneSpace, idKey(seq))
	if !ok || record == nil {
		return nil, nil
	}
	done, err := decodeOutcome(record)
	if err != nil || done.bucket != b.ID || done.key != q.key || done.salt != salt {
		return nil, err
	}
	return done, nil
}

// chosen picks the listed parts and applies S3's rules about them.
func (t *txn) chosen(u *upload, list []s3.CompletePart) ([]part, error) {
	if len(list) == 0 || len(list) > s3.MaxPartNumber {
		return nil, s3.NewError(s3.MalformedXML)
	}
	for i := range list[1:] {
		if list[i+1].PartNumber <= list[i].PartNumber {
			return nil, s3.NewError(s3.InvalidPartOrder).With("UploadId", u.id())
		}
	}
	parts := make([]part, 0, len(list))
	for i := range list {
		l := &list[i]
		p, err := t.listedPart(u, l)
		if err != nil {
			return nil, err
		}
		if least := orDefault(t.store.cfg.MinPartSize, s3.MinPartSize); i < len(list)-1 && p.size < least {
			return nil, s3.NewError(s3.EntityTooSmall).With("ProposedSize", itoa(p.size)).With("MinSizeAllowed", itoa(least)).
				With("PartNumber", strconv.Itoa(l.PartNumber)).With("ETag", p.etag)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (t *txn) listedPart(u *upload, l *s3.CompletePart) (part, error) {
	invalid := s3.NewError(s3.InvalidPart).With("UploadId", u.id()).With("PartNumber", strconv.Itoa(l.PartNumber)).With("ETag", s3.Unquote(l.ETag))
	if l.PartNumber < 1 || l.PartNumber > s3.MaxPartNumber {
		return part{}, invalid
	}
	record := t.get(partSpace, partKey(u.seq, l.PartNumber))
	if record == nil {
		return part{}, invalid
	}
	p, err := decodePart(record)
	if err != nil {
		return part{}, err
	}
	named := l.Field(u.checksum.algorithm)
	if s3.Unquote(l.ETag) != p.etag || named != nil && *named != "" && *named != p.checksum {
		return part{}, invalid
	}
	return p, nil
}

// assemble gives the object its parts, size, ETag and checksum.
func (o *object) assemble(q *request, parts []part) error {
	hash := md5.New()
	o.size, o.parts = 0, len(parts)
	for i := range parts {
		digest, err := hex.DecodeString(parts[i].etag)
		if err != nil {
			return errDamaged
		}
		hash.Write(digest)
		o.size += parts[i].size
	}
	o.etag = hex.EncodeToString(hash.Sum(nil)) + "-" + strconv.Itoa(len(parts))
	if size := q.header.Get(s3.HeaderMPObjectSize); size != "" && size != itoa(o.size) {
		return s3.Errorf(s3.InvalidRequest, "The provided 'x-amz-mp-object-size' header value %s does not match what was computed: %d", size, o.size)
	}
	return o.assembleChecksum(q, parts)
}

// assembleChecksum computes the object's checksum from its parts', and compares it with the one in the request.
func (o *object) assembleChecksum(q *request, parts []part) error {
	c := &o.checksum
	if c.algorithm == "" {
		return nil
	}
	if kind := q.header.Get(s3.HeaderChecksumType); kind != "" && kind != c.kind {
		return s3.Errorf(s3.InvalidRequest, "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", c.kind)
	}
	sums, sizes := make([][]byte, len(parts)), make([]int64, len(parts))
	for i := range parts {
		sums[i], _ = base64.StdEncoding.DecodeString(parts[i].checksum)
		sizes[i] = parts[i].size
	}
	if c.kind == s3.ChecksumFullObject {
		whole, err := s3.CombineCRC(c.algorithm, sums, sizes)
		if err != nil {
			return err
		}
		c.value = b64(whole)
	} else {
		h := s3.NewChecksum(c.algorithm)
		for _, sum := range sums {
			h.Write(sum)
		}
		c.value = b64(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
	}
	if want := q.header.Get(s3.ChecksumHeader(c.algorithm)); want != "" && want != c.value && want+"-"+strconv.Itoa(len(parts)) != c.value {
		return s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", strings.ToLower(c.algorithm))
	}
	return nil
}
