package proxy

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestManyPartsAreTold: the log explains a store's 500 to a Complete of many parts, and no other failure.
func TestManyPartsAreTold(t *testing.T) {
	for _, c := range []struct {
		parts int
		code  s3.Code
		told  bool
	}{
		{1024, s3.InternalError, true}, {10_000, s3.InternalError, true}, {2, s3.InternalError, false}, {1024, s3.PreconditionFailed, false},
	} {
		var log bytes.Buffer
		call := &call{s: &Server{log: slog.New(slog.NewTextHandler(&log, nil))}, parsed: parsed{bucket: "photos", key: "large"}}
		call.tellManyParts(c.parts, &store.AnswerError{Cause: s3.NewError(c.code)})
		if told := strings.Contains(log.String(), "versitygw on ext4"); told != c.told {
			t.Errorf("%+v: %s", c, log.String())
		}
	}
}
