package s3

import (
	"errors"
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
}

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

// A ListEntry is one object, version or delete marker. Its strings may be kept. Changing a field in the first
// group has no effect on the document; changing one in the second rewrites the entry.
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

	was        facts
	start, end int // of the whole element in doc
}

// facts are what the document says of the entry and can be made to say otherwise.
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

func (e *ListEntry) changed() bool {
	return e.DropMetadata && (e.HasMetadata || e.UserTags != "") || e.DropInternal && e.HasInternal ||
		e.ETag != e.was.ETag || e.LastModified != e.was.LastModified || e.Size != e.was.Size || e.checksumChanged() || e.metadataChanged()
}

func (e *ListEntry) checksumChanged() bool {
	return e.ChecksumType != e.was.ChecksumType || !slices.Equal(e.ChecksumAlgorithm, e.was.ChecksumAlgorithm)
}

func (e *ListEntry) metadataChanged() bool { return !slices.Equal(e.UserMetadata, e.was.UserMetadata) }

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

// ParseListing reads a listing. A document in a shape that the fast scanner does not know (comments, CDATA,
// prefixes, attributes) is first normalised with encoding/xml; one that is not a listing at all, or says
// something twice, is an error.
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
		l.Entries = make([]ListEntry, 0, min(strings.Count(doc, "<Key>"), MaxListKeys))
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

// child takes one child of the root.
func (l *Listing) child(s *scanner, name string, start int, empty bool) error {
	var err error
	switch name {
	case "Contents", "Version", "DeleteMarker":
		l.Entries = append(l.Entries, ListEntry{Kind: Kind(slices.Index(kindNames[:], name)), start: start})
		e := &l.Entries[len(l.Entries)-1]
		if !empty {
			err = e.scan(s, name)
		}
		e.end, e.was = s.pos, e.facts
		e.was.ChecksumAlgorithm = slices.Clone(e.ChecksumAlgorithm) // fn may change the slice in place
		e.was.UserMetadata = slices.Clone(e.UserMetadata)
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

// The singletons of an entry, one bit each, to refuse a second one.
const (
	seenKey = 1 << iota
	seenVersionID
	seenETag
	seenSize
	seenLastModified
	seenStorageClass
	seenIsLatest
	seenChecksumType
	seenMetadata
	seenTags
	seenInternal
)

func (e *ListEntry) scan(s *scanner, element string) error {
	seen := 0
	err := s.children(element, func(s *scanner, name string, _ int, empty bool) error {
		bit, err := e.field(s, name, empty)
		if err == nil && seen&bit != 0 {
			return errNotListing
		}
		seen |= bit
		return err
	})
	if err == nil && seen&seenKey == 0 {
		return errNotListing
	}
	return err
}

func (e *ListEntry) field(s *scanner, name string, empty bool) (bit int, err error) {
	switch name {
	case "Key":
		e.Key, err = s.leaf(name, empty)
		return seenKey, err
	case "VersionId":
		e.VersionID, err = s.leaf(name, empty)
		return seenVersionID, err
	case "ETag":
		e.ETag, err = s.leaf(name, empty)
		return seenETag, err
	case "LastModified":
		e.LastModified, err = s.leaf(name, empty)
		return seenLastModified, err
	case "StorageClass":
		e.StorageClass, err = s.leaf(name, empty)
		return seenStorageClass, err
	case "ChecksumType":
		e.ChecksumType, err = s.leaf(name, empty)
		return seenChecksumType, err
	case "ChecksumAlgorithm":
		var text string
		text, err = s.leaf(name, empty)
		e.ChecksumAlgorithm = append(e.ChecksumAlgorithm, text)
		return 0, err
	case "UserTags":
		e.UserTags, err = s.leaf(name, empty)
		return seenTags, err
	}
	return e.otherField(s, name, empty)
}

func (e *ListEntry) otherField(s *scanner, name string, empty bool) (bit int, err error) {
	var text string
	switch name {
	case "Size":
		if text, err = s.leaf(name, empty); err == nil {
			e.Size, err = parseSize(text)
		}
		return seenSize, err
	case "IsLatest":
		text, err = s.leaf(name, empty)
		e.IsLatest = strings.TrimSpace(text) == "true"
		return seenIsLatest, err
	case "UserMetadata":
		e.HasMetadata = true
		if !empty {
			err = s.children(name, e.metadata)
		}
		return seenMetadata, err
	case "Internal":
		e.HasInternal = true
		return seenInternal, s.skip(name, empty)
	}
	return 0, s.skip(name, empty)
}

func (e *ListEntry) metadata(s *scanner, name string, _ int, empty bool) error {
	value, err := s.leaf(name, empty)
	e.UserMetadata = append(e.UserMetadata, Field{name, value})
	return err
}

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
