package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// conditionValues are values of a condition, by what they are of an object with the ETag "good".
func conditionValues(header, good string) map[string]string {
	past, future := time.Now().Add(-48*time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(48*time.Hour).UTC().Format(http.TimeFormat)
	if strings.HasSuffix(strings.ToLower(header), "since") {
		return map[string]string{"past": past, "future": future, "malformed": "yesterday", "nothing": ""}
	}
	return map[string]string{
		"good": s3.Quote(good), "bare": good, "other": `"0123456789abcdef0123456789abcdef"`, "list": `"a", ` + s3.Quote(good), "list of others": `"a", "b"`,
		"weak": "W/" + s3.Quote(good), "star": "*", "words": `"not good etag"`, "no quotes": "not good etag", "empty": `""`, "open": `"unterminated`,
		"single": "'" + good + "'", "commas": ", ,", "nothing": "",
	}
}

// conditionWants are the statuses of operations under conditions; an operation that is not there answers 501 and does
// nothing. "" is any other kind of value.
var conditionWants = map[string]map[string]map[string]int{
	"GET":  readWants,
	"HEAD": readWants,
	"PUT": {
		"If-Match":      {"good": 200, "bare": 200, "list": 200, "star": 501, "": 412},
		"If-None-Match": {"star": 412, "": 501},
	},
	"COPY": {
		"If-Match":                              {"good": 200, "bare": 200, "list": 200, "star": 501, "": 412},
		"If-None-Match":                         {"star": 412, "": 501},
		"x-amz-copy-source-if-match":            {"good": 200, "bare": 200, "list": 200, "star": 200, "": 412},
		"x-amz-copy-source-if-none-match":       {"good": 412, "bare": 412, "list": 412, "weak": 412, "star": 412, "": 200},
		"x-amz-copy-source-if-modified-since":   {"past": 200, "future": 200, "": 400},
		"x-amz-copy-source-if-unmodified-since": {"past": 412, "future": 200, "": 400},
	},
	"COMPLETE": {
		"If-Match":      {"good": 200, "bare": 200, "list": 200, "star": 501, "": 412},
		"If-None-Match": {"star": 412, "": 501},
	},
	"DELETE": {"If-Match": {"good": 204, "bare": 204, "list": 204, "star": 204, "": 412}},
	"CREATE": {}, "PART": {}, "TAGS": {}, "DELETEOBJECTS": {},
	"POST": {"If-Match": formWants, "If-None-Match": formWants, "If-Modified-Since": formWants, "If-Unmodified-Since": formWants},
}

var formWants = map[string]int{"": 400} // a field that a form does not have

var readWants = map[string]map[string]int{
	"If-Match":            {"good": 200, "bare": 200, "list": 200, "star": 200, "": 412},
	"If-None-Match":       {"good": 304, "bare": 304, "list": 304, "weak": 304, "star": 304, "": 200},
	"If-Modified-Since":   {"": 200}, // the store's clock is an hour behind, so "past" is before the object
	"If-Unmodified-Since": {"past": 412, "": 200},
}

// TestConditions: every operation under every condition in every form, in headers and in a presigned URL's query. What
// is not honoured is refused, and nothing is done.
func TestConditions(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
	k.server.Probe(t.Context())
	k.mustDo(t, "PUT", "/bkt/source", nil, []byte("source"))
	for op, wants := range conditionWants {
		for _, header := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
			"x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match", "x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since"} {
			if strings.HasPrefix(header, "x-amz-") && op != "COPY" {
				continue
			}
			put, _ := k.mustDo(t, "PUT", "/bkt/key", nil, []byte("source"))
			good := s3.Unquote(put.Header.Get("ETag"))
			for kind, value := range conditionValues(header, good) {
				want, ok := wants[header][kind]
				if !ok {
					want, ok = wants[header][""]
				}
				if !ok {
					want = http.StatusNotImplemented
				}
				for _, presigned := range []bool{false, true} {
					if presigned && (op == "POST" || op == "DELETEOBJECTS") {
						continue // a form is signed by its fields; a list of keys needs a digest
					}
					want := want
					if presigned && value == "" && op != "COMPLETE" && !strings.HasPrefix(header, "x-amz-") {
						want = http.StatusNotImplemented // a parameter without a value is a sub-resource that S3 does not know
					}
					name := fmt.Sprintf("%s, %s: %s (%s), presigned: %v", op, header, kind, value, presigned)
					if got := k.conditional(t, op, header, value, presigned); got != want {
						t.Errorf("%s: %d, want %d", name, got, want)
					}
				}
			}
		}
	}
}

// conditional makes the object anew, carries the operation out under a condition, and looks whether a refused one did
// something all the same.
func (k *kit) conditional(t *testing.T, op, header, value string, presigned bool) int {
	t.Helper()
	k.mustDo(t, "PUT", "/bkt/key", nil, []byte("source"))
	method, target, more, body := "PUT", "/bkt/key", map[string]string{}, []byte("new")
	switch op {
	case "GET", "HEAD", "DELETE":
		method, body = op, nil
	case "COPY":
		more["x-amz-copy-source"], body = "/bkt/source", nil
	case "CREATE":
		method, target, body = "POST", "/bkt/key?uploads", nil
	case "PART":
		target = k.anUpload(t) + "&partNumber=1"
	case "COMPLETE":
		target = k.anUpload(t)
		part, _ := k.mustDo(t, "PUT", target+"&partNumber=1", nil, []byte("new"))
		method, body = "POST", []byte(completeBody(part.Header.Get("ETag")))
	case "TAGS":
		target, body = "/bkt/key?tagging", []byte("<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>")
		more["Content-MD5"] = s3.Base64(md5Sum(body))
	case "DELETEOBJECTS":
		method, target, body = "POST", "/bkt?delete", []byte("<Delete><Object><Key>key</Key></Object></Delete>")
		more["Content-MD5"] = s3.Base64(md5Sum(body))
	case "POST":
		f := newForm(body, "key", "key", header, value)
		f.sign()
		resp, _ := k.post(t, f)
		return k.unchanged(t, op, resp.StatusCode)
	}
	var resp *http.Response
	hoisted := map[string]string{header: value}
	if presigned {
		for name, v := range more { // S3's own are hoisted, Content-MD5 need not be signed
			if strings.HasPrefix(name, "x-amz-") {
				hoisted[name] = v
			}
		}
		path, query, _ := strings.Cut(target, "?")
		params, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		for name := range params {
			hoisted[name] = params.Get(name)
		}
		resp, _ = k.presigned(t, method, path, hoisted, body)
	} else {
		more[header] = value
		resp, _ = k.do(t, method, target, more, body)
	}
	return k.unchanged(t, op, resp.StatusCode)
}

// unchanged passes a status on, and fails the test when a refused write changed the object.
func (k *kit) unchanged(t *testing.T, op string, status int) int {
	t.Helper()
	if status < 400 {
		return status
	}
	resp, body := k.mustDo(t, "GET", "/bkt/key", nil, nil)
	if string(body) != "source" || resp.Header.Get("x-amz-tagging-count") != "" {
		t.Errorf("%s was answered %d, and did something: %q %v", op, status, body, resp.Header)
	}
	return status
}

func (k *kit) anUpload(t *testing.T) string {
	t.Helper()
	_, body := k.mustDo(t, "POST", "/bkt/key?uploads", nil, nil)
	return "/bkt/key?uploadId=" + reply[s3.InitiateMultipartUploadResult](t, body).UploadID
}

// TestRepeatedConditions: lines of one name are one list, which no line is left out of.
func TestRepeatedConditions(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
	k.server.Probe(t.Context())
	put, _ := k.mustDo(t, "PUT", "/bkt/source", nil, []byte("source"))
	good, other, date := put.Header.Get("ETag"), `"other"`, "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, c := range []struct {
		method, header string
		lines          []string
		want           int
	}{
		{"GET", "If-Match", []string{other, good}, 200}, {"GET", "If-Match", []string{other, `"another"`}, 412},
		{"GET", "If-None-Match", []string{other, good}, 304}, {"HEAD", "If-None-Match", []string{good, other}, 304},
		{"PUT", "If-None-Match", []string{"*", other}, 501}, {"PUT", "If-None-Match", []string{other, "*"}, 501},
		{"PUT", "If-Match", []string{other, good}, 200}, {"DELETE", "If-Match", []string{other, `"another"`}, 412},
		{"DELETE", "x-amz-if-match-size", []string{"6", "7"}, 400}, {"DELETE", "x-amz-if-match-last-modified-time", []string{date, date}, 400},
		{"GET", "If-Unmodified-Since", []string{date, date}, 200}, // no HTTP date
		{"COPY", "x-amz-copy-source-if-match", []string{other, good}, 200}, {"COPY", "x-amz-copy-source-if-none-match", []string{other, good}, 412},
		{"COPY", "x-amz-copy-source-if-unmodified-since", []string{date, date}, 400},
	} {
		k.mustDo(t, "PUT", "/bkt/key", nil, []byte("source"))
		method, body := c.method, []byte(nil)
		header := http.Header{http.CanonicalHeaderKey(c.header): c.lines}
		switch method {
		case "COPY":
			method = "PUT"
			header.Set("X-Amz-Copy-Source", "/bkt/source")
		case "PUT":
			body = []byte("source")
		}
		if resp := k.withLines(t, method, "/bkt/key", header, body); resp.StatusCode != c.want {
			t.Errorf("%s, %s: %q: %s, want %d", c.method, c.header, c.lines, resp.Status, c.want)
		}
	}
}

// TestPresignedConditionIsNotWidened: who holds a URL with a condition in it adds none of their own.
func TestPresignedConditionIsNotWidened(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	put, _ := k.mustDo(t, "PUT", "/bkt/key", nil, []byte("source"))
	signed, good := `"the signer's"`, put.Header.Get("ETag")
	for _, lines := range [][]string{{good}, {signed, good}, {good, signed}, {"*"}, {""}, {signed + ", " + good}} {
		url := k.presign("PUT", "/bkt/key", map[string]string{"If-Match": signed}, nil).URL
		req, err := http.NewRequest("PUT", url.String(), strings.NewReader("new"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header["If-Match"] = lines
		if resp, body := roundTrip(t, req); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q beside the URL's: %s\n%s", lines, resp.Status, body)
		}
	}
	if _, body := k.mustDo(t, "GET", "/bkt/key", nil, nil); string(body) != "source" {
		t.Errorf("the object is now %q", body)
	}
}

// withLines sends a request whose header may have a name more than once.
func (k *kit) withLines(t *testing.T, method, target string, header http.Header, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+k.endpoint+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	header.Set("X-Amz-Content-Sha256", hexSum(body))
	resp, _ := roundTrip(t, signer.SignV4(*req, testAccess, testSecret, "", "us-east-1"))
	return resp
}

// TestConditionsInDocuments: those of DeleteObjects are honoured or refused, empty and malformed ones too.
func TestConditionsInDocuments(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
	k.server.Probe(t.Context())
	put, _ := k.mustDo(t, "PUT", "/bkt/key", nil, []byte("source"))
	good := put.Header.Get("ETag")
	for _, c := range []struct{ key, conditions, want string }{
		{"key", "<ETag>&quot;other&quot;</ETag>", "PreconditionFailed"}, {"key", "<ETag></ETag>", "PreconditionFailed"}, {"key", "<ETag/>", "PreconditionFailed"},
		{"key", "<ETag>not good</ETag>", "PreconditionFailed"}, {"key", "<ETag>W/" + good + "</ETag>", "PreconditionFailed"},
		{"key", "<Size>7</Size>", "PreconditionFailed"}, {"key", "<Size></Size>", "PreconditionFailed"}, {"key", "<Size>-1</Size>", "MalformedXML"}, {"key", "<Size>six</Size>", "MalformedXML"},
		{"key", "<LastModifiedTime>2006-01-02T15:04:05Z</LastModifiedTime>", "PreconditionFailed"}, {"key", "<LastModifiedTime/>", "MalformedXML"}, {"key", "<LastModifiedTime>then</LastModifiedTime>", "MalformedXML"},
		{"key", "<ETag>*</ETag><Size>7</Size>", "PreconditionFailed"}, {"none", "<ETag>*</ETag>", "NoSuchKey"}, {"none", "<Size>0</Size>", "NoSuchKey"},
		{"key", "<ETag>" + good + "</ETag><Size>6</Size>", ""},
	} {
		doc := []byte("<Delete><Object><Key>" + c.key + "</Key>" + c.conditions + "</Object></Delete>")
		resp, body := k.do(t, "POST", "/bkt?delete", map[string]string{"Content-MD5": s3.Base64(md5Sum(doc))}, doc)
		if c.want == "MalformedXML" {
			wantError(t, resp, body, http.StatusBadRequest, s3.MalformedXML)
			continue
		}
		result := reply[s3.DeleteResult](t, body)
		if c.want == "" && len(result.Deleted) == 1 {
			continue
		}
		if len(result.Errors) != 1 || string(result.Errors[0].Code) != c.want {
			t.Errorf("%s of %s: want %s\n%s", c.conditions, c.key, c.want, body)
		}
	}
}

// TestPresignersParameters: what a presigner puts into the query is a header where S3 takes it for one, and nothing elsewhere.
func TestPresignersParameters(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, c := range []struct {
		param, value   string
		header, answer string // what a HEAD of the object shows
		want           int
	}{
		{"x-amz-meta-a", "b", "x-amz-meta-a", "b", 200}, {"X-Amz-Meta-A", "b", "x-amz-meta-a", "b", 200},
		{"x-amz-tagging", "a=b", "x-amz-tagging-count", "1", 200}, {"x-amz-website-redirect-location", "/x", "x-amz-website-redirect-location", "/x", 200},
		{"x-amz-server-side-encryption", "AES256", "x-amz-server-side-encryption", "AES256", 200}, {"x-amz-server-side-encryption", "AES512", "", "", 400},
		{"x-amz-unheard-of", "1", "", "", 501}, {"x-amz-write-offset-bytes", "0", "", "", 501},
		{"x-amz-checksum-crc32", "AAAAAA==", "", "", 200}, {"x-amz-checksum-sha256", "none", "", "", 200}, {"x-amz-sdk-checksum-algorithm", "CRC32", "", "", 200},
		{"x-id", "PutObject", "", "", 200}, {"Content-Type", "text/css", "Content-Type", "binary/octet-stream", 200},
		{"Cache-Control", "no-cache", "Cache-Control", "", 200}, {"Content-Disposition", "attachment", "Content-Disposition", "", 200},
		{"Content-Encoding", "gzip", "Content-Encoding", "", 200}, {"Content-Language", "de", "Content-Language", "", 200},
		{"If-None-Match", "*", "", "", 412}, {"if-none-match", "*", "", "", 412}, {"If-Match", `"other"`, "", "", 412},
		{"If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT", "", "", 501},
	} {
		k.mustDo(t, "PUT", "/bkt/key", nil, []byte("old"))
		resp, body := k.presigned(t, "PUT", "/bkt/key", map[string]string{c.param: c.value}, []byte("new"))
		if resp.StatusCode != c.want {
			t.Errorf("%s=%s: %s, want %d\n%s", c.param, c.value, resp.Status, c.want, body)
		}
		resp, body = k.mustDo(t, "GET", "/bkt/key", nil, nil)
		if (string(body) == "new") != (c.want == 200) {
			t.Errorf("%s=%s left %q", c.param, c.value, body)
		}
		if c.header != "" && resp.Header.Get(c.header) != c.answer {
			t.Errorf("%s=%s: %s is %q, want %q", c.param, c.value, c.header, resp.Header.Get(c.header), c.answer)
		}
	}
}

// TestConditionsOnAbsentObjects: what is not there matches nothing.
func TestConditionsOnAbsentObjects(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
	k.server.Probe(t.Context())
	u.SetVersioning("bkt", "Enabled")
	k.mustDo(t, "PUT", "/bkt/marked", nil, []byte("x"))
	k.mustDo(t, "DELETE", "/bkt/marked", nil, nil)
	for _, key := range []string{"none", "marked"} {
		for _, c := range []struct {
			method, header, value string
			want                  int
		}{
			{"GET", "If-Match", "*", 404}, {"GET", "If-None-Match", "*", 404}, {"DELETE", "If-Match", "*", 404},
			{"DELETE", "If-Match", `"abc"`, 404}, {"PUT", "If-Match", `"abc"`, 404}, {"PUT", "If-Match", `"not good etag"`, 404},
			{"PUT", "If-None-Match", "*", 200},
		} {
			resp, body := k.do(t, c.method, "/bkt/"+key, map[string]string{c.header: c.value}, nil)
			if resp.StatusCode != c.want {
				t.Errorf("%s %s, %s: %s: %s, want %d\n%s", c.method, key, c.header, c.value, resp.Status, c.want, body)
			}
		}
	}
}

// TestDeleteConditionsBySizeAndTime: they are of the plaintext, and pinned.
func TestDeleteConditionsBySizeAndTime(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
	k.server.Probe(t.Context())
	put, _ := k.mustDo(t, "HEAD", "/bkt/"+k.anObject(t), nil, nil)
	modified := put.Header.Get("Last-Modified")
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"x-amz-if-match-size", "7", 412}, {"x-amz-if-match-size", "-6", 400}, {"x-amz-if-match-size", "six", 400},
		{"x-amz-if-match-last-modified-time", "Mon, 02 Jan 2006 15:04:05 GMT", 412}, {"x-amz-if-match-last-modified-time", "then", 400},
		{"x-amz-if-match-size", "6", 204}, {"x-amz-if-match-last-modified-time", modified, 204},
	} {
		key := k.anObject(t)
		resp, body := k.do(t, "DELETE", "/bkt/"+key, map[string]string{c.header: c.value}, nil)
		if resp.StatusCode != c.want {
			t.Errorf("%s: %s: %s, want %d\n%s", c.header, c.value, resp.Status, c.want, body)
		}
	}
}

func (k *kit) anObject(t *testing.T) string {
	t.Helper()
	k.mustDo(t, "PUT", "/bkt/object", nil, []byte("source"))
	return "object"
}
