package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/audit"
)

var start = time.Date(2025, 5, 20, 20, 46, 16, 5e8, time.UTC)

const keyARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func record(event string) *audit.Record {
	return &audit.Record{
		UserIdentity: audit.UserIdentity{Type: "IAMUser", PrincipalID: "AIDAEXAMPLE", ARN: "arn:aws:iam::111122223333:user/Alice",
			AccountID: "111122223333", AccessKeyID: "AKIAEXAMPLE", UserName: "Alice", InvokedBy: audit.Internal},
		EventTime: audit.At(start), EventSource: audit.KMSSource, EventName: event, AWSRegion: "us-east-1",
		SourceIPAddress: audit.Internal, UserAgent: audit.Internal,
		RequestParameters: map[string]any{"keySpec": "AES_256", "keyId": keyARN, "encryptionContext": map[string]any{"aws:s3:arn": "arn:aws:s3:::bucket/key"}},
		ReadOnly:          true, ManagementEvent: true,
		Resources: []audit.Resource{{AccountID: "111122223333", Type: audit.KMSKey, ARN: keyARN}},
	}
}

// TestShape holds the record of contract 5 field by field, in AWS's order.
func TestShape(t *testing.T) {
	r := record("GenerateDataKey")
	r.AdditionalEventData = map[string]any{"keyMaterialId": strings.Repeat("ab", 32)}
	r.RequestID, r.EventID = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	r.Complete(time.Now())
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDAEXAMPLE","arn":"arn:aws:iam::111122223333:user/Alice",` +
		`"accountId":"111122223333","accessKeyId":"AKIAEXAMPLE","userName":"Alice","invokedBy":"AWS Internal"},` +
		`"eventTime":"2025-05-20T20:46:16Z","eventSource":"kms.amazonaws.com","eventName":"GenerateDataKey","awsRegion":"us-east-1",` +
		`"sourceIPAddress":"AWS Internal","userAgent":"AWS Internal",` +
		`"requestParameters":{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::bucket/key"},"keyId":"` + keyARN + `","keySpec":"AES_256"},` +
		`"responseElements":null,"additionalEventData":{"keyMaterialId":"` + strings.Repeat("ab", 32) + `"},` +
		`"requestID":"11111111-1111-4111-8111-111111111111","eventID":"22222222-2222-4222-8222-222222222222","readOnly":true,` +
		`"resources":[{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"` + keyARN + `"}],"eventType":"AwsApiCall",` +
		`"managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}`
	if string(got) != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	var back audit.Record
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(again, got) {
		t.Fatalf("%s, %v", again, err)
	}
}

func TestComplete(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := audit.NewID()
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
	r := &audit.Record{EventVersion: "1.08", EventType: audit.ServiceEvent}
	r.Complete(start)
	if r.EventVersion != "1.08" || r.EventType != audit.ServiceEvent || r.EventCategory != "Management" || !r.EventTime.Equal(start) || r.EventID == "" {
		t.Fatalf("%+v", r)
	}
	id := r.EventID
	if r.Complete(start.Add(time.Hour)); r.EventID != id || !r.EventTime.Equal(start) {
		t.Fatal("completed twice")
	}
}

func TestMemoryAndMulti(t *testing.T) {
	var a, b audit.Memory
	sink := audit.Multi(&a, &b)
	if err := sink.Write(t.Context(), record("Decrypt")); err != nil {
		t.Fatal(err)
	}
	if a.Count("Decrypt") != 1 || b.Count("") != 1 || a.Records()[0].EventID != b.Records()[0].EventID {
		t.Fatal(a.Records(), b.Records())
	}
	full := errors.New("full")
	a.Fail(full)
	if err := sink.Write(t.Context(), record("Encrypt")); !errors.Is(err, full) {
		t.Fatal(err)
	}
	a.Fail(nil)
	a.Reset()
	if a.Count("") != 0 || b.Count("") != 2 {
		t.Fatal("one sink's failure kept the record from the other")
	}
}
