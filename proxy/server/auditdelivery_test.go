package server

import (
	"fmt"
	"testing"

	"waxseal/keystore/iam"
)

// TestCourier checks that the audit delivery user can add records and nothing else, and that no client can act as it.
func TestCourier(t *testing.T) {
	c := Default()
	c.AuditBucket = "records"
	user, creds, err := c.deliveryUser()
	if err != nil {
		t.Fatal(err)
	}
	again, other, err := c.deliveryUser()
	if err != nil || creds == other || user.AccessKey == again.AccessKey || user.ARN != again.ARN {
		t.Errorf("two starts: %v, %v, %v", user.AccessKey, again.AccessKey, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, creds); text != creds.String() {
			t.Errorf("%s shows %s", verb, text)
		}
	}
	for _, row := range []struct {
		action, resource string
		want             iam.Decision
	}{
		{"s3:PutObject", "arn:aws:s3:::records/AWSLogs/000000000000/x.json.gz", iam.Allow},
		{"s3:PutObject", "arn:aws:s3:::records/other", iam.NoMatch},
		{"s3:PutObject", "arn:aws:s3:::records2/AWSLogs/x", iam.NoMatch},
		{"s3:GetObject", "arn:aws:s3:::records/AWSLogs/x", iam.NoMatch},
		{"s3:DeleteObject", "arn:aws:s3:::records/AWSLogs/x", iam.NoMatch},
		{"s3:ListBucket", "arn:aws:s3:::records", iam.NoMatch},
		{"kms:GenerateDataKey", "arn:aws:kms:us-east-1:000000000000:key/k", iam.NoMatch},
	} {
		got, _ := user.Policy.Evaluate(&iam.Request{Principal: user.Requester().Principal(), Action: row.action, Resource: row.resource})
		if got != row.want {
			t.Errorf("%s on %s: %v", row.action, row.resource, got)
		}
	}
}
