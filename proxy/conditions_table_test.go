package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// conditionValues are values of a condition, by what they are of an object with the ETag "good".
func conditionValues(header, good string) map[string]string {
	past, future := time.Now().Add(-48*time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(48*time.Hour).UTC().Format(http.TimeFormat)
	if strings.HasSuffix(strings.ToLower(header), "since") {
		return map[string]string{"past": past, "future": future, "malformed": "yesterday"}
	}
	return map[string]string{
		"good": quote(good), "bare": good, "other": `"0123456789abcdef0123456789abcdef"`, "list": `"a", ` + quote(good), "list of others": `"a", "b"`,
		"weak": "W/" + quote(good), "star": "*", "words": `"not good etag"`, "no quotes": "not good etag", "empty": `""`, "open": `"unterminated`,
		"single": "'" + good + "'", "commas": ", ,",
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
		"x-amz-copy-source-if-modified-since":   {"past": 200, "future": 200, "malformed": 400},
		"x-amz-copy-source-if-unmodified-since": {"past": 412, "future": 200, "malformed": 400},
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
		more["Content-MD5"] = b64(md5Sum(body))
	case "DELETEOBJECTS":
		method, target, body = "POST", "/bkt?delete", []byte("<Delete><Object><Key>key</Key></Object></Delete>")
		more["Content-MD5"] = b64(md5Sum(body))
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
