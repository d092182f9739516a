package s3

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for header, want := range map[string]Range{
		"bytes=0-0":                       {0, 0},
		"bytes=5-":                        {5, -1},
		"bytes=-5":                        {-1, 5},
		"bytes=-0":                        {-1, 0},
		"Bytes=1-2":                       {1, 2},
		"bytes=1-2 ":                      {1, 2},
		"bytes=0-99999999999999999999999": {0, math.MaxInt64},
	} {
		if got, ok := ParseRange(header); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", header, got, ok, want)
		}
	}
	for _, header := range []string{"", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=+1-2", "bytes=1--2", "bytes=1-2-3", "bytes=1 -2", "bytes= 1-2", "bytes= -1", "bytes=\t-1", "bytes=0x1-2"} {
		if got, ok := ParseRange(header); ok {
			t.Errorf("%q: %v", header, got)
		}
	}
}

func TestRangeResolve(t *testing.T) {
	for _, c := range []struct {
		r              Range
		size, off, len int64
		ok             bool
	}{
		{Range{0, 0}, 10, 0, 1, true},
		{Range{3, -1}, 10, 3, 7, true},
		{Range{3, 100}, 10, 3, 7, true},
		{Range{9, 9}, 10, 9, 1, true},
		{Range{10, -1}, 10, 0, 0, false},
		{Range{-1, 4}, 10, 6, 4, true},
		{Range{-1, 40}, 10, 0, 10, true},
		{Range{-1, 0}, 10, 10, 0, false},
		{Range{-1, 1}, 0, 0, 0, false},
		{Range{0, -1}, 0, 0, 0, false},
		{Range{0, math.MaxInt64}, 10, 0, 10, true},
	} {
		off, n, ok := c.r.Resolve(c.size)
		if ok != c.ok || ok && (off != c.off || n != c.len) {
			t.Errorf("%v of %d: %d %d %v", c.r, c.size, off, n, ok)
		}
	}
	if s := ContentRange(3, 7, 10); s != "bytes 3-9/10" {
		t.Error(s)
	}
}

func TestParseCopyRange(t *testing.T) {
	if r, err := ParseCopyRange("bytes=0-9"); err != nil || r != (Range{0, 9}) {
		t.Errorf("%v %v", r, err)
	}
	for _, header := range []string{"", "0-9", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=5-", "bytes=-5", "bytes=0-99999999999999999999"} {
		if r, err := ParseCopyRange(header); err == nil {
			t.Errorf("%q: %v", header, r)
		}
	}
}

func TestParseETags(t *testing.T) {
	for header, want := range map[string]ETags{
		"*":                 {Any: true},
		`"a"`:               {List: []ETag{{"a", false}}},
		`a`:                 {List: []ETag{{"a", false}}},
		`W/"a"`:             {List: []ETag{{"a", true}}},
		`"a", W/"b" ,c,"d"`: {List: []ETag{{"a", false}, {"b", true}, {"c", false}, {"d", false}}},
		`"a,b"`:             {List: []ETag{{"a,b", false}}},
	} {
		got, ok := ParseETags(header)
		if !ok || got.Any != want.Any || !slices.Equal(got.List, want.List) {
			t.Errorf("%q: %+v %v", header, got, ok)
		}
	}
	for _, header := range []string{"", ",", `"`, `""`, `"a`, `"a" "b"`, `"a",`, "a b", `W/""`} {
		if got, ok := ParseETags(header); ok {
			t.Errorf("%q: %+v", header, got)
		}
	}
}

func TestETagsMatch(t *testing.T) {
	weak, _ := ParseETags(`W/"a", "b"`)
	if weak.Match(`"a"`) || !weak.MatchWeak("a") || !weak.Match("b") || weak.MatchWeak("c") {
		t.Error("weak and strong comparison")
	}
	if any := (ETags{Any: true}); !any.Match("x") || any.String() != "*" {
		t.Error("*")
	}
	if weak.String() != `W/"a", "b"` {
		t.Error(weak.String())
	}
}

func TestParseTime(t *testing.T) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		if at, ok := ParseTime(s); !ok || at.Unix() != 784111777 {
			t.Errorf("%q: %v %v", s, at, ok)
		}
	}
	for _, s := range []string{"", "now", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37"} {
		if at, ok := ParseTime(s); ok {
			t.Errorf("%q: %v", s, at)
		}
	}
}

func TestParseCopySource(t *testing.T) {
	for header, want := range map[string]CopySource{
		"b/k":                            {"b", "k", ""},
		"/b/k":                           {"b", "k", ""},
		"/b/k/l%2Fm%20n":                 {"b", "k/l/m n", ""},
		"b/a+b":                          {"b", "a b", ""},
		"b/a%2Bb":                        {"b", "a+b", ""},
		"b/k?versionId=v%2B1":            {"b", "k", "v+1"},
		"b/%3FversionId=x?versionId=y":   {"b", "?versionId=x", "y"},
		"b/k?other":                      {"b", "k?other", ""},
		"b//k":                           {"b", "/k", ""},
		"b%2Fk":                          {"b", "k", ""},
		"b/%E2%82%AC":                    {"b", "€", ""},
		"b/k?versionId=null":             {"b", "k", "null"},
		"b/?versionId=x?versionId=third": {"b", "?versionId=x", "third"},
	} {
		if got, err := ParseCopySource(header); err != nil || got != want {
			t.Errorf("%q: %+v %v", header, got, err)
		}
	}
	for _, header := range []string{"", "/", "b", "b/", "/b", "//k", "b/%zz", "b/k?versionId=", "b/%ff", "arn:aws:s3:us-east-1:1:accesspoint/x/object/k"} {
		if got, err := ParseCopySource(header); err == nil {
			t.Errorf("%q: %+v", header, got)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=0-99999999999999999999"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r, ok := ParseRange(s)
		if !ok || size < 0 {
			return
		}
		if again, ok := ParseRange(r.String()); !ok || again != r {
			t.Fatalf("%v written as %q reads as %v", r, r.String(), again)
		}
		off, n, ok := r.Resolve(size)
		if ok && (n <= 0 || off < 0 || off+n > size || off+n < off) {
			t.Fatalf("%v of %d: %d+%d", r, size, off, n)
		}
		_, _ = ParseCopyRange(s)
	})
}

func FuzzParseETags(f *testing.F) {
	for _, s := range []string{`*`, `"a"`, `W/"a", b`, `"a,b" , "c"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags, ok := ParseETags(s)
		if !ok {
			return
		}
		again, ok := ParseETags(tags.String())
		if !ok || again.Any != tags.Any || !slices.Equal(again.List, tags.List) {
			t.Fatalf("%q written as %q reads as %+v", s, tags.String(), again)
		}
		for _, e := range tags.List {
			if !tags.MatchWeak(e.Value) || strings.ContainsAny(e.Value, "\"\r\n") {
				t.Fatalf("%q: tag %q", s, e.Value)
			}
		}
	})
}

func FuzzParseCopySource(f *testing.F) {
	for _, s := range []string{"b/k", "/b/k?versionId=v", "b/%3FversionId=x?versionId=y", "b/%E2%82%AC"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCopySource(s)
		if err != nil {
			return
		}
		// A bucket's name needs no escaping; the fuzzer's may, and no store has such a bucket.
		if c.Bucket != EscapePath(c.Bucket) {
			return
		}
		if again, err := ParseCopySource(c.String()); err != nil || again != c {
			t.Fatalf("%+v written as %q reads as %+v, %v", c, c.String(), again, err)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := http.ParseTime(s)
		got, ok := ParseTime(s)
		if ok != (err == nil) || ok && !got.Equal(want) {
			t.Fatalf("%q: %v %v, net/http %v %v", s, got, ok, want, err)
		}
	})
}
