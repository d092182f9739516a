package proxy

import (
	"encoding/json"
	"errors"
	"strings"

	"waxseal/proxy/s3"
)

// errForKeyService refuses a KMS client that has the wrong port, and toKeyService tells it the right one.
var errForKeyService = errors.New("a KMS request at the S3 port")

const toKeyService = "This is waxseal's S3 endpoint. The key service, which speaks the KMS API, is at the address of --kms-listen."

// isForKeyService reports whether a request is a KMS client's: it names an operation of KMS, or is signed for KMS.
func (c *parsed) isForKeyService() bool {
	_, credential, _ := strings.Cut(c.header("authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	for _, scope := range []string{credential, c.query.Get("X-Amz-Credential")} {
		if strings.HasSuffix(strings.TrimSpace(scope), "/kms/aws4_request") {
			return true
		}
	}
	return strings.HasPrefix(c.header("x-amz-target"), "TrentService.")
}

// answerKeyClient answers in KMS's form, which S3's error codes are none of.
func (c *outgoing) answerKeyClient(e *s3.Error) {
	body, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{"UnknownOperationException", e.Message})
	if err != nil {
		panic("proxy: internal error: an exception cannot be encoded: " + err.Error())
	}
	c.answer(e.Status(), "application/x-amz-json-1.1", body)
}
