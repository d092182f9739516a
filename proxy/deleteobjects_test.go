package proxy

import (
	"crypto/md5"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

func (k *kit) deleteObjects(t testing.TB, inner string) *s3.DeleteResult {
	t.Helper()
	resp, body := k.do(t, "POST", "/bkt?delete", withMD5("<Delete>"+inner+"</Delete>"), []byte("<Delete>"+inner+"</Delete>"))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	return reply[s3.DeleteResult](t, body)
}

func withMD5(body string) map[string]string {
	sum := md5.Sum([]byte(body))
	return map[string]string{"Content-MD5": s3.Base64(sum[:])}
}

func keysDocument(keys ...string) string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "<Object><Key>%s</Key></Object>", k)
	}
	return b.String()
}

func TestDeleteObjects(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for _, key := range []string{"a", "b", "c", " d &amp;/x"} {
		k.mustDo(t, "PUT", "/bkt/"+s3.EscapePath(strings.ReplaceAll(key, "&amp;", "&")), nil, []byte("x"))
	}
	got := k.deleteObjects(t, keysDocument("c", "a", "nosuch", "a"))
	if fmt.Sprint(got.Deleted) != "[{c  false } {a  false } {nosuch  false } {a  false }]" || len(got.Errors) > 0 {
		t.Errorf("%+v", got)
	}
	got = k.deleteObjects(t, "<Quiet>true</Quiet>"+keysDocument("b", " d &amp;/x"))
	if len(got.Deleted)+len(got.Errors) > 0 || len(u.Keys("bkt")) > 0 {
		t.Errorf("%+v, left %q", got, u.Keys("bkt"))
	}
}

func TestDeleteObjectsRefused(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	for name, doc := range map[string]string{
		"empty": "<Delete></Delete>", "no XML": "x", "no key": "<Delete><Object/></Delete>",
		"empty key": "<Delete>" + keysDocument("") + "</Delete>", "junk": "<Delete><Everything/></Delete>",
		"over 1000": "<Delete>" + strings.Repeat(keysDocument("a"), 1001) + "</Delete>",
	} {
		resp, body := k.do(t, "POST", "/bkt?delete", withMD5(doc), []byte(doc))
		if wantError(t, resp, body, 400, s3.MalformedXML); t.Failed() {
			t.Fatal(name)
		}
	}
	doc := "<Delete>" + keysDocument("a") + "</Delete>"
	resp, body := k.do(t, "POST", "/bkt?delete", nil, []byte(doc))
	wantError(t, resp, body, 400, s3.InvalidRequest)
	resp, body = k.do(t, "POST", "/bkt?delete", withMD5("other"), []byte(doc))
	wantError(t, resp, body, 400, s3.BadDigest)
	if len(u.Keys("bkt")) != 1 {
		t.Error("something was deleted")
	}
	k.mustDo(t, "POST", "/bkt?delete", map[string]string{"x-amz-checksum-crc32": crcText(doc)}, []byte(doc))
	if len(u.Keys("bkt")) != 0 {
		t.Error("nothing was deleted")
	}
}

func crcText(s string) string {
	h := s3.NewChecksumOf(s3.ChecksumID("CRC32"))
	h.Write([]byte(s))
	return s3.Base64(h.Sum(nil))
}

// TestDeleteObjectsPerKey: what a user may not delete is an error of its own, and is never sent.
func TestDeleteObjectsPerKey(t *testing.T) {
	policy, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:DeleteObject","s3:PutObject"],"Resource":"arn:aws:s3:::bkt/mine/*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) {
		if c.Users, err = iam.NewDirectory([]iam.User{{Name: "alice", ARN: "arn:aws:iam::000000000000:user/alice", AccountID: "000000000000",
			AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Policy: policy}}); err != nil {
			t.Fatal(err)
		}
	})
	u.PutObject("bkt", "mine/a", nil, nil)
	u.PutObject("bkt", "theirs/b", nil, nil)
	got := k.deleteObjects(t, keysDocument("theirs/b", "mine/a")+"<Object><Key>mine/c</Key><VersionId>v</VersionId></Object>")
	if len(got.Deleted) != 1 || got.Deleted[0].Key != "mine/a" || len(got.Errors) != 2 || got.Errors[0].Key != "theirs/b" ||
		got.Errors[0].Code != s3.AccessDenied || got.Errors[1].Code != s3.AccessDenied || got.Errors[1].VersionID != "v" {
		t.Errorf("%+v", got)
	}
	if fmt.Sprint(u.Keys("bkt")) != "[theirs/b]" {
		t.Error(u.Keys("bkt"))
	}
}

func TestDeleteObjectsConditions(t *testing.T) {
	for _, honoured := range []bool{false, true} {
		k, u := overMemory(t, proxytest.Options{HonourDeleteIfMatch: honoured}, nil)
		k.server.Probe(t.Context())
		u.SetVersioning("bkt", "Enabled")
		etag := func(key string) string {
			return put(t, k.client(t), "bkt", key, []byte(key), nil).ETag
		}
		right, wrong := etag("right"), etag("wrong")
		put(t, k.client(t), "bkt", "size", []byte("x"), nil)
		got := k.deleteObjects(t, "<Object><Key>right</Key><ETag>"+right+"</ETag></Object><Object><Key>wrong</Key><ETag>"+right+
			"</ETag></Object><Object><Key>size</Key><Size>1</Size></Object><Object><Key>nosuch</Key><ETag>"+wrong+"</ETag></Object>")
		codes := []string{}
		for _, e := range got.Errors {
			codes = append(codes, e.Key+" "+string(e.Code))
		}
		want := "[right NotImplemented wrong NotImplemented size NotImplemented nosuch NotImplemented]"
		if honoured {
			want = "[wrong PreconditionFailed nosuch NoSuchKey]"
			if len(got.Deleted) != 2 || !got.Deleted[0].DeleteMarker || got.Deleted[0].DeleteMarkerVersionID == "" {
				t.Errorf("%+v", got.Deleted)
			}
		}
		if fmt.Sprint(codes) != want {
			t.Errorf("honoured %v: %v", honoured, codes)
		}
	}
}

// TestDeleteObjectsUnaccounted: a key that the store says nothing of was not deleted, as far as anyone knows.
func TestDeleteObjectsUnaccounted(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	u.SetHook(proxytest.Nth("DeleteObjects", 0, proxytest.Fault{Corrupt: func(body []byte) {
		copy(body, strings.ReplaceAll(string(body), "<Key>a</Key>", "<Key>z</Key>"))
	}}))
	got := k.deleteObjects(t, keysDocument("a", "b"))
	if len(got.Deleted) != 1 || len(got.Errors) != 1 || got.Errors[0].Key != "a" || got.Errors[0].Code != s3.InternalError {
		t.Errorf("%+v", got)
	}
}

func TestDeleteObjectsRenamedKeys(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	caps := k.server.up.Capabilities()
	caps.CleansPaths = true
	k.server.up.Assume(caps)
	u.PutObject("bkt", "a/b", nil, nil)
	got := k.deleteObjects(t, keysDocument("a//b", "x/../a/b"))
	if len(got.Errors) != 2 || got.Errors[0].Code != s3.InvalidArgumentCode || len(u.Keys("bkt")) != 1 {
		t.Errorf("%+v", got)
	}
	for _, target := range []string{"/bkt/a//b", "/bkt//a/b", "/bkt/./a/b", "/bkt/a/..", "/bkt/a//"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			resp, body := k.do(t, method, target, nil, nil)
			wantError(t, resp, body, 400, s3.InvalidArgumentCode)
		}
	}
	k.mustDo(t, "PUT", "/bkt/..a/b../...", nil, nil)
	k.mustDo(t, "PUT", "/bkt/folder/", nil, nil)
}
