package proxytest

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// exchange is a raw request; headers are "Name: value".
type exchange struct {
	method, target, body string
	headers              []string
}

func (e exchange) do(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(e.method, address+e.target, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range e.headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func quoted(s string) string { return s3.Quote(md5Hex([]byte(s))) }

// at is the time of these tests.
var at = time.Date(2026, 11, 21, 10, 0, 0, 5e8, time.UTC)

func TestReadConditions(t *testing.T) {
	u, address := StartUpstream(t, Options{Now: func() time.Time { return at }}, "bkt")
	u.PutObject("bkt", "k", []byte("data"), nil)
	same, before, after := s3.FormatHTTPTime(at), s3.FormatHTTPTime(at.Add(-time.Hour)), s3.FormatHTTPTime(at.Add(time.Hour))
	for _, test := range []struct {
		want    int
		headers []string
	}{
		{200, nil},
		{200, []string{"If-Match: " + quoted("data")}},
		{200, []string{"If-Match: " + md5Hex([]byte("data"))}},
		{200, []string{`If-Match: "x", ` + quoted("data")}},
		{200, []string{"If-Match: *"}},
		{412, []string{`If-Match: "x"`}},
		{412, []string{"If-Match: W/" + quoted("data")}},
		{304, []string{"If-None-Match: " + quoted("data")}},
		{304, []string{"If-None-Match: W/" + quoted("data")}},
		{304, []string{"If-None-Match: *"}},
		{200, []string{`If-None-Match: "x"`}},
		{304, []string{"If-Modified-Since: " + same}},
		{200, []string{"If-Modified-Since: " + after}}, // S3 ignores a date in the future
		{200, []string{"If-Modified-Since: " + before}},
		{200, []string{"If-Unmodified-Since: " + same}},
		{412, []string{"If-Unmodified-Since: " + before}},
		{200, []string{"If-Match: " + quoted("data"), "If-Unmodified-Since: " + before}},
		{304, []string{"If-None-Match: " + quoted("data"), "If-Modified-Since: " + before}},
		{200, []string{`If-None-Match: "x"`, "If-Modified-Since: " + after}},
		{206, []string{"Range: bytes=1-2", "If-Match: " + quoted("data")}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, _ := exchange{method, "/bkt/k", "", test.headers}.do(t, address)
			if resp.StatusCode != test.want {
				t.Errorf("%s %q: %d, want %d", method, test.headers, resp.StatusCode, test.want)
			}
			if resp.StatusCode == 304 && (resp.Header.Get("ETag") != quoted("data") || resp.Header.Get("Last-Modified") != same) {
				t.Errorf("304 without what it is about: %v", resp.Header)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	u.PutObject("bkt", "k", []byte("0123456789"), nil)
	u.PutObject("bkt", "empty", nil, nil)
	for _, test := range []struct {
		target, header string
		status         int
		body, rng      string
	}{
		{"/bkt/k", "bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{"/bkt/k", "bytes=8-", 206, "89", "bytes 8-9/10"},
		{"/bkt/k", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"/bkt/k", "bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{"/bkt/k", "bytes=5-500", 206, "56789", "bytes 5-9/10"},
		{"/bkt/k", "bytes=10-", 416, "", "bytes */10"},
		{"/bkt/k", "bytes=-0", 416, "", "bytes */10"},
		{"/bkt/empty", "bytes=0-0", 416, "", "bytes */0"},
		{"/bkt/empty", "bytes=-1", 416, "", ""},
		{"/bkt/k", "bytes=3-1", 200, "0123456789", ""},
		{"/bkt/k", "bytes=0-1,3-4", 200, "0123456789", ""},
		{"/bkt/k", "lines=1-2", 200, "0123456789", ""},
		{"/bkt/k?partNumber=1", "", 206, "0123456789", "bytes 0-9/10"},
		{"/bkt/k?partNumber=2", "", 416, "", ""},
		{"/bkt/k?partNumber=0", "", 400, "", ""},
		{"/bkt/k?partNumber=1", "bytes=0-1", 400, "", ""},
	} {
		resp, body := exchange{"GET", test.target, "", []string{"Range: " + test.header}}.do(t, address)
		if resp.StatusCode != test.status || resp.Header.Get("Content-Range") != test.rng || test.status < 300 && body != test.body {
			t.Errorf("%s of %s: %d %q %q", test.header, test.target, resp.StatusCode, resp.Header.Get("Content-Range"), body)
		}
	}
}

func TestWriteConditions(t *testing.T) {
	for _, test := range []struct {
		name       string
		options    Options
		method     string
		headers    []string
		key        string
		want       int
		wantAnyway string // the object's body after the request
	}{
		{"new", Options{}, "PUT", []string{"If-None-Match: *"}, "new", 200, "NEW"},
		{"exists", Options{}, "PUT", []string{"If-None-Match: *"}, "k", 412, "old"},
		{"other than *", Options{}, "PUT", []string{`If-None-Match: "x"`}, "k", 501, "old"},
		{"match", Options{}, "PUT", []string{"If-Match: " + quoted("old")}, "k", 200, "NEW"},
		{"no match", Options{}, "PUT", []string{`If-Match: "x"`}, "k", 412, "old"},
		{"no object", Options{}, "PUT", []string{`If-Match: "x"`}, "new", 404, ""},
		{"ignored", Options{IgnoreWriteConditions: true}, "PUT", []string{"If-None-Match: *"}, "k", 200, "NEW"},
		{"delete, ignored", Options{}, "DELETE", []string{`If-Match: "x"`}, "k", 204, ""},
		{"delete, no match", Options{HonourDeleteIfMatch: true}, "DELETE", []string{`If-Match: "x"`}, "k", 412, "old"},
		{"delete, match", Options{HonourDeleteIfMatch: true}, "DELETE", []string{"If-Match: " + quoted("old")}, "k", 204, ""},
		{"delete, gone", Options{HonourDeleteIfMatch: true}, "DELETE", []string{`If-Match: "x"`}, "new", 404, ""},
		{"copy, ignored", Options{}, "PUT", []string{"If-None-Match: *", "x-amz-copy-source: bkt/src"}, "k", 200, "source"},
		{"copy, exists", Options{HonourCopyConditions: true}, "PUT", []string{"If-None-Match: *", "x-amz-copy-source: bkt/src"}, "k", 412, "old"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, address := StartUpstream(t, test.options, "bkt")
			u.PutObject("bkt", "k", []byte("old"), nil)
			u.PutObject("bkt", "src", []byte("source"), nil)
			body := "NEW"
			if test.method == "DELETE" {
				body = ""
			}
			resp, text := exchange{test.method, "/bkt/" + test.key, body, test.headers}.do(t, address)
			o, _ := u.Object("bkt", test.key)
			if resp.StatusCode != test.want || string(o.Body) != test.wantAnyway {
				t.Errorf("%d, %s, object %q", resp.StatusCode, text, o.Body)
			}
		})
	}
}

func TestCompleteConditions(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	_, text := exchange{"POST", "/bkt/k?uploads", "", nil}.do(t, address)
	id := between(text, "<UploadId>", "</UploadId>")
	resp, _ := exchange{"PUT", "/bkt/k?partNumber=1&uploadId=" + id, "part", nil}.do(t, address)
	u.PutObject("bkt", "k", []byte("there"), nil)
	list := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + resp.Header.Get("ETag") + "</ETag></Part></CompleteMultipartUpload>"
	for _, test := range []struct {
		want    int
		headers []string
	}{
		{412, []string{"If-None-Match: *"}},
		{412, []string{`If-Match: "x"`}},
		{400, []string{"x-amz-mp-object-size: 5"}},
		{200, []string{"If-Match: " + quoted("there"), "x-amz-mp-object-size: 4"}},
	} {
		if resp, text := (exchange{"POST", "/bkt/k?uploadId=" + id, list, test.headers}).do(t, address); resp.StatusCode != test.want {
			t.Errorf("%q: %d %s", test.headers, resp.StatusCode, text)
		}
	}
	if o, _ := u.Object("bkt", "k"); string(o.Body) != "part" {
		t.Errorf("%q", o.Body)
	}
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// chunked makes a body in aws-chunked with a trailer.
// sendCut announces a body, sends less of it, and closes the sending side.
func TestDeleteManyRaw(t *testing.T) {
	u, address := StartUpstream(t, Options{HonourDeleteIfMatch: true}, "bkt")
	u.SetVersioning("bkt", "Enabled")
	u.PutObject("bkt", "a", []byte("a"), nil)
	u.PutObject("bkt", "b", []byte("b"), nil)
	list := `<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><ETag>"x"</ETag></Object><Object><Key>c</Key><VersionId>` + strings.Repeat("0", 32) + `</VersionId></Object></Delete>`
	resp, text := exchange{"POST", "/bkt?delete", list, nil}.do(t, address)
	if resp.StatusCode != 400 || !strings.Contains(text, "Content-MD5") {
		t.Errorf("without a digest: %d %s", resp.StatusCode, text)
	}
	resp, text = exchange{"POST", "/bkt?delete", list, []string{"x-amz-checksum-crc32: " + sum("CRC32", []byte(list))}}.do(t, address)
	var result s3.DeleteResult
	if err := s3.DecodeReply(strings.NewReader(text), 1<<20, &result); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if len(result.Deleted) != 2 || !result.Deleted[0].DeleteMarker || len(result.Errors) != 1 || result.Errors[0].Code != s3.PreconditionFailed {
		t.Errorf("%+v", result)
	}
}

func TestListingDetails(t *testing.T) {
	u, address := StartUpstream(t, Options{ListMetadata: true, Now: func() time.Time { return at }}, "bkt")
	for _, key := range []string{"a b/x", "a b/y", "c+d", "e"} {
		u.PutObject("bkt", key, []byte(key), http.Header{"X-Amz-Meta-Waxseal": {"env"}})
	}
	resp, text := exchange{"GET", "/bkt?list-type=2&encoding-type=url&delimiter=/&max-keys=2&metadata=true", "", nil}.do(t, address)
	var page s3.ListBucketResultV2
	if err := s3.DecodeReply(strings.NewReader(text), 1<<20, &page); err != nil || resp.StatusCode != 200 {
		t.Fatal(err, text)
	}
	if page.KeyCount != 2 || !page.IsTruncated || len(page.CommonPrefixes) != 1 || page.CommonPrefixes[0].Prefix != "a+b/" || page.Contents[0].Key != "c%2Bd" ||
		page.Contents[0].LastModified != "2026-11-21T10:00:00.500Z" || page.Contents[0].UserMetadata == nil {
		t.Errorf("%+v", page)
	}
	if l, err := s3.ParseListing([]byte(text)); err != nil || l.Entries[0].Key != "c+d" || l.Entries[0].UserMetadata[0] != (s3.Field{Name: "X-Amz-Meta-Waxseal", Value: "env"}) {
		t.Errorf("%v %+v", err, l)
	}
	_, text = exchange{"GET", "/bkt?list-type=2&encoding-type=url&delimiter=/&continuation-token=" + page.NextContinuationToken, "", nil}.do(t, address)
	if !strings.Contains(text, "<Key>e</Key>") || strings.Contains(text, "<Key>c") || strings.Contains(text, "a+b") {
		t.Error(text)
	}
	for target, want := range map[string]int{
		"/bkt?max-keys=-1": 400, "/bkt?max-keys=x": 400, "/bkt?encoding-type=x": 400, "/bkt?list-type=2&continuation-token=": 400,
		"/bkt?versions&version-id-marker=x": 400, "/bkt?max-keys=5000": 200, "/none?list-type=2": 404, "/bkt?max-keys=0": 200,
	} {
		if resp, text := (exchange{"GET", target, "", nil}).do(t, address); resp.StatusCode != want {
			t.Errorf("%s: %d %s", target, resp.StatusCode, text)
		}
	}
}

func TestRefused(t *testing.T) {
	_, address := StartUpstream(t, Options{}, "bkt")
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{"POST", "/bkt", 501}, {"POST", "/bkt/k?select&select-type=2", 501}, {"PUT", "/bkt/k?encryption", 501}, {"PUT", "/UPPER", 400},
		{"GET", "/bkt/%ff", 400}, {"GET", "/bkt/" + strings.Repeat("k", 1025), 400}, {"GET", "/bkt?%zz", 400}, {"OPTIONS", "/bkt/k", 400},
	} {
		if resp, text := (exchange{test.method, test.target, "", nil}).do(t, address); resp.StatusCode != test.want {
			t.Errorf("%s %s: %d %s", test.method, test.target, resp.StatusCode, text)
		}
	}
}

// TestOneWinner checks that of many concurrent writers creating the same object exactly one succeeds.
func TestOneWinner(t *testing.T) {
	u, address := StartUpstream(t, Options{}, "bkt")
	results := make(chan int)
	for i := range 16 {
		go func() {
			req, _ := http.NewRequest("PUT", address+"/bkt/k", strings.NewReader(strconv.Itoa(i)))
			req.Header.Set("If-None-Match", "*")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				results <- 0
				return
			}
			resp.Body.Close()
			results <- resp.StatusCode
		}()
	}
	count := map[int]int{}
	for range 16 {
		count[<-results]++
	}
	if count[200] != 1 || count[412] != 15 || len(u.Versions("bkt", "k")) != 1 {
		t.Errorf("%v", count)
	}
}
