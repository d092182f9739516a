package proxytest

import (
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

func (u *Upstream) listParts(q *request) (*response, error) {
	marker, _ := strconv.Atoi(q.query.Get("part-number-marker"))
	limit := s3.MaxListKeys
	if text := q.query.Get("max-parts"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, s3.InvalidArgument("max-parts", text, "Provided max-parts not an integer or within integer range")
		}
		limit = min(n, limit)
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
	result := s3.ListPartsResult{Bucket: q.bucket, Key: q.key, UploadID: up.id, Initiator: theOwner, Owner: theOwner, StorageClass: "STANDARD",
		PartNumberMarker: marker, MaxParts: limit, ChecksumAlgorithm: up.checksum.algorithm, ChecksumType: up.checksum.kind}
	for _, n := range partNumbers(up.parts) {
		if n <= marker {
			continue
		}
		if len(result.Parts) == limit {
			result.IsTruncated = limit > 0
			break
		}
		result.Parts = append(result.Parts, listedPart(up.parts[n]))
		result.NextPartNumberMarker = n
	}
	return answerXML(&result)
}

func partNumbers(parts map[int]part) []int {
	var numbers []int
	for n := range parts {
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	return numbers
}

func listedPart(p part) s3.Part {
	out := s3.Part{PartNumber: p.number, LastModified: s3.FormatTime(p.modified), ETag: s3.Quote(p.etag), Size: p.size}
	p.checksum.into(&out.Checksums)
	return out
}

func (u *Upstream) listUploads(q *request) (*response, error) {
	keyMarker, idMarker := q.query.Get("key-marker"), q.query.Get("upload-id-marker")
	p, err := u.page(q, keyMarker, "max-uploads")
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	byKey := map[string][]*upload{}
	for _, id := range sortedKeys(b.uploads) { // ids are in the order of their making
		up := b.uploads[id]
		if up.key == keyMarker && (idMarker == "" || id <= idMarker) {
			continue
		}
		byKey[up.key] = append(byKey[up.key], up)
	}
	result := s3.ListMultipartUploadsResult{Bucket: q.bucket, KeyMarker: p.text(keyMarker), UploadIDMarker: idMarker, Prefix: p.text(p.prefix),
		Delimiter: p.text(p.delimiter), EncodingType: p.encoding(), MaxUploads: p.max}
	var last string
	result.CommonPrefixes, last, result.IsTruncated = p.walk(sortedKeys(byKey), func(key string, room int) (int, bool) {
		rest := byKey[key]
		for _, up := range rest[:min(room, len(rest))] {
			result.Uploads = append(result.Uploads, s3.Upload{Key: p.text(up.key), UploadID: up.id, Initiator: theOwner, Owner: theOwner, StorageClass: "STANDARD",
				Initiated: s3.FormatTime(up.initiated), ChecksumAlgorithm: up.checksum.algorithm, ChecksumType: up.checksum.kind})
			result.NextUploadIDMarker = up.id
		}
		return min(room, len(rest)), len(rest) > room
	})
	if result.NextKeyMarker = p.text(last); !result.IsTruncated {
		result.NextKeyMarker, result.NextUploadIDMarker = "", ""
	}
	return answerXML(&result)
}

func (u *Upstream) getAttributes(q *request) (*response, error) {
	wanted := strings.Split(strings.ReplaceAll(strings.Join(q.Header.Values(s3.HeaderObjectAttrs), ","), " ", ""), ",")
	for _, name := range wanted {
		if !slices.Contains([]string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}, name) {
			return nil, s3.InvalidArgument("x-amz-object-attributes", name, "Invalid attribute name specified.")
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	v, err := b.find(q.key, q.query.Get("versionId"))
	if err != nil {
		return nil, err
	}
	var result s3.GetObjectAttributesResponse
	for _, name := range wanted {
		switch name {
		case "ETag":
			result.ETag = v.etag
		case "StorageClass":
			result.StorageClass = v.storageClass()
		case "ObjectSize":
			size := int64(len(v.body))
			result.ObjectSize = &size
		case "Checksum":
			if v.checksum.value != "" {
				result.Checksum = &s3.AttributeChecksum{ChecksumType: v.checksum.kind}
				v.checksum.into(&result.Checksum.Checksums)
			}
		case "ObjectParts":
			result.ObjectParts = v.attributeParts(q.Header)
		}
	}
	resp, err := answerXML(&result)
	if err != nil {
		return nil, err
	}
	return resp.set(s3.HeaderLastModified, s3.FormatHTTPTime(v.modified)).set(s3.HeaderVersionID, b.versionID(v)), nil
}

func (v *version) attributeParts(h http.Header) *s3.AttributeParts {
	if v.parts == nil {
		return nil
	}
	limit, err := strconv.Atoi(h.Get(s3.HeaderMaxParts))
	if err != nil || limit > s3.MaxListKeys {
		limit = s3.MaxListKeys
	}
	marker, _ := strconv.Atoi(h.Get(s3.HeaderPartMarker))
	result := &s3.AttributeParts{PartsCount: len(v.parts), PartNumberMarker: marker, MaxParts: limit}
	for _, p := range v.parts {
		if p.number <= marker {
			continue
		}
		if len(result.Parts) == limit {
			result.IsTruncated = true
			break
		}
		out := s3.AttributePart{PartNumber: p.number, Size: p.size}
		p.checksum.into(&out.Checksums)
		result.Parts = append(result.Parts, out)
		result.NextPartNumberMarker = p.number
	}
	if v.checksum.value == "" {
		result.Parts = nil // S3 lists parts only of objects with checksums
	}
	return result
}
