package sigv4_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
)

// The credentials of all of AWS's published examples.
const (
	docKey    = "AKIAIOSFODNN7EXAMPLE"
	docSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	emptySum  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var docTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func lookup(secrets map[string]string) func(string, string) (iam.Credential, error) {
	return func(key, token string) (iam.Credential, error) {
		secret, ok := secrets[key]
		switch {
		case !ok:
			return iam.Credential{}, iam.ErrUnknownKey
		case token != "":
			return iam.Credential{}, iam.ErrInvalidToken
		}
		return iam.Credential{Secret: iam.NewSecret(secret), Owner: &iam.Requester{AccessKey: key}}, nil
	}
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// docVerifier knows the user of AWS's examples and stands at their time.
func docVerifier() *sigv4.Verifier {
	return &sigv4.Verifier{Service: "s3", Region: "us-east-1", Lookup: lookup(map[string]string{docKey: docSecret}), Now: at(docTime)}
}

// headers makes a list out of names and values in turn.
func headers(pairs ...string) []sigv4.Header {
	var list []sigv4.Header
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, sigv4.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// wire turns a signed client request into the request and body as a server reads them from the connection.
func wire(t testing.TB, req *http.Request) (*sigv4.Request, []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(&b)
	line := func() string {
		s, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(s, "\r\n")
	}
	method, rest, _ := strings.Cut(line(), " ")
	uri, _, _ := strings.Cut(rest, " ")
	r := &sigv4.Request{Method: method, ContentLength: 0}
	r.RawPath, r.RawQuery, _ = strings.Cut(uri, "?")
	for {
		l := line()
		if l == "" {
			break
		}
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "host":
			r.Host = value
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = n
		case "transfer-encoding":
			t.Fatal("the test request has no length")
		}
		r.Headers = append(r.Headers, sigv4.Header{Name: name, Value: value})
	}
	body, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return r, body
}

func clone(r *sigv4.Request) *sigv4.Request {
	c := *r
	c.Headers = append([]sigv4.Header(nil), r.Headers...)
	return &c
}

// set replaces the headers of a name; an empty value removes them.
func set(r *sigv4.Request, name, value string) *sigv4.Request {
	c := clone(r)
	c.Headers = nil
	for _, h := range r.Headers {
		if !strings.EqualFold(h.Name, name) {
			c.Headers = append(c.Headers, h)
		}
	}
	if value != "" {
		c.Headers = append(c.Headers, sigv4.Header{Name: name, Value: value})
	}
	return c
}

func get(r *sigv4.Request, name string) string {
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// wantCode checks that err is an Error with this code and a fitting status.
func wantCode(t testing.TB, err error, code string) *sigv4.Error {
	t.Helper()
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.Status < 400 || e.Status > 501 || e.Message == "" {
		t.Fatalf("%s has status %d and message %q", e.Code, e.Status, e.Message)
	}
	for _, secret := range []string{docSecret, "wJalrXUtn"} {
		if strings.Contains(e.Error(), secret) {
			t.Fatal("the error shows a secret")
		}
	}
	return e
}

// readBody decodes body as the content of a request.
func readBody(t testing.TB, a *sigv4.Auth, body []byte) ([]byte, *sigv4.Body, error) {
	t.Helper()
	b, err := a.Body(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(b)
	return got, b, err
}
