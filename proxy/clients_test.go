package proxy

import (
	"bytes"
	"github.com/minio/minio-go/v7/pkg/signer"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// limited makes testAccess a user with this policy, beside a root user.
func limited(t testing.TB, statements string) func(*Config) {
	t.Helper()
	return limitedAs(t, iam.UserARN("000000000000", "limited"), statements)
}

// limitedAs is limited with another ARN; without statements the user has no policy.
func limitedAs(t testing.TB, arn, statements string) func(*Config) {
	t.Helper()
	root := iam.User{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: "AKIAROOT", Secret: iam.NewSecret("s"), Root: true}
	u := iam.User{Name: "limited", ARN: arn, AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Everything: statements == ""}
	if statements != "" {
		var err error
		if u.Policy, err = iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[`+statements+`]}`), iam.Options{Kind: iam.Identity}); err != nil {
			t.Fatal(err)
		}
	}
	users, err := iam.NewDirectory([]iam.User{root, u})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Users = users }
}

// asRoot sends a request of the user whom nothing limits.
func (k *kit) asRoot(t testing.TB, method, target string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	resp, got := k.doAs(t, "AKIAROOT", "s", method, target, header, body)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s\n%s", method, target, resp.Status, got)
	}
	return resp, got
}

// TestStoresOwnPaths: what a store has beside its buckets is no bucket, and no client comes near it.
func TestStoresOwnPaths(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	u.ClearRequests()
	for _, r := range []struct {
		method, target string
		header         map[string]string
	}{
		{"GET", "/minio/admin/v3/info?acl", nil},
		{"PUT", "/minio/admin/v3/add-canned-policy?name=evil&acl", nil},
		{"DELETE", "/minio/admin/v3/remove-canned-policy?name=evil", nil},
		{"GET", "/%6dinio/admin/v3/info?acl", nil},
		{"GET", "/admin/user?acl", nil},
		{"PUT", "/swift/v1/a", nil},
		{"GET", "/.minio.sys/config", nil},
		{"GET", "/_localstack/health", nil},
		{"PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/minio/admin/v3/info"}},
		{"PUT", "/bkt/b", map[string]string{"x-amz-copy-source": "/bkt%3Fx/a"}},
	} {
		resp, body := k.do(t, r.method, r.target, r.header, nil)
		want := s3.InvalidBucketName
		if r.header != nil {
			want = s3.InvalidArgumentCode // of a copy's source
		}
		wantError(t, resp, body, http.StatusBadRequest, want)
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
}

// TestTwoSubResources: a query that names two operations is refused before either is done: the store might do the one
// that nobody authorised, with a body that nobody sealed.
func TestTwoSubResources(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":["s3:*Tagging","s3:*Website","s3:*Acl","s3:RestoreObject"],"Resource":"*"}`))
	k.asRoot(t, "PUT", "/bkt/kept", nil, []byte("kept"))
	_, body := k.asRoot(t, "POST", "/bkt/kept?uploads", nil, nil)
	id := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	u.ClearRequests()
	for _, r := range [][2]string{
		{"PUT", "/bkt/kept?tagging&partNumber=1&uploadId=" + id},
		{"PUT", "/bkt/kept?partNumber=1&uploadId=" + id + "&tagging"},
		{"PUT", "/bkt/kept?tagging&partNumber=1&%75ploadId=" + id},
		{"POST", "/bkt/kept?restore&uploadId=" + id},
		{"POST", "/bkt/kept?uploads&uploadId=" + id},
		{"DELETE", "/bkt/kept?tagging&uploadId=" + id},
		{"PUT", "/bkt?acl&versioning"},
		{"GET", "/bkt?website&versions"},
		{"GET", "/bkt?website&list-type=2"},
		{"GET", "/bkt?tagging&uploads"},
	} {
		resp, body := k.do(t, r[0], r[1], nil, []byte("a plaintext that the store must never see"))
		wantError(t, resp, body, http.StatusBadRequest, "InvalidArgument")
		if !strings.Contains(string(body), "Conflicting query string parameters") {
			t.Errorf("%s %s: %s", r[0], r[1], body)
		}
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
	if u.Saw("a plaintext that the store must never see") {
		t.Error("the store has seen the plaintext")
	}
}

// TestQueryForTheStore: of a query the store gets what the operation has and nothing else, once.
func TestQueryForTheStore(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.withoutPolicies()
	for target, want := range map[string]string{
		"/bkt?events=s3:ObjectCreated:*&prefix=a%2Bb":             "prefix=a%2Bb",
		"/bkt?prefix=a&prefix=none&frobnicate=1":                  "prefix=a",
		"/bkt?list-type=2&events=x&max-keys=5":                    "list-type=2&max-keys=5&metadata=true",
		"/?events=s3:ObjectCreated:*":                             "",
		"/bkt?acl&name=evil&x-id=GetBucketAcl&Uploads":            "acl=",
		"/bkt/a?acl&versionId=null&response-content-type=a&force": "acl=&versionId=null",
		"/bkt?inventory&id=one&prefix=a":                          "inventory=&id=one",
	} {
		u.ClearRequests()
		resp, body := k.do(t, "GET", target, nil, nil)
		for _, r := range u.Requests() {
			if _, got, _ := strings.Cut(r.URI, "?"); got != want {
				t.Errorf("%s: the store was asked %q, want %q", target, got, want)
			}
		}
		if len(u.Requests()) != 1 {
			t.Errorf("%s: the store was asked %v: %s\n%s", target, u.Operations(), resp.Status, body)
		}
	}
}

// TestSubResourceOfAnotherMethod: a sub-resource that lacks the method is not taken for what it is a part of.
func TestSubResourceOfAnotherMethod(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("kept"))
	u.ClearRequests()
	for _, r := range []struct {
		method, target string
		status         int
		code           s3.Code
	}{
		{"PUT", "/bkt/a?uploads", 405, s3.MethodNotAllowed},
		{"PUT", "/bkt/a?attributes", 405, s3.MethodNotAllowed},
		{"PUT", "/bkt/a?restore", 405, s3.MethodNotAllowed},
		{"PUT", "/bkt/a?select&select-type=2", 405, s3.MethodNotAllowed},
		{"PUT", "/bkt/a?torrent", 405, s3.MethodNotAllowed},
		{"DELETE", "/bkt/a?acl", 405, s3.MethodNotAllowed},
		{"DELETE", "/bkt/a?legal-hold", 405, s3.MethodNotAllowed},
		{"HEAD", "/bkt/a?acl", 405, ""},
		{"POST", "/bkt/a?tagging", 405, s3.MethodNotAllowed},
		{"POST", "/bkt?acl", 405, s3.MethodNotAllowed},
		{"DELETE", "/bkt?acl", 405, s3.MethodNotAllowed},
		{"DELETE", "/bkt?versioning", 405, s3.MethodNotAllowed},
		{"PUT", "/bkt?versions", 405, s3.MethodNotAllowed},
		{"GET", "/bkt/a?versions", 400, s3.InvalidRequest},
		{"DELETE", "/bkt/a?policy", 400, s3.InvalidRequest},
		{"DELETE", "/bkt?uploadId=1", 400, s3.InvalidRequest},
		{"PUT", "/bkt/a?partNumber=1", 400, "InvalidArgument"},
	} {
		resp, body := k.do(t, r.method, r.target, nil, []byte("overwritten"))
		wantError(t, resp, body, r.status, r.code)
		if allow := resp.Header.Get("Allow"); r.status == 405 && (allow == "" || strings.Contains(allow, r.method)) {
			t.Errorf("%s %s is not allowed, but %q is", r.method, r.target, allow)
		}
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
	// A preflight's query is that of the request to come.
	k.do(t, "OPTIONS", "/bkt/a?partNumber=1&uploadId=1&tagging", map[string]string{"Origin": "http://a.test", "Access-Control-Request-Method": "PUT"}, nil)
	if got := u.Operations(); len(got) != 1 {
		t.Errorf("a preflight: the store was asked: %v", got)
	}
}

// TestRedirectingStore: a store that sends its client elsewhere does not send waxseal's there, who would take the
// plaintext along.
func TestRedirectingStore(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x"))
	status := http.StatusTemporaryRedirect
	u.SetHook(func(proxytest.Op) proxytest.Fault {
		return proxytest.Fault{Before: &s3.Error{Code: "TemporaryRedirect", HTTPStatus: status, Header: []s3.Field{{Name: "Location", Value: "http://elsewhere.test/bkt/a"}}}}
	})
	for _, status = range []int{300, 301, 302, 303, 307, 308} {
		for _, r := range [][2]string{
			{"PUT", "/bkt/a"}, {"GET", "/bkt/a"}, {"HEAD", "/bkt/a"}, {"DELETE", "/bkt/a"}, {"POST", "/bkt/a?uploads"},
			{"GET", "/bkt"}, {"HEAD", "/bkt"}, {"PUT", "/bkt"}, {"PUT", "/bkt/a?tagging"}, {"GET", "/bkt?acl"}, {"GET", "/bkt?encryption"},
		} {
			resp, body := k.do(t, r[0], r[1], nil, nil)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Location") != "" || strings.Contains(string(body), "elsewhere") {
				t.Errorf("%s %s when the store answers %d: %s, Location %q\n%s", r[0], r[1], status, resp.Status, resp.Header.Get("Location"), body)
			}
		}
	}
	u.SetHook(func(proxytest.Op) proxytest.Fault {
		return proxytest.Fault{Header: func(h http.Header) {
			for _, name := range []string{"Location", "Content-Location", "Refresh", "Set-Cookie"} {
				h.Set(name, "0; url=http://elsewhere.test/")
			}
		}}
	})
	for _, r := range [][2]string{{"PUT", "/bkt/a"}, {"GET", "/bkt/a"}, {"PUT", "/bkt2"}, {"GET", "/bkt?acl"}, {"GET", "/bkt/none"}} {
		resp, _ := k.do(t, r[0], r[1], nil, nil)
		for name, values := range resp.Header {
			if strings.Contains(strings.Join(values, ""), "elsewhere") {
				t.Errorf("%s %s: the client got the store's %s", r[0], r[1], name)
			}
		}
		if r[1] == "/bkt2" && resp.Header.Get("Location") != "/bkt2" {
			t.Errorf("CreateBucket's Location is %q", resp.Header.Get("Location"))
		}
	}
}

// TestBypassNeedsItsAction: who may delete may not therefore delete what is retained, one by one or many at once.
func TestBypassNeedsItsAction(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":"s3:DeleteObject*","Resource":"*"},
		{"Effect":"Allow","Action":"s3:BypassGovernanceRetention","Resource":"arn:aws:s3:::bkt/mine/*"}`))
	bypass := map[string]string{"x-amz-bypass-governance-retention": "true"}
	resp, body := k.do(t, "DELETE", "/bkt/a", bypass, nil)
	wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	doc := "<Delete><Object><Key>a</Key></Object><Object><Key>mine/a</Key></Object></Delete>"
	_, body = k.mustDo(t, "POST", "/bkt?delete", with(bypass, withMD5(doc)), []byte(doc))
	result := reply[s3.DeleteResult](t, body)
	if len(result.Errors) != 1 || result.Errors[0].Key != "a" || result.Errors[0].Code != s3.AccessDenied || len(result.Deleted) != 1 {
		t.Errorf("%s", body)
	}
	if got := asked(u); len(got) != 1 {
		t.Errorf("the store was asked: %v", got)
	}
	_, body = k.mustDo(t, "POST", "/bkt?delete", withMD5(doc), []byte(doc))
	if result := reply[s3.DeleteResult](t, body); len(result.Errors) > 0 {
		t.Errorf("without the header: %s", body)
	}
}

// TestTargetsHost: the Host header, which is signed, names the bucket; no other host does.
func TestTargetsHost(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Domain = "s3.test" })
	u.CreateBucket("secret")
	k.mustDo(t, "PUT", "/bkt/report", nil, []byte("anybody may read this"))
	k.mustDo(t, "PUT", "/secret/report", nil, []byte("the secret report"))
	signed := k.headFor("bkt.s3.test", "GET", "/report", nil)
	for target, want := range map[string]int{
		"http://bkt.s3.test/report":       http.StatusOK,
		"http://secret.s3.test/report":    http.StatusBadRequest,
		"http://secret.s3.test:80/report": http.StatusBadRequest,
		"//secret.s3.test/report":         http.StatusBadRequest, // no key for stores that keep files
		"http://bkt.s3.test?acl":          http.StatusForbidden,
	} {
		resp, body := k.dial(t).send(strings.Replace(signed, "GET /report ", "GET "+target+" ", 1) + "\r\n").answer("GET")
		if resp.StatusCode != want || strings.Contains(string(body), "secret report") {
			t.Errorf("%s: %s %s", target, resp.Status, body)
		}
	}
}

// TestStrayVersionID: ?versionId changes the action only of operations that have versions.
func TestStrayVersionID(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"},
		{"Effect":"Deny","Action":["s3:GetObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::bkt/secret"}`))
	k.asRoot(t, "PUT", "/bkt/secret", nil, []byte("the secret"))
	for _, query := range []string{"", "?versionId=x"} {
		resp, body := k.do(t, "PUT", "/bkt/copy"+query, map[string]string{"x-amz-copy-source": "/bkt/secret"}, nil)
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	}
	doc := "<Delete><Object><Key>secret</Key></Object></Delete>"
	_, body := k.mustDo(t, "POST", "/bkt?delete&versionId=x", withMD5(doc), []byte(doc))
	if result := reply[s3.DeleteResult](t, body); len(result.Errors) != 1 {
		t.Errorf("%s", body)
	}
	k.mustDo(t, "GET", "/bkt/secret?versionId=null", nil, nil) // another action, and allowed
}

// TestFieldsNeedTheirActions: what a form's field makes the store do needs its own permission, as a header does.
func TestFieldsNeedTheirActions(t *testing.T) {
	fields := map[string][2]string{
		"s3:PutObjectAcl":       {"acl", "public-read"},
		"s3:PutObjectTagging":   {"tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"},
		"s3:PutObjectLegalHold": {"x-amz-object-lock-legal-hold", "ON"},
		"s3:PutObjectRetention": {"x-amz-object-lock-mode", "GOVERNANCE"},
	}
	for action, field := range fields {
		k, u := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}`))
		resp, body := k.post(t, newForm([]byte("x"), "key", "a", field[0], field[1]))
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
		if got := asked(u); !strings.Contains(string(body), action) || len(got) > 0 {
			t.Errorf("%s: the store was asked %v\n%s", field[0], got, body)
		}
		k, _ = overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":["s3:PutObject","`+action+`"],"Resource":"*"}`))
		if resp, body := k.post(t, newForm([]byte("x"), "key", "a", field[0], field[1])); resp.StatusCode == http.StatusForbidden {
			t.Errorf("%s with %s: %s\n%s", field[0], action, resp.Status, body)
		}
	}
}

// TestPartsKeyHeader: a part that names another key than its upload's does not pass for one under that key. The operation
// has no such header: where no policy asks, it means nothing.
func TestPartsKeyHeader(t *testing.T) {
	k := startContract(t, nil)
	key, other := k.newKey(), k.newKey()
	_, id := k.startUpload("mp", sseKMS(other))
	part := k.object("mp") + "?partNumber=1&uploadId=" + id
	k.ask("PUT", part, hdr{hdrKMSKey: key}, "x").ok(t)
	k.setPolicy(`{"StringNotEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"` + key + `"}}`)
	for _, header := range []hdr{nil, {hdrKMSKey: key}, sseKMS(key)} {
		k.ask("PUT", part, header, "x").fails(t, 403, s3.AccessDenied, "")
		k.ask("POST", k.object("mp")+"?uploadId="+id, header, completeBody(`"00112233445566778899aabbccddeeff"`)).fails(t, 403, s3.AccessDenied, "")
	}
	_, id = k.startUpload("mp", sseKMS(key))
	part = k.object("mp") + "?partNumber=1&uploadId=" + id
	k.ask("PUT", part, nil, "x").ok(t)
	k.ask("PUT", part, hdr{hdrKMSKey: key}, "x").ok(t)
}

// TestHoistedUnsigned: of a URL that Version 2 signed, what it did not sign as a header is none.
func TestHoistedUnsigned(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowSigV2 = true })
	k.mustDo(t, "PUT", "/bkt/secret", nil, []byte("the secret"))
	send := func(req *http.Request, more string) (*http.Response, []byte) {
		t.Helper()
		again, err := http.NewRequest(req.Method, req.URL.String()+more, bytes.NewReader([]byte("a body")))
		if err != nil {
			t.Fatal(err)
		}
		return roundTrip(t, again)
	}
	req, _ := http.NewRequest("PUT", "http://"+k.endpoint+"/bkt/mine", nil)
	for _, more := range []string{"&X%2DAmz-Signature=1&x%2Damz-copy-source=/bkt/secret", "&x%2Damz-copy-source=/bkt/secret", "&x-amz-copy-source=/bkt/secret"} {
		resp, body := send(signer.PreSignV2(*req, testAccess, testSecret, 600, false), more)
		if _, got := k.do(t, "GET", "/bkt/mine", nil, nil); strings.Contains(string(got), "the secret") {
			t.Errorf("%s was obeyed: %s %s", more, resp.Status, body)
		}
	}
	// Version 4 in the header signs the query too, but nobody signed it as headers.
	resp, _ := k.do(t, "PUT", "/bkt/mine?X%2DAmz-Signature=1&x-amz-copy-source=/bkt/secret", nil, []byte("a body"))
	if _, got := k.do(t, "GET", "/bkt/mine", nil, nil); strings.Contains(string(got), "the secret") {
		t.Errorf("a parameter beside a signed header was obeyed: %s", resp.Status)
	}
}

// TestEncodedSubResourcesUnderV2: a URL that somebody was given for one operation does not become another by a
// sub-resource in a spelling that is obeyed and not signed.
func TestEncodedSubResourcesUnderV2(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowSigV2 = true })
	k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-tagging": "class=secret"}, []byte("x"))
	acl := `<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>o</ID></Owner><AccessControlList/></AccessControlPolicy>`
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bkt/*"}]}`
	for _, r := range []struct{ method, path, add, body string }{
		{"GET", "/bkt/a", "&taggin%67", ""},
		{"GET", "/bkt/a", "&%61cl", ""},
		{"GET", "/bkt/a", "&versionI%64=null", ""},
		{"GET", "/bkt/", "&polic%79", ""},
		{"DELETE", "/bkt/a", "&taggin%67", ""},
		{"DELETE", "/bkt/a", "&versionI%64=null", ""},
		{"PUT", "/bkt/a", "&ac%6C", acl},
		{"PUT", "/bkt/a", "&ac%6C=", acl},
		{"PUT", "/bkt/", "&polic%79", policy},
	} {
		u.ClearRequests()
		req, err := http.NewRequest(r.method, "http://"+k.endpoint+r.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req = signer.PreSignV2(*req, testAccess, testSecret, 600, false)
		again, err := http.NewRequest(r.method, req.URL.String()+r.add, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, body := roundTrip(t, again)
		wantError(t, resp, body, http.StatusForbidden, "SignatureDoesNotMatch")
		if got := u.Operations(); len(got) > 0 {
			t.Errorf("%s %s%s: the store was asked: %v", r.method, r.path, r.add, got)
		}
	}
	// A signature in the header signs no more of the query.
	req, err := http.NewRequest("GET", "http://"+k.endpoint+"/bkt/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req = signer.SignV2(*req, testAccess, testSecret, false)
	req.URL.RawQuery = "taggin%67"
	resp, body := roundTrip(t, req)
	wantError(t, resp, body, http.StatusForbidden, "SignatureDoesNotMatch")
}

// TestHoistedNotPlain: a parameter that no header could hold is the client's fault, not the store's.
func TestHoistedNotPlain(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for name, value := range map[string]string{
		"x-amz-meta-a": "b\r\nx-amz-acl: public-read", "x-amz-tagging": "a=1\n", "x-amz-meta-a b": "c", "x-amz-meta-\r\nx": "c", "x-amz-storage-class": "\x00",
	} {
		resp, body := k.presigned(t, "PUT", "/bkt/a", map[string]string{name: value}, []byte("x"))
		wantError(t, resp, body, http.StatusBadRequest, "InvalidArgument")
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("the store was asked: %v", got)
	}
}

// TestVendorsHeaders: headers that only some stores know end here, and so do names that some take for others.
func TestVendorsHeaders(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for _, name := range []string{"x_amz_acl", "x_amz_copy_source", "Content_MD5", "X-Goog-Acl", "X-Cos-Acl", "X-Emc-Namespace", "X-Oss-Object-Acl", "X-Rgw-Test", "X-Auth-Token"} {
		u.ClearRequests()
		for _, r := range [][2]string{{"PUT", "/bkt/a"}, {"GET", "/bkt/a"}, {"GET", "/bkt?acl"}, {"DELETE", "/bkt/a"}} {
			k.do(t, r[0], r[1], map[string]string{name: "public-read"}, nil)
		}
		if len(u.Requests()) == 0 || u.Saw("public-read") {
			t.Errorf("the store got %s", name)
		}
	}
	k.mustDo(t, "PUT", "/bkt/a", map[string]string{"x-amz-meta-a_b": "kept"}, nil)
	if resp, _ := k.mustDo(t, "HEAD", "/bkt/a", nil, nil); resp.Header.Get("x-amz-meta-a_b") != "kept" {
		t.Error("metadata with an underscore is lost")
	}
}

// TestStoreRefusesCredentials: that waxseal's own signature is not good for the store is no client's fault, nor theirs
// to know.
func TestStoreRefusesCredentials(t *testing.T) {
	var log bytes.Buffer
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, code := range []s3.Code{"SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", s3.AccessDenied} {
		u.SetHook(func(proxytest.Op) proxytest.Fault {
			return proxytest.Fault{Before: &s3.Error{Code: code, Message: "m", HTTPStatus: 403, Extra: []s3.Field{
				{Name: "AWSAccessKeyId", Value: "WAXSEALS-OWN-KEY"}, {Name: "StringToSign", Value: "WAXSEALS-OWN-KEY"}, {Name: "Kept", Value: "detail"}}}}
		})
		for _, r := range [][2]string{{"PUT", "/bkt/a"}, {"GET", "/bkt/a"}, {"GET", "/bkt"}, {"GET", "/bkt?acl"}, {"DELETE", "/bkt/a"}, {"POST", "/bkt/a?uploads"}} {
			log.Reset()
			resp, body := k.do(t, r[0], r[1], nil, nil)
			if strings.Contains(string(body), "WAXSEALS-OWN-KEY") {
				t.Errorf("%s %s: %s", r[0], r[1], body)
			}
			if code == s3.AccessDenied {
				wantError(t, resp, body, http.StatusForbidden, code)
				continue
			}
			wantError(t, resp, body, http.StatusServiceUnavailable, s3.ServiceUnavailable)
			if got := log.String(); strings.Count(got, "refused the credentials") != 1 || !strings.Contains(got, string(code)) {
				t.Errorf("%s %s: the log has %q", r[0], r[1], got)
			}
		}
	}
}

// TestWhoConfiguresBuckets: that the store lets somebody see a bucket does not let them change what waxseal keeps of it.
func TestWhoConfiguresBuckets(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) {
		c.Anonymous = true
		users, err := iam.NewDirectory([]iam.User{
			{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true},
			{Name: "lister", ARN: iam.UserARN("000000000000", "lister"), AccountID: "000000000000", AccessKey: "LISTER", Secret: iam.NewSecret("s"),
				Everything: true, Upstream: &iam.Credentials{AccessKey: "store-lister", Secret: iam.NewSecret("s")}},
			{Name: "owner", ARN: iam.UserARN("000000000000", "owner"), AccountID: "000000000000", AccessKey: "OWNER", Secret: iam.NewSecret("s"),
				Everything: true, Upstream: &iam.Credentials{AccessKey: "store-owner", Secret: iam.NewSecret("s")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Users = users
	})
	// The store lets everybody list, and only two configure.
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		auth := op.Header.Get("Authorization")
		if op.Name != "HeadBucket" && !strings.Contains(auth, "=own/") && !strings.Contains(auth, "=store-owner/") {
			return proxytest.Fault{Before: s3.NewError(s3.AccessDenied)}
		}
		return proxytest.Fault{}
	})
	doc := `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/*","Condition":{"StringEquals":{"s3:x-amz-server-side-encryption":"AES256"}}}]}`
	k.mustDo(t, "PUT", "/bkt?encryption", withMD5(doc), []byte(doc))
	k.mustDo(t, "PUT", "/bkt?policy", nil, []byte(policy))
	for _, who := range [][2]string{{"", ""}, {"LISTER", "s"}} {
		for _, r := range []struct{ method, query, body string }{
			{"GET", "encryption", ""}, {"PUT", "encryption", doc}, {"DELETE", "encryption", ""}, {"GET", "policy", ""}, {"PUT", "policy", policy}, {"DELETE", "policy", ""},
		} {
			resp, body := k.doAs(t, who[0], who[1], r.method, "/bkt?"+r.query, withMD5(r.body), []byte(r.body))
			wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
		}
	}
	for _, r := range [][2]string{{"GET", "encryption"}, {"GET", "policy"}, {"DELETE", "encryption"}, {"DELETE", "policy"}} {
		if resp, body := k.doAs(t, "OWNER", "s", r[0], "/bkt?"+r[1], nil, nil); resp.StatusCode/100 != 2 {
			t.Errorf("the owner's %s of %s: %s\n%s", r[0], r[1], resp.Status, body)
		}
	}
}

// TestReadsWithoutNamingVersions: who may read at the store, but not by a version's name, reads what takes waxseal several
// requests. Those that name a version are pinned to what the user's own request has shown; a version that the client names
// is asked for as the user.
func TestReadsWithoutNamingVersions(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) {
		users, err := iam.NewDirectory([]iam.User{
			{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true},
			{Name: "reader", ARN: iam.UserARN("000000000000", "reader"), AccountID: "000000000000", AccessKey: "READER", Secret: iam.NewSecret("s"),
				Everything: true, Upstream: &iam.Credentials{AccessKey: "store-reader", Secret: iam.NewSecret("s")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Users = users
	})
	u.SetVersioning("bkt", "Enabled")
	k.mustDo(t, "PUT", "/bkt/streamed", nil, noise(1, 2*mib))
	m := k.rawUpload(t, "/bkt/parts", nil)
	for n := 1; n <= 5; n++ { // a manifest longer than what HEAD and copies fetch of one
		m.mustPut(n, nil, noise(uint64(n), 5*mib))
	}
	if resp, body := m.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	resp, _ := k.mustDo(t, "HEAD", "/bkt/streamed", nil, nil)
	version := resp.Header.Get("X-Amz-Version-Id")
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		reader := strings.Contains(op.Header.Get("Authorization"), "=store-reader/")
		if reader && op.Query.Has("versionId") || op.Key == "secret" {
			return proxytest.Fault{Before: s3.NewError(s3.AccessDenied)}
		}
		return proxytest.Fault{}
	})
	u.ClearRequests()
	for _, r := range []struct {
		method, target string
		header         map[string]string
	}{
		{"GET", "/bkt/streamed", nil}, {"GET", "/bkt/streamed", hdr{"Range": "bytes=-5"}}, {"GET", "/bkt/parts", nil},
		{"GET", "/bkt/parts?partNumber=3", nil}, {"HEAD", "/bkt/parts", hdr{"x-amz-checksum-mode": "ENABLED"}},
		{"PUT", "/bkt/copy", hdr{"x-amz-copy-source": "/bkt/parts"}},
		{"PUT", "/bkt/copy", hdr{"x-amz-copy-source": "/bkt/parts", "x-amz-checksum-algorithm": "SHA256"}},
	} {
		if resp, body := k.doAs(t, "READER", "s", r.method, r.target, r.header, nil); resp.StatusCode/100 != 2 {
			t.Errorf("%s %s %v: %s %.300s", r.method, r.target, r.header, resp.Status, body)
		}
	}
	own := 0
	for _, r := range u.Requests() {
		switch named := r.Query.Has("versionId"); {
		case r.AccessKey != "own" && named:
			t.Errorf("%s %s names a version as the user", r.Operation, r.URI)
		case r.AccessKey == "own" && r.Key != "copy":
			own++
			if !named || r.Header.Get("If-Match") == "" {
				t.Errorf("waxseal's own read of %s is not pinned: %v", r.URI, r.Header)
			}
		}
	}
	if own == 0 {
		t.Error("no read was waxseal's own")
	}
	for _, target := range []string{"/bkt/streamed?versionId=" + version, "/bkt/secret"} {
		resp, body := k.doAs(t, "READER", "s", "GET", target, nil, nil)
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	}
}

// TestPolicyConditionKeys: a Deny that is accepted holds; one on what waxseal cannot know is refused.
func TestPolicyConditionKeys(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, limited(t, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	put := func(effect, action, condition string) (*http.Response, []byte) {
		t.Helper()
		return k.doAs(t, "AKIAROOT", "s", "PUT", "/bkt?policy", nil, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"`+effect+
			`","Principal":"*","Action":"`+action+`","Resource":"arn:aws:s3:::bkt/*","Condition":`+condition+`}]}`))
	}
	for _, p := range [][3]string{
		{"s3:GetObject", `{"StringEquals":{"s3:ExistingObjectTag/class":"secret"}}`, "s3:existingobjecttag/class"},
		{"s3:*", `{"StringEquals":{"s3:RequestObjectTag/class":"public"}}`, "s3:requestobjecttag/class"},
		{"s3:PutObject*Tagging", `{"Null":{"s3:RequestObjectTagKeys":"true"}}`, "s3:requestobjecttagkeys"},
		{"s3:PutObjectRetention", `{"StringEquals":{"s3:object-lock-mode":"GOVERNANCE"}}`, "s3:object-lock-mode"},
		{"s3:PutObject", `{"NumericGreaterThan":{"s3:object-lock-remaining-retention-days":"9"}}`, "s3:object-lock-remaining"},
		{"s3:GetObject", `{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}`, "aws:principalorgid"},
	} {
		u.ClearRequests()
		resp, body := put("Deny", p[0], p[1])
		wantError(t, resp, body, http.StatusNotImplemented, s3.NotImplemented)
		if !strings.Contains(string(body), p[2]) || len(u.Operations()) > 0 {
			t.Errorf("%s: the store was asked %v\n%s", p[1], u.Operations(), body)
		}
	}
	if resp, body := put("Allow", "s3:GetObject", `{"StringEquals":{"s3:ExistingObjectTag/class":"public"}}`); resp.StatusCode/100 != 2 {
		t.Errorf("an Allow is the store's: %s\n%s", resp.Status, body)
	}
	tagged := func(tags string) map[string]string { return map[string]string{"x-amz-tagging": tags} }
	tagField := func(value string) *testForm {
		return newForm([]byte("x"), "key", "form", "tagging", "<Tagging><TagSet><Tag><Key>class</Key><Value>"+value+"</Value></Tag></TagSet></Tagging>")
	}
	status := func(want int, resp *http.Response, body []byte) {
		t.Helper()
		if resp.StatusCode != want {
			t.Errorf("%s %s: %s, want %d\n%s", resp.Request.Method, resp.Request.URL, resp.Status, want, body)
		}
	}
	expect := func(want int, header map[string]string) {
		t.Helper()
		resp, body := k.do(t, "PUT", "/bkt/a", header, []byte("x"))
		status(want, resp, body)
	}
	policy := func(condition string) {
		t.Helper()
		if resp, body := put("Deny", "s3:PutObject", condition); resp.StatusCode/100 != 2 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
	}

	policy(`{"StringEquals":{"s3:RequestObjectTag/class":"public"}}`)
	expect(403, tagged("a=b&class=public"))
	expect(403, tagged("cl%61ss=public"))
	expect(200, tagged("class=secret"))
	expect(200, nil)
	resp, body := k.post(t, tagField("public"))
	status(403, resp, body)
	resp, body = k.post(t, tagField("secret"))
	status(204, resp, body)

	policy(`{"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":"class"}}`)
	expect(403, tagged("a=b&class=x"))
	expect(200, tagged("a=b"))

	policy(`{"Null":{"s3:if-none-match":"true"},"Bool":{"s3:ObjectCreationOperation":"true"}}`)
	expect(403, nil)
	expect(412, map[string]string{"If-None-Match": "*"})
	resp, body = k.post(t, newForm([]byte("x"), "key", "form", "if-none-match", "*"))
	status(403, resp, body)
	_, body = k.mustDo(t, "POST", "/bkt/mp?uploads", nil, nil)
	id := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	resp, _ = k.mustDo(t, "PUT", "/bkt/mp?partNumber=1&uploadId="+id, nil, []byte("x"))
	whole := []byte(completeBody(resp.Header.Get("Etag")))
	resp, body = k.do(t, "POST", "/bkt/mp?uploadId="+id, nil, whole)
	status(403, resp, body)
	resp, body = k.do(t, "POST", "/bkt/mp?uploadId="+id, map[string]string{"If-None-Match": "*"}, whole)
	status(200, resp, body)

	policy(`{"StringEquals":{"s3:object-lock-legal-hold":"ON"}}`)
	expect(403, map[string]string{"x-amz-object-lock-legal-hold": "ON"})
	expect(200, nil)
}

// TestUsersPolicyConditionKeys: waxseal does not start with a Deny in a user's policy that would not hold, and says which.
func TestUsersPolicyConditionKeys(t *testing.T) {
	for _, test := range []struct{ statement, key string }{
		{`"Deny","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/class":"secret"}}`, "s3:existingobjecttag/class"},
		{`"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"kms:CallerAccount":"1","aws:PrincipalOrgID":"o-1"}}`, "aws:principalorgid"},
		{`"Deny","Action":["kms:*","S?:Put*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"v-1"}}`, "aws:sourcevpce"},
		{`"Deny","NotAction":"kms:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"v-1"}}`, "aws:sourcevpce"},
		{`"Deny","Action":"s3:PutObjectTagging","Resource":"*","Condition":{"StringEquals":{"s3:RequestObjectTag/class":"secret"}}`, "s3:requestobjecttag/class"},
		{`"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/class":"public"}}`, ""}, // allows nothing
		{`"Deny","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:team":"red","aws:ResourceTag/team":"red"}}`, ""},
		{`"Deny","NotAction":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}`, ""},
		{`"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"ec2.us-east-1.amazonaws.com"}}`, ""},
		{`"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false","aws:ViaAWSService":"true"}}`, ""},
	} {
		c := Config{}
		limited(t, `{"Effect":`+test.statement+`}`)(&c)
		err := CheckUsers(c.Users)
		if (err == nil) != (test.key == "") || err != nil && (!strings.Contains(err.Error(), test.key) || !strings.Contains(err.Error(), `"limited"`)) {
			t.Errorf("%s: %v, want %q", test.statement, err, test.key)
		}
	}
	c := Config{}
	limited(t, `{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}}`)(&c)
	k, _ := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/a", nil, nil)
	again := k.server.cfg
	again.Users = c.Users
	if s, err := New(again); err == nil {
		t.Errorf("waxseal starts: %v", s)
	}
}

// TestRequestersConditionKeys: what a bucket's policy sees of the requester is what a key's policy sees: it follows from
// the ARN. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func TestRequestersConditionKeys(t *testing.T) {
	const account = "000000000000"
	user, role := "arn:aws:iam::"+account+":user/team/bob", "arn:aws:iam::"+account+":role/deployer"
	equals := func(key, value string) string { return `{"StringEquals":{"` + key + `":"` + value + `"}}` }
	for _, test := range []struct {
		arn, condition string
		holds          bool
	}{
		{user, equals("aws:userid", (&iam.User{ARN: user}).ID()), true},
		{user, equals("aws:userid", testAccess), false},
		{user, equals("aws:username", "bob"), true},
		{user, equals("aws:username", "limited"), false},
		{user, equals("aws:PrincipalArn", user), true},
		{user, equals("aws:PrincipalAccount", account), true},
		{role, `{"Null":{"aws:username":"true"}}`, true},
	} {
		k, _ := overMemory(t, proxytest.Options{}, limitedAs(t, test.arn, ""))
		k.asRoot(t, "PUT", "/bkt?policy", nil, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject",
			"Resource":"arn:aws:s3:::bkt/*","Condition":`+test.condition+`}]}`))
		if resp, body := k.do(t, "PUT", "/bkt/a", nil, []byte("x")); (resp.StatusCode == http.StatusForbidden) != test.holds {
			t.Errorf("%s, %s: %s, holds: %v\n%s", test.arn, test.condition, resp.Status, test.holds, body)
		}
	}
	homes := `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bkt/home/${aws:username}/*"}`
	k, _ := overMemory(t, proxytest.Options{}, limitedAs(t, role, homes))
	resp, body := k.do(t, "PUT", "/bkt/home/limited/a", nil, []byte("x"))
	wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	k, _ = overMemory(t, proxytest.Options{}, limitedAs(t, user, homes))
	k.mustDo(t, "PUT", "/bkt/home/bob/a", nil, []byte("x"))
}

// TestSessionsAreOfTheirRole: a Deny for a role is one for its sessions, and for nobody else's.
func TestSessionsAreOfTheirRole(t *testing.T) {
	const role = "arn:aws:iam::000000000000:role/deployer"
	for _, who := range []string{`"Principal":{"AWS":"` + role + `"}`, `"Principal":"*","Condition":{"ArnEquals":{"aws:PrincipalArn":"` + role + `"}}`} {
		for name, want := range map[string]int{"deployer": http.StatusForbidden, "auditor": http.StatusOK} {
			k, _ := overMemory(t, proxytest.Options{}, func(c *Config) {
				limitedAs(t, "arn:aws:sts::000000000000:assumed-role/"+name+"/ci", "")(c)
				users := []iam.User{{Name: "deployer", ARN: role, AccountID: "000000000000", AccessKey: "DEPLOYER", Secret: iam.NewSecret("s")}}
				users = append(users, c.Users.Users()...)
				if err := c.Users.Replace(users); err != nil {
					t.Fatal(err)
				}
			})
			k.asRoot(t, "PUT", "/bkt?policy", nil, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny",`+who+`,"Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/*"}]}`))
			if resp, body := k.do(t, "PUT", "/bkt/a", nil, []byte("x")); resp.StatusCode != want {
				t.Errorf("%s, %s: %s\n%s", who, name, resp.Status, body)
			}
		}
	}
}

// TestEmptyListParameters: a parameter that is there and empty is a value of its condition key, one that is not there is none.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_s3_home-directory-console.html
func TestEmptyListParameters(t *testing.T) {
	for _, test := range []struct{ condition, yes, no string }{
		{`{"StringEquals":{"s3:prefix":["","home/"],"s3:delimiter":["/"]}}`, "prefix=&delimiter=%2F", "delimiter=%2F"},
		{`{"StringEquals":{"s3:prefix":["","home/"],"s3:delimiter":["/"]}}`, "prefix=home/&delimiter=%2F", "prefix=other/&delimiter=%2F"},
		{`{"StringEquals":{"s3:delimiter":""}}`, "delimiter=", "prefix="},
		{`{"Null":{"s3:max-keys":"true"}}`, "prefix=", "max-keys="},
	} {
		k, _ := overMemory(t, proxytest.Options{}, limited(t,
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bkt","Condition":`+test.condition+`}`))
		k.mustDo(t, "GET", "/bkt?list-type=2&"+test.yes, nil, nil)
		resp, body := k.do(t, "GET", "/bkt?list-type=2&"+test.no, nil, nil)
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
	}
}

// TestTagsThatPoliciesWouldNotSee: a Deny on a tag sees what the store would.
func TestTagsThatPoliciesWouldNotSee(t *testing.T) {
	k := startContract(t, nil)
	for _, tags := range []string{"a=%ZZ&secret=yes", "secret=no&secret=yes", "secret=no&%73ecret=yes"} {
		k.ask("PUT", k.object("tagged"), hdr{"x-amz-tagging": tags}, "x").fails(t, 400, s3.InvalidArgumentCode, "")
		k.ask("POST", k.object("tagged")+"?uploads", hdr{"x-amz-tagging": tags}, "").fails(t, 400, s3.InvalidArgumentCode, "")
	}
	k.ask("PUT", k.object("tagged"), hdr{"x-amz-tagging": "a=1&b=two+words"}, "x").ok(t)
}
