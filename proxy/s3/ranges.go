package s3

import (
	"math"
	"strconv"
	"strings"
)

// A Range is the range of a Range header. Last is -1 for a range without an end; First is -1 for a suffix, and Last
// is then its length.
type Range struct{ First, Last int64 }

// ParseRange reads a Range header. S3 serves a single range and ignores all further forms (another unit, two ranges,
// an end before the start): for these ParseRange returns false, and the response is the whole object.
func ParseRange(header string) (Range, bool) {
	unit, spec, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return Range{}, false
	}
	first, last, ok := strings.Cut(strings.TrimRight(spec, " \t"), "-")
	if !ok {
		return Range{}, false
	}
	r := Range{-1, -1}
	if first != "" {
		if r.First, ok = parseOffset(first); !ok {
			return Range{}, false
		}
	}
	if last != "" {
		if r.Last, ok = parseOffset(last); !ok {
			return Range{}, false
		}
	}
	if first == "" && last == "" || first != "" && last != "" && r.Last < r.First {
		return Range{}, false
	}
	return r, true
}

// parseOffset reads digits; a number too large for an object is the largest, not a mistake.
func parseOffset(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, s != ""
}

// Suffix reports whether the range counts from the end.
func (r Range) Suffix() bool { return r.First < 0 }

// Resolve gives the range's place in an object of the given size: offset, length, and false where nothing of
// it is in the object (InvalidRange).
func (r Range) Resolve(size int64) (offset, length int64, ok bool) {
	if r.Suffix() {
		n := min(r.Last, size)
		return size - n, n, n > 0
	}
	if r.First >= size {
		return 0, 0, false
	}
	last := size - 1
	if r.Last >= 0 {
		last = min(r.Last, last)
	}
	return r.First, last - r.First + 1, true
}

// String is the header's value.
func (r Range) String() string {
	b := append(make([]byte, 0, 48), "bytes="...)
	if !r.Suffix() {
		b = strconv.AppendInt(b, r.First, 10)
	}
	b = append(b, '-')
	if r.Last >= 0 {
		b = strconv.AppendInt(b, r.Last, 10)
	}
	return string(b)
}

// ContentRange is the value of Content-Range for a part of an object.
func ContentRange(offset, length, size int64) string {
	b := append(make([]byte, 0, 64), "bytes "...)
	b = strconv.AppendInt(b, offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, offset+length-1, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, size, 10))
}

// ParseCopyRange reads x-amz-copy-source-range, which unlike Range must be exactly bytes=first-last.
func ParseCopyRange(header string) (Range, error) {
	r, ok := ParseRange(header)
	if !ok || r.Suffix() || r.Last < 0 || !strings.HasPrefix(header, "bytes=") || r.Last == math.MaxInt64 {
		return Range{}, InvalidArgument("x-amz-copy-source-range", header,
			"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	return r, nil
}
