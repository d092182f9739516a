package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner walks the plain subset of XML used by stores for listings: elements without prefixes and with no attribute
// but the root's xmlns, text, character references. Everything else is errShape, and the document takes the slow way.
// encoding/xml needs 50 times as long for a page of 1,000 keys.
type scanner struct {
	doc   string
	pos   int
	depth int
	text  strings.Builder // of unescaped texts, one behind the other: a page has one in every ETag
}

// childFunc takes a child whose start tag has just been read, and leaves the scanner behind its end tag.
type childFunc func(s *scanner, name string, start int, empty bool) error

// plainXML checks once, for the whole document, what encoding/xml would check for each text.
func plainXML(doc string) bool {
	if strings.Contains(doc, "]]>") {
		return false
	}
	ascii := true
	for i := 0; i < len(doc); i++ {
		if len(doc)-i >= 8 && printable(doc[i:i+8]) {
			i += 7
			continue
		}
		if c := doc[i]; c < 0x20 && c != '\n' && c != '\t' {
			return false
		} else if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.ValidString(doc) && !strings.ContainsAny(doc, "\uFFFE\uFFFF")
}

// printable says of eight characters whether all are ASCII and none is a control character.
func printable(s string) bool {
	_ = s[7]
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const low, high = 0x2020202020202020, 0x8080808080808080
	// With the high bit set nothing is borrowed from the next byte; it is lost where the byte is below 0x20.
	return w&high == 0 && ((w|high)-low)&high == high
}

func (s *scanner) space() {
	for s.pos < len(s.doc) && (s.doc[s.pos] == ' ' || s.doc[s.pos] == '\n' || s.doc[s.pos] == '\t') {
		s.pos++
	}
}

func (s *scanner) prolog() error {
	for _, declaration := range []string{`<?xml version="1.0" encoding="UTF-8"?>`, `<?xml version="1.0"?>`} {
		if strings.HasPrefix(s.doc, declaration) {
			s.pos = len(declaration)
			break
		}
	}
	s.space()
	return nil
}

func (s *scanner) epilog() error {
	s.space()
	if s.pos != len(s.doc) {
		return errShape
	}
	return nil
}

// open reads a start tag. Only the root may have an attribute: S3's namespace.
func (s *scanner) open() (name string, empty bool, err error) {
	rest := s.doc[s.pos:]
	end := strings.IndexByte(rest, '>')
	if end < 2 || rest[0] != '<' {
		return "", false, errShape
	}
	tag := rest[1:end]
	s.pos += end + 1
	if tag[len(tag)-1] == '/' {
		tag, empty = tag[:len(tag)-1], true
	}
	if s.depth == 0 {
		tag = withoutNamespace(tag)
	}
	if !plainName(tag) {
		return "", false, errShape
	}
	return tag, empty, nil
}

// withoutNamespace takes the default namespace off the root's tag; which one it is does not matter, as nothing
// inside can have another.
func withoutNamespace(tag string) string {
	name, attr, ok := strings.Cut(tag, ` xmlns="`)
	if value, closed := strings.CutSuffix(strings.TrimRight(attr, " "), `"`); ok && closed && !strings.ContainsAny(value, `"<&`) {
		return name
	}
	return tag
}

func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && ('0' <= c && c <= '9' || c == '-' || c == '.') || c == '_') {
			return false
		}
	}
	return s != ""
}

// closing reads the end tag of name if it is here.
func (s *scanner) closing(name string) bool {
	rest := s.doc[s.pos:]
	if len(rest) > len(name)+2 && rest[1] == '/' && rest[2:2+len(name)] == name && rest[2+len(name)] == '>' {
		s.pos += len(name) + 3
		return true
	}
	return false
}

// children reads up to the end tag of name, giving each child to fn. There is only white space between them.
func (s *scanner) children(name string, fn childFunc) error {
	if s.depth++; s.depth > maxDepth {
		return errNotListing
	}
	for {
		s.space()
		if s.pos >= len(s.doc) || s.doc[s.pos] != '<' {
			return errShape
		}
		if s.closing(name) {
			s.depth--
			return nil
		}
		start := s.pos
		child, empty, err := s.open()
		if err != nil {
			return err
		}
		if err := fn(s, child, start, empty); err != nil {
			return err
		}
	}
}

// leaf reads the text of an element without children, and its end tag.
func (s *scanner) leaf(name string, empty bool) (string, error) {
	if empty {
		return "", nil
	}
	end := strings.IndexByte(s.doc[s.pos:], '<')
	if end < 0 {
		return "", errShape
	}
	text := s.doc[s.pos : s.pos+end]
	s.pos += end
	if !s.closing(name) {
		return "", errShape
	}
	if strings.IndexByte(text, '&') < 0 {
		return text, nil
	}
	return s.unescape(text)
}

// skip reads over an element; its unused content must be well-formed.
func (s *scanner) skip(name string, empty bool) error {
	if empty {
		return nil
	}
	if s.depth++; s.depth > maxDepth {
		return errNotListing
	}
	for {
		end := strings.IndexByte(s.doc[s.pos:], '<')
		if end < 0 {
			return errShape
		}
		if text := s.doc[s.pos : s.pos+end]; strings.IndexByte(text, '&') >= 0 {
			if _, err := s.unescape(text); err != nil {
				return err
			}
		}
		s.pos += end
		if s.closing(name) {
			s.depth--
			return nil
		}
		child, empty, err := s.open()
		if err != nil {
			return err
		}
		if err := s.skip(child, empty); err != nil {
			return err
		}
	}
}

// entity is the character of one of the five entities that need no declaration, 0 for any other.
func entity(name string) byte {
	switch name {
	case "quot":
		return '"'
	case "amp":
		return '&'
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "apos":
		return '\''
	}
	return 0
}

// unescape resolves the five entities and numeric character references.
func (s *scanner) unescape(text string) (string, error) {
	b := &s.text
	if b.Cap()-b.Len() < len(text) { // no text is longer than its escaped form
		*b = strings.Builder{}
		b.Grow(max(len(text), textBlock))
	}
	from := b.Len()
	for {
		i := strings.IndexByte(text, '&')
		if i < 0 {
			b.WriteString(text)
			return b.String()[from:], nil
		}
		b.WriteString(text[:i])
		text = text[i+1:]
		end := strings.IndexByte(text, ';')
		if end < 0 {
			return "", errShape
		}
		name := text[:end]
		text = text[end+1:]
		if c := entity(name); c != 0 {
			b.WriteByte(c)
		} else if r, ok := charRef(name); ok {
			b.WriteRune(r)
		} else {
			return "", errShape
		}
	}
}

// textBlock is how much room for texts there is made at once.
const textBlock = 8 << 10

// charRef also reads references to characters that XML 1.0 cannot hold: S3 and MinIO write them for keys that have such
// characters, and one odd key must not make a bucket unlistable.
func charRef(name string) (rune, bool) {
	digits, base := "", 10
	if hex, ok := strings.CutPrefix(name, "#x"); ok {
		digits, base = hex, 16
	} else if dec, ok := strings.CutPrefix(name, "#"); ok {
		digits = dec
	}
	if digits == "" || strings.ContainsAny(digits, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// normalise rewrites a document into the scanner's subset with encoding/xml: prefixes, attributes, comments
// and CDATA go, elements and text stay. An element of a namespace other than the root's is refused, because
// without its prefix it could pass for one of S3's.
func normalise(src []byte) (string, error) {
	raw := &guard{d: xml.NewDecoder(bytes.NewReader(src))}
	d := xml.NewTokenDecoder(raw)
	b := make([]byte, 0, len(src)+64)
	b = append(b, Declaration...)
	root, depth, done := "", 0, false
	for {
		t, err := d.Token()
		if t == nil {
			if done && depth == 0 && errors.Is(err, io.EOF) {
				return string(b), nil
			}
			return "", errNotListing
		}
		switch t := t.(type) {
		case xml.StartElement:
			if !done {
				root, done = t.Name.Space, true
			} else if depth == 0 || t.Name.Space != root {
				return "", errNotListing
			}
			b = append(b, '<')
			b = append(b, t.Name.Local...)
			if depth == 0 && root != "" {
				b = append(b, ` xmlns="`...)
				b = appendText(b, root)
				b = append(b, '"')
			}
			b = append(b, '>')
			depth++
		case xml.EndElement:
			depth--
			b = append(b, '<', '/')
			b = append(b, t.Name.Local...)
			b = append(b, '>')
		case xml.CharData:
			if depth > 0 {
				b = appendText(b, string(t))
			} else if !ignorable(t) {
				return "", errNotListing
			}
		}
	}
}
