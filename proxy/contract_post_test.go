package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// form signs a POST form with the given fields, each covered by an exact condition, and a file.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
func (k *contractKit) form(t *testing.T, fields hdr, file string) *http.Request {
	t.Helper()
	now := time.Now().UTC()
	day := now.Format("20060102")
	all := with(fields, hdr{
		"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": testAccess + "/" + day + "/us-east-1/s3/aws4_request",
		"x-amz-date": now.Format("20060102T150405Z"),
	})
	conditions := []any{map[string]string{"bucket": k.bucket}}
	for name, value := range all {
		conditions = append(conditions, map[string]string{name: value})
	}
	policy, err := json.Marshal(map[string]any{"expiration": now.Add(time.Hour).Format("2006-01-02T15:04:05.000Z"), "conditions": conditions})
	if err != nil {
		t.Fatal(err)
	}
	all["policy"] = s3.Base64(policy)
	key := []byte("AWS4" + testSecret)
	for _, part := range []string{day, "us-east-1", "s3", "aws4_request", all["policy"]} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	all["x-amz-signature"] = hex.EncodeToString(key)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range all {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.CreateFormFile("file", "file")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, file)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", "http://"+k.endpoint+"/"+k.bucket, &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	return req
}

func (k *contractKit) post(t *testing.T, fields hdr, file string) answer {
	t.Helper()
	resp, body := roundTrip(t, k.form(t, fields, file))
	return answer{resp, body}
}

// contractPost: a form has the encryption parameters as fields, and the answer has them as headers.
// https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
func (k *contractKit) contractPost(t *testing.T, m mode) {
	a := k.post(t, with(m.write, hdr{"key": "posted"}), "by a form").ok(t).echoes(t, m.echo)
	if a.StatusCode != http.StatusNoContent {
		t.Error(a.Status)
	}
	if got := k.ask("GET", k.object("posted"), m.part, "").ok(t).echoes(t, m.echo); string(got.body) != "by a form" {
		t.Errorf("read %q", got.body)
	}
}
