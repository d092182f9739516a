package sigv4_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/sigv4"
)

// publishedPolicy and its signature are the example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html.
const publishedPolicy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"

func publishedForm() []sigv4.Header {
	return headers("key", "user/user1/${filename}", "acl", "public-read",
		"success_action_redirect", "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
		"Content-Type", "image/jpeg", "x-amz-meta-uuid", "14365123651274", "x-amz-server-side-encryption", "AES256",
		"X-Amz-Credential", docKey+"/20151229/us-east-1/s3/aws4_request", "X-Amz-Algorithm", "AWS4-HMAC-SHA256",
		"X-Amz-Date", "20151229T000000Z", "x-amz-meta-tag", "", "Policy", publishedPolicy,
		"X-Amz-Signature", "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e", "file", "...")
}

func edit(form []sigv4.Header, name, value string) []sigv4.Header {
	var out []sigv4.Header
	done := value == ""
	for _, f := range form {
		if strings.EqualFold(f.Name, name) {
			if value == "" {
				continue
			}
			f.Value, done = value, true
		}
		out = append(out, f)
	}
	if !done {
		out = append(out, sigv4.Header{Name: name, Value: value})
	}
	return out
}

func TestPublishedPost(t *testing.T) {
	v := docVerifier()
	v.Now = at(time.Date(2015, 12, 29, 1, 0, 0, 0, time.UTC))
	form := publishedForm()
	a, p, err := v.VerifyPost(form)
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind != sigv4.PostV4 || a.AccessKey != docKey || !p.Expiration.Equal(time.Date(2015, 12, 30, 12, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v %+v", a, p)
	}
	if err := p.Check("sigv4examplebucket", form, 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := p.Check("sigv4examplebucket", edit(edit(form, "x-ignore-this", "x"), "X-IGNORE-that", "y"), -1); err != nil {
		t.Fatal(err)
	}
	denied := func(bucket string, form []sigv4.Header, message string) {
		t.Helper()
		if e := wantCode(t, p.Check(bucket, form, 1), "AccessDenied"); !strings.Contains(e.Message, message) || e.Status != 403 {
			t.Fatal(e)
		}
	}
	denied("otherbucket", form, "Policy Condition failed")
	denied("sigv4examplebucket", edit(form, "bucket", "otherbucket"), "bucket")
	denied("sigv4examplebucket", edit(form, "key", "user/user2/x"), "Policy Condition failed: [\"starts-with\", \"$key\", \"user/user1/\"]")
	denied("sigv4examplebucket", edit(form, "acl", "private"), `["eq", "$acl", "public-read"]`)
	denied("sigv4examplebucket", edit(form, "acl", ""), "Policy Condition failed")
	denied("sigv4examplebucket", edit(form, "Content-Type", "image/png, text/html"), "Policy Condition failed")
	denied("sigv4examplebucket", edit(form, "x-amz-storage-class", "GLACIER"), "Extra input fields: x-amz-storage-class")

	v.Now = at(time.Date(2015, 12, 30, 12, 0, 1, 0, time.UTC))
	_, _, err = v.VerifyPost(form)
	if e := wantCode(t, err, "AccessDenied"); e.Message != "Invalid according to Policy: Policy expired." {
		t.Fatal(e)
	}
}

func TestPostRefusals(t *testing.T) {
	v := docVerifier()
	v.Now = at(time.Date(2015, 12, 29, 1, 0, 0, 0, time.UTC))
	form := publishedForm()
	twice := append(publishedForm(), sigv4.Header{Name: "KEY", Value: "x"})
	for _, tc := range []struct {
		name, code string
		form       []sigv4.Header
	}{
		{"signature", "SignatureDoesNotMatch", edit(form, "X-Amz-Signature", strings.Repeat("0", 64))},
		{"policy", "SignatureDoesNotMatch", edit(form, "Policy", publishedPolicy[:len(publishedPolicy)-4]+"DQp9")[:]},
		{"other policy", "SignatureDoesNotMatch", edit(form, "Policy", "e30=")},
		{"no signature", "InvalidArgument", edit(form, "X-Amz-Signature", "")},
		{"no policy", "InvalidArgument", edit(form, "Policy", "")},
		{"no date", "InvalidArgument", edit(form, "X-Amz-Date", "")},
		{"other date", "InvalidArgument", edit(form, "X-Amz-Date", "20151230T000000Z")},
		{"no algorithm", "InvalidArgument", edit(form, "X-Amz-Algorithm", "")},
		{"algorithm", "InvalidArgument", edit(form, "X-Amz-Algorithm", "AWS4-HMAC-SHA1")},
		{"V4A", "NotImplemented", edit(form, "X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256")},
		{"credential", "InvalidArgument", edit(form, "X-Amz-Credential", "x")},
		{"region", "InvalidArgument", edit(form, "X-Amz-Credential", docKey+"/20151229/eu-west-1/s3/aws4_request")},
		{"key", "InvalidAccessKeyId", edit(form, "X-Amz-Credential", "AKIAX/20151229/us-east-1/s3/aws4_request")},
		{"token", "InvalidToken", edit(form, "x-amz-security-token", "x")},
		{"twice", "InvalidArgument", twice},
		{"V2", "InvalidRequest", headers("key", "a", "AWSAccessKeyId", docKey, "Signature", "x", "policy", "e30=")},
		{"policy alone", "InvalidArgument", headers("key", "a", "policy", "e30=")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "policy" {
				tc.form = edit(form, "Policy", strings.Replace(publishedPolicy, "eyAi", "eyAj", 1))
			}
			_, _, err := v.VerifyPost(tc.form)
			wantCode(t, err, tc.code)
		})
	}
	a, p, err := v.VerifyPost(headers("key", "a", "file", "b"))
	if err != nil || a.Kind != sigv4.Anonymous || p != nil || p.Check("b", form, 1) != nil {
		t.Fatal(a, p, err)
	}
}

// postWith signs a policy with minio-go and holds a form against it.
func postWith(t *testing.T, v2 bool, document string, fields ...string) (*sigv4.PostPolicy, []sigv4.Header, error) {
	t.Helper()
	v := docVerifier()
	v.AllowV2 = v2
	policy := base64.StdEncoding.EncodeToString([]byte(document))
	form := headers(append(fields, "pOLICy", policy)...)
	if v2 {
		form = append(form, headers("AWSAccessKeyId", docKey, "signature", signer.PostPresignSignatureV2(policy, docSecret))...)
	} else {
		form = append(form, headers("x-amz-algorithm", "AWS4-HMAC-SHA256", "x-amz-credential", docKey+"/"+docScope,
			"x-amz-date", "20130524T000000Z", "x-amz-signature", signer.PostPresignSignatureV4(policy, docTime, docSecret, "us-east-1"))...)
	}
	_, p, err := v.VerifyPost(append(form, sigv4.Header{Name: "file", Value: "bar"}))
	return p, form, err
}

// TestS3TestsPost covers the cases of ceph/s3-tests' test_post_object_*, signed with Version 2.
func TestS3TestsPost(t *testing.T) {
	const expires = `"expiration": "2013-05-24T01:00:00Z"`
	const usual = `{"bucket": "b"}, ["starts-with", "$key", "foo"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/plain"]`
	usualForm := []string{"key", "foo.txt", "acl", "private", "Content-Type", "text/plain"}
	for _, tc := range []struct {
		name, document string
		form           []string
		status         int
	}{
		{"authenticated_request", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", 0, 1024]]}`, usualForm, 0},
		{"case_insensitive_condition_fields", `{` + expires + `, "conditions": [{"bUcKeT": "b"}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"}, ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"]]}`,
			[]string{"kEy", "foo.txt", "aCl", "private", "Content-Type", "text/plain"}, 0},
		{"escaped_field_values", `{` + expires + `, "conditions": [{"bucket": "b"}, ["starts-with", "$key", "\\$foo"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/plain"]]}`,
			[]string{"key", `\$foo.txt`, "acl", "private", "Content-Type", "text/plain"}, 0},
		{"ignored_header", `{` + expires + `, "conditions": [` + usual + `]}`, append(usualForm, "x-ignore-foo", "bar"), 0},
		{"invalid_date_format", `{"expiration": "2013-05-24 01:00:00.000000+00:00", "conditions": [` + usual + `]}`, usualForm, 400},
		{"missing_policy_condition", `{` + expires + `, "conditions": [["starts-with", "$key", "foo"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/plain"]]}`, usualForm, 403},
		{"user_specified_header", `{` + expires + `, "conditions": [` + usual + `, ["starts-with", "$x-amz-meta-foo", "bar"]]}`, append(usualForm, "x-amz-meta-foo", "barclamp"), 0},
		{"request_missing_policy_specified_field", `{` + expires + `, "conditions": [` + usual + `, ["starts-with", "$x-amz-meta-foo", "bar"]]}`, usualForm, 403},
		{"condition_is_case_sensitive", `{` + expires + `, "CONDITIONS": [` + usual + `]}`, usualForm, 400},
		{"expires_is_case_sensitive", `{"EXPIRATION": "2013-05-24T01:00:00Z", "conditions": [` + usual + `]}`, usualForm, 400},
		{"expired_policy", `{"expiration": "2013-05-23T01:00:00Z", "conditions": [` + usual + `]}`, usualForm, 403},
		{"wrong_bucket", `{` + expires + `, "conditions": [{"bucket": "c"}, ["starts-with", "$key", "foo"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/plain"]]}`, usualForm, 403},
		{"invalid_request_field_value", `{` + expires + `, "conditions": [` + usual + `, ["eq", "$x-amz-meta-foo", ""]]}`, append(usualForm, "x-amz-meta-foo", "barclamp"), 403},
		{"missing_expires_condition", `{"conditions": [` + usual + `]}`, usualForm, 400},
		{"missing_conditions_list", `{` + expires + `}`, usualForm, 400},
		{"upload_size_limit_exceeded", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", 0, 0]]}`, usualForm, 400},
		{"missing_content_length_argument", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", 0]]}`, usualForm, 400},
		{"invalid_content_length_argument", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", -1, 0]]}`, usualForm, 400},
		{"upload_size_below_minimum", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", 512, 1000]]}`, usualForm, 400},
		{"length_that_is_a_word", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", "test", "10"]]}`, usualForm, 403},
		{"other_length_that_is_a_word", `{` + expires + `, "conditions": [` + usual + `, ["content-length-range", 1, "ten"]]}`, usualForm, 403},
		{"eq_without_dollar", `{` + expires + `, "conditions": [` + usual + `, ["eq", "acl", "private"]]}`, usualForm, 403},
		{"eq_nothing_without_dollar", `{` + expires + `, "conditions": [` + usual + `, ["eq", "acl", ""]]}`, usualForm, 403},
		{"starts_with_without_dollar", `{` + expires + `, "conditions": [` + usual + `, ["starts-with", "acl", ""]]}`, usualForm, 403},
		{"empty_conditions", `{` + expires + `, "conditions": [{}]}`, usualForm, 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, form, err := postWith(t, true, tc.document, tc.form...)
			if err == nil {
				err = p.Check("b", form, 3)
			}
			if tc.status == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := sigv4.AsError(err)
			if !ok || e.Status != tc.status {
				t.Fatalf("got %v, want %d", err, tc.status)
			}
		})
	}
}

func TestPostPolicyDocuments(t *testing.T) {
	const head = `{"expiration": "2013-05-24T01:00:00.000Z", "conditions": [`
	own := `{"bucket":"b"}, {"key":"k"}, {"x-amz-algorithm":"AWS4-HMAC-SHA256"}, {"x-amz-credential":"` + docKey + "/" + docScope +
		`"}, ["eq", "$x-amz-date", "20130524T000000Z"]`
	p, form, err := postWith(t, false, head+own+`, ["content-length-range", "10", 20], ["Content-Length-Range", 5, 15]]}`, "key", "k")
	if err != nil {
		t.Fatal(err)
	}
	if low, high, ok := p.LengthRange(); low != 10 || high != 15 || !ok {
		t.Fatal(low, high, ok)
	}
	for length, code := range map[int64]string{9: "EntityTooSmall", 10: "", 15: "", 16: "EntityTooLarge", -1: ""} {
		err := p.Check("b", form, length)
		if code == "" {
			if err != nil {
				t.Fatal(length, err)
			}
			continue
		}
		if e := wantCode(t, err, code); e.Field("ProposedSize") != fmt.Sprint(length) || e.Status != 400 {
			t.Fatal(e.Fields)
		}
	}
	for _, bad := range []string{
		``, `[]`, `null`, `{`, `{}x`, head + own + `]} {}`, head + own + `], "x": 1}`, head + own + `], "conditions": []}`,
		`{"expiration": 1, "conditions": []}`, `{"expiration": "2013-05-24T01:00:00Z", "conditions": {}}`,
		`{"expiration": "2013-05-24T01:00:00Z", "conditions": null}`,
		head + `"x"]}`, head + `1]}`, head + `[]]}`, head + `[1,2,3]]}`, head + `["in", "$a", "b"]]}`, head + `["eq", "a", "b"]]}`,
		head + `["eq", "$", "b"]]}`, head + `["eq", "$a", 1]]}`, head + `["eq", "$a"]]}`, head + `["eq", "$a", "b", "c"]]}`, head + `[null]]}`,
		head + `{"a": 1}]}`, head + `{"a": null}]}`, head + `{"a": "b", "c": "d"}]}`, head + `{"a": "b", "a": "b"}]}`,
		head + `["content-length-range", 1.5, 2]]}`, head + `["content-length-range", null, 2]]}`, head + `["content-length-range", 0, 9223372036854775808]]}`,
	} {
		_, _, err := postWith(t, false, bad, "key", "k")
		if bad == "" {
			wantCode(t, err, "InvalidArgument")
			continue
		}
		if e := wantCode(t, err, "InvalidPolicyDocument"); e.Status != 400 {
			t.Fatal(e)
		}
	}
	_, err = sigv4.ParsePostPolicy("!!!")
	wantCode(t, err, "InvalidPolicyDocument")
}
