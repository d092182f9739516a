package proxy

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestUnsignedOnAFreshBucket sends each request of the route table without a signature, with and without --anonymous: on a
// fresh bucket each is AccessDenied and changes nothing. The store is the embedded store, because it evaluates anonymous
// requests itself.
func TestUnsignedOnAFreshBucket(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		k, u := overMemory(t, proxytest.Options{RefuseUnsigned: true}, func(c *Config) { c.Anonymous = anonymous })
		k.mustDo(t, "PUT", "/the-bucket", nil, nil)
		k.mustDo(t, "PUT", "/the-bucket/key", nil, []byte("private"))
		k.mustDo(t, "PUT", "/the-bucket/other", nil, []byte("private"))
		_, body := k.mustDo(t, "POST", "/the-bucket/key?uploads", nil, nil)
		upload := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
		part, _ := k.mustDo(t, "PUT", "/the-bucket/key?partNumber=1&uploadId="+upload, nil, []byte("private"))
		etag := part.Header.Get("ETag")
		u.ClearRequests()
		walked := 0
		eachRoute(t, func(r *route, target string) {
			walked++
			target = strings.Replace(target, "uploadId=2", "uploadId="+upload, 1)
			resp, got := k.unsignedRoute(t, r, target, etag)
			if bytes.Contains(got, []byte("private")) {
				t.Errorf("anonymous %v, %s: an unsigned request has read %s", anonymous, r.name, got)
			}
			if r.method == http.MethodHead && resp.StatusCode == http.StatusForbidden {
				return
			}
			if !refusesUnsigned(r, anonymous, resp.StatusCode, got) {
				t.Errorf("anonymous %v, %s: %s %s", anonymous, r.name, resp.Status, got)
			}
		})
		if walked != len(routes) {
			t.Errorf("%d of %d routes were asked", walked, len(routes))
		}
		for _, key := range []string{"key", "other"} {
			if _, body := k.mustDo(t, "GET", "/the-bucket/"+key, nil, nil); string(body) != "private" {
				t.Errorf("%s is now %q", key, body)
			}
		}
		if _, list := k.mustDo(t, "GET", "/the-bucket/key?uploadId="+upload, nil, nil); strings.Count(string(list), "<Part>") != 1 || !bytes.Contains(list, []byte(strings.Trim(etag, `"`))) {
			t.Errorf("the upload has %s", list)
		}
	}
}

// refusesUnsigned reports whether an answer is how a route refuses who has no name. What waxseal does not support at all, or takes
// with a signature only, is refused as that where unsigned requests are let in, and DeleteObjects refuses each key.
func refusesUnsigned(r *route, anonymous bool, status int, body []byte) bool {
	code := s3.ParseError(status, body).Code
	switch {
	case status == http.StatusForbidden:
		return code == s3.AccessDenied || r.method == http.MethodOptions && code == "AccessForbidden"
	case !anonymous:
		return false
	case r.class == refuse || r.name == "RestoreObject":
		return code == s3.NotImplemented
	case r.name == "UpdateObjectEncryption":
		return code == s3.InvalidRequest
	}
	return r.name == "DeleteObjects" && bytes.Count(body, []byte("<Code>AccessDenied</Code>")) == 2 && !bytes.Contains(body, []byte("<Deleted>"))
}

// unsignedRoute sends what a route takes, without a signature.
func (k *kit) unsignedRoute(t *testing.T, r *route, target, etag string) (*http.Response, []byte) {
	t.Helper()
	body, header := "", hdr{"Origin": "https://a", "Access-Control-Request-Method": "GET"}
	switch {
	case r.name == "DeleteObjects":
		body = "<Delete><Object><Key>key</Key></Object><Object><Key>other</Key></Object></Delete>"
		header["Content-MD5"] = s3.Base64(md5Sum([]byte(body)))
	case r.name == "PostObject":
		body = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nkey\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nforged\r\n--b--\r\n"
		header["Content-Type"] = "multipart/form-data; boundary=b"
	case r.name == "CompleteMultipartUpload":
		body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + etag + "</ETag></Part></CompleteMultipartUpload>"
	case r.name == "GetObjectAttributes":
		header["x-amz-object-attributes"] = "ETag"
	case r.name != "CreateBucket" && (r.method == http.MethodPut || r.method == http.MethodPost):
		body = "forged"
	}
	if r.header != "" {
		header[r.header] = "/the-bucket/other"
	}
	req, err := http.NewRequest(r.method, "http://"+k.endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, got.Bytes()
}

// TestAnonymousPartsAreTheStoresToAllow: a part that waxseal stages does not go to the store before Complete, and is taken of an
// anonymous requester only where the store would take it.
func TestAnonymousPartsAreTheStoresToAllow(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{RefuseUnsigned: true}, func(c *Config) { c.Anonymous = true })
	k.mustDo(t, "PUT", "/the-bucket", nil, nil)
	_, body := k.mustDo(t, "POST", "/the-bucket/open/key?uploads", nil, nil)
	upload := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	for _, c := range []struct {
		resource string
		want     int
	}{{"closed/*", http.StatusForbidden}, {"open/*", http.StatusOK}} {
		k.mustDo(t, "PUT", "/the-bucket?policy", nil, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::the-bucket/`+c.resource+`"}]}`))
		req, err := http.NewRequest(http.MethodPut, "http://"+k.endpoint+"/the-bucket/open/key?partNumber=1&uploadId="+upload, strings.NewReader("a small part"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %s", c.resource, resp.Status)
		}
	}
	_, list := k.mustDo(t, "GET", "/the-bucket/open/key?uploadId="+upload, nil, nil)
	etag := etagIn(t, list)
	k.mustDo(t, "POST", "/the-bucket/open/key?uploadId="+upload, nil, []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag></Part></CompleteMultipartUpload>"))
	if _, got := k.mustDo(t, "GET", "/the-bucket/open/key", nil, nil); string(got) != "a small part" {
		t.Errorf("%q", got)
	}
}

// TestStagedPartsAreTheStoresToAllow: a user with credentials of its own at the store adds no part to an upload where the store
// would not let it, be the part ever so small.
func TestStagedPartsAreTheStoresToAllow(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) {
		users, err := iam.NewDirectory([]iam.User{
			{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true},
			{Name: "writer", ARN: iam.UserARN("000000000000", "writer"), AccountID: "000000000000", AccessKey: "WRITER", Secret: iam.NewSecret("s"),
				Everything: true, Upstream: &iam.Credentials{AccessKey: "store-writer", Secret: iam.NewSecret("s")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Users = users
	})
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if strings.Contains(op.Header.Get("Authorization"), "=store-writer/") && op.Key == "closed" {
			return proxytest.Fault{Before: s3.NewError(s3.AccessDenied)}
		}
		return proxytest.Fault{}
	})
	for key, want := range map[string]int{"closed": http.StatusForbidden, "open": http.StatusOK} {
		_, body := k.mustDo(t, "POST", "/bkt/"+key+"?uploads", nil, nil)
		upload := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
		resp, body := k.doAs(t, "WRITER", "s", "PUT", "/bkt/"+key+"?partNumber=1&uploadId="+upload, nil, []byte("a small part"))
		if resp.StatusCode != want {
			t.Errorf("%s: %s %s", key, resp.Status, body)
		}
		_, list := k.mustDo(t, "GET", "/bkt/"+key+"?uploadId="+upload, nil, nil)
		if got := len(reply[s3.ListPartsResult](t, list).Parts); (got == 1) != (want == http.StatusOK) {
			t.Errorf("%s: %d parts are there", key, got)
		}
	}
}

func etagIn(t *testing.T, list []byte) string {
	t.Helper()
	parts := reply[s3.ListPartsResult](t, list).Parts
	if len(parts) != 1 {
		t.Fatalf("%s", list)
	}
	return parts[0].ETag
}
