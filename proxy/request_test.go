package proxy

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/s3"
)

// do sends a signed request as it stands: target is the path and query on the wire.
func (k *kit) do(t testing.TB, method, target string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	return k.doAs(t, testAccess, testSecret, method, target, header, body)
}

func (k *kit) doAs(t testing.TB, accessKey, secret, method, target string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+k.endpoint+target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if accessKey != "" {
		req.Header.Set("X-Amz-Content-Sha256", hexSum(body))
		req = signer.SignV4(*req, accessKey, secret, "", "us-east-1")
	}
	return roundTrip(t, req)
}

func roundTrip(t testing.TB, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, got
}

// mustDo is do for a request that has to be answered with status 200 or 204.
func (k *kit) mustDo(t testing.TB, method, target string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	resp, got := k.do(t, method, target, header, body)
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%s %s: %s\n%s", method, target, resp.Status, got)
	}
	return resp, got
}

// wantError checks an error answer.
func wantError(t testing.TB, resp *http.Response, body []byte, status int, code s3.Code) {
	t.Helper()
	if e := s3.ParseError(resp.StatusCode, body); resp.StatusCode != status || e.Code != code {
		t.Errorf("%s %s: %d %s, want %d %s\n%s", resp.Request.Method, resp.Request.URL, resp.StatusCode, e.Code, status, code, body)
	}
}

// reply decodes an XML answer.
func reply[T any](t testing.TB, body []byte) *T {
	t.Helper()
	v := new(T)
	if err := xml.NewDecoder(bytes.NewReader(body)).Decode(v); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return v
}

func count(list []string, name string) int {
	n := 0
	for _, l := range list {
		if strings.EqualFold(l, name) {
			n++
		}
	}
	return n
}
