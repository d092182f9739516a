package iam_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"waxseal/keystore/iam"
)

const account = "111122223333"

var alice = iam.Principal{ARN: "arn:aws:iam::" + account + ":user/team/Alice", AccountID: account, UserID: "AIDAALICE"}

func parse(t testing.TB, document string, o iam.Options) *iam.Policy {
	t.Helper()
	p, err := iam.ParsePolicy([]byte(document), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	return p
}

// statement wraps the elements of a statement into a policy of a bucket.
func statement(elements string) string {
	return `{"Version":"2012-10-17","Statement":[{` + elements + `}]}`
}

func decide(t testing.TB, document string, r iam.Request) iam.Result {
	t.Helper()
	if r.Action == "" {
		r.Action = "s3:GetObject"
	}
	if r.Resource == "" {
		r.Resource = "arn:aws:s3:::bucket/key"
	}
	return parse(t, document, iam.Options{}).Decide(&r)
}

func TestMalformed(t *testing.T) {
	ok := `"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/*"`
	for _, tc := range []struct{ document, message string }{
		{``, "first byte must be '{'"},
		{`null`, "first byte must be '{'"},
		{`[]`, "first byte must be '{'"},
		{`{`, "invalid Json"},
		{statement(ok) + `x`, "invalid Json"},
		{`{"Version":"2012-10-17"}`, "Missing required field Statement"},
		{`{"Statement":[]}`, "empty"},
		{`{"Statement":1}`, "syntax"},
		{`{"Statement":[1]}`, "syntax"},
		{`{"Statement":{},"Statement":{}}`, "invalid Json"},
		{`{"Version":"2013-10-17","Statement":{}}`, "valid version"},
		{`{"Version":1,"Statement":{}}`, "valid version"},
		{`{"Id":1,"Statement":{}}`, "syntax"},
		{`{"statement":{}}`, "Unknown field statement"},
		{statement(``), "Missing required field Effect"},
		{statement(`"Effect":"allow"`), "Invalid effect: allow"},
		{statement(`"Effect":1`), "Invalid effect"},
		{statement(ok + `,"Effect":"Deny"`), "syntax"},
		{statement(ok + `,"Foo":1`), "Unknown field Foo"},
		{statement(ok + `,"Sid":1`), "syntax"},
		{statement(`"Effect":"Allow","Action":"s3:*","Resource":"*"`), "Missing required field Principal"},
		{statement(`"Effect":"Allow","Principal":"*","Resource":"*"`), "Missing required field Action"},
		{statement(`"Effect":"Allow","Principal":"*","Action":"s3:*"`), "Missing required field Resource"},
		{statement(ok + `,"NotPrincipal":"*"`), "both Principal and NotPrincipal"},
		{statement(ok + `,"NotAction":"s3:*"`), "both Action and NotAction"},
		{statement(ok + `,"NotResource":"*"`), "both Resource and NotResource"},
		{statement(`"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*","Resource":"*"`), "Allow with NotPrincipal"},
		{`{"Statement":[{"Sid":"a",` + ok + `},{"Sid":"a",` + ok + `}]}`, "must be unique"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":"alice"`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{}`, 1), "syntax"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":[]}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":1}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":"alice"}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":"12345678901"}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":"arn:aws:iam::1:user/*"}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"AWS":"arn:aws:s3:::b"}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"Principal":"*"`, `"Principal":{"Federated":"x"}`, 1), "Invalid principal"},
		{strings.Replace(statement(ok), `"s3:*"`, `[]`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"s3:*"`, `"GetObject"`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"s3:*"`, `"s3:"`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"s3:*"`, `"s3:Get Object"`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"s3:*"`, `"ec2:*"`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"s3:*"`, `["s3:*",1]`, 1), "invalid action"},
		{strings.Replace(statement(ok), `"arn:aws:s3:::b/*"`, `[]`, 1), "invalid resource"},
		{strings.Replace(statement(ok), `"arn:aws:s3:::b/*"`, `"b/*"`, 1), "invalid resource"},
		{strings.Replace(statement(ok), `"arn:aws:s3:::b/*"`, `"arn:aws:s3:::c"`, 1), "invalid resource"},
		{strings.Replace(statement(ok), `"arn:aws:s3:::b/*"`, `"arn:aws:s3:::b/${aws:username"`, 1), "invalid resource"},
		{statement(ok + `,"Condition":[]`), "syntax"},
		{statement(ok + `,"Condition":{"StringEquals":"x"}`), "syntax"},
		{statement(ok + `,"Condition":{"StringEquals":{"a":{}}}`), "syntax"},
		{statement(ok + `,"Condition":{"StringEquals":{"a":null}}`), "syntax"},
		{statement(ok + `,"Condition":{"StringEquals":{"":"x"}}`), "syntax"},
		{statement(ok + `,"Condition":{"StringEquals":{"a":"x","a":"y"}}`), "syntax"},
		{statement(ok + `,"Condition":{"StringEqual":{"a":"x"}}`), "Invalid Condition type : StringEqual"},
		{statement(ok + `,"Condition":{"NullIfExists":{"a":"true"}}`), "Invalid Condition type"},
		{statement(ok + `,"Condition":{"ForAnyValue:Null":{"a":"true"}}`), "Invalid Condition type"},
		{statement(ok + `,"Condition":{"ForSomeValue:StringLike":{"a":"true"}}`), "Invalid Condition type"},
		{statement(ok + `,"Condition":{"NumericEquals":{"a":"x"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"NumericEquals":{"a":"NaN"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"DateEquals":{"a":"x"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"Bool":{"a":"x"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"Null":{"a":"x"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"BinaryEquals":{"a":"!"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"IpAddress":{"a":"1.2.3"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"ArnLike":{"a":"x"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"ArnLike":{"a":"arn:*"}}`), "Invalid value"},
		{statement(ok + `,"Condition":{"StringLike":{"a":"${x"}}`), "Invalid value"},
	} {
		p, err := iam.ParsePolicy([]byte(tc.document), iam.Options{ActionPrefixes: []string{"s3"},
			Resource: func(s string) bool { return s == "*" || strings.HasPrefix(s, "arn:aws:s3:::b/") }})
		m, ok := errors.AsType[*iam.MalformedError](err)
		if !ok || p != nil || !strings.Contains(m.Message, tc.message) {
			t.Errorf("%s\ngot %v, want %s", tc.document, err, tc.message)
		}
	}
	if _, err := iam.ParsePolicy([]byte(statement(ok)), iam.Options{MaxBytes: 10}); err == nil {
		t.Error("a policy that is too large passed")
	}
	if _, err := iam.ParsePolicy([]byte(statement(ok)), iam.Options{Kind: iam.Identity}); err == nil {
		t.Error("an identity policy with a principal passed")
	}
	parse(t, statement(`"Effect":"Allow","Principal":"*","Action":"kms:*"`), iam.Options{NoResource: true})
	parse(t, `{"Statement":{`+ok+`}}`, iam.Options{})
}

func TestPrincipals(t *testing.T) {
	bob := iam.Principal{ARN: iam.UserARN(account, "bob"), AccountID: account}
	root := iam.Principal{ARN: iam.RootARN(account), AccountID: account, UserID: account}
	stranger := iam.Principal{ARN: iam.UserARN("999999999999", "eve"), AccountID: "999999999999"}
	nobody := iam.Principal{Anonymous: true}
	service := iam.Principal{Service: "logging.s3.amazonaws.com"}
	role := "arn:aws:iam::" + account + ":role/ci/deployer"
	session := iam.Principal{ARN: "arn:aws:sts::" + account + ":assumed-role/deployer/run-1", AccountID: account}
	another := iam.Principal{ARN: "arn:aws:sts::" + account + ":assumed-role/deployer/run-2", AccountID: account}
	asRole := iam.Principal{ARN: role, AccountID: account}
	othersSession := iam.Principal{ARN: "arn:aws:sts::999999999999:assumed-role/deployer/run-1", AccountID: "999999999999"}
	type want map[*iam.Principal]iam.Match
	for _, tc := range []struct {
		principal string
		want      want
	}{
		{`"Principal":"*"`, want{&alice: iam.ByAnyone, &nobody: iam.ByAnyone, &service: iam.ByAnyone, &stranger: iam.ByAnyone}},
		{`"Principal":{"AWS":"*"}`, want{&alice: iam.ByAnyone, &nobody: iam.ByAnyone}},
		{`"Principal":{"AWS":"` + alice.ARN + `"}`, want{&alice: iam.Exactly, &bob: 0, &root: 0, &stranger: 0, &nobody: 0}},
		{`"Principal":{"AWS":["` + alice.ARN + `","` + bob.ARN + `"]}`, want{&alice: iam.Exactly, &bob: iam.Exactly, &root: 0}},
		{`"Principal":{"AWS":"arn:aws:iam::` + account + `:root"}`, want{&alice: iam.ByAccount, &bob: iam.ByAccount, &root: iam.Exactly, &stranger: 0, &nobody: 0, &service: 0}},
		{`"Principal":{"AWS":"` + account + `"}`, want{&alice: iam.ByAccount, &stranger: 0}},
		{`"Principal":{"AWS":["` + account + `","*"]}`, want{&alice: iam.ByAnyone, &stranger: iam.ByAnyone}},
		{`"Principal":{"AWS":["` + account + `","` + alice.ARN + `"]}`, want{&alice: iam.Exactly, &bob: iam.ByAccount}},
		{`"Principal":{"CanonicalUser":"AIDAALICE"}`, want{&alice: iam.Exactly, &bob: 0, &nobody: 0}},
		{`"Principal":{"Service":"logging.s3.amazonaws.com"}`, want{&service: iam.ByService, &alice: 0, &nobody: 0}},
		{`"Principal":{"Service":"other.amazonaws.com"}`, want{&service: 0}},
		{`"Principal":{"AWS":"` + role + `"}`, want{&session: iam.ByRole, &another: iam.ByRole, &asRole: iam.Exactly, &othersSession: 0, &alice: 0}},
		{`"Principal":{"AWS":"arn:aws:iam::` + account + `:role/deployer"}`, want{&session: iam.ByRole, &asRole: 0}},
		{`"Principal":{"AWS":"arn:aws:iam::` + account + `:role/deployer/ci"}`, want{&session: 0}},
		{`"Principal":{"AWS":"arn:aws:iam::` + account + `:user/deployer"}`, want{&session: 0}},
		{`"Principal":{"AWS":"` + session.ARN + `"}`, want{&session: iam.Exactly, &another: 0, &asRole: 0}},
		{`"Principal":{"AWS":"arn:aws:iam::` + account + `:root"}`, want{&session: iam.ByAccount}},
	} {
		for who, by := range tc.want {
			r := decide(t, statement(`"Effect":"Allow","Action":"*","Resource":"*",`+tc.principal), iam.Request{Principal: *who})
			if r.By != by || (r.Decision == iam.Allow) != (by != 0) {
				t.Errorf("%s %+v: %+v, want %d", tc.principal, who, r, by)
			}
		}
	}
	for _, tc := range []struct {
		notPrincipal string
		denied       map[*iam.Principal]bool
	}{
		{`{"AWS":"` + alice.ARN + `"}`, map[*iam.Principal]bool{&alice: false, &bob: true, &nobody: true, &stranger: true, &service: true}},
		{`{"AWS":["` + alice.ARN + `","arn:aws:iam::` + account + `:root"]}`, map[*iam.Principal]bool{&alice: false, &root: false, &bob: true}},
		{`{"Service":"logging.s3.amazonaws.com"}`, map[*iam.Principal]bool{&service: false, &alice: true}},
		{`"*"`, map[*iam.Principal]bool{&alice: false, &nobody: false, &session: false}},
		{`{"AWS":"` + role + `"}`, map[*iam.Principal]bool{&asRole: false, &session: true, &alice: true}},
		{`{"AWS":["` + role + `","` + session.ARN + `"]}`, map[*iam.Principal]bool{&asRole: false, &session: false, &another: true}},
	} {
		for who, denied := range tc.denied {
			r := decide(t, statement(`"Effect":"Deny","Action":"*","Resource":"*","NotPrincipal":`+tc.notPrincipal), iam.Request{Principal: *who})
			if (r.Decision == iam.Deny) != denied {
				t.Errorf("NotPrincipal %s %+v: %v", tc.notPrincipal, who, r.Decision)
			}
		}
	}
}

func TestActionsAndResources(t *testing.T) {
	for _, tc := range []struct {
		elements, action, resource string
		want                       bool
	}{
		{`"Action":"*","Resource":"*"`, "s3:GetObject", "arn:aws:s3:::b/k", true},
		{`"Action":"s3:GetObject","Resource":"*"`, "s3:getobject", "arn:aws:s3:::b/k", true},
		{`"Action":"S3:GET*","Resource":"*"`, "s3:GetObjectVersion", "arn:aws:s3:::b/k", true},
		{`"Action":"s3:GetObject?","Resource":"*"`, "s3:GetObject", "arn:aws:s3:::b/k", false},
		{`"Action":"s3:Get*Tagging","Resource":"*"`, "s3:GetObjectVersionTagging", "arn:aws:s3:::b/k", true},
		{`"Action":["kms:Encrypt","kms:GenerateDataKey*"],"Resource":"*"`, "kms:GenerateDataKeyWithoutPlaintext", "arn:aws:kms:r:1:key/x", true},
		{`"Action":"kms:GenerateDataKey*","Resource":"*"`, "kms:Decrypt", "arn:aws:kms:r:1:key/x", false},
		{`"NotAction":"s3:Delete*","Resource":"*"`, "s3:GetObject", "arn:aws:s3:::b/k", true},
		{`"NotAction":["s3:Delete*","s3:Put*"],"Resource":"*"`, "s3:PutObject", "arn:aws:s3:::b/k", false},
		{`"Action":"*","Resource":"arn:aws:s3:::b/*"`, "s3:GetObject", "arn:aws:s3:::b/a/b/c", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/*"`, "s3:ListBucket", "arn:aws:s3:::b", false},
		{`"Action":"*","Resource":"arn:aws:s3:::B/*"`, "s3:GetObject", "arn:aws:s3:::b/k", false},
		{`"Action":"*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/?.txt"]`, "s3:GetObject", "arn:aws:s3:::b/é.txt", true},
		{`"Action":"*","NotResource":"arn:aws:s3:::b/secret/*"`, "s3:GetObject", "arn:aws:s3:::b/secret/x", false},
		{`"Action":"*","NotResource":"arn:aws:s3:::b/secret/*"`, "s3:GetObject", "arn:aws:s3:::b/open", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/home/${aws:username}/*"`, "s3:GetObject", "arn:aws:s3:::b/home/Alice/x", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/home/${aws:username}/*"`, "s3:GetObject", "arn:aws:s3:::b/home/Bob/x", false},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${aws:userid}"`, "s3:GetObject", "arn:aws:s3:::b/AIDAALICE", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${AWS:PrincipalAccount}/*"`, "s3:GetObject", "arn:aws:s3:::b/" + account + "/x", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${*}/${?}${$}"`, "s3:GetObject", "arn:aws:s3:::b/*/?$", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${*}"`, "s3:GetObject", "arn:aws:s3:::b/x", false},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${s3:nothing}*"`, "s3:GetObject", "arn:aws:s3:::b/x", false},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team, 'shared'}/*"`, "s3:GetObject", "arn:aws:s3:::b/shared/x", true},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${aws:tricky}"`, "s3:GetObject", "arn:aws:s3:::b/anything", false},
		{`"Action":"*","Resource":"arn:aws:s3:::b/${aws:tricky}"`, "s3:GetObject", "arn:aws:s3:::b/*", true},
	} {
		r := decide(t, statement(`"Effect":"Allow","Principal":"*",`+tc.elements), iam.Request{Principal: alice, Action: tc.action, Resource: tc.resource,
			Conditions: iam.Values{"aws:tricky": {"*"}}})
		if (r.Decision == iam.Allow) != tc.want {
			t.Errorf("%s: %s on %s: %v", tc.elements, tc.action, tc.resource, r.Decision)
		}
	}
	// Version 2008-10-17, also where no version is written, has no variables.
	old := `{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}}`
	if d := decide(t, old, iam.Request{Principal: alice, Resource: "arn:aws:s3:::b/Alice"}); d.Decision != iam.NoMatch {
		t.Error("a variable in a policy of 2008")
	}
	if d := decide(t, old, iam.Request{Principal: alice, Resource: "arn:aws:s3:::b/${aws:username}"}); d.Decision != iam.Allow {
		t.Error("a dollar sign in a policy of 2008")
	}
}

func TestDecisions(t *testing.T) {
	allow := `{"Sid":"a","Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"kms:*","Resource":"*"}`
	exact := `{"Sid":"e","Effect":"Allow","Principal":{"AWS":"` + alice.ARN + `"},"Action":"kms:Decrypt","Resource":"*"}`
	deny := `{"Sid":"d","Effect":"Deny","Principal":"*","Action":"kms:Decrypt","Resource":"*"}`
	for _, tc := range []struct {
		statements, action string
		decision           iam.Decision
		sid                string
		by                 iam.Match
	}{
		{allow, "kms:Decrypt", iam.Allow, "a", iam.ByAccount},
		{allow + "," + exact, "kms:Decrypt", iam.Allow, "e", iam.Exactly},
		{exact + "," + allow, "kms:Decrypt", iam.Allow, "e", iam.Exactly},
		{exact + "," + allow, "kms:Encrypt", iam.Allow, "a", iam.ByAccount},
		{exact, "kms:Encrypt", iam.NoMatch, "", iam.NoPrincipal},
		{allow + "," + exact + "," + deny, "kms:Decrypt", iam.Deny, "d", iam.ByAnyone},
		{deny + "," + allow, "kms:Encrypt", iam.Allow, "a", iam.ByAccount},
	} {
		p := parse(t, `{"Version":"2012-10-17","Id":"x","Statement":[`+tc.statements+`]}`, iam.Options{})
		req := &iam.Request{Principal: alice, Action: tc.action, Resource: "arn:aws:kms:us-east-1:1:key/x"}
		r := p.Decide(req)
		d, s := p.Evaluate(req)
		sid := ""
		if s != nil {
			sid = s.Sid
		}
		if r.Decision != tc.decision || r.By != tc.by || d != tc.decision || sid != tc.sid {
			t.Errorf("%s: %v by %d, %q", tc.statements, r.Decision, r.By, sid)
		}
	}
	identity := parse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`, iam.Options{Kind: iam.Identity})
	if r := identity.Decide(&iam.Request{Principal: alice, Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}); r.Decision != iam.Allow || r.By != iam.Exactly {
		t.Errorf("%+v", r)
	}
}

// TestS3TestsPolicies are the encryption policies of ceph/s3-tests (test_bucket_policy_put_obj_*).
func TestS3TestsPolicies(t *testing.T) {
	denyWrong := func(mode string) string {
		return `{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"` + mode + `"}}}`
	}
	denyNone := `{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"Null":{"s3:x-amz-server-side-encryption":"true"}}}`
	for _, tc := range []struct {
		statements string
		header     []string
		denied     bool
	}{
		{denyWrong("AES256"), nil, true},
		{denyWrong("AES256"), []string{"AES256"}, false},
		{denyWrong("AES256"), []string{"aws:kms"}, true},
		{denyWrong("aws:kms"), []string{"aws:kms"}, false},
		{denyNone, nil, true},
		{denyNone, []string{"AES192"}, false},
		{denyNone + "," + denyWrong("AES256"), []string{"AES192"}, true},
	} {
		v := iam.Values{}
		if tc.header != nil {
			v.Set("s3:x-amz-server-side-encryption", tc.header...)
		}
		r := decide(t, `{"Version":"2012-10-17","Statement":[`+tc.statements+`]}`, iam.Request{Principal: alice, Action: "s3:PutObject",
			Resource: "arn:aws:s3:::b/testobj", Conditions: v})
		if (r.Decision == iam.Deny) != tc.denied {
			t.Errorf("%s with %q: %v", tc.statements, tc.header, r.Decision)
		}
	}
}

// TestKeyPolicy is the sample of the KMS console, as AWS shows it.
func TestKeyPolicy(t *testing.T) {
	p := parse(t, `{"Id":"key-consolepolicy-2","Version":"2012-10-17","Statement":[
	 {"Sid":"Enable IAM policies","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"},
	 {"Sid":"Allow access for Key Administrators","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:user/KMSAdminUser","arn:aws:iam::111122223333:role/KMSAdminRole"]},"Action":["kms:Describe*","kms:Put*","kms:Create*","kms:Update*","kms:Enable*","kms:Revoke*","kms:List*","kms:Disable*","kms:Get*","kms:Delete*","kms:ScheduleKeyDeletion","kms:CancelKeyDeletion"],"Resource":"*"},
	 {"Sid":"Allow use of the key","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:user/ExampleUser","arn:aws:iam::444455556666:root"]},"Action":["kms:DescribeKey","kms:GenerateDataKey*","kms:Encrypt","kms:ReEncrypt*","kms:Decrypt"],"Resource":"*"},
	 {"Sid":"Allow attachment of persistent resources","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::444455556666:root"]},"Action":["kms:ListGrants","kms:CreateGrant","kms:RevokeGrant"],"Resource":"*","Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}}]}`,
		iam.Options{ActionPrefixes: []string{"kms"}, NoResource: true})
	for _, tc := range []struct {
		account, name, action string
		values                iam.Values
		decision              iam.Decision
		by                    iam.Match
	}{
		{"111122223333", "KMSAdminUser", "kms:ScheduleKeyDeletion", nil, iam.Allow, iam.Exactly},
		{"111122223333", "KMSAdminUser", "kms:Decrypt", nil, iam.Allow, iam.ByAccount},
		{"111122223333", "ExampleUser", "kms:GenerateDataKeyWithoutPlaintext", nil, iam.Allow, iam.Exactly},
		{"444455556666", "anyone", "kms:Decrypt", nil, iam.Allow, iam.ByAccount},
		{"444455556666", "anyone", "kms:DisableKey", nil, iam.NoMatch, 0},
		{"444455556666", "anyone", "kms:CreateGrant", nil, iam.NoMatch, 0},
		{"444455556666", "anyone", "kms:CreateGrant", iam.Values{"KMS:GrantIsForAwsResource": {"true"}}, iam.Allow, iam.ByAccount},
		{"999999999999", "anyone", "kms:Decrypt", nil, iam.NoMatch, 0},
	} {
		r := p.Decide(&iam.Request{Principal: iam.Principal{ARN: iam.UserARN(tc.account, tc.name), AccountID: tc.account}, Action: tc.action,
			Resource: "arn:aws:kms:us-east-1:111122223333:key/x", Conditions: tc.values})
		if r.Decision != tc.decision || r.By != tc.by {
			t.Errorf("%+v: %v by %d", tc, r.Decision, r.By)
		}
	}
	if p.Public() {
		t.Error("public")
	}
}

func TestPublic(t *testing.T) {
	for _, tc := range []struct {
		elements string
		public   bool
	}{
		{`"Effect":"Allow","Principal":"*"`, true},
		{`"Effect":"Allow","Principal":{"AWS":"*"}`, true},
		{`"Effect":"Deny","Principal":"*"`, false},
		{`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::s3tenant1:root"}`, false},
		{`"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/32"}}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","0.0.0.0/0"]}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"::/0"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringLike":{"aws:SourceVpce":"vpce-*"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:userid":"${aws:userid}"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"s3:prefix":"a"}}`, true},
		{`"Effect":"Allow","Principal":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::b"}}`, false},
		{`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, false},
	} {
		if got := parse(t, statement(tc.elements+`,"Action":"s3:GetObject","Resource":"*"`), iam.Options{}).Public(); got != tc.public {
			t.Errorf("%s: %v", tc.elements, got)
		}
	}
}

func TestSplit(t *testing.T) {
	one := `{ "Sid":"enc","Effect" : "Deny","Principal":"*","Action":"s3:PutObject","Resource":"*","Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}} }`
	two := `{"Sid":"é\u00e9 <&>","Effect":"Allow","Principal":{"AWS":"*"},"Action":["s3:GetObject"],"Resource":["*"],"Condition":{"NumericLessThan":{"s3:max-keys":1.50}}}`
	three := `{"Sid":"x","Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"*","Condition":{"Null":{"S3:X-Amz-Server-Side-Encryption-Customer-Algorithm":true}}}`
	document := fmt.Sprintf("{\n \"Id\": \"id-1\", \"Version\": \"2012-10-17\",\n \"Statement\": [\n%s,\n%s, %s ] }", one, two, three)
	p := parse(t, document, iam.Options{})
	if string(p.Document()) != document {
		t.Fatal("the document changed")
	}
	encryption := func(s *iam.Statement) bool { return s.UsesConditionKey("s3:x-amz-server-side-encryption*") }
	ours, rest := p.Split(encryption)
	if want := `{"Version":"2012-10-17","Id":"id-1","Statement":[` + two + `]}`; string(rest.Document()) != want {
		t.Fatalf("got %s\nwant %s", rest.Document(), want)
	}
	if want := `{"Version":"2012-10-17","Id":"id-1","Statement":[` + one + "," + three + `]}`; string(ours.Document()) != want {
		t.Fatalf("got %s\nwant %s", ours.Document(), want)
	}
	again := parse(t, string(ours.Document()), iam.Options{})
	if len(again.Statements()) != 2 || string(again.Statements()[0].Raw()) != one || again.ID != "id-1" {
		t.Fatal("the part does not parse as it was")
	}
	if all, none := p.Split(func(*iam.Statement) bool { return true }); none != nil || string(all.Document()) != document {
		t.Fatal("all")
	}
	if none, all := p.Split(func(*iam.Statement) bool { return false }); none != nil || all == nil {
		t.Fatal("none")
	}
	if keys := p.Statements()[2].ConditionKeys(); len(keys) != 1 || keys[0] != "s3:x-amz-server-side-encryption-customer-algorithm" {
		t.Fatal(keys)
	}
	bare := parse(t, `{"Statement":[`+one+","+two+`]}`, iam.Options{})
	if _, rest := bare.Split(encryption); string(rest.Document()) != `{"Statement":[`+two+`]}` {
		t.Fatalf("%s", rest.Document())
	}
}
