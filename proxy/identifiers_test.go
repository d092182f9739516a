package proxy

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// strangeIdentifiers are identifiers that a store could take for a path, or that no store gives out.
var strangeIdentifiers = []string{
	".", "..", "...", "/", "\\", "//", "a/b", "../x", "..\\x", "/etc", "\\etc", "./x", "x/.", "x/..", "../../../../bob",
	"..\\..\\bob", "x/../../bob", "/srv/bob", "C:\\bob", "%2e%2e%2fbob", "..%2fbob", "%2e%2e", "..%5cbob", "..;/bob", "..\x00/bob", "\x00", "x\x00",
	"x\n", "\r\n", "x y", " ", "x#y", "x?y", "x&y=z", "x*", "*", "~/bob?", "{}", "$HOME", "`id`", "'", "\"", "<x>", "ü", "\u2025/bob", "\uff0e\uff0e\uff0fbob",
	"file:///bob", "x:y", "x,y", "x;y", "x|y", strings.Repeat("a", maxIdentifier+1), strings.Repeat("../", 300),
}

// storesIdentifiers are identifiers as stores give them out: MinIO, versitygw, Ceph, AWS.
var storesIdentifiers = []string{
	"null", "5d8f1b7a-7e0c-4a4d-9d5b-0c6f5f0f6b8a", "01JDZ3N1V5Q8Y6WJ1A2B3C4D5E", "2~Hf8Q3m-6kTq0xYzL1nQWkF0a3rCNlXe", "PbSVwwbq8EjqkrjmUFPNTLmZ2mcKCWZ",
	"dfRtDYU0WWCCcH43C3WFbkRONycyCpTJJvxu2i5GYkZljF.Yxwh6XG7WfS2vC4to6HiV6Yjlx.cph0gtNBtJ8P3URCSbB7rjxI5iEwVDmgaXZOGgkk5nVTW16HOQ5l0R",
	"M2Y3NzQzOTItNTg2Zi00ZTk1.YzA2MTJkZjM=", "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA==",
}

// TestIdentifiersOfAStrangeShape: on no route does an identifier that is no store's reach the store, in the query, in a
// header or in a document.
func TestIdentifiersOfAStrangeShape(t *testing.T) {
	k, up := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/key", nil, []byte("there"))
	for i := range routes {
		r := &routes[i]
		params := r.params
		if r.query == "uploadId" {
			params = append(slices.Clone(params), "uploadId")
		}
		for _, p := range params {
			if !slices.Contains([]string{"uploadId", "versionId", "version-id-marker", "upload-id-marker", "id", "continuation-token"}, p) || r.class == refuse {
				continue
			}
			for _, id := range strangeIdentifiers {
				up.ClearRequests()
				resp, body := k.do(t, r.method, addressOf(r, p, id), headersOf(r), bodyOf(r))
				if asked := askedWithStrange(up); asked != "" {
					t.Errorf("%s with %s=%q: the store was asked: %q", r.name, p, id, asked)
				}
				want := s3.Code("InvalidArgument")
				if p == "uploadId" {
					want = s3.NoSuchUpload
				}
				if r.method != http.MethodHead && (resp.StatusCode/100 != 4 || !bytes.Contains(body, []byte("<Code>"+string(want)+"</Code>"))) {
					t.Errorf("%s with %s=%q: %s\n%s", r.name, p, id, resp.Status, body)
				}
			}
		}
	}
}

// TestIdentifiersInDocumentsAndHeaders: the versions of a DeleteObjects and of a copy's source.
func TestIdentifiersInDocumentsAndHeaders(t *testing.T) {
	k, up := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/key", nil, []byte("there"))
	_, created := k.mustDo(t, "POST", "/bkt/up?uploads", nil, nil)
	upload := reply[s3.InitiateMultipartUploadResult](t, created).UploadID
	for _, id := range strangeIdentifiers {
		up.ClearRequests()
		source := map[string]string{"X-Amz-Copy-Source": "/bkt/key?versionId=" + url.PathEscape(id)}
		for _, target := range []string{"/bkt/copy", "/bkt/up?partNumber=1&uploadId=" + upload} {
			resp, body := k.do(t, "PUT", target, source, nil)
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s of version %q: %s\n%s", target, id, resp.Status, body)
			}
		}
		if strings.ContainsAny(id, "\x00\r") || !strings.ContainsAny(id, "<&") && strings.TrimSpace(id) != id {
			continue // XML holds no NUL, and makes a line feed of the others
		}
		doc, err := s3.Encode(s3.Delete{Objects: []s3.DeleteObject{{Key: "key", VersionID: id}}})
		if err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(doc)
		_, body := k.mustDo(t, "POST", "/bkt?delete", map[string]string{"Content-MD5": s3.Base64(sum[:])}, doc)
		if result := reply[s3.DeleteResult](t, body); len(result.Errors) != 1 || result.Errors[0].Code != "InvalidArgument" {
			t.Errorf("DeleteObjects of version %q: %s", id, body)
		}
		if asked := up.Operations(); len(asked) > 0 {
			t.Errorf("version %q: the store was asked: %q", id, asked)
		}
	}
	k.mustDo(t, "GET", "/bkt/key", nil, nil)
}

// TestIdentifiersOfStores: what stores give out is taken, and asked for.
func TestIdentifiersOfStores(t *testing.T) {
	k, up := overMemory(t, proxytest.Options{}, nil)
	for _, id := range storesIdentifiers {
		if !plausibleIdentifier(id) {
			t.Errorf("%q is refused", id)
		}
		before := len(up.Requests())
		k.do(t, "DELETE", "/bkt/key?uploadId="+url.QueryEscape(id), nil, nil)
		k.do(t, "GET", "/bkt/other?versionId="+url.QueryEscape(id), nil, nil)
		if len(up.Requests()) < before+2 {
			t.Errorf("the store was not asked for %q", id)
		}
	}
}

// TestMarkerOfNoKey: a version without the key that it is of marks no place.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
func TestMarkerOfNoKey(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, query := range []string{"version-id-marker=null", "version-id-marker=null&key-marker="} {
		resp, body := k.do(t, "GET", "/bkt?versions&"+query, nil, nil)
		wantError(t, resp, body, http.StatusBadRequest, s3.InvalidArgumentCode)
	}
	k.mustDo(t, "GET", "/bkt?versions&version-id-marker=&key-marker=", nil, nil)
}

// TestPageTokens: a continuation token is of one operation on one bucket, and made here.
func TestPageTokens(t *testing.T) {
	k, up := overMemory(t, proxytest.Options{}, nil)
	up.CreateBucket("other")
	for _, key := range []string{"a&b", "c<d", "e"} {
		k.mustDo(t, "PUT", "/bkt/"+url.PathEscape(key), nil, nil)
	}
	var keys []string
	token := ""
	for range 3 {
		target := "/bkt?list-type=2&max-keys=1"
		if token != "" {
			target += "&continuation-token=" + url.QueryEscape(token)
		}
		_, body := k.mustDo(t, "GET", target, nil, nil)
		page := reply[s3.ListBucketResultV2](t, body)
		if page.ContinuationToken != token {
			t.Errorf("the token %q is answered as %q", token, page.ContinuationToken)
		}
		for _, o := range page.Contents {
			keys = append(keys, o.Key)
		}
		if token = page.NextContinuationToken; token == "" {
			break
		}
		resp, body := k.do(t, "GET", "/other?list-type=2&continuation-token="+url.QueryEscape(token), nil, nil)
		wantError(t, resp, body, http.StatusBadRequest, "InvalidArgument")
		resp, body = k.do(t, "GET", "/bkt?list-type=2&continuation-token="+url.QueryEscape(token+"AA"), nil, nil)
		wantError(t, resp, body, http.StatusBadRequest, "InvalidArgument")
	}
	if fmt.Sprint(keys) != "[a&b c<d e]" {
		t.Errorf("pages have %q", keys)
	}
}

// askedWithStrange is what the store was asked, but for the bucket's policy and the like, which name nothing of the
// client's.
func askedWithStrange(up *proxytest.Upstream) string {
	for _, r := range up.Requests() {
		for _, p := range []string{"uploadId", "versionId", "version-id-marker", "upload-id-marker", "id", "continuation-token"} {
			if r.Query.Has(p) {
				return r.URI
			}
		}
	}
	return ""
}

// addressOf is a request target of the route's operation with one more parameter.
func addressOf(r *route, param, value string) string {
	target := map[level]string{onService: "/", onBucket: "/bkt", onObject: "/bkt/key"}[r.on] + "?"
	if r.query != "" && r.query != param {
		target += r.query + "=1&"
	}
	if r.name == "UploadPart" || r.name == "UploadPartCopy" {
		target += "partNumber=1&"
	}
	if param == "version-id-marker" || param == "upload-id-marker" {
		target += "key-marker=k&"
	}
	return target + param + "=" + url.QueryEscape(value)
}

func headersOf(r *route) map[string]string {
	if r.header == "x-amz-copy-source" {
		return map[string]string{"X-Amz-Copy-Source": "/bkt/key"}
	}
	return nil
}

func bodyOf(r *route) []byte {
	if r.name == "CompleteMultipartUpload" {
		return []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>")
	}
	return nil
}
