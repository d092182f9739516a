package s3

import (
	"net/url"
	"strings"
)

// Encoded says whether the store URL-encoded the names in the page.
func (l *Listing) Encoded() bool { return l.encoded }

// namesOfPage are the elements of a page, besides its entries and common prefixes, subject to encoding-type=url.
var namesOfPage = map[string]bool{
	"Prefix": true, "Delimiter": true, "Marker": true, "NextMarker": true, "KeyMarker": true, "NextKeyMarker": true, "StartAfter": true,
}

// AppendEncoded appends the document as Append does, with its names URL-encoded: for a store without
// encoding-type=url, when the client asked for it. The client would otherwise decode plain names.
func (l *Listing) AppendEncoded(dst []byte) []byte {
	w := namesWriter{scanner: scanner{doc: string(l.Append(nil))}, dst: dst}
	_ = w.prolog()
	root, empty, _ := w.open()
	if empty {
		return append(dst, w.doc...)
	}
	// The document was read before, so this cannot fail.
	_ = w.children(root, func(_ *scanner, name string, start int, empty bool) error {
		switch {
		case name == "EncodingType":
			w.take(start)
			err := w.skip(name, empty)
			w.at = w.pos
			return err
		case namesOfPage[name]:
			return w.encode(name, start, empty)
		case name == "Contents", name == "Version", name == "DeleteMarker", name == "CommonPrefixes":
			if empty {
				return nil
			}
			return w.children(name, w.named)
		}
		return w.skip(name, empty)
	})
	w.take(w.pos - len("</") - len(root) - len(">"))
	return append(append(w.dst, "<EncodingType>url</EncodingType>"...), w.doc[w.at:]...)
}

type namesWriter struct {
	scanner
	dst []byte
	at  int // of the document that is in dst
}

func (w *namesWriter) take(end int) {
	w.dst = append(w.dst, w.doc[w.at:end]...)
	w.at = end
}

func (w *namesWriter) named(_ *scanner, name string, start int, empty bool) error {
	if name == "Key" || name == "Prefix" {
		return w.encode(name, start, empty)
	}
	return w.skip(name, empty)
}

func (w *namesWriter) encode(name string, start int, empty bool) error {
	w.take(start)
	text, err := w.leaf(name, empty)
	w.dst = appendElement(w.dst, name, encodeName(text))
	w.at = w.pos
	return err
}

// encodeName writes a name as encoding-type=url has it.
func encodeName(name string) string { return strings.ReplaceAll(url.QueryEscape(name), "%2F", "/") }

// EncodeNames URL-encodes the names in the list, for a store without encoding-type=url.
func (l *ListMultipartUploadsResult) EncodeNames() {
	l.EncodingType = "url"
	for _, name := range []*string{&l.KeyMarker, &l.NextKeyMarker, &l.Prefix, &l.Delimiter} {
		*name = encodeName(*name)
	}
	for i := range l.Uploads {
		l.Uploads[i].Key = encodeName(l.Uploads[i].Key)
	}
	for i := range l.CommonPrefixes {
		l.CommonPrefixes[i].Prefix = encodeName(l.CommonPrefixes[i].Prefix)
	}
}
