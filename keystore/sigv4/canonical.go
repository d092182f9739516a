package sigv4

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// The canonical request of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html: every signed
// part of the request, in its canonical spelling.

const upperHex = "0123456789ABCDEF"

// unreserved holds the bytes kept by UriEncode: A-Z a-z 0-9 - . _ ~
var unreserved = func() (t [256]bool) {
	for c := range 256 {
		t[c] = 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
	}
	return t
}()

func appendEncoded(dst []byte, c byte) []byte {
	if unreserved[c] {
		return append(dst, c)
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// decodeAt reads the byte at s[i], which may be percent-encoded, and returns the length of its spelling: 0 for a bad
// spelling.
func decodeAt(s string, i int) (c byte, size int) {
	if s[i] != '%' {
		return s[i], 1
	}
	if i+2 >= len(s) {
		return 0, 0
	}
	hi, lo := unhex(s[i+1]), unhex(s[i+2])
	if hi < 0 || lo < 0 {
		return 0, 0
	}
	return byte(hi<<4 | lo), 3
}

// place is the place of an encoded string.
type place uint8

const (
	inQuery         place = iota
	inPath                // %2F is a slash of the key
	inPathKeepSlash       // %2F stays as it was sent
)

// appendReencoded decodes s and encodes it again: clients with bare reserved characters (signed encoded) and clients
// with lower-case digits give the same result. In a path a slash is a slash, bare or encoded, unless inPathKeepSlash;
// in a query plus is a space, as S3 reads it.
func appendReencoded(dst []byte, s string, in place) ([]byte, bool) {
	for i := 0; i < len(s); {
		// Runs of unreserved bytes are copied in one piece: an unauthenticated client may send 30 KB.
		if n := plainRun(s[i:]); n > 0 {
			dst = append(dst, s[i:i+n]...)
			i += n
			continue
		}
		c, size := decodeAt(s, i)
		switch {
		case size == 0:
			return dst, false
		case c == '/' && (in == inPath || in == inPathKeepSlash && size == 1):
			dst = append(dst, '/')
		case in == inQuery && size == 1 && c == '+':
			dst = append(dst, "%20"...)
		default:
			dst = appendEncoded(dst, c)
		}
		i += size
	}
	return dst, true
}

// plainRun returns the length of the run of unreserved bytes at the start of s.
func plainRun(s string) int {
	for i := range len(s) {
		if !unreserved[s[i]] {
			return i
		}
	}
	return len(s)
}

// appendPath adds the canonical URI. S3 signs the path as it is, encoded once; "//" and ".." are parts of a key.
// The other services sign the normalised path, with each segment encoded twice.
func (v *Verifier) appendPath(dst []byte, path string, in place) ([]byte, bool) {
	if path == "" {
		return append(dst, '/'), true
	}
	if v.s3() {
		return appendReencoded(dst, path, in)
	}
	for i := range len(path) {
		if _, size := decodeAt(path, i); size == 0 {
			return dst, false
		}
	}
	for _, c := range []byte(removeDots(path)) {
		if c == '/' {
			dst = append(dst, '/')
		} else {
			dst = appendEncoded(dst, c)
		}
	}
	return dst, true
}

// removeDots normalises a path as RFC 3986, 5.2.4, says, and drops empty segments.
func removeDots(path string) string {
	if path == "/" {
		return path
	}
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	out := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(path, "/") && len(kept) > 0 {
		out += "/"
	}
	return out
}

// span is a piece of the scratch buffer.
type span struct{ from, to int }

// param is an encoded query parameter.
type param struct{ name, value span }

// appendQuery adds the canonical query: encoded, sorted by name and then by value, always with an equals sign, and
// without the signature's parameter.
func (w *work) appendQuery(dst []byte, query, without string) ([]byte, bool) {
	if query == "" {
		return dst, true
	}
	buf := w.query[:0]
	params := w.params[:0]
	for len(query) > 0 {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		p := param{name: span{from: len(buf)}}
		var ok bool
		if buf, ok = appendReencoded(buf, name, inQuery); !ok {
			return dst, false
		}
		p.name.to = len(buf)
		if without != "" && string(buf[p.name.from:]) == without {
			buf = buf[:p.name.from]
			continue
		}
		p.value.from = len(buf)
		if buf, ok = appendReencoded(buf, value, inQuery); !ok {
			return dst, false
		}
		p.value.to = len(buf)
		params = append(params, p)
	}
	w.query, w.params = buf, params
	slices.SortFunc(params, func(a, b param) int {
		if c := bytes.Compare(buf[a.name.from:a.name.to], buf[b.name.from:b.name.to]); c != 0 {
			return c
		}
		return bytes.Compare(buf[a.value.from:a.value.to], buf[b.value.from:b.value.to])
	})
	for i, p := range params {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, buf[p.name.from:p.name.to]...)
		dst = append(dst, '=')
		dst = append(dst, buf[p.value.from:p.value.to]...)
	}
	return dst, true
}

// appendHeaders adds a line for each signed header, in the client's order. Values of a repeated name are joined by
// commas.
func (w *work) appendHeaders(dst []byte, r *Request, signed []string) []byte {
	w.chain(r, signed)
	for i, name := range signed {
		dst = append(dst, name...)
		dst = append(dst, ':')
		switch {
		case name == "host":
			dst = appendTrimmed(dst, r.Host)
		case w.first[i] >= 0:
			dst = w.appendValues(dst, r, w.first[i])
		case name == "content-length" && r.ContentLength >= 0: // servers often take it out of the headers
			dst = strconv.AppendInt(dst, r.ContentLength, 10)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// chain finds, in one pass, the headers of each signed name: first has the position of a name's first header, next
// the position of the following header, -1 the end.
func (w *work) chain(r *Request, signed []string) {
	index := indexNames(signed)
	w.first, w.next = slices.Grow(w.first[:0], len(signed))[:len(signed)], slices.Grow(w.next[:0], len(r.Headers))[:len(r.Headers)]
	for i := range w.first {
		w.first[i] = -1
	}
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if at := index.find(r.Headers[i].Name); at >= 0 {
			w.next[i], w.first[at] = w.first[at], int32(i)
		}
	}
}

func (w *work) appendValues(dst []byte, r *Request, first int32) []byte {
	for i := first; i >= 0; i = w.next[i] {
		if i != first {
			dst = append(dst, ',')
		}
		dst = appendTrimmed(dst, r.Headers[i].Value)
	}
	return dst
}

// appendTrimmed drops the spaces around a value and turns each run of spaces inside it into one.
func appendTrimmed(dst []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	space := false
	for i := range len(value) {
		c := value[i]
		if c == ' ' || c == '\t' {
			space = true
			continue
		}
		if space {
			dst = append(dst, ' ')
			space = false
		}
		dst = append(dst, c)
	}
	return dst
}

// sameName compares header names; their lengths differ most of the time.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// header returns the value of the first header with a name, and the number of such headers.
func (r *Request) header(name string) (value string, count int) {
	for i := range r.Headers {
		if sameName(r.Headers[i].Name, name) {
			if count == 0 {
				value = r.Headers[i].Value
			}
			count++
		}
	}
	return value, count
}
