package sigv4

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/iam"
)

// TestSignVerifies: Verifier accepts a request signed by Signer, and refuses it after a change to any signed part.
func TestSignVerifies(t *testing.T) {
	now := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	s := &Signer{Service: "s3", Region: "eu-central-1"}
	v := &Verifier{Service: "s3", Region: "eu-central-1", Now: func() time.Time { return now },
		Lookup: func(string, string) (iam.Credential, error) {
			return iam.Credential{Secret: iam.NewSecret("secret"), Owner: &iam.Requester{}}, nil
		}}
	for _, q := range []string{"", "uploads=", "acl", "versionId=x%2Fy&tagging=", "b=2&a=1&a=0&list-type=2&prefix=%20%2B"} {
		r := signed(s, now, q)
		if _, err := v.Verify(r); err != nil {
			t.Errorf("%q: %v", q, err)
		}
		r.RawPath += "x"
		if _, err := v.Verify(r); err == nil {
			t.Errorf("%q: another path verifies", q)
		}
	}
}

func signed(s *Signer, now time.Time, query string) *Request {
	ts := Timestamp(now)
	out := &Outgoing{Method: "PUT", Path: "/b/%C3%BC%2B", Query: query, Payload: "UNSIGNED-PAYLOAD", Headers: []Header{
		{"x-amz-date", ts}, {"x-amz-meta-color", " red  and   blue "}, {"host", "store:9000"}, {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
	}}
	auth := s.Sign("AKIA", "secret", ts, out)
	r := &Request{Method: out.Method, RawPath: out.Path, RawQuery: query, Host: "store:9000", ContentLength: 0}
	r.Headers = append(r.Headers, out.Headers...)
	r.Headers = append(r.Headers, Header{"Authorization", auth})
	return r
}

// TestSignAsMinio: minio-go's signer gives the same signature.
func TestSignAsMinio(t *testing.T) {
	req, err := http.NewRequest("GET", "http://store:9000/b/key%20with%20space?list-type=2&prefix=a%2Fb", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	req.Header.Set("X-Amz-Meta-Color", "red")
	theirs := signer.SignV4(*req, "AKIA", "secret", "", "us-east-1").Header
	s := &Signer{Service: "s3", Region: "us-east-1"}
	ours := s.Sign("AKIA", "secret", theirs.Get("X-Amz-Date"), &Outgoing{
		Method: "GET", Path: "/b/key%20with%20space", Query: "list-type=2&prefix=a%2Fb", Payload: "UNSIGNED-PAYLOAD",
		Headers: []Header{{"host", "store:9000"}, {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
			{"x-amz-date", theirs.Get("X-Amz-Date")}, {"x-amz-meta-color", "red"}},
	})
	if got := theirs.Get("Authorization"); got != ours || !strings.Contains(ours, "Signature=") {
		t.Errorf("minio-go: %s\nours:     %s", got, ours)
	}
}

func BenchmarkSign(b *testing.B) {
	s := &Signer{Service: "s3", Region: "us-east-1"}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		signed(s, now, "partNumber=1&uploadId=abc")
	}
}
