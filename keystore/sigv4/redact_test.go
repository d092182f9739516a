package sigv4_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
)

// The key has characters with a second spelling in a query.
const customerKey = "c2VjcmV0+key/of+the/customer/12345678901234="

// TestNoSecretInRefusals: with any signing method, any wrong signature and any place of a secret in the request,
// neither the refusal nor the error's text shows the secret.
func TestNoSecretInRefusals(t *testing.T) {
	v := docVerifier()
	v.AllowV2 = true
	for _, name := range []string{
		"x-amz-server-side-encryption-customer-key", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key",
		"x-amz-%73erver-side-encryption-customer-key",
	} {
		for form, r := range wronglySigned(t, v, name) {
			_, err := v.Verify(r)
			if err == nil {
				t.Errorf("%s, %s: let in", name, form)
				continue
			}
			noSecret(t, name+", "+form, err)
		}
	}
	for form, fields := range map[string][]sigv4.Header{
		"V4": {{"x-amz-algorithm", "AWS4-HMAC-SHA256"}, {"x-amz-credential", docKey + "/" + docScope}, {"x-amz-date", docTime.Format("20060102T150405Z")}, {"x-amz-signature", strings.Repeat("0", 64)}},
		"V2": {{"AWSAccessKeyId", docKey}, {"signature", "AAAA"}},
	} {
		for _, condition := range []string{
			`{"x-amz-server-side-encryption-customer-key":"%s"}`, `["eq","$x-amz-server-side-encryption-customer-key","%s"]`,
			`["eq","$x-amz-server-side-encryption-\u0063ustomer-key","%s"]`,
		} {
			policy := fmt.Sprintf(`{"expiration":"2099-01-01T00:00:00Z","conditions":[`+condition+`]}`, customerKey)
			_, _, err := v.VerifyPost(append(fields, sigv4.Header{"policy", base64.StdEncoding.EncodeToString([]byte(policy))}))
			if err == nil {
				t.Errorf("POST %s: let in", form)
				continue
			}
			noSecret(t, "POST "+form, err)
		}
	}
}

// wronglySigned returns requests with a wrong signature of every form, and a secret in a header or parameter.
func wronglySigned(t *testing.T, v *sigv4.Verifier, name string) map[string]*sigv4.Request {
	t.Helper()
	requests := map[string]*sigv4.Request{}
	pair := name + "=" + url.QueryEscape(customerKey)
	stamp, end := docTime.Format("20060102T150405Z"), fmt.Sprint(docTime.Add(time.Hour).Unix())
	v4 := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + url.QueryEscape(docKey+"/"+docScope) + "&X-Amz-Date=" + stamp +
		"&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=" + strings.Repeat("0", 64)
	query := func(q string) *sigv4.Request {
		r := plainRequest()
		r.RawQuery = q
		return r
	}
	requests["presigned V4"] = query(v4 + "&" + pair)
	requests["presigned V4, value first"] = query(pair + "&" + v4)
	requests["presigned V2"] = query("AWSAccessKeyId=" + docKey + "&Signature=AAAA&Expires=" + end + "&" + pair)
	if strings.Contains(name, "%") {
		return requests
	}
	lower := strings.ToLower(name)
	r := signed(t, v, set(plainRequest(), name, customerKey), docScope, docTime, "host;x-amz-content-sha256;x-amz-date;"+lower)
	r.Method = "PUT"
	requests["header V4"] = r
	r = set(set(plainRequest(), name, customerKey), "Date", docTime.Format(time.RFC1123))
	requests["header V2"] = set(r, "Authorization", "AWS "+docKey+":AAAA")
	for form, authorization := range map[string]string{
		"the secret for a scheme": customerKey, "the secret for credentials": "AWS4-HMAC-SHA256 " + customerKey, "the secret for V2": "AWS " + customerKey,
		"basic": "Basic " + customerKey,
	} {
		requests[form] = set(plainRequest(), "Authorization", authorization)
	}
	return requests
}

func noSecret(t *testing.T, where string, err error) {
	t.Helper()
	shown := err.Error()
	if e, ok := sigv4.AsError(err); ok {
		for _, f := range e.Fields {
			shown += "\n" + f.Name + ": " + f.Value
		}
	}
	for _, secret := range []string{customerKey, customerKey[:20], url.QueryEscape(customerKey)[:20], hex.EncodeToString([]byte(customerKey))[:20],
		spaced(customerKey[:20]), base64.StdEncoding.EncodeToString([]byte(customerKey))[:20]} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s: the refusal shows %s:\n%s", where, secret, shown)
		}
	}
	for i := range 3 { // in base64 at any place of a longer text
		text := base64.RawStdEncoding.EncodeToString([]byte("xxx"[:i] + customerKey))
		if strings.Contains(shown, text[4:24]) {
			t.Errorf("%s: the refusal shows the secret in base64:\n%s", where, shown)
		}
	}
}

func spaced(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%02x", s[i])
	}
	return b.String()
}
