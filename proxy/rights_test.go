package proxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestCopiedTagsNeedTheirActions: a copy takes its source's tags only for who may read and write them, and policies see
// them at the target.
func TestCopiedTagsNeedTheirActions(t *testing.T) {
	for _, c := range []struct {
		statements string
		tagged     int
	}{
		{`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`, 200},
		{`{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObjectTagging","Resource":"arn:aws:s3:::bkt/source"}`, 403},
		{`{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:PutObjectTagging","Resource":"arn:aws:s3:::bkt/target"}`, 403},
		{`{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/target","Condition":{"StringEquals":{"s3:RequestObjectTag/secret":"yes"}}}`, 403},
	} {
		k, _ := overMemory(t, proxytest.Options{}, limited(t, c.statements))
		k.asRoot(t, "PUT", "/bkt/source", map[string]string{"x-amz-tagging": "secret=yes"}, []byte("x"))
		k.asRoot(t, "PUT", "/bkt/plain", nil, []byte("x"))
		copyOf := func(source string, more ...string) int {
			h := map[string]string{"x-amz-copy-source": source}
			for i := 0; i < len(more); i += 2 {
				h[more[i]] = more[i+1]
			}
			resp, _ := k.do(t, "PUT", "/bkt/target", h, nil)
			return resp.StatusCode
		}
		for _, more := range [][]string{nil, {hdrSSE, algKMS, hdrKMSKey, testKeyARN}, {"x-amz-checksum-algorithm", "SHA256"}} {
			if got := copyOf("/bkt/source", more...); got != c.tagged {
				t.Errorf("%s: a copy with tags (%v): %d, want %d", c.statements, more, got, c.tagged)
			}
		}
		if got := copyOf("/bkt/plain"); got != 200 {
			t.Errorf("%s: a copy without tags: %d", c.statements, got)
		}
		if got := copyOf("/bkt/source", "x-amz-tagging-directive", "REPLACE"); got != 200 {
			t.Errorf("%s: a copy that leaves the tags: %d", c.statements, got)
		}
	}
}

// TestCopiedTagsAreThoseThatWereAuthorized: tags that the source gets between the look at them and the copy do not come
// along with it.
func TestCopiedTagsAreThoseThatWereAuthorized(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"},
		{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/target","Condition":{"StringEquals":{"s3:RequestObjectTag/secret":"yes"}}}`))
	for _, before := range []string{"", "harmless=yes"} {
		k.asRoot(t, "PUT", "/bkt/source", map[string]string{"x-amz-tagging": before}, []byte("x"))
		u.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Name != "CopyObject" {
				return proxytest.Fault{}
			}
			return proxytest.Fault{Delay: 200 * time.Millisecond}
		})
		done := k.asyncDo(t, "PUT", "/bkt/target", map[string]string{"x-amz-copy-source": "/bkt/source"}, nil)
		for count(u.Operations(), "CopyObject") == 0 {
			time.Sleep(time.Millisecond)
		}
		tags := []byte("<Tagging><TagSet><Tag><Key>secret</Key><Value>yes</Value></Tag></TagSet></Tagging>")
		k.asRoot(t, "PUT", "/bkt/source?tagging", map[string]string{"Content-MD5": s3.Base64(md5Sum(tags))}, tags)
		if answer := <-done; !strings.HasPrefix(answer, "200") {
			t.Fatal(answer)
		}
		if _, got := k.asRoot(t, "GET", "/bkt/target?tagging", nil, nil); strings.Contains(string(got), "secret") || strings.Contains(string(got), "harmless") != (before != "") {
			t.Errorf("with %q before, the copy has %s", before, got)
		}
		u.SetHook(nil)
		u.ClearRequests()
	}
}

// TestDeniedVersions: a Deny on a version holds wherever a version is named.
func TestDeniedVersions(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	u.SetVersioning("bkt", "Enabled")
	put, _ := k.mustDo(t, "PUT", "/bkt/o", nil, []byte("first"))
	version := put.Header.Get("X-Amz-Version-Id")
	k.mustDo(t, "PUT", "/bkt/o", nil, []byte("second"))
	limitedTo := limited(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:VersionId":"`+version+`"}}}`)
	limitedTo(&k.server.cfg)
	_, created := k.asRoot(t, "POST", "/bkt/up?uploads", nil, nil)
	upload := reply[s3.InitiateMultipartUploadResult](t, created).UploadID
	for name, do := range map[string]func() (*http.Response, []byte){
		"GET":    func() (*http.Response, []byte) { return k.do(t, "GET", "/bkt/o?versionId="+version, nil, nil) },
		"HEAD":   func() (*http.Response, []byte) { return k.do(t, "HEAD", "/bkt/o?versionId="+version, nil, nil) },
		"tags":   func() (*http.Response, []byte) { return k.do(t, "GET", "/bkt/o?tagging&versionId="+version, nil, nil) },
		"DELETE": func() (*http.Response, []byte) { return k.do(t, "DELETE", "/bkt/o?versionId="+version, nil, nil) },
		"copy": func() (*http.Response, []byte) {
			return k.do(t, "PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": "/bkt/o?versionId=" + version}, nil)
		},
		"part copy": func() (*http.Response, []byte) {
			return k.do(t, "PUT", "/bkt/up?partNumber=1&uploadId="+upload, map[string]string{"x-amz-copy-source": "/bkt/o?versionId=" + version}, nil)
		},
	} {
		if resp, body := do(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s\n%s", name, resp.Status, body)
		}
	}
	got := k.deleteObjects(t, "<Object><Key>o</Key><VersionId>"+version+"</VersionId></Object>")
	if len(got.Errors) != 1 || got.Errors[0].Code != "AccessDenied" {
		t.Errorf("DeleteObjects: %+v", got)
	}
	if !slices.Contains(u.Keys("bkt"), "o") {
		t.Error("the object is gone")
	}
	k.mustDo(t, "GET", "/bkt/o", nil, nil)
}
