package s3

import (
	"strconv"
	"unicode/utf8"
)

// AppendXML appends the page as AWS writes it. encoding/xml would take several times as long for a thousand entries,
// and cannot write a key with control characters; AWS writes them as character references.
func (l *ListBucketResult) AppendXML(dst []byte) []byte {
	dst = beginList(dst, "ListBucketResult", l.Name, l.Prefix)
	dst = appendName(dst, "Marker", l.Marker)
	if l.NextMarker != "" {
		dst = appendName(dst, "NextMarker", l.NextMarker)
	}
	dst = appendPage(dst, l.MaxKeys, l.Delimiter, l.EncodingType, l.IsTruncated)
	return appendEntries(dst, l.Contents, l.CommonPrefixes, "ListBucketResult")
}

// AppendXML appends the page as AWS writes it.
func (l *ListBucketResultV2) AppendXML(dst []byte) []byte {
	dst = beginList(dst, "ListBucketResult", l.Name, l.Prefix)
	for _, f := range []Field{{"ContinuationToken", l.ContinuationToken}, {"NextContinuationToken", l.NextContinuationToken}, {"StartAfter", l.StartAfter}} {
		if f.Value != "" {
			dst = appendName(dst, f.Name, f.Value)
		}
	}
	dst = appendElement(dst, "KeyCount", strconv.Itoa(l.KeyCount))
	dst = appendPage(dst, l.MaxKeys, l.Delimiter, l.EncodingType, l.IsTruncated)
	return appendEntries(dst, l.Contents, l.CommonPrefixes, "ListBucketResult")
}

// AppendXML appends the page as AWS writes it.
func (l *ListVersionsResult) AppendXML(dst []byte) []byte {
	dst = beginList(dst, "ListVersionsResult", l.Name, l.Prefix)
	dst = appendName(dst, "KeyMarker", l.KeyMarker)
	dst = appendElement(dst, "VersionIdMarker", l.VersionIDMarker)
	if l.NextKeyMarker != "" {
		dst = appendName(dst, "NextKeyMarker", l.NextKeyMarker)
	}
	if l.NextVersionIDMarker != "" {
		dst = appendElement(dst, "NextVersionIdMarker", l.NextVersionIDMarker)
	}
	dst = appendPage(dst, l.MaxKeys, l.Delimiter, l.EncodingType, l.IsTruncated)
	for i := range l.Entries {
		dst = l.Entries[i].appendXML(dst)
	}
	return appendPrefixes(dst, l.CommonPrefixes, "ListVersionsResult")
}

func beginList(dst []byte, root, name, prefix string) []byte {
	dst = append(dst, Declaration...)
	dst = append(dst, '<')
	dst = append(dst, root...)
	dst = append(dst, ` xmlns="`+Namespace+`">`...)
	dst = appendElement(dst, "Name", name)
	return appendName(dst, "Prefix", prefix)
}

func appendPage(dst []byte, limit int, delimiter, encoding string, truncated bool) []byte {
	dst = appendElement(dst, "MaxKeys", strconv.Itoa(limit))
	if delimiter != "" {
		dst = appendName(dst, "Delimiter", delimiter)
	}
	if encoding != "" {
		dst = appendElement(dst, "EncodingType", encoding)
	}
	return appendElement(dst, "IsTruncated", strconv.FormatBool(truncated))
}

func appendEntries(dst []byte, objects []Object, prefixes []CommonPrefix, root string) []byte {
	for i := range objects {
		o := &objects[i]
		dst = append(dst, "<Contents>"...)
		dst = appendName(dst, "Key", o.Key)
		dst = appendElement(dst, "LastModified", o.LastModified)
		dst = appendFacts(dst, listedFacts{o.ETag, o.ChecksumAlgorithm, o.ChecksumType, &o.Size, o.Owner, o.StorageClass})
		dst = appendMetadata(dst, o.UserMetadata, o.UserTags)
		dst = append(dst, "</Contents>"...)
	}
	return appendPrefixes(dst, prefixes, root)
}

func appendPrefixes(dst []byte, prefixes []CommonPrefix, root string) []byte {
	for _, p := range prefixes {
		dst = append(dst, "<CommonPrefixes>"...)
		dst = appendName(dst, "Prefix", p.Prefix)
		dst = append(dst, "</CommonPrefixes>"...)
	}
	dst = append(dst, '<', '/')
	dst = append(dst, root...)
	return append(dst, '>')
}

func (v *Version) appendXML(dst []byte) []byte {
	element := "Version"
	if v.DeleteMarker {
		element = "DeleteMarker"
	}
	dst = append(dst, '<')
	dst = append(dst, element...)
	dst = append(dst, '>')
	dst = appendName(dst, "Key", v.Key)
	dst = appendElement(dst, "VersionId", v.VersionID)
	dst = appendElement(dst, "IsLatest", strconv.FormatBool(v.IsLatest))
	dst = appendElement(dst, "LastModified", v.LastModified)
	dst = appendFacts(dst, listedFacts{v.ETag, v.ChecksumAlgorithm, v.ChecksumType, v.Size, v.Owner, v.StorageClass})
	dst = appendMetadata(dst, v.UserMetadata, v.UserTags)
	dst = append(dst, '<', '/')
	dst = append(dst, element...)
	return append(dst, '>')
}

// listedFacts are the elements that objects and versions have in common. Empty ones are left out.
type listedFacts struct {
	etag       string
	algorithms []string // of the checksum
	kind       string   // of the checksum
	size       *int64
	owner      *Owner
	class      string
}

func appendFacts(dst []byte, f listedFacts) []byte {
	if f.etag != "" {
		dst = appendElement(dst, "ETag", f.etag)
	}
	for _, a := range f.algorithms {
		dst = appendElement(dst, "ChecksumAlgorithm", a)
	}
	if f.kind != "" {
		dst = appendElement(dst, "ChecksumType", f.kind)
	}
	if f.size != nil {
		dst = appendElement(dst, "Size", strconv.FormatInt(*f.size, 10))
	}
	if f.owner != nil {
		dst = append(dst, "<Owner>"...)
		dst = appendElement(dst, "ID", f.owner.ID)
		if f.owner.DisplayName != "" {
			dst = appendElement(dst, "DisplayName", f.owner.DisplayName)
		}
		dst = append(dst, "</Owner>"...)
	}
	if f.class != "" {
		dst = appendElement(dst, "StorageClass", f.class)
	}
	return dst
}

func appendMetadata(dst []byte, metadata *MetadataElements, tags string) []byte {
	if metadata != nil {
		dst = append(dst, "<UserMetadata>"...)
		for _, f := range metadata.Fields {
			dst = appendElement(dst, f.Name, f.Value)
		}
		dst = append(dst, "</UserMetadata>"...)
	}
	if tags != "" {
		dst = appendElement(dst, "UserTags", tags)
	}
	return dst
}

// appendName writes a key, a prefix or a marker. AWS writes characters that XML 1.0 cannot hold by their numbers, which
// no strict parser takes: the client should have asked for encoding-type=url.
func appendName(dst []byte, element, name string) []byte {
	plain := true
	for _, r := range name {
		if !isXMLChar(r) {
			plain = false
			break
		}
	}
	if plain {
		return appendElement(dst, element, name)
	}
	dst = append(dst, '<')
	dst = append(dst, element...)
	dst = append(dst, '>')
	for i, r := range name {
		if text := name[i : i+utf8.RuneLen(r)]; isXMLChar(r) {
			dst = appendText(dst, text)
		} else {
			dst = append(dst, "&#x"...)
			dst = strconv.AppendUint(dst, uint64(r), 16)
			dst = append(dst, ';')
		}
	}
	dst = append(dst, '<', '/')
	dst = append(dst, element...)
	return append(dst, '>')
}
