package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Declaration begins every document, its line end included.
const Declaration = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// No S3 document is deeper than about eight elements.
const maxDepth = 24

// Encode gives the document with its declaration and S3's namespace on the root, as AWS writes it.
func Encode(v any) ([]byte, error) { return EncodeAs(rootName(reflect.TypeOf(v)), v) }

// EncodeAs gives the document with the root's name, for types that several documents have. For example, an empty
// configuration is the same for ?notification and ?logging, but for its root.
func EncodeAs(name string, v any) ([]byte, error) {
	start := xml.StartElement{Name: xml.Name{Local: name}}
	if name != "PostResponse" && name != "Error" {
		start.Name.Space = Namespace
	}
	b := bytes.NewBufferString(Declaration)
	e := xml.NewEncoder(b)
	if err := e.EncodeElement(v, start); err != nil {
		return nil, err
	}
	// AWS writes &quot; around its ETags, and there are clients that look for just that.
	return bytes.ReplaceAll(b.Bytes(), []byte("&#34;"), []byte("&quot;")), e.Close()
}

// Decode reads a client's document. It is strict, because an ignored element would be a wish of the client silently
// dropped: an unknown or repeated element, a wrong root or namespace, a DOCTYPE, anything after the root and anything
// not well-formed is MalformedXML; a document of more than limit bytes is MaxMessageLengthExceeded. An error from r
// itself is returned unchanged.
func Decode(r io.Reader, limit int64, v any) error {
	body, err := readAll(r, limit)
	if err != nil {
		return err
	}
	return decode(body, v, schemaOf(reflect.TypeOf(v)))
}

// DecodeReply reads a store's document. It is bounded and well-formed like Decode's, but unknown elements are
// ignored: every store has some of its own.
func DecodeReply(r io.Reader, limit int64, v any) error {
	body, err := readAll(r, limit)
	if err != nil {
		return err
	}
	return decode(body, v, nil)
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, NewError(MaxMessageLengthExceeded)
	}
	return body, nil
}

func decode(body []byte, v any, schema *element) error {
	raw := &guard{d: xml.NewDecoder(bytes.NewReader(WithoutBOM(body)))}
	if schema != nil {
		raw.stack = []level{{of: &element{children: map[string]*element{rootName(reflect.TypeOf(v)): schema}}}}
	}
	d := xml.NewTokenDecoder(raw)
	if err := d.Decode(v); err != nil {
		return NewError(MalformedXML)
	}
	for { // nothing but white space and comments may follow the root
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || !ignorable(t) {
			return NewError(MalformedXML)
		}
	}
}

// WithoutBOM takes off the byte order mark that a document in UTF-8 may begin with.
func WithoutBOM(doc []byte) []byte { return bytes.TrimPrefix(doc, []byte("\xEF\xBB\xBF")) }

func ignorable(t xml.Token) bool {
	switch t := t.(type) {
	case xml.CharData:
		return len(bytes.TrimSpace(t)) == 0
	case xml.Comment, xml.ProcInst:
		return true
	}
	return false
}

// guard is an xml.TokenReader that watches the raw tokens on their way to the decoder: depth, directives,
// and, with a schema, that every element is known and single ones are single.
type guard struct {
	d     *xml.Decoder
	depth int
	stack []level
	// prefixes are those that the open elements declare, the innermost last.
	prefixes  []prefix
	qualified bool // the root has a prefix
}

// A prefix is a declaration of one: xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/".
type prefix struct {
	name, namespace string
	depth           int
}

type level struct {
	of   *element
	seen map[string]bool
}

var errShape = errors.New("s3: document not in the expected shape")

func (g *guard) Token() (xml.Token, error) {
	t, err := g.d.RawToken()
	if err != nil {
		return t, err
	}
	switch t := t.(type) {
	case xml.Directive:
		return nil, errShape
	case xml.StartElement:
		if g.depth++; g.depth > maxDepth {
			return nil, errShape
		}
		err = g.enter(t)
	case xml.EndElement:
		for n := len(g.prefixes); n > 0 && g.prefixes[n-1].depth == g.depth; n-- {
			g.prefixes = g.prefixes[:n-1]
		}
		g.depth--
		if len(g.stack) > 1 {
			err = g.leave()
		}
	case xml.CharData:
		// Text between elements that is not white space is junk, too.
		if g.stack != nil && !g.stack[len(g.stack)-1].of.text && !ignorable(t) {
			return nil, errShape
		}
	}
	if err != nil {
		return nil, err // the decoder looks at an error only when there is no token
	}
	return t, nil
}

func (g *guard) enter(t xml.StartElement) error {
	if g.stack == nil {
		return nil
	}
	top := &g.stack[len(g.stack)-1]
	child := top.of.children[t.Name.Local]
	g.declare(t.Attr)
	if g.depth == 1 {
		g.qualified = t.Name.Space != ""
	}
	if child == nil || !g.knows(t.Name.Space) || !namespacesKnown(t.Attr) {
		return errShape
	}
	if !child.many {
		if top.seen[t.Name.Local] {
			return errShape
		}
		if top.seen == nil {
			top.seen = map[string]bool{}
		}
		top.seen[t.Name.Local] = true
	}
	g.stack = append(g.stack, level{of: child})
	return nil
}

// leave ends an element, whose required children must have been there.
func (g *guard) leave() error {
	top := g.stack[len(g.stack)-1]
	g.stack = g.stack[:len(g.stack)-1]
	for name, child := range top.of.children {
		if child.required && !top.seen[name] {
			return errShape
		}
	}
	return nil
}

func (g *guard) declare(attrs []xml.Attr) {
	for _, a := range attrs {
		switch {
		case a.Name.Space == "xmlns":
			g.prefixes = append(g.prefixes, prefix{a.Name.Local, a.Value, g.depth})
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			g.prefixes = append(g.prefixes, prefix{"", a.Value, g.depth})
		}
	}
}

// knows reports whether an element's prefix stands for S3's namespace. No prefix does, but in a document whose root has
// one: "<s:Delete xmlns:s=...><Object>" has an Object of no namespace.
func (g *guard) knows(name string) bool {
	for _, p := range slices.Backward(g.prefixes) {
		if p.name == name {
			return p.namespace == Namespace || name == "" && p.namespace == "" && !g.qualified
		}
	}
	return name == "" && !g.qualified
}

// namespacesKnown allows S3's namespace, none, and attributes of declared prefixes (xsi:type on a grantee).
func namespacesKnown(attrs []xml.Attr) bool {
	for _, a := range attrs {
		if a.Name.Space == "" && a.Name.Local == "xmlns" && a.Value != Namespace && a.Value != "" {
			return false
		}
	}
	return true
}

// An element describes the allowed content of a document at a place.
type element struct {
	children map[string]*element
	many     bool // may be repeated
	required bool // may not be absent: the tag s3:"required"
	text     bool // holds text
}

var schemas sync.Map // reflect.Type -> *element

func schemaOf(t reflect.Type) *element {
	t = indirect(t)
	if s, ok := schemas.Load(t); ok {
		return s.(*element)
	}
	e := buildElement(t)
	schemas.Store(t, e)
	return e
}

// buildElement derives the allowed children from the struct's xml tags, so that the documents are described
// in one place only.
func buildElement(t reflect.Type) *element {
	e := &element{children: map[string]*element{}}
	if t.Kind() != reflect.Struct {
		e.text = true
		return e
	}
	for i := range t.NumField() {
		e.addField(t.Field(i))
	}
	return e
}

func (e *element) addField(f reflect.StructField) {
	name, options, _ := strings.Cut(f.Tag.Get("xml"), ",")
	switch {
	case f.Name == "XMLName" || name == "-" || strings.Contains(options, "attr"):
	case strings.Contains(options, "chardata"):
		e.text = true
	case f.Anonymous:
		for name, child := range buildElement(indirect(f.Type)).children {
			e.children[name] = child
		}
	default:
		t, many := indirect(f.Type), false
		if t.Kind() == reflect.Slice {
			t, many = indirect(t.Elem()), true
		}
		child := buildElement(t)
		child.many, child.required = many, f.Tag.Get("s3") == "required"
		e.children[name] = child
	}
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// rootName is the name of the root element: the tag of XMLName, else the type's name.
func rootName(t reflect.Type) string {
	t = indirect(t)
	if f, ok := t.FieldByName("XMLName"); ok {
		if name, _, _ := strings.Cut(f.Tag.Get("xml"), ","); name != "" {
			return name
		}
	}
	return t.Name()
}

// topLevelText gives the text of the root's children, in order, as far as the document can be read.
func topLevelText(body []byte, root string) []Field {
	d := xml.NewDecoder(bytes.NewReader(body))
	var fields []Field
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return fields
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 0 && t.Name.Local != root {
				return nil
			}
			if depth++; depth == 2 {
				fields = append(fields, Field{Name: t.Name.Local})
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 2 {
				fields[len(fields)-1].Value += string(t)
			}
		}
	}
}

func appendElement(dst []byte, name, text string) []byte {
	dst = append(dst, '<')
	dst = append(dst, name...)
	dst = append(dst, '>')
	dst = appendText(dst, text)
	dst = append(dst, '<', '/')
	dst = append(dst, name...)
	return append(dst, '>')
}

// appendText escapes as AWS does: &quot; around an ETag, &#13; for a carriage return in a key.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '"':
			dst = append(dst, "&quot;"...)
		case r == '\'':
			dst = append(dst, "&#39;"...)
		case r == '\r':
			dst = append(dst, "&#13;"...)
		case r == utf8.RuneError && n == 1, !isXMLChar(r):
			dst = append(dst, "\uFFFD"...)
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// LostInXML reports whether a name cannot be told from others in a document: it has a character that XML 1.0 cannot
// hold, or the one that is written in such a character's place.
func LostInXML(name string) bool {
	for _, r := range name {
		if !isXMLChar(r) || r == utf8.RuneError {
			return true
		}
	}
	return false
}

// isXMLChar reports whether XML 1.0 can hold the character at all.
func isXMLChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}
