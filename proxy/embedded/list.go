package embedded

import (
	"bytes"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"waxseal/proxy/s3"
)

// page is what every kind of listing is asked with.
type page struct {
	prefix, delimiter, after string
	max                      int
	encode                   bool
}

func (q *request) page(after, maxName string) (page, error) {
	p := page{prefix: q.query.Get("prefix"), delimiter: q.query.Get("delimiter"), after: after}
	switch encoding := q.query.Get("encoding-type"); encoding {
	case "":
	case "url":
		p.encode = true
	default:
		return p, s3.InvalidArgument("encoding-type", encoding, "Invalid Encoding Method specified in Request")
	}
	var err error
	p.max, err = q.number(maxName, s3.MaxListKeys, s3.MaxListKeys)
	return p, err
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

// keys walks the keys of a bucket in S3's order, each with the entries that it has in one space or in two.
type keys interface {
	// seek goes to the first key whose index key is at or behind at.
	seek(at []byte) (index []byte, ok bool)
	// next goes to the key behind the current one, past all entries of the current one that one has not walked over.
	next() (index []byte, ok bool)
}

// walk goes through the keys behind the marker. Groups that a delimiter makes are skipped over, however many keys they
// have. one takes a key that stands alone, as far as the page has room, and says how many entries it took and whether
// there are more. walk gives the last key or prefix.
func (p page) walk(b *bucket, k keys, startAt []byte, one func(key string, room int) (taken int, more bool, err error)) (prefixes []s3.CommonPrefix, last string, truncated bool, err error) {
	within := prefixKey(b.ID, p.prefix)
	if bytes.Compare(startAt, within) < 0 {
		startAt = within
	}
	if p.max == 0 {
		return nil, "", false, nil
	}
	count := 0
	index, ok := k.seek(startAt)
	for ok && bytes.HasPrefix(index, within) {
		key, _ := keyOf(index)
		common := p.common(key)
		if common != "" && common == p.after { // the page before ended with this group
			index, ok = k.seek(behind(prefixKey(b.ID, common)))
			continue
		}
		if count >= p.max {
			return prefixes, last, true, nil
		}
		if common != "" {
			prefixes, last, count = append(prefixes, s3.CommonPrefix{Prefix: p.text(common)}), common, count+1
			index, ok = k.seek(behind(prefixKey(b.ID, common)))
			continue
		}
		taken, more, err := one(key, p.max-count)
		if err != nil {
			return nil, "", false, err
		}
		if count += taken; taken > 0 {
			last = key
		}
		if more {
			return prefixes, last, true, nil
		}
		index, ok = k.next()
	}
	return prefixes, last, false, nil
}

// afterKey is the first index key behind a marker: behind the key, or behind all keys of a group that the marker names.
func (p page) afterKey(b *bucket) []byte {
	if p.after == "" {
		return nil
	}
	if strings.HasPrefix(p.after, p.prefix) && p.common(p.after) == p.after {
		return behind(prefixKey(b.ID, p.after))
	}
	return behind(objectKey(b.ID, p.after))
}

// oneSpace is the keys of a space that has one entry for each.
type oneSpace struct {
	cursor
	value []byte
}

func (o *oneSpace) seek(at []byte) (index []byte, ok bool) { return o.got(o.cursor.seek(at)) }
func (o *oneSpace) next() (index []byte, ok bool)          { return o.got(o.cursor.next()) }

func (o *oneSpace) got(k, v []byte) ([]byte, bool) {
	o.value = v
	return k, k != nil
}

// listed are the objects of a page.
type listed struct {
	contents  []s3.Object
	prefixes  []s3.CommonPrefix
	last      string
	truncated bool
}

// objects lists the current objects behind the marker, in one transaction.
func (s *Store) objects(q *request, p page, metadata, owners bool) (l listed, err error) {
	err = s.view(func(t *txn) error {
		b, err := t.bucket(q.bucket)
		if err != nil {
			return err
		}
		k := &oneSpace{cursor: t.cursor(currentSpace)}
		l.prefixes, l.last, l.truncated, err = p.walk(b, k, p.afterKey(b), func(key string, _ int) (int, bool, error) {
			o, err := decodeObject(k.value)
			if err != nil {
				return 0, false, err
			}
			l.contents = append(l.contents, o.listed(p.text(key), metadata, owners))
			return 1, false, nil
		})
		return err
	})
	return l, err
}

func (o *object) storageClass() string {
	if class := o.headerValue(s3.HeaderStorageClass); class != "" {
		return class
	}
	return "STANDARD"
}

func (o *object) listed(key string, metadata, owners bool) s3.Object {
	l := s3.Object{Key: key, LastModified: s3.FormatTime(o.time()), ETag: s3.Quote(o.etag), Size: o.size, StorageClass: o.storageClass()}
	if o.checksum.value != "" {
		l.ChecksumAlgorithm, l.ChecksumType = []string{o.checksum.algorithm}, o.checksum.kind
	}
	if owners {
		l.Owner = owner
	}
	if metadata {
		l.UserMetadata, l.UserTags = o.metadata()
	}
	return l
}

// metadata is what MinIO adds to a listing with metadata=true.
func (o *object) metadata() (*s3.MetadataElements, string) {
	m := &s3.MetadataElements{Fields: make([]s3.Field, 0, len(o.header))}
	for _, f := range o.header {
		switch {
		case strings.HasPrefix(f.Name, s3.PrefixMeta):
			m.Fields = append(m.Fields, f)
		case f.Name == s3.HeaderContentType, f.Name == s3.HeaderContentEncoding:
			m.Fields = append(m.Fields, s3.Field{Name: strings.ToLower(f.Name), Value: f.Value})
		}
	}
	sort.Slice(m.Fields, func(i, j int) bool { return m.Fields[i].Name < m.Fields[j].Name })
	if len(o.tags) == 0 {
		return m, ""
	}
	tags := url.Values{}
	for _, t := range o.tags {
		tags.Set(t.Key, t.Value)
	}
	return m, tags.Encode()
}

func answerPage(append func([]byte) []byte) *response {
	return answer(http.StatusOK).bytes("application/xml", append(make([]byte, 0, 64<<10)))
}

func (s *Store) listObjects(q *request) (*response, error) {
	p, err := q.page(q.query.Get("marker"), "max-keys")
	if err != nil {
		return nil, err
	}
	l, err := s.objects(q, p, false, true)
	if err != nil {
		return nil, err
	}
	result := s3.ListBucketResult{Name: q.bucket, Prefix: p.text(p.prefix), Marker: p.text(p.after), MaxKeys: p.max, Delimiter: p.text(p.delimiter),
		EncodingType: p.encoding(), IsTruncated: l.truncated, Contents: l.contents, CommonPrefixes: l.prefixes}
	if l.truncated && p.delimiter != "" {
		result.NextMarker = p.text(l.last)
	}
	return answerPage(result.AppendXML), nil
}

func (s *Store) listObjectsV2(q *request) (*response, error) {
	after, err := parseToken(q)
	if err != nil {
		return nil, err
	}
	if after == "" {
		after = q.query.Get("start-after")
	}
	p, err := q.page(after, "max-keys")
	if err != nil {
		return nil, err
	}
	l, err := s.objects(q, p, q.query.Get("metadata") == "true", q.query.Get("fetch-owner") == "true")
	if err != nil {
		return nil, err
	}
	result := s3.ListBucketResultV2{Name: q.bucket, Prefix: p.text(p.prefix), ContinuationToken: q.query.Get("continuation-token"), StartAfter: p.text(q.query.Get("start-after")),
		KeyCount: len(l.contents) + len(l.prefixes), MaxKeys: p.max, Delimiter: p.text(p.delimiter), EncodingType: p.encoding(),
		IsTruncated: l.truncated, Contents: l.contents, CommonPrefixes: l.prefixes}
	if l.truncated {
		result.NextContinuationToken = makeToken(l.last)
	}
	return answerPage(result.AppendXML), nil
}

// versionWalk is the keys of a bucket with all their versions: the current object first, which is always the newest.
type versionWalk struct {
	current, older cursor
	olderFrom      []byte // versions before it are of pages before
	ck, cv         []byte // where current is
	ok, ov         []byte // where older is
	index          []byte // of the current key
}

func (w *versionWalk) seek(at []byte) (index []byte, ok bool) {
	w.ck, w.cv = w.current.seek(at)
	if bytes.Compare(at, w.olderFrom) < 0 {
		at = w.olderFrom
	}
	w.ok, w.ov = w.older.seek(at)
	return w.here()
}

// here goes to the lower of the two cursors' keys, without a sequence.
func (w *versionWalk) here() (index []byte, ok bool) {
	older := w.ok
	if older != nil {
		older = older[:len(older)-8]
	}
	if w.index = older; older == nil || w.ck != nil && bytes.Compare(w.ck, older) <= 0 {
		w.index = w.ck
	}
	return w.index, w.index != nil
}

// next goes on from the current key, whose versions each may have walked over.
func (w *versionWalk) next() (index []byte, ok bool) {
	if bytes.Equal(w.ck, w.index) {
		w.ck, w.cv = w.current.next()
	}
	if w.ok != nil && bytes.HasPrefix(w.ok, w.index) {
		w.ok, w.ov = w.older.seek(behind(w.index))
	}
	return w.here()
}

// each gives the versions of the current key, newest first, until take says that it is enough.
func (w *versionWalk) each(take func(*object) bool) error {
	if bytes.Equal(w.ck, w.index) {
		o, err := decodeObject(w.cv)
		if err != nil || !take(o) {
			return err
		}
	}
	for w.ok != nil && bytes.HasPrefix(w.ok, w.index) {
		o, err := decodeObject(w.ov)
		if err != nil || !take(o) {
			return err
		}
		w.ok, w.ov = w.older.next()
	}
	return nil
}

func (s *Store) listVersions(q *request) (*response, error) {
	keyMarker, idMarker := q.query.Get("key-marker"), q.query.Get("version-id-marker")
	if idMarker != "" && keyMarker == "" {
		return nil, s3.InvalidArgument("version-id-marker", idMarker, "A version-id marker cannot be specified without a key marker.")
	}
	p, err := q.page(keyMarker, "max-keys")
	if err != nil {
		return nil, err
	}
	result := s3.ListVersionsResult{Name: q.bucket, Prefix: p.text(p.prefix), KeyMarker: p.text(keyMarker), VersionIDMarker: idMarker,
		MaxKeys: p.max, Delimiter: p.text(p.delimiter), EncodingType: p.encoding()}
	metadata := q.query.Get("metadata") == "true"
	err = s.view(func(t *txn) error { return t.versions(q, p, idMarker, metadata, &result) })
	if err != nil {
		return nil, err
	}
	return answerPage(result.AppendXML), nil
}

// versions fills a page of versions.
func (t *txn) versions(q *request, p page, idMarker string, metadata bool, result *s3.ListVersionsResult) error {
	b, err := t.bucket(q.bucket)
	if err != nil {
		return err
	}
	w := &versionWalk{current: t.cursor(currentSpace), older: t.cursor(versionSpace)}
	start, below, top := p.afterKey(b), ^uint64(0), uint64(0)
	if idMarker != "" {
		newest, err := t.newest(b, p.after)
		if err == nil {
			below, err = t.markerSeq(b, p.after, idMarker)
		}
		if err != nil {
			return err
		}
		top, start, w.olderFrom = seqOf(newest), objectKey(b.ID, p.after), behind(versionKey(b.ID, p.after, below))
	}
	var lastID, last string
	result.CommonPrefixes, last, result.IsTruncated, err = p.walk(b, w, start, func(key string, room int) (taken int, more bool, err error) {
		atMarker, latest := idMarker != "" && key == p.after, true
		err = w.each(func(o *object) bool {
			if atMarker {
				latest = o.seq == top
			}
			if !atMarker || o.seq < below {
				if more = taken == room; more {
					return false
				}
				result.Entries = append(result.Entries, o.listedVersion(p.text(key), b, latest, metadata))
				lastID, taken = o.versionID(), taken+1
			}
			latest = false
			return true
		})
		return taken, more, err
	})
	if err == nil && result.IsTruncated {
		result.NextKeyMarker = p.text(last)
		if n := len(result.Entries); n > 0 && result.Entries[n-1].Key == p.text(last) {
			result.NextVersionIDMarker = lastID
		}
	}
	return err
}

// markerSeq is the sequence of the version that a marker names. It may have been deleted since the page before.
func (t *txn) markerSeq(b *bucket, key, id string) (uint64, error) {
	if seq, _, ok := parseID(id); ok {
		return seq, nil
	}
	if id == "null" {
		o, err := t.version(b, key, id)
		if err != nil || o != nil {
			return seqOf(o), err
		}
	}
	return 0, s3.InvalidArgument("version-id-marker", id, "Invalid version id specified")
}

func seqOf(o *object) uint64 {
	if o == nil {
		return 0
	}
	return o.seq
}

func (o *object) listedVersion(key string, b *bucket, latest, metadata bool) s3.Version {
	v := s3.Version{DeleteMarker: o.marker, Key: key, VersionID: o.versionID(), IsLatest: latest, LastModified: s3.FormatTime(o.time()), Owner: owner}
	if o.marker {
		return v
	}
	v.ETag, v.Size, v.StorageClass = s3.Quote(o.etag), &o.size, o.storageClass()
	if o.checksum.value != "" {
		v.ChecksumAlgorithm, v.ChecksumType = []string{o.checksum.algorithm}, o.checksum.kind
	}
	if metadata {
		v.UserMetadata, v.UserTags = o.metadata()
	}
	return v
}
