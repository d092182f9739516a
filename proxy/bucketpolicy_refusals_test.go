package proxy

import (
	"io"
	"net/http"
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
