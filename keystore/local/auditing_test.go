package local

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/audit"
)

// shown returns a record as JSON, as its readers get it.
func shown(t *testing.T, r audit.Record) map[string]any {
	t.Helper()
	raw := must(json.Marshal(r))(t)
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (r *rig) last() audit.Record {
	all := r.audit.Records()
	return all[len(all)-1]
}

func wantFields(t *testing.T, got map[string]any, want string) {
	t.Helper()
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	for name, value := range w {
		if !reflect.DeepEqual(got[name], value) {
			a, _ := json.Marshal(got[name])
			b, _ := json.Marshal(value)
			t.Errorf("%s is %s, want %s", name, a, b)
		}
	}
}

// The record of the source documents: S3 asks for a user, with a bucket key.
func TestRecordOfS3Decrypt(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	p := r.Provider()
	ec := keystore.Context{"aws:s3:arn": "arn:aws:s3:::test-bhpark-s3-2"}
	dk := must(p.GenerateDataKey(background, viaS3(alice), md.Arn, ec))(t)
	generate := shown(t, r.last())
	wantFields(t, generate, `{"eventVersion":"1.11","eventName":"GenerateDataKey","eventSource":"kms.amazonaws.com","readOnly":true,
	 "requestParameters":{"keyId":"`+md.Arn+`","keySpec":"AES_256","encryptionContext":{"aws:s3:arn":"arn:aws:s3:::test-bhpark-s3-2"},"dryRun":false},
	 "responseElements":null,"additionalEventData":{"keyMaterialId":"`+md.CurrentKeyMaterialId+`"}}`)
	must(p.Decrypt(background, viaS3(alice), dk.Blob, md.Arn, ec))(t)
	got := shown(t, r.last())
	wantFields(t, got, `{"eventName":"Decrypt","awsRegion":"us-east-1","sourceIPAddress":"AWS Internal","userAgent":"AWS Internal",
	 "eventTime":"2026-11-21T12:00:00Z","eventType":"AwsApiCall","managementEvent":true,"eventCategory":"Management",
	 "recipientAccountId":"111122223333","responseElements":null,"readOnly":true,
	 "requestParameters":{"encryptionContext":{"aws:s3:arn":"arn:aws:s3:::test-bhpark-s3-2"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT","dryRun":false},
	 "resources":[{"accountId":"111122223333","type":"AWS::KMS::Key","ARN":"`+md.Arn+`"}]}`)
	id := got["userIdentity"].(map[string]any)
	for name, want := range map[string]string{
		"type": "IAMUser", "arn": alice.ARN, "accountId": testAccount, "accessKeyId": "AKIAalice", "userName": "alice", "invokedBy": "AWS Internal",
	} {
		if id[name] != want {
			t.Errorf("userIdentity.%s is %v, want %s", name, id[name], want)
		}
	}
	if len(id["principalId"].(string)) != 21 {
		t.Errorf("principalId %v", id["principalId"])
	}
}

func TestRecordOfDirectUse(t *testing.T) {
	r := newRig(t)
	md := r.newKey(&CreateKeyRequest{Description: "d", Tags: []Tag{{"k", "v"}}})
	created := shown(t, r.last())
	wantFields(t, created, `{"eventName":"CreateKey","readOnly":false,"sourceIPAddress":"192.0.2.7","userAgent":"test/1"}`)
	if created["responseElements"].(map[string]any)["keyMetadata"].(map[string]any)["keyId"] != md.KeyId {
		t.Errorf("responseElements %v", created["responseElements"])
	}
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: md.KeyId, PendingWindowInDays: ptr(7)}))(t)
	wantFields(t, shown(t, r.last()), `{"eventName":"ScheduleKeyDeletion","requestParameters":{"keyId":"`+md.KeyId+`","pendingWindowInDays":7},
	 "responseElements":{"keyId":"`+md.Arn+`","deletionDate":"Nov 28, 2026, 12:00:00 PM","keyState":"PendingDeletion","pendingWindowInDays":7}}`)
	must(r.GetKeyPolicy(background, alice, &GetKeyPolicyRequest{KeyId: md.KeyId}))(t)
	wantFields(t, shown(t, r.last()), `{"eventName":"GetKeyPolicy","readOnly":true,"responseElements":null}`)
	must(r.ListKeys(background, rootOf(testAccount), &ListKeysRequest{}))(t)
	if id := r.last().UserIdentity; id.Type != "Root" || id.PrincipalID != testAccount || id.UserName != "" {
		t.Errorf("identity %+v", id)
	}
}

func TestRecordOfFailures(t *testing.T) {
	r := newRig(t)
	one, two := r.newKey(nil), r.newKey(nil)
	blob := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: one.KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob
	_, err := r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: blob, KeyId: two.KeyId})
	wantCode(t, err, codeIncorrectKey)
	wantFields(t, shown(t, r.last()), `{"errorCode":"IncorrectKeyException","errorMessage":"The key ID in the request does not identify a CMK that can perform this operation."}`)
	r.audit.Reset()
	_, err = r.Encrypt(background, user(otherAccount, "eve"), &EncryptRequest{KeyId: one.Arn, Plaintext: []byte("x")})
	wantCode(t, err, codeAccessDenied)
	if n := r.audit.Count(""); n != 1 {
		t.Errorf("%d records of a denied call across accounts", n)
	}
	wantFields(t, shown(t, r.last()), `{"errorCode":"AccessDenied","recipientAccountId":"444455556666"}`)
}

func TestRecordAcrossAccounts(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: one(`{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"kms:Encrypt","Resource":"*"}`)}))(t)
	r.audit.Reset()
	must(r.Encrypt(background, user(otherAccount, "eve"), &EncryptRequest{KeyId: md.Arn, Plaintext: []byte("x")}))(t)
	all := r.audit.Records()
	if len(all) != 2 || all[0].SharedEventID == "" || all[0].SharedEventID != all[1].SharedEventID || all[0].EventID == all[1].EventID ||
		all[0].RecipientAccountID != otherAccount || all[1].RecipientAccountID != testAccount || all[1].UserIdentity.Type != "AWSAccount" {
		t.Errorf("records %+v", all)
	}
}

// ReEncrypt between the keys of two other accounts concerns three accounts, and each has its record.
func TestRecordsOfAllOwners(t *testing.T) {
	const third = "777788889999"
	r := newRig(t)
	keyOf := func(account string) string {
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + account + `","` + testAccount + `"]},"Action":"kms:*","Resource":"*"}]}`
		return must(r.CreateKey(background, rootOf(account), &CreateKeyRequest{Policy: policy}))(t).KeyMetadata.Arn
	}
	for _, test := range []struct {
		name, from, to string
		recipients     []string
	}{
		{"from another account", keyOf(otherAccount), r.newKey(nil).Arn, []string{testAccount, otherAccount}},
		{"to another account", r.newKey(nil).Arn, keyOf(otherAccount), []string{testAccount, otherAccount}},
		{"within another account", keyOf(otherAccount), keyOf(otherAccount), []string{testAccount, otherAccount}},
		{"between two others", keyOf(otherAccount), keyOf(third), []string{testAccount, otherAccount, third}},
	} {
		t.Run(test.name, func(t *testing.T) {
			blob := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: test.from, Plaintext: []byte("x")}))(t).CiphertextBlob
			r.audit.Reset()
			must(r.ReEncrypt(background, alice, &ReEncryptRequest{CiphertextBlob: blob, DestinationKeyId: test.to}))(t)
			var recipients []string
			ids := map[string]bool{}
			for _, e := range r.audit.Records() {
				recipients = append(recipients, e.RecipientAccountID)
				ids[e.EventID] = true
				if e.SharedEventID != r.last().SharedEventID || len(e.Resources) != 2 {
					t.Errorf("record %+v", e)
				}
			}
			if !slices.Equal(recipients, test.recipients) || len(ids) != len(recipients) {
				t.Errorf("recorded for %v, want %v", recipients, test.recipients)
			}
		})
	}
}

// No bytes of a request or a reply get into a record.
func TestRecordsHoldNoSecrets(t *testing.T) {
	r := newRig(t)
	for _, kind := range []string{"external", "mac", "signing", "agreement"} {
		s := &specimen{rig: r}
		s.make(kind, keystore.StateEnabled)
		secret := []byte("the plaintext to look for")
		if kind == "external" {
			enc := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: secret}))(t)
			must(r.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: enc.CiphertextBlob}))(t)
		}
		raw := must(json.Marshal(r.audit.Records()))(t)
		for name, b := range map[string][]byte{"plaintext": secret, "token": s.token, "material": s.wrapped, "blob": s.blob, "signature": s.signature, "mac": s.macOf} {
			if len(b) > 0 && (bytes.Contains(raw, b) || strings.Contains(string(raw), base64.StdEncoding.EncodeToString(b))) {
				t.Errorf("%s: the log holds the %s", kind, name)
			}
		}
		must(r.DeleteAlias(background, alice, &DeleteAliasRequest{s.alias}))(t)
		must(r.DeleteAlias(background, alice, &DeleteAliasRequest{"alias/on-other"}))(t)
	}
}

func TestNoRecordNoResult(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	r.audit.Fail(errors.New("disk full"))
	out, err := r.GenerateDataKey(background, alice, &GenerateDataKeyRequest{KeyId: md.KeyId, KeySpec: "AES_256"})
	wantCode(t, err, codeInternal)
	if out != nil {
		t.Error("a key got out")
	}
	if strings.Contains(err.Error(), "disk") {
		t.Errorf("the client learns %q", err)
	}
	// An act of the service itself waits for the log, and is recorded when the log is back.
	r.audit.Fail(nil)
	must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: md.KeyId}))(t)
	r.audit.Fail(errors.New("disk full"))
	r.mu.Lock()
	r.now = r.now.Add(31 * day)
	r.mu.Unlock()
	if err := r.Sweep(background); err == nil {
		t.Error("the missing record is not reported")
	}
	r.audit.Fail(nil)
	r.advance(0)
	if n := r.audit.Count("DeleteKey"); n != 1 {
		t.Errorf("%d records of the deletion", n)
	}
}

func TestServiceOpensForItself(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	p := r.Provider()
	dk := must(p.GenerateDataKey(background, alice, md.Arn, nil))(t)
	must(p.Decrypt(background, keystore.Caller{Service: true}, dk.Blob, md.Arn, nil))(t)
	if id := r.last().UserIdentity; id.Type != "AWSService" || id.InvokedBy != "AWS Internal" || id.ARN != "" {
		t.Errorf("identity %+v", id)
	}
	must(r.DisableKey(background, alice, &KeyRequest{md.KeyId}))(t)
	if _, err := p.Decrypt(background, keystore.Caller{Service: true}, dk.Blob, md.Arn, nil); keystore.KindOf(err) != keystore.Disabled {
		t.Errorf("a disabled key opened for the service: %v", err)
	}
}

// TestRecordOfSession: a session is AssumedRole, with its role as the issuer, and has a principal id of its role.
func TestRecordOfSession(t *testing.T) {
	session := who("arn:aws:sts::" + testAccount + ":assumed-role/app/s1")
	app := role(testAccount, "app")
	r := newRig(t, func(c *Config) { c.Identities = directory(t, map[string]string{session.ARN: "", app.ARN: ""}) })
	must(r.ListKeys(background, session, &ListKeysRequest{}))(t)
	record := r.last()
	id := shown(t, record)["userIdentity"].(map[string]any)
	issuer := id["sessionContext"].(map[string]any)["sessionIssuer"].(map[string]any)
	roleID, _ := issuer["principalId"].(string)
	if id["type"] != "AssumedRole" || id["principalId"] != roleID+":s1" || !strings.HasPrefix(roleID, "AROA") || id["userName"] != nil {
		t.Errorf("identity %v", id)
	}
	if issuer["type"] != "Role" || issuer["arn"] != app.ARN || issuer["userName"] != "app" || issuer["accountId"] != testAccount {
		t.Errorf("issuer %v", issuer)
	}
	must(r.ListKeys(background, app, &ListKeysRequest{}))(t)
	if got := r.last().UserIdentity; got.Type != "Role" || got.PrincipalID != roleID {
		t.Errorf("the role's own identity is %+v", got)
	}
}
