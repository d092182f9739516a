package s3

import (
	"strings"
	"time"
)

// An ETag is an entity tag, without its quotes.
type ETag struct {
	Value string
	Weak  bool
}

// ETags is the value of If-Match or If-None-Match.
type ETags struct {
	Any  bool // *
	List []ETag
}

// ParseETags reads If-Match, If-None-Match and their x-amz-copy-source- sisters: *, one tag or a list, quoted
// or (as SDKs send them) bare, weak or not. What cannot be read gives false.
func ParseETags(header string) (ETags, bool) {
	rest := strings.Trim(header, " \t")
	if rest == "*" || rest == `"*"` {
		return ETags{Any: true}, true
	}
	var t ETags
	for {
		tag, after, ok := nextETag(rest)
		if !ok {
			return ETags{}, false
		}
		t.List = append(t.List, tag)
		after = strings.TrimLeft(after, " \t")
		if after == "" {
			return t, true
		}
		if after[0] != ',' {
			return ETags{}, false
		}
		rest = strings.TrimLeft(after[1:], " \t")
	}
}

func nextETag(s string) (tag ETag, rest string, ok bool) {
	if after, weak := strings.CutPrefix(s, `W/"`); weak {
		tag.Weak, s = true, after
	} else if after, quoted := strings.CutPrefix(s, `"`); quoted {
		s = after
	} else {
		i := strings.IndexAny(s, ", \t")
		if i < 0 {
			i = len(s)
		}
		tag.Value, rest = s[:i], s[i:]
		return tag, rest, plainETag(tag.Value)
	}
	end := strings.IndexByte(s, '"')
	if end < 0 {
		return ETag{}, "", false
	}
	tag.Value = s[:end]
	return tag, s[end+1:], plainETag(tag.Value)
}

func plainETag(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f })
}

// Match is If-Match's comparison with an object's ETag (with or without quotes): strong, so weak tags never
// match.
func (t ETags) Match(etag string) bool { return t.match(etag, false) }

// MatchWeak is If-None-Match's comparison.
func (t ETags) MatchWeak(etag string) bool { return t.match(etag, true) }

func (t ETags) match(etag string, weak bool) bool {
	etag = Unquote(etag)
	for _, e := range t.List {
		if e.Value == etag && (weak || !e.Weak) {
			return true
		}
	}
	return t.Any
}

// String is the header's value.
func (t ETags) String() string {
	if t.Any {
		return "*"
	}
	var b strings.Builder
	for i, e := range t.List {
		if i > 0 {
			b.WriteString(", ")
		}
		if e.Weak {
			b.WriteString("W/")
		}
		b.WriteString(Quote(e.Value))
	}
	return b.String()
}

// Unquote takes the quotes off an ETag, if it has them.
func Unquote(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

// Quote puts an ETag into quotes, if it has none.
func Quote(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag
	}
	return `"` + etag + `"`
}

// The three formats that HTTP allows, and the one that it writes.
const timeFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

var timeFormats = []string{timeFormat, time.RFC850, time.ANSIC}

// ParseTime reads an HTTP date: If-Modified-Since, Last-Modified, x-amz-if-match-last-modified-time.
func ParseTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, false // what most headers are, and an error of time.Parse is costly
	}
	for _, f := range timeFormats {
		if t, err := time.Parse(f, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// FormatHTTPTime writes an HTTP date.
func FormatHTTPTime(t time.Time) string { return t.UTC().Format(timeFormat) }
