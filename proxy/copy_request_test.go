package proxy

import (
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestCopyRefusedByItsRequest has copies that no source could save: what is wrong with the request comes before what is wrong with
// the source, which is the target itself or is not there.
func TestCopyRefusedByItsRequest(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	k.mustDo(t, "PUT", "/"+b+"/k", nil, []byte("data"))
	for _, c := range []struct {
		header, value string
		code          s3.Code
		message       string
	}{
		{"x-amz-metadata-directive", "MOVE", s3.InvalidArgumentCode, "Unknown metadata directive."},
		{"x-amz-tagging-directive", "MOVE", s3.InvalidArgumentCode, "Unknown tagging directive."},
		{"x-amz-checksum-algorithm", "CRC31", s3.InvalidRequest, "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, "},
	} {
		for _, source := range []string{b + "/k", b + "/absent"} {
			resp, body := k.do(t, "PUT", "/"+b+"/k", map[string]string{"x-amz-copy-source": source, c.header: c.value}, nil)
			wantError(t, resp, body, 400, c.code)
			if !strings.Contains(string(body), c.message) {
				t.Errorf("%s from %s: %s", c.header, source, body)
			}
		}
	}
	upload := k.rawUpload(t, "/"+b+"/parts", nil)
	for source, message := range map[string]string{
		"nobucket": "Invalid copy source object key", "/nobucket": "Invalid copy source object key", b + "/": "Invalid copy source object key",
		"/": "Invalid copy source bucket name", "//k": "Invalid copy source bucket name", "buc%20ket/k": "Invalid copy source bucket name", ".hidden/k": "Invalid copy source bucket name",
		b + "/%ZZ": "Invalid copy source encoding", "%": "Invalid copy source encoding", b + "/%C3": "Invalid copy source encoding",
	} {
		for _, target := range []string{"/" + b + "/other", upload.target + "&partNumber=1"} {
			resp, body := k.do(t, "PUT", target, map[string]string{"x-amz-copy-source": source}, nil)
			wantError(t, resp, body, 400, s3.InvalidArgumentCode)
			if !strings.Contains(string(body), message) {
				t.Errorf("%q to %s: %s", source, target, body)
			}
		}
	}
}
