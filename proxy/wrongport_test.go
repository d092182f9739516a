package proxy

import (
	"bytes"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestOnlyKeyClientsAreAnsweredInTheirForm: a KMS client at the S3 endpoint gets KMS's JSON; every S3 client gets S3's XML, also of
// the code that the KMS client's error has.
func TestOnlyKeyClientsAreAnsweredInTheirForm(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	resp, body := k.do(t, "POST", "/bkt/k?uploads", map[string]string{"x-amz-checksum-type": "COMPOSITE"}, nil)
	wantError(t, resp, body, 400, s3.InvalidRequest)
	resp, body = k.do(t, "POST", "/", map[string]string{"X-Amz-Target": "TrentService.ListKeys"}, []byte("{}"))
	if resp.StatusCode != 400 || !bytes.Contains(body, []byte(`"__type":"UnknownOperationException"`)) {
		t.Errorf("%s %s", resp.Status, body)
	}
}
