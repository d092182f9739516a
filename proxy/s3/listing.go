package s3

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A Listing is a page of ListObjects, ListObjectsV2 or ListObjectVersions as the store sent it, with its
// entries picked out. Change the entries, then Append the document: every byte of it that is not about a
// changed entry is the store's own, so that order, tokens and whatever else a store adds pass untouched.
type Listing struct {
	Entries []ListEntry

	doc                string // the whole document
	encoded            bool   // keys are URL-encoded
	keyCount           int
	countFrom, countTo int // where the text of KeyCount is; 0, 0 where there is none

	// What the entries have of these lies in one piece for the whole page, and their copies for comparison behind it.
	marks      []mark
	algorithms []string
	metadata   []Field
}

// A mark is the place of a changeable child of an entry, so that the entry is read only once.
type mark struct {
	field      field
	start, end uint32
}

// maxListing is the limit of marks.
const maxListing = math.MaxUint32

// A stretch is a part of a listing's slice.
type stretch struct{ from, to uint32 }

// Kind says which element an entry is.
type Kind uint8

// The kinds of entries.
const (
	KindContents Kind = iota
	KindVersion
	KindDeleteMarker
)

var kindNames = [...]string{"Contents", "Version", "DeleteMarker"}

// String is the name of the entry's element.
func (k Kind) String() string { return kindNames[k] }

// A ListEntry is an object, version or delete marker. Its strings may be kept. A changed field of the first group has
// no effect on the document; a changed field of the second group rewrites the entry.
type ListEntry struct {
	Kind         Kind
	Key          string // decoded, also from encoding-type=url
	VersionID    string
	StorageClass string
	IsLatest     bool

	facts
	Drop         bool // leave the entry out
	DropMetadata bool // leave out MinIO's UserMetadata and UserTags
	DropInternal bool // leave out MinIO's Internal

	was        said
	marks      stretch
	start, end int // of the whole element in doc
}

// said has the facts as in the document.
type said struct {
	etag, lastModified, checksumType string
	size                             int64
	algorithms, metadata             stretch
}

// facts are the changeable fields of an entry.
type facts struct {
	ETag              string // with its quotes, as in the document
	LastModified      string
	Size              int64
	ChecksumAlgorithm []string
	ChecksumType      string
	UserMetadata      []Field // MinIO's, named after the headers; nil where the document has none
	UserTags          string
	HasMetadata       bool // the document has a UserMetadata element, if only an empty one
	HasInternal       bool
}

func (l *Listing) changed(e *ListEntry) bool {
	return e.DropMetadata && (e.HasMetadata || e.UserTags != "") || e.DropInternal && e.HasInternal ||
		e.ETag != e.was.etag || e.LastModified != e.was.lastModified || e.Size != e.was.size || l.checksumChanged(e) || l.metadataChanged(e)
}

func (l *Listing) checksumChanged(e *ListEntry) bool {
	was := e.was.algorithms
	return e.ChecksumType != e.was.checksumType || !slices.Equal(e.ChecksumAlgorithm, l.algorithms[was.from:was.to])
}

func (l *Listing) metadataChanged(e *ListEntry) bool {
	was := e.was.metadata
	return !slices.Equal(e.UserMetadata, l.metadata[was.from:was.to])
}

// RewriteListing appends the listing in src to dst, each entry as fn left it.
func RewriteListing(dst, src []byte, fn func(*ListEntry) error) ([]byte, error) {
	l, err := ParseListing(src)
	if err != nil {
		return dst, err
	}
	for i := range l.Entries {
		if err := fn(&l.Entries[i]); err != nil {
			return dst, err
		}
	}
	return l.Append(dst), nil
}

// ParseListing reads a listing. A document in a shape unknown to the fast scanner (comments, CDATA, prefixes,
// attributes) is first normalised with encoding/xml; another document, or a repeated element, is an error.
func ParseListing(src []byte) (*Listing, error) {
	l, err := scanListing(string(src))
	if !errors.Is(err, errShape) {
		return l, err
	}
	plain, err := normalise(src)
	if err != nil {
		return nil, err
	}
	if l, err = scanListing(plain); err != nil {
		return nil, errNotListing
	}
	return l, nil
}

func scanListing(doc string) (*Listing, error) {
	if len(doc) > maxListing {
		return nil, errNotListing
	}
	if !plainXML(doc) {
		return nil, errShape
	}
	l := &Listing{doc: doc}
	s := scanner{doc: doc}
	if err := s.prolog(); err != nil {
		return nil, err
	}
	root, empty, err := s.open()
	if err != nil {
		return nil, err
	}
	if root != "ListBucketResult" && root != "ListVersionsResult" {
		return nil, errNotListing
	}
	if !empty {
		if err := s.children(root, l.child); err != nil {
			return nil, err
		}
	}
	if err := s.epilog(); err != nil {
		return nil, err
	}
	return l, l.decodeKeys()
}

var errNotListing = errors.New("s3: not a listing")

// child takes a child of the root.
func (l *Listing) child(s *scanner, name string, start int, empty bool) error {
	var err error
	switch name {
	case "Contents", "Version", "DeleteMarker":
		e := l.grow()
		e.Kind, e.start, e.marks.from = Kind(slices.Index(kindNames[:], name)), start, uint32(len(l.marks))
		if !empty {
			err = l.scan(e, s, name)
		}
		e.end, e.marks.to = s.pos, uint32(len(l.marks))
		l.remember(e)
		return err
	case "EncodingType":
		var text string
		if text, err = s.leaf(name, empty); text == "url" {
			l.encoded = true
		}
		return err
	case "KeyCount":
		from := s.pos
		text, err := s.leaf(name, empty)
		if err != nil || empty {
			return err
		}
		if l.keyCount, err = strconv.Atoi(text); err == nil {
			l.countFrom, l.countTo = from, from+len(text)
		}
		return nil
	}
	return s.skip(name, empty)
}

// grow adds an entry. From the first one's length it tells how many there may be.
func (l *Listing) grow() *ListEntry {
	switch n := len(l.Entries); {
	case n == 1 && cap(l.Entries) == 1:
		first := &l.Entries[0]
		n = min((len(l.doc)-first.end)/(first.end-first.start)+1, MaxListKeys)
		l.Entries = slices.Grow(l.Entries, n)
		l.marks = slices.Grow(l.marks, n*int(first.marks.to-first.marks.from))
		l.algorithms, l.metadata = slices.Grow(l.algorithms, n*len(l.algorithms)), slices.Grow(l.metadata, n*len(l.metadata))
	case n == 0:
		l.Entries = make([]ListEntry, 0, 1)
	}
	l.Entries = append(l.Entries, ListEntry{})
	return &l.Entries[len(l.Entries)-1]
}

// remember keeps what the document says of the entry. Its slices are copied: they may be changed in place.
func (l *Listing) remember(e *ListEntry) {
	e.was = said{etag: e.ETag, lastModified: e.LastModified, checksumType: e.ChecksumType, size: e.Size}
	e.was.algorithms.from = uint32(len(l.algorithms))
	l.algorithms = append(l.algorithms, e.ChecksumAlgorithm...)
	e.was.algorithms.to = uint32(len(l.algorithms))
	e.was.metadata.from = uint32(len(l.metadata))
	l.metadata = append(l.metadata, e.UserMetadata...)
	e.was.metadata.to = uint32(len(l.metadata))
}

// field is a child of an entry.
type field uint16

// The children of an entry, a bit each.
const (
	fieldKey field = 1 << iota
	fieldVersionID
	fieldETag
	fieldSize
	fieldLastModified
	fieldStorageClass
	fieldIsLatest
	fieldChecksumAlgorithm
	fieldChecksumType
	fieldMetadata
	fieldTags
	fieldInternal

	// singletons may not come twice; marked can be changed.
	singletons = ^fieldChecksumAlgorithm
	marked     = fieldETag | fieldSize | fieldLastModified | fieldChecksumAlgorithm | fieldChecksumType | fieldMetadata | fieldTags | fieldInternal
)

func (l *Listing) scan(e *ListEntry, s *scanner, element string) error {
	var seen field
	err := s.children(element, func(s *scanner, name string, start int, empty bool) error {
		f, err := l.field(e, s, name, empty)
		if err == nil && seen&f&singletons != 0 {
			return errNotListing
		}
		seen |= f
		if f&marked != 0 {
			l.marks = append(l.marks, mark{f, uint32(start), uint32(s.pos)})
		}
		return err
	})
	if err == nil && seen&fieldKey == 0 {
		return errNotListing
	}
	return err
}

func (l *Listing) field(e *ListEntry, s *scanner, name string, empty bool) (f field, err error) {
	switch name {
	case "Key":
		e.Key, err = s.leaf(name, empty)
		return fieldKey, err
	case "VersionId":
		e.VersionID, err = s.leaf(name, empty)
		return fieldVersionID, err
	case "ETag":
		e.ETag, err = s.leaf(name, empty)
		return fieldETag, err
	case "LastModified":
		e.LastModified, err = s.leaf(name, empty)
		return fieldLastModified, err
	case "StorageClass":
		e.StorageClass, err = s.leaf(name, empty)
		return fieldStorageClass, err
	case "ChecksumType":
		e.ChecksumType, err = s.leaf(name, empty)
		return fieldChecksumType, err
	case "UserTags":
		e.UserTags, err = s.leaf(name, empty)
		return fieldTags, err
	}
	return l.otherField(e, s, name, empty)
}

func (l *Listing) otherField(e *ListEntry, s *scanner, name string, empty bool) (f field, err error) {
	var text string
	switch name {
	case "Size":
		if text, err = s.leaf(name, empty); err == nil {
			e.Size, err = parseSize(text)
		}
		return fieldSize, err
	case "IsLatest":
		text, err = s.leaf(name, empty)
		e.IsLatest = strings.TrimSpace(text) == "true"
		return fieldIsLatest, err
	case "ChecksumAlgorithm":
		text, err = s.leaf(name, empty)
		l.algorithms = append(l.algorithms, text)
		e.ChecksumAlgorithm = last(l.algorithms, len(e.ChecksumAlgorithm)+1)
		return fieldChecksumAlgorithm, err
	case "UserMetadata":
		e.HasMetadata = true
		if !empty {
			err = s.children(name, func(s *scanner, name string, _ int, empty bool) error {
				value, err := s.leaf(name, empty)
				l.metadata = append(l.metadata, Field{name, value})
				e.UserMetadata = last(l.metadata, len(e.UserMetadata)+1)
				return err
			})
		}
		return fieldMetadata, err
	case "Internal":
		e.HasInternal = true
		return fieldInternal, s.skip(name, empty)
	}
	return 0, s.skip(name, empty)
}

// last is the last n elements of s. An append to them leaves what will follow in s alone.
func last[T any](s []T, n int) []T { return s[len(s)-n : len(s) : len(s)] }

func parseSize(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0, errNotListing
	}
	return n, nil
}

// decodeKeys undoes encoding-type=url, once it is known: MinIO says it after the entries. The encoding is a
// form's, where a space is a plus sign.
func (l *Listing) decodeKeys() error {
	if !l.encoded {
		return nil
	}
	for i := range l.Entries {
		key, err := url.QueryUnescape(l.Entries[i].Key)
		if err != nil {
			return errNotListing
		}
		l.Entries[i].Key = key
	}
	return nil
}
