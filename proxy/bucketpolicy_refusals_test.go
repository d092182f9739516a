package proxy

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestBucketPolicyRefusals has documents that are no policies, refused with S3's own words and nothing in front of them, and shows that
// nobody who has not signed learns as much.
func TestBucketPolicyRefusals(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { c.Anonymous = true })
	const b = "bkt"
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	for document, message := range map[string]string{
		``:                 "Policies must be valid JSON and the first byte must be '{'",
		`[]`:               "Policies must be valid JSON and the first byte must be '{'",
		`{`:                "This policy contains invalid Json",
		`{}`:               "Missing required field Statement",
		`{"Statement":[]}`: "Could not parse the policy: Statement is empty!",
		statement(`{"Effect":"Perhaps","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + b + `/*"}`): "Invalid effect: Perhaps",
		statement(`{"Effect":"Allow","Principal":"*","Action":"s3:Get Object","Resource":"arn:aws:s3:::` + b + `/*"}`):  "Policy has invalid action",
		statement(`{"Effect":"Allow","Principal":"me","Action":"s3:GetObject","Resource":"arn:aws:s3:::` + b + `/*"}`):  "Invalid principal in policy",
	} {
		resp, body := k.do(t, "PUT", "/"+b+"?policy", nil, []byte(document))
		wantError(t, resp, body, 400, s3.MalformedPolicy)
		if !strings.Contains(string(body), "<Message>"+message+"</Message>") {
			t.Errorf("%s: %s", document, body)
		}
		resp, body = k.unsigned(t, "PUT", "/"+b+"?policy", document)
		wantError(t, resp, body, 403, s3.AccessDenied)
	}
}

func (k *kit) unsigned(t *testing.T, method, target, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+k.endpoint+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// TestPolicyScope: a statement that could hold for no request to its bucket is refused, as S3 does. Kept, it would be a
// Deny that nobody is denied by.
func TestPolicyScope(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	const (
		action   = "Policy has invalid action"
		resource = "Policy has invalid resource"
		neither  = "Action does not apply to any resource(s) in statement"
	)
	for _, c := range []struct{ actions, resources, message string }{
		{`"Action":"s3:DeleteObjcet"`, `"Resource":"arn:aws:s3:::bkt/*"`, action},
		{`"Action":["s3:GetObject","s3:NoSuchAction"]`, `"Resource":"arn:aws:s3:::bkt/*"`, action},
		{`"NotAction":"s3:NoSuch*"`, `"Resource":"arn:aws:s3:::bkt/*"`, action},
		{`"Action":"kms:Decrypt"`, `"Resource":"arn:aws:s3:::bkt/*"`, action},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:s3:::other/*"`, resource},
		{`"Action":"s3:GetObject"`, `"Resource":["arn:aws:s3:::bkt/*","arn:aws:s3:::other/*"]`, resource},
		{`"Action":"s3:GetObject"`, `"NotResource":"arn:aws:s3:::bk/*"`, resource},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:sns:::bkt/*"`, resource},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:s3:::BKT/*"`, resource},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:s3:::bkt"`, neither},
		{`"Action":["s3:GetObject","s3:ListBucket"]`, `"Resource":"arn:aws:s3:::bkt/*"`, neither},
		{`"Action":"s3:ListBucket*"`, `"Resource":"arn:aws:s3:::bkt/*"`, neither},
		{`"Action":"s3:ListAllMyBuckets"`, `"Resource":["arn:aws:s3:::bkt","arn:aws:s3:::bkt/*"]`, neither},

		{`"Action":"s3:getobject"`, `"Resource":"arn:aws:s3:::bkt/*"`, ""},
		{`"Action":"s3:*"`, `"Resource":"arn:aws:s3:::bkt/*"`, ""},
		{`"Action":"*"`, `"Resource":"arn:aws:s3:::bkt"`, ""},
		{`"Action":["s3:GetObject","s3:ListBucket"]`, `"Resource":["arn:aws:s3:::bkt","arn:aws:s3:::bkt/a/*"]`, ""},
		{`"Action":"s3:Get*"`, `"Resource":"arn:aws:s3:::bkt"`, ""},
		{`"Action":["s3:GetObject","s3:ListBucket"]`, `"Resource":"arn:aws:s3:::b*"`, ""},
		{`"Action":["s3:GetObject","s3:ListBucket"]`, `"Resource":"*"`, ""},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:s3:::${aws:username}/*"`, ""},
		{`"Action":"s3:GetObject"`, `"Resource":"arn:aws:s3:::bkt/${aws:username}/*"`, ""},
		{`"NotAction":"s3:GetObject"`, `"Resource":"arn:aws:s3:::bkt"`, ""},
		{`"Action":"s3:ListBucket"`, `"NotResource":"arn:aws:s3:::bkt/*"`, ""},
	} {
		document := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",` + c.actions + `,` + c.resources + `}]}`
		resp, body := k.do(t, "PUT", "/bkt?policy", nil, []byte(document))
		if c.message == "" {
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("%s: %s %s", document, resp.Status, body)
			}
			k.mustDo(t, "DELETE", "/bkt?policy", nil, nil)
			continue
		}
		wantError(t, resp, body, http.StatusBadRequest, s3.MalformedPolicy)
		if !strings.Contains(string(body), "<Message>"+c.message+"</Message>") {
			t.Errorf("%s: %s", document, body)
		}
	}
}

// TestPolicyScopeKnowsEveryAction: what a route asks for, a bucket policy can be about.
func TestPolicyScopeKnowsEveryAction(t *testing.T) {
	for _, r := range routes {
		if strings.HasPrefix(r.action, "s3:") && !anyAction(r.action, slices.Concat(actionsOnBuckets, actionsOnObjects, actionsOnAccounts)) {
			t.Errorf("%s: %s would be refused", r.name, r.action)
		}
	}
}
