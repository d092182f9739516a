package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
)

// botoRequest is a line of testdata/botocore_requests.py.
type botoRequest struct {
	Kind, Method, URL string
	Headers           [][2]string
	Body              []byte
}

func (b *botoRequest) request(t *testing.T) *sigv4.Request {
	t.Helper()
	_, rest, _ := strings.Cut(b.URL, "://")
	host, uri, _ := strings.Cut(rest, "/")
	r := &sigv4.Request{Method: b.Method, Host: host, ContentLength: int64(len(b.Body))}
	r.RawPath, r.RawQuery, _ = strings.Cut("/"+uri, "?")
	for _, h := range b.Headers {
		r.Headers = append(r.Headers, sigv4.Header{Name: h[0], Value: h[1]})
	}
	if b.Kind == "kms" {
		sum := sha256.Sum256(b.Body)
		r.BodySHA256 = hex.EncodeToString(sum[:])
	}
	return r
}

// TestOracleBotocore verifies requests signed by botocore, the signer of boto3 and the AWS CLI.
func TestOracleBotocore(t *testing.T) {
	if err := exec.Command("python3", "-c", "import botocore").Run(); err != nil {
		t.Skip("python3 with botocore is not installed: ", err)
	}
	cmd := exec.Command("python3", "testdata/botocore_requests.py", docKey, docSecret)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
	v := nowVerifier()
	v.AllowV2 = true
	kms := &sigv4.Verifier{Service: "kms", Region: "us-east-1", Lookup: v.Lookup, Now: time.Now}
	seen := make(map[string]int)
	payloads := make(map[sigv4.Payload]int)
	for line := range bytes.Lines(out) {
		var b botoRequest
		if err := json.Unmarshal(line, &b); err != nil {
			t.Fatal(err)
		}
		seen[b.Kind]++
		if strings.HasPrefix(b.Kind, "post") {
			verifyBotoPost(t, v, &b)
			continue
		}
		r := b.request(t)
		if b.Kind == "kms" {
			if a := mustVerify(t, kms, r, sigv4.HeaderV4); a.Payload != sigv4.SignedSHA256 {
				t.Fatalf("got %+v", a)
			}
			refuseChanges(t, kms, r)
			continue
		}
		a, err := v.Verify(r)
		if err != nil {
			e := wantCode(t, err, "SignatureDoesNotMatch")
			t.Fatalf("%s %s\n%s\n%s", b.Kind, b.URL, e.Field("StringToSign"), e.Field("CanonicalRequest"))
		}
		if a.Kind.String() != b.Kind {
			t.Fatalf("%v is not %s", a.Kind, b.Kind)
		}
		payloads[a.Payload]++
		if _, _, err := readBody(t, a, b.Body); err != nil {
			t.Fatalf("%s %s: %v", b.Kind, b.URL, err)
		}
		if a.Kind.V4() {
			refuseChanges(t, v, r)
		}
	}
	for _, kind := range []string{"header", "presigned", "presigned-v2", "header-v2", "post", "post-v2", "kms"} {
		if seen[kind] == 0 {
			t.Errorf("botocore made no %s request\n%s", kind, complaints.String())
		}
	}
	for _, p := range []sigv4.Payload{sigv4.Unsigned, sigv4.SignedSHA256, sigv4.StreamingUnsignedTrailer} {
		if payloads[p] == 0 {
			t.Errorf("no request with payload %d", p)
		}
	}
	t.Log(seen, payloads)
}

func verifyBotoPost(t *testing.T, v *sigv4.Verifier, b *botoRequest) {
	t.Helper()
	var form []sigv4.Header
	for _, h := range b.Headers {
		form = append(form, sigv4.Header{Name: h[0], Value: h[1]})
	}
	a, p, err := v.VerifyPost(form)
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind.String() != b.Kind || a.AccessKey != docKey {
		t.Fatalf("got %+v", a)
	}
	if err := p.Check("bucket", edit(form, "key", "k-file.txt"), 5); err != nil {
		t.Fatal(err)
	}
}
