package uploads

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// ObjectSum returns the object's checksum: a checksum of the parts' checksums, or their combination.
func ObjectSum(u *Upload, chosen []*Part) (sse.Checksum, error) {
	sum := sse.Checksum{Algorithm: u.Checksum, Composite: u.Composite}
	if !u.Composite {
		sums, sizes := make([][]byte, len(chosen)), make([]int64, len(chosen))
		for i, p := range chosen {
			sums[i], sizes[i] = p.Sum(u.Checksum), p.Size
		}
		var err error
		sum.Value, err = s3.CombineCRC(s3.ChecksumName(u.Checksum), sums, sizes)
		return sum, err
	}
	h := s3.NewChecksumOf(u.Checksum)
	for _, p := range chosen {
		value := p.Sum(u.Checksum)
		if value == nil {
			return sum, fmt.Errorf("part %d has no %s", p.Number, s3.ChecksumName(u.Checksum))
		}
		h.Write(value)
	}
	sum.Value = h.Sum(nil)
	return sum, nil
}

// TagOf returns the object's ETag, in every mode: the MD5 of the parts' ETags, with the number of parts.
func TagOf(etags []string) sse.Tag {
	h := md5.New()
	for _, etag := range etags {
		raw, err := hex.DecodeString(etag)
		if err != nil {
			raw = []byte(etag) // an ETag that is not hexadecimal
		}
		h.Write(raw)
	}
	t := sse.Tag{Kind: sse.TagParts, Parts: uint32(len(etags))}
	h.Sum(t.MD5[:0])
	return t
}

// ETagsOf returns the ETags of parts.
func ETagsOf(chosen []*Part) []string {
	etags := make([]string, len(chosen))
	for i, p := range chosen {
		etags[i] = p.ETag
	}
	return etags
}

// ManifestOf makes the manifest of the object completed from the chosen parts.
func ManifestOf(u *Upload, chosen []*Part, sum sse.Checksum) *sse.Manifest {
	m := &sse.Manifest{
		UploadID: u.UploadID, ChecksumAlgorithm: u.Checksum, Tag: TagOf(ETagsOf(chosen)),
		Facts: sse.Facts{Checksums: []sse.Checksum{sum}},
		Parts: make([]sse.ManifestPart, len(chosen)),
	}
	for i, p := range chosen {
		m.Parts[i] = sse.ManifestPart{Number: p.Number, Size: p.Size, Headers: p.headers(), Checksum: p.Sum(u.Checksum)}
		if len(p.MD5) == md5.Size {
			m.Parts[i].HasMD5 = true
			copy(m.Parts[i].MD5[:], p.MD5)
		}
	}
	return m
}
