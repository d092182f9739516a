package embedded

import (
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

func (s *Store) listParts(q *request) (*response, error) {
	marker, err := q.number("part-number-marker", 0, s3.MaxPartNumber)
	if err != nil {
		return nil, err
	}
	limit, err := q.number("max-parts", s3.MaxListKeys, s3.MaxListKeys)
	if err != nil {
		return nil, err
	}
	result := s3.ListPartsResult{Bucket: q.bucket, Key: q.key, Initiator: owner, Owner: owner, StorageClass: "STANDARD", PartNumberMarker: marker, MaxParts: limit}
	err = s.view(func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		u, err := t.upload(b, q)
		if err != nil {
			return err
		}
		result.UploadID, result.ChecksumAlgorithm, result.ChecksumType = u.id(), u.checksum.algorithm, u.checksum.kind
		result.StorageClass = u.storageClass()
		parts, err := t.parts(u, marker+1, limit+1)
		if err != nil {
			return err
		}
		if result.IsTruncated = len(parts) > limit && limit > 0; len(parts) > limit {
			parts = parts[:limit]
		}
		for i := range parts {
			result.Parts = append(result.Parts, parts[i].listed(u))
			result.NextPartNumberMarker = parts[i].number
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answerXML(&result)
}

func (p *part) listed(u *upload) s3.Part {
	l := s3.Part{PartNumber: p.number, LastModified: s3.FormatTime(p.time()), ETag: s3.Quote(p.etag), Size: p.size}
	checksum{algorithm: u.checksum.algorithm, value: p.checksum}.into(&l.Checksums)
	return l
}

// uploadWalk is the keys of a bucket that have uploads.
type uploadWalk struct {
	cursor
	k, v []byte
}

func (w *uploadWalk) seek(at []byte) (index []byte, ok bool) {
	w.k, w.v = w.cursor.seek(at)
	return w.here()
}

func (w *uploadWalk) here() (index []byte, ok bool) {
	if w.k == nil {
		return nil, false
	}
	return w.k[:len(w.k)-8], true
}

// next goes on to the next key. The walk over the uploads of the current one may have done so already.
func (w *uploadWalk) next() (index []byte, ok bool) { return w.here() }

// each gives the uploads of the current key, oldest first, until take says that it is enough.
func (w *uploadWalk) each(take func(*upload) bool) error {
	at := slices.Clone(w.k[:len(w.k)-8])
	for w.k != nil && slices.Equal(w.k[:len(w.k)-8], at) {
		o, err := decodeObject(w.v)
		if err != nil || !take(&upload{*o}) {
			return err
		}
		w.k, w.v = w.cursor.next()
	}
	return nil
}

func (s *Store) listUploads(q *request) (*response, error) {
	keyMarker, idMarker := q.query.Get("key-marker"), q.query.Get("upload-id-marker")
	if keyMarker == "" {
		idMarker = "" // S3 passes it over
	}
	p, err := q.page(keyMarker, "max-uploads")
	if err != nil {
		return nil, err
	}
	result := s3.ListMultipartUploadsResult{Bucket: q.bucket, KeyMarker: p.text(keyMarker), UploadIDMarker: idMarker, Prefix: p.text(p.prefix),
		Delimiter: p.text(p.delimiter), EncodingType: p.encoding(), MaxUploads: p.max}
	if err := s.view(func(t *txn) error { return t.uploads(q, p, idMarker, &result) }); err != nil {
		return nil, err
	}
	return answerXML(&result)
}

// uploads fills a page of uploads: by key, and those of a key by their beginning.
func (t *txn) uploads(q *request, p page, idMarker string, result *s3.ListMultipartUploadsResult) error {
	b, err := t.bucket(q.bucket)
	if err != nil {
		return err
	}
	start := p.afterKey(b)
	if idMarker != "" {
		seq, _, ok := parseID(idMarker)
		if !ok {
			return s3.InvalidArgument("upload-id-marker", idMarker, "Invalid uploadId marker")
		}
		start = behind(uploadKey(b.ID, p.after, seq))
	}
	var last, lastID string
	w := &uploadWalk{cursor: t.cursor(uploadSpace)}
	result.CommonPrefixes, last, result.IsTruncated, err = p.walk(b, w, start, func(key string, room int) (taken int, more bool, err error) {
		err = w.each(func(u *upload) bool {
			if more = taken == room; more {
				return false
			}
			result.Uploads = append(result.Uploads, s3.Upload{Key: p.text(key), UploadID: u.id(), Initiator: owner, Owner: owner, StorageClass: u.storageClass(),
				Initiated: s3.FormatTime(u.time()), ChecksumAlgorithm: u.checksum.algorithm, ChecksumType: u.checksum.kind})
			lastID, taken = u.id(), taken+1
			return true
		})
		return taken, more, err
	})
	if err == nil && result.IsTruncated {
		result.NextKeyMarker = p.text(last)
		if n := len(result.Uploads); n > 0 && result.Uploads[n-1].Key == result.NextKeyMarker {
			result.NextUploadIDMarker = lastID
		}
	}
	return err
}

var attributeNames = []string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}

func (s *Store) getAttributes(q *request) (*response, error) {
	wanted := strings.Split(strings.ReplaceAll(strings.Join(q.header.Values(s3.HeaderObjectAttrs), ","), " ", ""), ",")
	for _, name := range wanted {
		if !slices.Contains(attributeNames, name) {
			return nil, s3.InvalidArgument("x-amz-object-attributes", name, "Invalid attribute name specified.")
		}
	}
	id, err := q.versionID()
	if err != nil {
		return nil, err
	}
	f, err := s.lookup(q, id)
	if err != nil {
		return nil, s.hideMissing(q, err)
	}
	var result s3.GetObjectAttributesResponse
	for _, name := range wanted {
		f.attribute(name, q, &result)
	}
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderLastModified, s3.FormatHTTPTime(f.object.time())).set(s3.HeaderVersionID, f.bucket.versionID(f.object)), nil
}

func (f *found) attribute(name string, q *request, result *s3.GetObjectAttributesResponse) {
	o := f.object
	switch name {
	case "ETag":
		result.ETag = o.etag
	case "StorageClass":
		result.StorageClass = o.storageClass()
	case "ObjectSize":
		result.ObjectSize = &o.size
	case "Checksum":
		if o.checksum.value != "" {
			result.Checksum = &s3.AttributeChecksum{ChecksumType: o.checksum.kind}
			o.checksum.into(&result.Checksum.Checksums)
		}
	case "ObjectParts":
		result.ObjectParts = f.attributeParts(q)
	}
}

// attributeParts is a page of an object's parts. S3 lists parts only of objects with checksums.
func (f *found) attributeParts(q *request) *s3.AttributeParts {
	if f.object.parts == 0 {
		return nil
	}
	limit, err := strconv.Atoi(q.header.Get(s3.HeaderMaxParts))
	if err != nil || limit > s3.MaxListKeys || limit < 0 {
		limit = s3.MaxListKeys
	}
	marker, _ := strconv.Atoi(q.header.Get(s3.HeaderPartMarker))
	result := &s3.AttributeParts{PartsCount: len(f.parts), PartNumberMarker: marker, MaxParts: limit}
	listed := 0
	for i := range f.parts {
		p := &f.parts[i]
		if p.number <= marker {
			continue
		}
		if listed == limit {
			result.IsTruncated = limit > 0
			break
		}
		listed++
		result.NextPartNumberMarker = p.number
		if f.object.checksum.value != "" {
			out := s3.AttributePart{PartNumber: p.number, Size: p.size}
			checksum{algorithm: f.object.checksum.algorithm, value: p.checksum}.into(&out.Checksums)
			result.Parts = append(result.Parts, out)
		}
	}
	return result
}
