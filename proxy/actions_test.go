package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
)

// objectActions are the actions that S3 asks of who reads or changes an object, or what there is to know of one, without
// and with a version that the request names.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
var objectActions = map[string]struct{ current, version string }{
	"GetObject":               {"s3:GetObject", "s3:GetObjectVersion"},
	"HeadObject":              {"s3:GetObject", "s3:GetObjectVersion"},
	"GetObjectAttributes":     {"s3:GetObjectAttributes s3:GetObject", "s3:GetObjectVersionAttributes s3:GetObjectVersion"},
	"GetObjectAcl":            {"s3:GetObjectAcl", "s3:GetObjectVersionAcl"},
	"PutObjectAcl":            {"s3:PutObjectAcl", "s3:PutObjectVersionAcl"},
	"GetObjectTagging":        {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
	"PutObjectTagging":        {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
	"DeleteObjectTagging":     {"s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"},
	"GetObjectRetention":      {"s3:GetObjectRetention", "s3:GetObjectRetention"},
	"PutObjectRetention":      {"s3:PutObjectRetention", "s3:PutObjectRetention"},
	"GetObjectLegalHold":      {"s3:GetObjectLegalHold", "s3:GetObjectLegalHold"},
	"PutObjectLegalHold":      {"s3:PutObjectLegalHold", "s3:PutObjectLegalHold"},
	"RestoreObject":           {"s3:RestoreObject", "s3:RestoreObject"},
	"UpdateObjectEncryption":  {"s3:UpdateObjectEncryption s3:PutObject", "s3:UpdateObjectEncryption s3:PutObject"},
	"DeleteObject":            {"s3:DeleteObject", "s3:DeleteObjectVersion"},
	"PutObject":               {"s3:PutObject", ""},
	"CopyObject":              {"s3:PutObject", ""}, // and those on its source
	"CreateMultipartUpload":   {"s3:PutObject", ""},
	"UploadPart":              {"s3:PutObject", ""},
	"UploadPartCopy":          {"s3:PutObject", ""}, // and those on its source
	"CompleteMultipartUpload": {"s3:PutObject", ""},
	"AbortMultipartUpload":    {"s3:AbortMultipartUpload", ""},
	"ListParts":               {"s3:ListMultipartUploadParts", ""},
}

// bucketActions are the actions of the operations that tell what objects, versions and uploads there are in a bucket.
var bucketActions = map[string]string{
	"ListObjects": "s3:ListBucket", "ListObjectsV2": "s3:ListBucket", "HeadBucket": "s3:ListBucket",
	"ListObjectVersions": "s3:ListBucketVersions", "ListMultipartUploads": "s3:ListBucketMultipartUploads",
}

// allowing is a user's policy that allows the actions of a list but for one.
func allowing(actions, without string) string {
	var names []string
	for _, a := range strings.Fields(actions) {
		if a != without {
			names = append(names, `"`+a+`"`)
		}
	}
	return `{"Effect":"Allow","Action":[` + strings.Join(append(names, `"s3:CreateBucket"`), ",") + `],"Resource":"*"}`
}

// TestActionsOfOperations: every operation on an object, and every list, asks for all actions that S3 asks for, and for
// nothing more.
func TestActionsOfOperations(t *testing.T) {
	for i := range routes {
		r := &routes[i]
		if r.class == refuse || r.method == http.MethodOptions {
			continue
		}
		want, known := objectActions[r.name]
		switch {
		case r.on == onObject && !known:
			t.Errorf("%s is not in the table", r.name)
		case r.on == onObject:
			testActions(t, r, "/bkt/key", want.current)
			if want.version != "" {
				testActions(t, r, "/bkt/key?versionId=null", want.version)
			}
		case bucketActions[r.name] != "":
			testActions(t, r, "/bkt", bucketActions[r.name])
		}
	}
}

func testActions(t *testing.T, r *route, target, actions string) {
	t.Helper()
	if r.query != "" {
		target += map[bool]string{true: "&", false: "?"}[strings.Contains(target, "?")] + r.query + "=1"
	}
	var header map[string]string
	if r.header != "" {
		header = map[string]string{r.header: "/bkt/source"}
	}
	for _, without := range append(strings.Fields(actions), "") {
		k, _ := overMemory(t, proxytest.Options{}, limited(t, allowing(actions, without)))
		resp, body := k.do(t, r.method, target, header, nil)
		message := fmt.Sprintf("%s without %q: %s %s", target, without, resp.Status, body)
		switch {
		case without != "" && resp.StatusCode != http.StatusForbidden:
			t.Error(r.name, message)
		case without != "" && r.method != http.MethodHead && !strings.Contains(string(body), "to perform: "+without+" on"):
			t.Error(r.name, message)
		case without == "" && resp.StatusCode == http.StatusForbidden && r.header == "":
			t.Error(r.name, message)
		}
	}
}

// TestFactsOfWhoMayNotReadThem: GET and HEAD leave out how many tags an object has, and its lock, for who may not read
// them by themselves.
func TestFactsOfWhoMayNotReadThem(t *testing.T) {
	for _, version := range []string{"", "?versionId=null"} {
		read := map[string]string{"": "s3:GetObject", "?versionId=null": "s3:GetObjectVersion"}[version]
		tags := map[string]string{"": "s3:GetObjectTagging", "?versionId=null": "s3:GetObjectVersionTagging"}[version]
		for _, method := range []string{"GET", "HEAD"} {
			for allowed, shown := range map[string][]string{
				read:                            nil,
				read + " " + tags:               {"X-Amz-Tagging-Count"},
				read + " s3:GetObjectRetention": {"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date"},
				read + " s3:GetObjectLegalHold": {"X-Amz-Object-Lock-Legal-Hold"},
			} {
				k, u := overMemory(t, proxytest.Options{}, limited(t, allowing(allowed, "")))
				k.asRoot(t, "PUT", "/bkt/key", nil, []byte("x"))
				facts := map[string]string{"X-Amz-Tagging-Count": "1", "X-Amz-Object-Lock-Mode": "GOVERNANCE",
					"X-Amz-Object-Lock-Retain-Until-Date": "2030-01-01T00:00:00Z", "X-Amz-Object-Lock-Legal-Hold": "ON"}
				u.SetHook(func(proxytest.Op) proxytest.Fault {
					return proxytest.Fault{Header: func(h http.Header) {
						for name, value := range facts {
							h.Set(name, value)
						}
					}}
				})
				resp, _ := k.mustDo(t, method, "/bkt/key"+version, nil, nil)
				for name := range facts {
					want := strings.Contains(" "+strings.Join(shown, " ")+" ", " "+name+" ")
					if got := resp.Header.Get(name) != ""; got != want {
						t.Errorf("%s%s with %s: %s shown: %v", method, version, allowed, name, got)
					}
				}
			}
		}
	}
}
