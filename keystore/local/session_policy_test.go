package local

import (
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// TestSessionPolicyHoldsForKeysOfTheRole: a key policy or a grant for a role does not void the session policy of the
// role's sessions; the exact session's ARN and "*" do, as on AWS.
func TestSessionPolicyHoldsForKeysOfTheRole(t *testing.T) {
	r := newRig(t)
	roleARN := "arn:aws:iam::" + testAccount + ":role/app"
	sessionARN := "arn:aws:sts::" + testAccount + ":assumed-role/app/s"
	parsed := func(document string) []*iam.Policy {
		p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
		if err != nil {
			t.Fatal(err)
		}
		return []*iam.Policy{p}
	}
	session := func(limit []*iam.Policy) keystore.Caller {
		return keystore.CallerOf(iam.Requester{ARN: sessionARN, AccountID: testAccount, ID: who(sessionARN).Requester.ID, Rights: iam.Rights{
			Policies: parsed(allowKMS("kms:DescribeKey")), Session: limit}}.Identify())
	}
	callers := map[string]keystore.Caller{
		"no session policy": session(nil), "one that allows": session(parsed(allowKMS("kms:Decrypt", "kms:Encrypt"))),
		"one that does not": session(parsed(allowNothing)),
		"one that denies":   session(parsed(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}`)),
	}
	for name, row := range map[string]struct {
		principal string
		grantee   string
		escapes   bool
	}{
		"the key policy names the role":     {principal: `{"AWS":"` + roleARN + `"}`},
		"the key policy names the session":  {principal: `{"AWS":"` + sessionARN + `"}`, escapes: true},
		"the key policy names everybody":    {principal: `"*"`, escapes: true},
		"a grant to the role":               {grantee: roleARN},
		"a grant to the session":            {grantee: sessionARN, escapes: true},
		"a grant and nothing in the policy": {grantee: roleARN, principal: `{"AWS":"` + alice.ARN + `"}`},
	} {
		md := r.newKey(nil)
		if row.principal != "" {
			must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Principal":{"AWS":"` + alice.ARN + `"},"Action":"kms:*","Resource":"*"},
				{"Effect":"Allow","Principal":` + row.principal + `,"Action":"kms:Encrypt","Resource":"*"}]}`}))(t)
		}
		if row.grantee != "" {
			must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: row.grantee, Operations: []string{"Encrypt"}}))(t)
		}
		for limit, who := range callers {
			want := limit == "no session policy" || limit == "one that allows" || limit == "one that does not" && row.escapes
			if _, err := r.Encrypt(background, who, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}); (err == nil) != want || err != nil && codeOf(err) != codeAccessDenied {
				t.Errorf("%s, session policy: %s: %v, want allowed %v", name, limit, err, want)
			}
		}
	}
}

// TestGrantsOfTheGone: a grant is for the principal of its creation time, and not for a new principal under the old
// name.
func TestGrantsOfTheGone(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	bob := user(testAccount, "bob")
	directory(t, map[string]string{bob.ARN: noPolicy})
	g := must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: bob.ARN, RetiringPrincipal: bob.ARN, Operations: []string{"Encrypt"}}))(t)
	anew := *bob.Requester
	anew.ID = "AIDAANOTHERANOTHERANO"
	again := keystore.CallerOf(anew.Identify())
	for _, who := range []struct {
		caller keystore.Caller
		code   string
	}{{bob, ""}, {again, codeAccessDenied}} {
		_, err := r.Encrypt(background, who.caller, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")})
		wantCode(t, err, who.code)
	}
	_, err := r.RetireGrant(background, again, &RetireGrantRequest{KeyId: md.Arn, GrantId: g.GrantId})
	wantCode(t, err, codeAccessDenied)
	must(r.RetireGrant(background, bob, &RetireGrantRequest{KeyId: md.Arn, GrantId: g.GrantId}))(t)
}
