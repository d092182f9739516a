package proxytest

import (
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// page is what every kind of listing is asked with.
type page struct {
	prefix, delimiter, after string
	max                      int
	encode                   bool
}

func (u *Upstream) page(q *request, after, maxName string) (page, error) {
	p := page{prefix: q.query.Get("prefix"), delimiter: q.query.Get("delimiter"), after: after, max: s3.MaxListKeys}
	switch encoding := q.query.Get("encoding-type"); encoding {
	case "":
	case "url":
		p.encode = !u.PlainNames
	default:
		return p, s3.InvalidArgument("encoding-type", encoding, "Invalid Encoding Method specified in Request")
	}
	if text := q.query.Get(maxName); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return p, s3.InvalidArgument(maxName, text, "Provided "+maxName+" not an integer or within integer range")
		}
		p.max = min(n, s3.MaxListKeys)
	}
	return p, nil
}

// text writes a key or prefix as the client asked for it.
func (p page) text(s string) string {
	if !p.encode {
		return s
	}
	return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/")
}

func (p page) encoding() string {
	if p.encode {
		return "url"
	}
	return ""
}

// common is the prefix that groups a key, "" if it stands alone.
func (p page) common(key string) string {
	if p.delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(p.prefix):], p.delimiter); i >= 0 {
		return key[:len(p.prefix)+i+len(p.delimiter)]
	}
	return ""
}

// walk goes through the sorted keys behind the marker. one takes a key that stands alone, as far as the page
// has room, and says how many entries it took and whether there are more. It gives the last key or prefix.
func (p page) walk(keys []string, one func(key string, room int) (taken int, more bool)) (prefixes []s3.CommonPrefix, last string, truncated bool) {
	count, group := 0, ""
	for _, key := range keys {
		if !strings.HasPrefix(key, p.prefix) || key < p.after {
			continue
		}
		common := p.common(key)
		if common != "" && (common == group || common == p.after) {
			continue
		}
		if p.max == 0 {
			return nil, "", false
		}
		if count >= p.max {
			return prefixes, last, true
		}
		if common != "" {
			group, last = common, common
			prefixes = append(prefixes, s3.CommonPrefix{Prefix: p.text(common)})
			count++
			continue
		}
		taken, more := one(key, p.max-count)
		if count += taken; taken > 0 {
			last = key
		}
		if more {
			return prefixes, last, true
		}
	}
	return prefixes, last, false
}

// objects lists the current objects behind the marker.
func (u *Upstream) objects(q *request, p page, metadata, owner bool) (contents []s3.Object, prefixes []s3.CommonPrefix, last string, truncated bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, nil, "", false, err
	}
	keys := sortedKeys(b.keys)
	visible := keys[:0]
	for _, key := range keys {
		if b.current(key) != nil && key != p.after {
			visible = append(visible, key)
		}
	}
	prefixes, last, truncated = p.walk(visible, func(key string, _ int) (int, bool) {
		contents = append(contents, b.current(key).listed(p, metadata, owner))
		return 1, false
	})
	return contents, prefixes, last, truncated, nil
}

var theOwner = &s3.Owner{ID: "proxytest", DisplayName: "proxytest"}

func (v *version) storageClass() string {
	if class := v.header.Get(s3.HeaderStorageClass); class != "" {
		return class
	}
	return "STANDARD"
}

func (v *version) listed(p page, metadata, owner bool) s3.Object {
	o := s3.Object{Key: p.text(v.key), LastModified: s3.FormatTime(v.modified), ETag: s3.Quote(v.etag), Size: int64(len(v.body)), StorageClass: v.storageClass()}
	if v.checksum.value != "" {
		o.ChecksumAlgorithm, o.ChecksumType = []string{v.checksum.algorithm}, v.checksum.kind
	}
	if owner {
		o.Owner = theOwner
	}
	if metadata {
		o.UserMetadata, o.UserTags = v.metadata()
	}
	return o
}

// metadata is what MinIO adds to a listing.
func (v *version) metadata() (*s3.MetadataElements, string) {
	var m s3.MetadataElements
	for _, name := range sortedKeys(v.header) {
		if strings.HasPrefix(name, s3.PrefixMeta) {
			m.Fields = append(m.Fields, s3.Field{Name: name, Value: v.header.Get(name)})
		}
	}
	m.Fields = append(m.Fields, s3.Field{Name: "content-type", Value: v.header.Get(s3.HeaderContentType)})
	tags := url.Values{}
	for _, t := range v.tags {
		tags.Set(t.Key, t.Value)
	}
	return &m, tags.Encode()
}

func (u *Upstream) wantsMetadata(q *request) bool {
	return u.ListMetadata && !u.DenyListMetadata && q.query.Get("metadata") == "true"
}

func (u *Upstream) listObjects(q *request) (*response, error) {
	p, err := u.page(q, q.query.Get("marker"), "max-keys")
	if err != nil {
		return nil, err
	}
	contents, prefixes, last, truncated, err := u.objects(q, p, false, true)
	if err != nil {
		return nil, err
	}
	result := s3.ListBucketResult{Name: q.bucket, Prefix: p.text(p.prefix), Marker: p.text(p.after), MaxKeys: p.max, Delimiter: p.text(p.delimiter),
		EncodingType: p.encoding(), IsTruncated: truncated, Contents: contents, CommonPrefixes: prefixes}
	if truncated && p.delimiter != "" {
		result.NextMarker = p.text(last)
	}
	return answerXML(&result)
}

func (u *Upstream) listObjectsV2(q *request) (*response, error) {
	after, token := q.query.Get("start-after"), q.query.Get("continuation-token")
	if q.query.Has("continuation-token") {
		raw, err := u.openToken(token)
		if err != nil || token == "" {
			return nil, s3.InvalidArgument("continuation-token", token, "The continuation token provided is incorrect")
		}
		after = raw
	}
	p, err := u.page(q, after, "max-keys")
	if err != nil {
		return nil, err
	}
	contents, prefixes, last, truncated, err := u.objects(q, p, u.wantsMetadata(q), q.query.Get("fetch-owner") == "true")
	if err != nil {
		return nil, err
	}
	result := s3.ListBucketResultV2{Name: q.bucket, Prefix: p.text(p.prefix), ContinuationToken: token, StartAfter: p.text(q.query.Get("start-after")),
		KeyCount: len(contents) + len(prefixes), MaxKeys: p.max, Delimiter: p.text(p.delimiter), EncodingType: p.encoding(),
		IsTruncated: truncated, Contents: contents, CommonPrefixes: prefixes}
	if truncated {
		result.NextContinuationToken = u.token(last)
	}
	return answerXML(&result)
}

func (u *Upstream) token(last string) string {
	if u.PlainNames {
		return last
	}
	return base64.URLEncoding.EncodeToString([]byte(last))
}

func (u *Upstream) openToken(token string) (string, error) {
	if u.PlainNames {
		return token, nil
	}
	raw, err := base64.URLEncoding.DecodeString(token)
	return string(raw), err
}

func (u *Upstream) listVersions(q *request) (*response, error) {
	keyMarker, idMarker := q.query.Get("key-marker"), q.query.Get("version-id-marker")
	if idMarker != "" && keyMarker == "" {
		return nil, s3.InvalidArgument("version-id-marker", idMarker, "A version-id marker cannot be specified without a key marker.")
	}
	p, err := u.page(q, keyMarker, "max-keys")
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b, err := u.lookup(q.bucket)
	if err != nil {
		return nil, err
	}
	result := s3.ListVersionsResult{Name: q.bucket, Prefix: p.text(p.prefix), KeyMarker: p.text(keyMarker), VersionIDMarker: idMarker,
		MaxKeys: p.max, Delimiter: p.text(p.delimiter), EncodingType: p.encoding()}
	var lastID string
	var last string
	result.CommonPrefixes, last, result.IsTruncated = p.walk(sortedKeys(b.keys), func(key string, room int) (int, bool) {
		rest := behind(b.keys[key], key == keyMarker, idMarker)
		for i, v := range rest[:min(room, len(rest))] {
			latest := len(rest) == len(b.keys[key]) && i == 0
			result.Entries = append(result.Entries, v.listedVersion(p, latest, u.wantsMetadata(q)))
			lastID = v.id
		}
		return min(room, len(rest)), len(rest) > room
	})
	if result.IsTruncated {
		result.NextKeyMarker = p.text(last)
		if n := len(result.Entries); n > 0 && result.Entries[n-1].Key == p.text(last) {
			result.NextVersionIDMarker = lastID
		}
	}
	return answerXML(&result)
}

// behind gives a key's versions, newest first, that come after the marker.
func behind(oldestFirst []*version, atMarker bool, idMarker string) []*version {
	var rest []*version
	skipping := atMarker
	for i := len(oldestFirst) - 1; i >= 0; i-- {
		if !skipping {
			rest = append(rest, oldestFirst[i])
		} else if idMarker != "" && oldestFirst[i].id == idMarker {
			skipping = false
		}
	}
	return rest
}

func (v *version) listedVersion(p page, latest, metadata bool) s3.Version {
	entry := s3.Version{DeleteMarker: v.marker, Key: p.text(v.key), VersionID: v.id, IsLatest: latest, LastModified: s3.FormatTime(v.modified), Owner: theOwner}
	if v.marker {
		return entry
	}
	size := int64(len(v.body))
	entry.ETag, entry.Size, entry.StorageClass = s3.Quote(v.etag), &size, v.storageClass()
	if v.checksum.value != "" {
		entry.ChecksumAlgorithm, entry.ChecksumType = []string{v.checksum.algorithm}, v.checksum.kind
	}
	if metadata {
		entry.UserMetadata, entry.UserTags = v.metadata()
	}
	return entry
}
