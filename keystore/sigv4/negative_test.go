package sigv4_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
)

// signed makes a valid S3 request at docTime.
func signed(t testing.TB, v *sigv4.Verifier, r *sigv4.Request, scope string, date time.Time, signedHeaders string) *sigv4.Request {
	t.Helper()
	if get(r, "X-Amz-Date") == "" && get(r, "Date") == "" {
		r = set(r, "X-Amz-Date", date.Format("20060102T150405Z"))
	}
	if v.Service == "s3" && get(r, "X-Amz-Content-Sha256") == "" {
		r = set(r, "X-Amz-Content-Sha256", emptySum)
	}
	wrong := set(r, "Authorization", "AWS4-HMAC-SHA256 Credential="+docKey+"/"+scope+", SignedHeaders="+signedHeaders+", Signature="+strings.Repeat("0", 64))
	_, err := v.Verify(wrong)
	e := wantCode(t, err, "SignatureDoesNotMatch")
	return set(r, "Authorization", strings.Replace(get(wrong, "Authorization"), strings.Repeat("0", 64), signText(scope, e.Field("StringToSign")), 1))
}

// signText is a signer of its own, not the package's.
func signText(scope, text string) string {
	return hex.EncodeToString(mac(scopeKey(docSecret, scope), text))
}

func scopeKey(secret, scope string) []byte {
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	return key
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	io.WriteString(m, text)
	return m.Sum(nil)
}

const docScope = "20130524/us-east-1/s3/aws4_request"

func plainRequest() *sigv4.Request {
	return &sigv4.Request{Method: "GET", RawPath: "/bucket/key", RawQuery: "versionId=1", Host: "localhost:9800"}
}

func TestErrorFields(t *testing.T) {
	v := docVerifier()
	r := set(plainRequest(), "x-amz-server-side-encryption-customer-key", "c2VjcmV0IGtleSBvZiB0aGUgY3VzdG9tZXIgMTIzNDU2")
	names := "host;x-amz-content-sha256;x-amz-date;x-amz-server-side-encryption-customer-key"
	good := signed(t, v, r, docScope, docTime, names)
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(set(good, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"))
	e := wantCode(t, err, "SignatureDoesNotMatch")
	if e.Status != 403 || e.Field("AWSAccessKeyId") != docKey || len(e.Field("SignatureProvided")) != 64 {
		t.Fatalf("%v", e.Fields)
	}
	canonical := e.Field("CanonicalRequest")
	if !strings.HasPrefix(canonical, "GET\n/bucket/key\nversionId=1\nhost:localhost:9800\n") || strings.Contains(canonical, "c2Vjcm") ||
		!strings.Contains(canonical, "customer-key:[redacted]\n") {
		t.Fatal(canonical)
	}
	if got := e.Field("StringToSignBytes"); !strings.HasPrefix(got, "41 57 53 34 2d ") {
		t.Fatal(got)
	}
	if strings.Contains(e.Error(), "c2Vjcm") {
		t.Fatal("the error shows the key")
	}
}

func TestSkew(t *testing.T) {
	v := docVerifier()
	good := signed(t, v, plainRequest(), docScope, docTime, "host;x-amz-content-sha256;x-amz-date")
	for _, ok := range []time.Duration{0, 15 * time.Minute, -15 * time.Minute} {
		v.Now = at(docTime.Add(ok))
		if _, err := v.Verify(good); err != nil {
			t.Fatalf("%v: %v", ok, err)
		}
	}
	for _, off := range []time.Duration{15*time.Minute + time.Second, -15*time.Minute - time.Second, 24 * time.Hour} {
		v.Now = at(docTime.Add(off))
		_, err := v.Verify(good)
		e := wantCode(t, err, "RequestTimeTooSkewed")
		if e.Status != 403 || e.Field("RequestTime") != "20130524T000000Z" || e.Field("MaxAllowedSkewMilliseconds") != "900000" ||
			e.Field("ServerTime") != docTime.Add(off).Format("2006-01-02T15:04:05Z") {
			t.Fatal(e.Fields)
		}
	}
	v.Now, v.MaxSkew = at(docTime.Add(time.Minute)), 30*time.Second
	_, err := v.Verify(good)
	wantCode(t, err, "RequestTimeTooSkewed")
}

func TestHeaderRefusals(t *testing.T) {
	v := docVerifier()
	names := "host;x-amz-content-sha256;x-amz-date"
	good := signed(t, v, plainRequest(), docScope, docTime, names)
	auth := get(good, "Authorization")
	alter := func(old, new string) *sigv4.Request {
		return set(good, "Authorization", strings.Replace(auth, old, new, 1))
	}
	twice := clone(good)
	twice.Headers = append(twice.Headers, sigv4.Header{Name: "authorization", Value: auth})
	both := clone(good)
	both.RawQuery = presignedQuery
	bothV2 := clone(good)
	bothV2.RawQuery = "AWSAccessKeyId=x&Signature=y&Expires=1"
	badPath := clone(good)
	badPath.RawPath = "/bucket/%zz"
	badQuery := clone(good)
	badQuery.RawQuery = "a=%2"
	twoSums := clone(good)
	twoSums.Headers = append(twoSums.Headers, sigv4.Header{Name: "X-Amz-Content-SHA256", Value: emptySum})
	tokenQuery := clone(plainRequest())
	tokenQuery.RawQuery = presignedQuery + "&X-Amz-Security-Token=abc"
	dateOnly := set(set(good, "X-Amz-Date", ""), "Authorization", strings.Replace(auth, "x-amz-date", "date", 1))

	for _, tc := range []struct {
		name, code string
		r          *sigv4.Request
		message    string
	}{
		{"region", "AuthorizationHeaderMalformed", alter("us-east-1", "eu-west-1"),
			"The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'"},
		{"service", "AuthorizationHeaderMalformed", alter("/s3/", "/ec2/"), `incorrect service "ec2". This endpoint belongs to "s3".`},
		{"terminal", "AuthorizationHeaderMalformed", alter("aws4_request", "aws5_request"), "incorrect terminal"},
		{"scope date", "AuthorizationHeaderMalformed", alter("20130524/", "20130523/"), `Invalid credential date "20130523"`},
		{"scope date form", "AuthorizationHeaderMalformed", alter("20130524/", "2013052x/"), "incorrect date format"},
		{"no key id", "AuthorizationHeaderMalformed", alter(docKey+"/", "/"), "a non-empty Access Key (AKID) must be provided"},
		{"short credential", "AuthorizationHeaderMalformed", alter(docKey+"/20130524/", ""), "the Credential is mal-formed"},
		{"no signature", "AuthorizationHeaderMalformed", set(good, "Authorization", auth[:strings.Index(auth, ", Signature")]), "requires three components: Credential, SignedHeaders, and Signature."},
		{"no fields", "AuthorizationHeaderMalformed", set(good, "Authorization", "AWS4-HMAC-SHA256 "), "malformed"},
		{"fourth field", "AuthorizationHeaderMalformed", set(good, "Authorization", auth+", X=1"), "requires three components"},
		{"field twice", "AuthorizationHeaderMalformed", alter("SignedHeaders=", "Credential="), `component "Credential"`},
		{"field without value", "AuthorizationHeaderMalformed", alter("SignedHeaders=", "SignedHeaders"), `is malformed.`},
		{"other name than Credential", "AuthorizationHeaderMalformed", alter("Credential=", "X="), "missing Credential."},
		{"other name than SignedHeaders", "AuthorizationHeaderMalformed", alter("SignedHeaders=", "X="), "missing SignedHeaders."},
		{"other name than Signature", "AuthorizationHeaderMalformed", alter("Signature=", "X="), "missing Signature."},
		{"upper case names", "AuthorizationHeaderMalformed", alter("host;", "Host;"), "SignedHeaders"},
		{"name twice", "AuthorizationHeaderMalformed", alter("host;", "host;host;"), "SignedHeaders"},
		{"host not signed", "AccessDenied", alter("host;", ""), "There were headers present in the request which were not signed"},
		{"added amz header", "AccessDenied", set(good, "X-Amz-Acl", "private"), "not signed"},
		{"added amz meta header", "AccessDenied", set(good, "x-amz-meta-a", ""+"b"), "not signed"},
		{"access key", "InvalidAccessKeyId", alter(docKey, "AKIAUNKNOWN"), "does not exist"},
		{"no hash", "InvalidRequest", set(good, "X-Amz-Content-Sha256", ""), "Missing required header for this request: x-amz-content-sha256"},
		{"bad hash", "InvalidArgument", set(good, "X-Amz-Content-Sha256", "abc"), "x-amz-content-sha256 must be"},
		{"hash twice", "InvalidArgument", twoSums, "once"},
		{"V4A", "NotImplemented", alter("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "Signature Version 4A"},
		{"V4A chunks", "NotImplemented", set(good, "X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "4A"},
		{"basic", "InvalidArgument", set(good, "Authorization", "Basic dXNlcjpwYXNz"), "Unsupported Authorization Type"},
		{"V2", "InvalidRequest", set(good, "Authorization", "AWS "+docKey+":x"), "Please use AWS4-HMAC-SHA256."},
		{"empty", "InvalidArgument", clone(&sigv4.Request{Method: "GET", RawPath: "/", Headers: headers("Authorization", "")}), "one and only one ' ' (space) required"},
		{"no space", "InvalidArgument", set(good, "Authorization", "AWS4-HMAC-SHA256"), "Authorization header is invalid -- one and only one ' ' (space) required"},
		{"two headers", "InvalidArgument", twice, "Only one auth mechanism allowed"},
		{"header and query", "InvalidArgument", both, "Only one auth mechanism allowed"},
		{"header and V2 query", "InvalidArgument", bothV2, "Only one auth mechanism allowed"},
		{"unsigned token", "AccessDenied", set(good, "X-Amz-Security-Token", "abc"), "not signed"},
		{"token in query", "InvalidToken", tokenQuery, "token"},
		{"no date", "AccessDenied", set(good, "X-Amz-Date", ""), "AWS authentication requires a valid Date or x-amz-date header"},
		{"bad date", "AccessDenied", set(good, "X-Amz-Date", "yesterday"), "valid Date"},
		{"date unsigned value", "AccessDenied", set(dateOnly, "Date", "x"), "valid Date"},
		{"path", "InvalidURI", badPath, "Couldn't parse"},
		{"query", "InvalidURI", badQuery, "Couldn't parse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := v.Verify(tc.r)
			e := wantCode(t, err, tc.code)
			if !strings.Contains(e.Message, tc.message) {
				t.Fatalf("message %q", e.Message)
			}
			if tc.name == "region" && e.Field("Region") != "us-east-1" {
				t.Fatal("no Region")
			}
			for _, f := range e.Fields {
				if strings.Contains(f.Value, "dXNlcjpwYXNz") {
					t.Fatal("shows a password")
				}
			}
		})
	}
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	// Without an expected region, any is taken, and it is part of the key.
	v.Region = ""
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(alter("us-east-1", "eu-west-1"))
	wantCode(t, err, "SignatureDoesNotMatch")
}

// TestDateHeader signs with Date instead of x-amz-date.
func TestDateHeader(t *testing.T) {
	v := docVerifier()
	r := set(plainRequest(), "Date", docTime.Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	good := signed(t, v, r, docScope, docTime, "date;host;x-amz-content-sha256")
	a, err := v.Verify(good)
	if err != nil || !a.Date.Equal(docTime) {
		t.Fatal(a, err)
	}
	_, err = v.Verify(set(good, "Date", docTime.Add(time.Second).Format("Mon, 02 Jan 2006 15:04:05 GMT")))
	wantCode(t, err, "SignatureDoesNotMatch")
}

func TestPresignedRefusals(t *testing.T) {
	v := docVerifier()
	base := &sigv4.Request{Method: "GET", RawPath: "/test.txt", RawQuery: presignedQuery, Host: "examplebucket.s3.amazonaws.com"}
	with := func(old, new string) *sigv4.Request {
		r := clone(base)
		r.RawQuery = strings.Replace(r.RawQuery, old, new, 1)
		if r.RawQuery == base.RawQuery {
			t.Fatal("nothing was replaced: " + old)
		}
		return r
	}
	for _, tc := range []struct {
		name, code, message string
		r                   *sigv4.Request
	}{
		{"no algorithm", "AuthorizationQueryParametersError", "requires the X-Amz-Algorithm", with("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "")},
		{"no expires", "AuthorizationQueryParametersError", "X-Amz-Expires parameters", with("X-Amz-Expires=86400&", "")},
		{"no signature", "AuthorizationQueryParametersError", "X-Amz-Signature", with("X-Amz-Signature=", "X-Amz-Other=")},
		{"algorithm", "AuthorizationQueryParametersError", "X-Amz-Algorithm only supports", with("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")},
		{"V4A", "NotImplemented", "4A", with("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")},
		{"credential", "AuthorizationQueryParametersError", "the Credential is mal-formed", with("%2Faws4_request", "")},
		{"region", "AuthorizationQueryParametersError", "expecting 'us-east-1'", with("us-east-1", "us-west-1")},
		{"date form", "AuthorizationQueryParametersError", "ISO8601 Long Format", with("20130524T000000Z", "20130524")},
		{"date", "AuthorizationQueryParametersError", "Invalid credential date", with("20130524T000000Z", "20130525T000000Z")},
		{"expires text", "AuthorizationQueryParametersError", "should be a number", with("86400", "abc")},
		{"expires negative", "AuthorizationQueryParametersError", "must be non-negative", with("86400", "-1")},
		{"expires zero", "AccessDenied", "Request has expired", with("86400", "0")},
		{"expires too far", "AuthorizationQueryParametersError", "less than a week", with("86400", "604801")},
		{"expires huge", "AuthorizationQueryParametersError", "should be a number", with("86400", "99999999999999999999")},
		{"expires more", "SignatureDoesNotMatch", "", with("86400", "604800")},
		{"twice", "AuthorizationQueryParametersError", "once", with("X-Amz-Expires=86400&", "X-Amz-Expires=86400&X-Amz-Expires=86400&")},
		{"added header", "AccessDenied", "not signed", set(base, "x-amz-acl", "public-read")},
		{"unsigned chunks", "AccessDenied", "not signed", set(set(base, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "x-amz-decoded-content-length", "0")},
		{"hash in query", "SignatureDoesNotMatch", "", with("X-Amz-Expires", "X-Amz-Content-Sha256="+emptySum+"&X-Amz-Expires")},
		{"encoding", "InvalidURI", "", with("86400", "8640%")},
		{"V2", "InvalidRequest", "Please use AWS4-HMAC-SHA256. With version 1 of the aws CLI: aws configure set default.s3.signature_version s3v4", &sigv4.Request{Method: "GET", RawPath: "/", RawQuery: "AWSAccessKeyId=a&Expires=9999999999&Signature=b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := v.Verify(tc.r)
			if e := wantCode(t, err, tc.code); !strings.Contains(e.Message, tc.message) {
				t.Fatalf("message %q", e.Message)
			}
		})
	}
	v.Now = at(docTime.Add(-16 * time.Minute))
	_, err := v.Verify(base)
	if e := wantCode(t, err, "AccessDenied"); e.Message != "Request is not valid yet" {
		t.Fatal(e.Message)
	}
	v.AllowV2 = true
	_, err = v.Verify(&sigv4.Request{Method: "GET", RawPath: "/", RawQuery: "AWSAccessKeyId=" + docKey + "&Expires=1&Signature=b"})
	if e := wantCode(t, err, "AccessDenied"); e.Message != "Request has expired" {
		t.Fatal(e.Message)
	}
}

func TestAnonymous(t *testing.T) {
	v := docVerifier()
	r := &sigv4.Request{Method: "GET", RawPath: "/bucket/key", Host: "h"}
	if a, err := v.Verify(r); err != nil || a.Kind != sigv4.Anonymous || a.AccessKey != "" {
		t.Fatal(a, err)
	}
	r = &sigv4.Request{Method: "PUT", RawPath: "/bucket/key", Host: "h", ContentLength: -1, Headers: headers(
		"x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length", "5", "x-amz-trailer", "x-amz-checksum-crc32")}
	a, err := v.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	got, b, err := readBody(t, a, []byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"))
	if err != nil || string(got) != "hello" || b.Trailer("x-amz-checksum-crc32") != "NhCmhg==" {
		t.Fatal(string(got), b.Trailers(), err)
	}
	_, err = v.Verify(set(r, "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
	wantCode(t, err, "InvalidRequest")
	v.Service = "kms"
	_, err = v.Verify(&sigv4.Request{Method: "POST", RawPath: "/", Host: "h"})
	if e := wantCode(t, err, "MissingAuthenticationTokenException"); e.Status != 400 {
		t.Fatal(e.Status)
	}
}

func TestKMSErrors(t *testing.T) {
	v := docVerifier()
	v.Service = "kms"
	scope := "20130524/us-east-1/kms/aws4_request"
	base := &sigv4.Request{Method: "POST", RawPath: "/", Host: "localhost:9801", BodySHA256: emptySum,
		Headers: headers("X-Amz-Date", "20130524T000000Z", "X-Amz-Target", "TrentService.ListKeys")}
	names := "host;x-amz-date;x-amz-target"
	toSign := "AWS4-HMAC-SHA256\n20130524T000000Z\n" + scope + "\n"
	canonical := "POST\n/\n\nhost:localhost:9801\nx-amz-date:20130524T000000Z\nx-amz-target:TrentService.ListKeys\n\n" + names + "\n" + emptySum
	sum := sha256.Sum256([]byte(canonical))
	auth := "AWS4-HMAC-SHA256 Credential=" + docKey + "/" + scope + ", SignedHeaders=" + names + ", Signature=" + signText(scope, toSign+hex.EncodeToString(sum[:]))
	good := set(base, "Authorization", auth)
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	alter := func(old, new string) *sigv4.Request {
		return set(base, "Authorization", strings.Replace(auth, old, new, 1))
	}
	other := clone(good)
	other.BodySHA256 = strings.Repeat("1", 64)
	for _, tc := range []struct {
		name, code string
		r          *sigv4.Request
	}{
		{"none", "MissingAuthenticationTokenException", base},
		{"incomplete", "IncompleteSignatureException", set(base, "Authorization", auth[:strings.Index(auth, ", Signature")])},
		{"scheme", "IncompleteSignatureException", set(base, "Authorization", "Basic abc")},
		{"no date", "IncompleteSignatureException", set(good, "X-Amz-Date", "")},
		{"signature", "InvalidSignatureException", alter("Signature=", "Signature=0")},
		{"body", "InvalidSignatureException", other},
		{"region", "InvalidSignatureException", alter("us-east-1", "eu-west-1")},
		{"service", "InvalidSignatureException", alter("/kms/", "/s3/")},
		{"target", "InvalidSignatureException", set(good, "X-Amz-Target", "TrentService.Decrypt")},
		{"unsigned target", "InvalidSignatureException", alter(";x-amz-target", "")},
		{"key", "UnrecognizedClientException", alter(docKey, "AKIAX")},
		{"unsigned token", "InvalidSignatureException", set(good, "X-Amz-Security-Token", "t")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := v.Verify(tc.r)
			if e := wantCode(t, err, tc.code); e.Status != 400 || len(e.Fields) != 0 {
				t.Fatal(e.Status, e.Fields)
			}
		})
	}
	v.Now = at(docTime.Add(time.Hour))
	_, err := v.Verify(good)
	if e := wantCode(t, err, "InvalidSignatureException"); e.Message !=
		"Signature expired: 20130524T000000Z is now earlier than 20130524T004500Z (20130524T010000Z - 15 min.)" {
		t.Fatal(e.Message)
	}
}

// TestKeyCache changes a user's secret between two requests of a day.
func TestKeyCache(t *testing.T) {
	secrets := map[string]string{docKey: docSecret}
	v := docVerifier()
	v.Lookup = lookup(secrets)
	good := signed(t, v, plainRequest(), docScope, docTime, "host;x-amz-content-sha256;x-amz-date")
	for range 3 {
		if _, err := v.Verify(good); err != nil {
			t.Fatal(err)
		}
	}
	secrets[docKey] = "another secret"
	_, err := v.Verify(good)
	wantCode(t, err, "SignatureDoesNotMatch")
	secrets[docKey] = docSecret
	if _, err := v.Verify(good); err != nil {
		t.Fatal(err)
	}
	delete(secrets, docKey)
	_, err = v.Verify(good)
	wantCode(t, err, "InvalidAccessKeyId")
	secrets[docKey] = ""
	_, err = v.Verify(good)
	wantCode(t, err, "InvalidAccessKeyId")
}

// TestNoSecretsPrinted prints everything that a careless log line could.
func TestNoSecretsPrinted(t *testing.T) {
	v := docVerifier()
	good := signed(t, v, plainRequest(), docScope, docTime, "host;x-amz-content-sha256;x-amz-date")
	a, err := v.Verify(good)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Body(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "auth", a, "body", b)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&log, verb+verb+verb, v, a, b)
	}
	for _, form := range []string{docSecret, hex.EncodeToString([]byte(docSecret))} {
		if strings.Contains(log.String(), form) {
			t.Fatal("a secret was printed")
		}
	}
}
