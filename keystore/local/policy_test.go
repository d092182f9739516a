package local

import (
	"fmt"
	"strings"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// samplePolicy is the policy "key-consolepolicy-2" of AWS's documentation: its statements let principals administer a
// key, use it, also from another account, and attach it to AWS resources.
const samplePolicy = `{
 "Id": "key-consolepolicy-2", "Version": "2012-10-17",
 "Statement": [
  {"Sid": "Enable IAM policies", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"},
  {"Sid": "Allow access for Key Administrators", "Effect": "Allow", "Principal": {"AWS": [
    "arn:aws:iam::111122223333:user/KMSAdminUser", "arn:aws:iam::111122223333:role/KMSAdminRole"]},
   "Action": ["kms:Describe*", "kms:Put*", "kms:Create*", "kms:Update*", "kms:Enable*", "kms:Revoke*", "kms:List*", "kms:Disable*",
    "kms:Get*", "kms:Delete*", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:TagResource", "kms:UntagResource"], "Resource": "*"},
  {"Sid": "Allow use of the key", "Effect": "Allow", "Principal": {"AWS": [
    "arn:aws:iam::111122223333:user/ExampleUser", "arn:aws:iam::111122223333:role/ExampleRole", "arn:aws:iam::444455556666:root"]},
   "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"], "Resource": "*"},
  {"Sid": "Allow attachment of persistent resources", "Effect": "Allow", "Principal": {"AWS": [
    "arn:aws:iam::111122223333:user/ExampleUser", "arn:aws:iam::111122223333:role/ExampleRole", "arn:aws:iam::444455556666:root"]},
   "Action": ["kms:ListGrants", "kms:CreateGrant", "kms:RevokeGrant"], "Resource": "*", "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}
 ]}`

// noPolicy is an identity policy about another service: its user can do only what a key policy allows by name.
const noPolicy = allowNothing

// allowKMS returns an identity policy with an Allow for these actions on every key.
func allowKMS(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
}

func role(account, name string) keystore.Caller {
	return who("arn:aws:iam::" + account + ":role/" + name)
}

func TestSamplePolicy(t *testing.T) {
	admin, adminRole := user(testAccount, "KMSAdminUser"), role(testAccount, "KMSAdminRole")
	example, exampleRole := user(testAccount, "ExampleUser"), role(testAccount, "ExampleRole")
	nobody, delegate := user(testAccount, "Nobody"), user(testAccount, "Delegate")
	foreign, foreignWithout := user(otherAccount, "Partner"), user(otherAccount, "Intern")
	stranger := user("999999999999", "Stranger")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{
			admin.ARN: noPolicy, adminRole.ARN: noPolicy, example.ARN: noPolicy, exampleRole.ARN: noPolicy, nobody.ARN: noPolicy,
			delegate.ARN: allowKMS("kms:Decrypt"), foreign.ARN: allowKMS("kms:*"), foreignWithout.ARN: noPolicy, stranger.ARN: allowKMS("kms:*"),
		})
	})
	root := rootOf(testAccount)
	md := must(r.CreateKey(background, root, &CreateKeyRequest{Policy: samplePolicy}))(t).KeyMetadata
	blob := must(r.Encrypt(background, root, &EncryptRequest{KeyId: md.Arn, Plaintext: []byte("x")}))(t).CiphertextBlob

	actions := map[string]func(keystore.Caller) error{
		"use": func(c keystore.Caller) error {
			return failed(r.GenerateDataKey(background, c, &GenerateDataKeyRequest{KeyId: md.Arn, KeySpec: "AES_256"}))
		},
		"decrypt": func(c keystore.Caller) error {
			return failed(r.Decrypt(background, c, &DecryptRequest{CiphertextBlob: blob}))
		},
		"reencrypt": func(c keystore.Caller) error {
			return failed(r.ReEncrypt(background, c, &ReEncryptRequest{CiphertextBlob: blob, DestinationKeyId: md.Arn}))
		},
		"describe": func(c keystore.Caller) error {
			return failed(r.DescribeKey(background, c, &DescribeKeyRequest{KeyId: md.Arn}))
		},
		"manage": func(c keystore.Caller) error {
			return failed(r.UpdateKeyDescription(background, c, &UpdateKeyDescriptionRequest{md.Arn, "d"}))
		},
		"schedule": func(c keystore.Caller) error {
			if err := failed(r.ScheduleKeyDeletion(background, c, &ScheduleKeyDeletionRequest{KeyId: md.Arn})); err != nil {
				return err
			}
			must(r.CancelKeyDeletion(background, root, &KeyRequest{md.Arn}))(t)
			return failed(r.EnableKey(background, root, &KeyRequest{md.Arn}))
		},
		"grant": func(c keystore.Caller) error {
			return failed(r.CreateGrant(background, c, &CreateGrantRequest{KeyId: md.Arn, GranteePrincipal: c.ARN, Operations: []string{"Decrypt"}, DryRun: true}))
		},
		"grant for S3": func(c keystore.Caller) error {
			return failed(r.CreateGrant(background, viaS3(c), &CreateGrantRequest{KeyId: md.Arn, GranteePrincipal: c.ARN, Operations: []string{"Decrypt"}, DryRun: true}))
		},
	}
	for _, who := range []struct {
		name   string
		caller keystore.Caller
		may    string
	}{
		{"account root", root, "use decrypt reencrypt describe manage schedule grant grant_for_S3"},
		{"administrator", admin, "describe manage schedule grant grant_for_S3"},
		{"administrators' role", adminRole, "describe manage schedule grant grant_for_S3"},
		{"user", example, "use decrypt reencrypt describe grant_for_S3"},
		{"users' role", exampleRole, "use decrypt reencrypt describe grant_for_S3"},
		{"user of the account without a policy for it", nobody, ""},
		{"user whose own policy allows Decrypt", delegate, "decrypt"},
		{"user of the other account", foreign, "use decrypt reencrypt describe grant_for_S3"},
		{"user of the other account without a policy for it", foreignWithout, ""},
		{"user of a third account", stranger, ""},
	} {
		for name, do := range actions {
			t.Run(who.name+"/"+name, func(t *testing.T) {
				want := codeAccessDenied
				for _, may := range strings.Fields(who.may) {
					if strings.ReplaceAll(may, "_", " ") == name {
						want = ""
						if strings.HasPrefix(name, "grant") {
							want = codeDryRun
						}
					}
				}
				wantCode(t, do(who.caller), want)
			})
		}
	}
}

// The encrypt-only and the decrypt-only application of the source documents.
func TestEncryptOnlyAndDecryptOnly(t *testing.T) {
	a, b := user(testAccount, "AppA"), user(testAccount, "AppB")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{a.ARN: allowKMS("kms:Encrypt", "kms:GenerateDataKey*"), b.ARN: allowKMS("kms:Decrypt")})
	})
	md := r.newKey(nil)
	blob := must(r.Encrypt(background, a, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob
	_, err := r.Decrypt(background, a, &DecryptRequest{CiphertextBlob: blob})
	wantCode(t, err, codeAccessDenied)
	want := "User: " + a.ARN + " is not authorized to perform: kms:Decrypt on resource: " + md.Arn + " because no identity-based policy allows the kms:Decrypt action"
	if got := err.(*Error).Message; got != want {
		t.Errorf("message %q", got)
	}
	must(r.Decrypt(background, b, &DecryptRequest{CiphertextBlob: blob}))(t)
	_, err = r.Encrypt(background, b, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")})
	wantCode(t, err, codeAccessDenied)
}

// one returns a key policy with the delegating statement and another statement.
func one(statement string) string {
	return `{"Version":"2012-10-17","Statement":[
	 {"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"},` + statement + `]}`
}

func TestPolicyConditions(t *testing.T) {
	bob := user(testAccount, "bob")
	r := newRig(t, func(c *Config) { c.Identities = directory(t, map[string]string{bob.ARN: noPolicy}) })
	md := r.newKey(&CreateKeyRequest{Tags: []Tag{{"team", "blue"}}})
	must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/app", md.KeyId}))(t)
	allowIf := func(condition string) string {
		return one(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"},"Action":"kms:*","Resource":"*","Condition":` + condition + `}`)
	}
	encrypt := func(id string, ec map[string]string) error {
		return failed(r.Encrypt(background, bob, &EncryptRequest{KeyId: id, Plaintext: []byte("x"), EncryptionContext: ec}))
	}
	for _, test := range []struct {
		name, condition string
		yes, no         func() error
	}{
		{"context", `{"StringEquals":{"kms:EncryptionContext:Dept":"it"}}`,
			func() error { return encrypt(md.KeyId, map[string]string{"dept": "it"}) },
			func() error { return encrypt(md.KeyId, map[string]string{"dept": "hr"}) }},
		{"context like", `{"StringLike":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::logs/*"}}`,
			func() error { return encrypt(md.KeyId, map[string]string{"aws:s3:arn": "arn:aws:s3:::logs/1"}) },
			func() error { return encrypt(md.KeyId, map[string]string{"aws:s3:arn": "arn:aws:s3:::other/1"}) }},
		{"context keys", `{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a","b"]},"Null":{"kms:EncryptionContextKeys":"false"}}`,
			func() error { return encrypt(md.KeyId, map[string]string{"a": "1", "b": "2"}) },
			func() error { return encrypt(md.KeyId, map[string]string{"a": "1", "c": "2"}) }},
		{"via service", `{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}`,
			func() error {
				return failed(r.Encrypt(background, viaS3(bob), &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))
			},
			func() error { return encrypt(md.KeyId, nil) }},
		{"caller account", `{"StringEquals":{"kms:CallerAccount":"111122223333"}}`, func() error { return encrypt(md.KeyId, nil) }, nil},
		{"request alias", `{"StringEquals":{"kms:RequestAlias":"alias/app"}}`,
			func() error { return encrypt("alias/app", nil) }, func() error { return encrypt(md.KeyId, nil) }},
		{"resource aliases", `{"ForAnyValue:StringLike":{"kms:ResourceAliases":"alias/a*"}}`, func() error { return encrypt(md.KeyId, nil) }, nil},
		{"key facts", `{"StringEquals":{"kms:KeySpec":"SYMMETRIC_DEFAULT","kms:KeyUsage":"ENCRYPT_DECRYPT","kms:KeyOrigin":"AWS_KMS"},"Bool":{"kms:MultiRegion":"false"}}`,
			func() error { return encrypt(md.KeyId, nil) }, nil},
		{"tag", `{"StringEquals":{"aws:ResourceTag/team":"blue"}}`, func() error { return encrypt(md.KeyId, nil) }, nil},
		{"address", `{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, func() error { return encrypt(md.KeyId, nil) },
			func() error {
				elsewhere := bob
				elsewhere.SourceIP = "198.51.100.1"
				return failed(r.Encrypt(background, elsewhere, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))
			}},
		{"TLS", `{"Bool":{"aws:SecureTransport":"true"}}`,
			func() error {
				secure := bob
				secure.Transport = keystore.OverTLS
				return failed(r.Encrypt(background, secure, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))
			},
			func() error {
				plain := bob
				plain.Transport = keystore.PlainHTTP
				return failed(r.Encrypt(background, plain, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))
			}},
		{"no transport", `{"Null":{"aws:SecureTransport":"true"}}`, func() error { return encrypt(md.KeyId, nil) }, nil},
		{"algorithm", `{"StringEquals":{"kms:EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}}`, nil, func() error { return encrypt(md.KeyId, nil) }},
		{"deletion window", `{"NumericLessThan":{"kms:ScheduleKeyDeletionPendingWindowInDays":"30"}}`, nil,
			func() error {
				return failed(r.ScheduleKeyDeletion(background, bob, &ScheduleKeyDeletionRequest{KeyId: md.KeyId}))
			}},
		{"same key", `{"Bool":{"kms:ReEncryptOnSameKey":"true"}}`,
			func() error {
				blob := must(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob
				return failed(r.ReEncrypt(background, bob, &ReEncryptRequest{CiphertextBlob: blob, DestinationKeyId: md.KeyId}))
			}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: allowIf(test.condition)}))(t)
			if test.yes != nil {
				wantCode(t, test.yes(), "")
			}
			if test.no != nil {
				wantCode(t, test.no(), codeAccessDenied)
			}
		})
	}
}

func TestDenyWins(t *testing.T) {
	bob := user(testAccount, "bob")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{bob.ARN: `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}]}`})
	})
	md := r.newKey(nil)
	blob := must(r.Encrypt(background, bob, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}))(t).CiphertextBlob
	_, err := r.Decrypt(background, bob, &DecryptRequest{CiphertextBlob: blob})
	wantCode(t, err, codeAccessDenied)
	must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: one(
		`{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*"}`)}))(t)
	for _, who := range []keystore.Caller{alice, bob, rootOf(testAccount)} {
		_, err = r.Encrypt(background, who, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")})
		wantCode(t, err, codeAccessDenied)
	}
	// A grant does not outweigh a deny either.
	must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: bob.ARN, Operations: []string{"Encrypt"}}))(t)
	_, err = r.Encrypt(background, bob, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")})
	wantCode(t, err, codeAccessDenied)
}

// Policies and grants treat a role's sessions as the role: in a Principal with the role's name, in a Principal with its
// path, and in aws:PrincipalArn.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles
func TestSessionsAreOfTheirRole(t *testing.T) {
	session := who("arn:aws:sts::" + testAccount + ":assumed-role/app/i-1")
	other := who("arn:aws:sts::" + testAccount + ":assumed-role/batch/i-1")
	named, pathed := role(testAccount, "app"), role(testAccount, "service/app")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{session.ARN: noPolicy, other.ARN: noPolicy, pathed.ARN: noPolicy})
	})
	md := r.newKey(nil)
	check := func(name string, allowed bool, who keystore.Caller) {
		t.Helper()
		want := codeAccessDenied
		if allowed {
			want = ""
		}
		if _, err := r.Encrypt(background, who, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")}); codeOf(err) != want {
			t.Errorf("%s, %s: %v, allowed: %v", name, who.ARN, err, allowed)
		}
	}
	allow := `{"Effect":"Allow","Principal":%s,"Action":"kms:Encrypt","Resource":"*"%s}`
	for name, s := range map[string]string{
		"the role":          fmt.Sprintf(allow, `{"AWS":"`+named.ARN+`"}`, ""),
		"the role, by path": fmt.Sprintf(allow, `{"AWS":"`+pathed.ARN+`"}`, ""),
		"the session":       fmt.Sprintf(allow, `{"AWS":"`+session.ARN+`"}`, ""),
		"aws:PrincipalArn":  fmt.Sprintf(allow, `"*"`, `,"Condition":{"ArnEquals":{"aws:PrincipalArn":"`+named.ARN+`"}}`),
	} {
		must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: one(s)}))(t)
		check(name, true, session)
		check(name, false, other)
		must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: one(
			fmt.Sprintf(allow, `"*"`, "") + "," + strings.Replace(s, "Allow", "Deny", 1))}))(t)
		check(name+", denied", false, session)
		check(name+", denied", true, other)
	}
	must(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: one(
		`{"Effect":"Deny","Principal":"*","Action":"kms:CreateKey","Resource":"*"}`)}))(t)
	check("nothing", false, session)
	for _, grantee := range []string{named.ARN, pathed.ARN, session.ARN} {
		g := must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: grantee, RetiringPrincipal: grantee,
			Name: "n", Operations: []string{"Encrypt"}}))(t)
		check("a grant", true, session)
		check("a grant", false, other)
		check("a grant", grantee == pathed.ARN, pathed)
		wantCode(t, failed(r.RetireGrant(background, other, &RetireGrantRequest{KeyId: md.Arn, GrantId: g.GrantId})), codeAccessDenied)
		must(r.RetireGrant(background, session, &RetireGrantRequest{KeyId: md.Arn, GrantId: g.GrantId}))(t)
		check("a retired grant", false, session)
	}
}

// A key without the delegating statement is beyond the reach of its account's identity policies.
func TestKeyWithoutItsAccount(t *testing.T) {
	bob := user(testAccount, "bob")
	r := newRig(t, func(c *Config) { c.Identities = directory(t, map[string]string{bob.ARN: noPolicy}) })
	only := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + bob.ARN + `"},"Action":"kms:*","Resource":"*"}}`
	_, err := r.CreateKey(background, alice, &CreateKeyRequest{Policy: only})
	wantCode(t, err, codeMalformedPolicy)
	md := r.newKey(&CreateKeyRequest{Policy: only, BypassPolicyLockoutSafetyCheck: true})
	_, err = r.DescribeKey(background, rootOf(testAccount), &DescribeKeyRequest{KeyId: md.KeyId})
	wantCode(t, err, codeAccessDenied)
	must(r.PutKeyPolicy(background, bob, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: only}))(t)
}

func TestManagedKey(t *testing.T) {
	r := newRig(t)
	md := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: managedS3Alias}))(t).KeyMetadata
	if md.KeyManager != "AWS" || !md.Enabled {
		t.Errorf("managed key %+v", md)
	}
	status := must(r.GetKeyRotationStatus(background, alice, &KeyRequest{md.KeyId}))(t)
	if !status.KeyRotationEnabled || status.RotationPeriodInDays != 365 {
		t.Errorf("rotation %+v", status)
	}
	list := must(r.ListAliases(background, alice, &ListAliasesRequest{}))(t).Aliases
	if len(list) != 1 || list[0].AliasName != managedS3Alias || list[0].TargetKeyId != md.KeyId {
		t.Errorf("aliases %+v", list)
	}
	for name, err := range map[string]error{
		"disable":  failed(r.DisableKey(background, rootOf(testAccount), &KeyRequest{md.KeyId})),
		"delete":   failed(r.ScheduleKeyDeletion(background, rootOf(testAccount), &ScheduleKeyDeletionRequest{KeyId: md.KeyId})),
		"policy":   failed(r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: defaultPolicy(testAccount)})),
		"rotation": failed(r.DisableKeyRotation(background, alice, &KeyRequest{md.KeyId})),
		"tag":      failed(r.TagResource(background, alice, &TagResourceRequest{md.KeyId, []Tag{{"a", "b"}}})),
		"alias":    failed(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/mine", md.KeyId})),
		"encrypt":  failed(r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x")})),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, err, codeAccessDenied) })
	}
	r.advance(366 * day)
	after := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: managedS3Alias}))(t).KeyMetadata
	if after.KeyId != md.KeyId || after.CurrentKeyMaterialId == md.CurrentKeyMaterialId {
		t.Error("not rotated after a year")
	}
}

func TestGrantLineage(t *testing.T) {
	bob, carol := user(testAccount, "bob"), user(testAccount, "carol")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{bob.ARN: noPolicy, carol.ARN: noPolicy})
	})
	md := r.newKey(nil)
	must(r.CreateGrant(background, alice, &CreateGrantRequest{
		KeyId: md.KeyId, GranteePrincipal: bob.ARN, Operations: []string{"CreateGrant", "Decrypt", "Encrypt"},
		Constraints: &GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1"}},
	}))(t)
	child := func(constraints *GrantConstraints, ops ...string) error {
		return failed(r.CreateGrant(background, bob, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: carol.ARN, Operations: ops, Constraints: constraints}))
	}
	narrow := &GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1", "b": "2"}}
	wantCode(t, child(narrow, "Decrypt", "GenerateDataKey"), codeAccessDenied)
	wantCode(t, child(nil, "Decrypt"), codeAccessDenied)
	wantCode(t, child(&GrantConstraints{EncryptionContextSubset: map[string]string{"b": "2"}}, "Decrypt"), codeAccessDenied)
	wantCode(t, child(narrow, "Encrypt"), "")
	enc := func(ec map[string]string) error {
		return failed(r.Encrypt(background, carol, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x"), EncryptionContext: ec}))
	}
	wantCode(t, enc(map[string]string{"a": "1", "b": "2"}), "")
	wantCode(t, enc(map[string]string{"a": "1", "b": "2", "c": "3"}), codeAccessDenied)
	wantCode(t, enc(map[string]string{"a": "1"}), codeAccessDenied)
}

// A grant for the empty context, or with empty constraints, must not become a grant for any context.
func TestEmptyConstraints(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	none, many := map[string]string{}, map[string]string{}
	for i := range maxConstraintPairs + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, constraints := range map[string]GrantConstraints{
		"nothing": {}, "equals nothing": {EncryptionContextEquals: none}, "subset nothing": {EncryptionContextSubset: none},
		"equals nothing, subset something": {EncryptionContextEquals: none, EncryptionContextSubset: map[string]string{"a": "1"}},
		"too many":                         {EncryptionContextSubset: many},
		"too long":                         {EncryptionContextEquals: map[string]string{"a": strings.Repeat("x", maxConstraintValue+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.CreateGrant(background, alice, &CreateGrantRequest{
				KeyId: md.KeyId, GranteePrincipal: user(otherAccount, "bob").ARN, Operations: []string{"Encrypt"}, Constraints: &constraints})
			wantCode(t, err, codeValidation)
		})
	}
}

// Each grant of a grantee counts, not only the first.
func TestAnyGrantBegets(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	bob := user(otherAccount, "bob")
	ops := []string{"Encrypt", "Decrypt", "DescribeKey"}
	for _, op := range ops {
		must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: bob.ARN, Operations: []string{"CreateGrant", op}}))(t)
	}
	beget := func(ops ...string) error {
		return failed(r.CreateGrant(background, bob, &CreateGrantRequest{KeyId: md.Arn, GranteePrincipal: user(otherAccount, "carol").ARN, Operations: ops}))
	}
	for _, op := range ops {
		wantCode(t, beget(op), "")
	}
	wantCode(t, beget("Encrypt", "Decrypt"), codeAccessDenied) // no single grant covers both
	wantCode(t, beget("GenerateDataKey"), codeAccessDenied)
}

func TestDryRunOfTheSameGrant(t *testing.T) {
	r := newRig(t)
	in := CreateGrantRequest{KeyId: r.newKey(nil).KeyId, GranteePrincipal: alice.ARN, Operations: []string{"Encrypt"}, Name: "n"}
	must(r.CreateGrant(background, alice, &in))(t)
	in.DryRun = true
	_, err := r.CreateGrant(background, alice, &in)
	wantCode(t, err, codeDryRun)
}

// RetireGrant is allowed to the grant's principals and accounts, and denied to everybody else in spite of policies and
// other grants.
func TestRetireGrant(t *testing.T) {
	named := func(name string) keystore.Caller { return user(testAccount, name) }
	deny := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"kms:*","Resource":"*"},{"Effect":"Deny","Action":"kms:RetireGrant","Resource":"*"}]}`
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{
			named("admin").ARN: allowKMS("kms:RetireGrant"), named("revoker").ARN: allowKMS("kms:RevokeGrant"),
			named("denied").ARN: deny, named("none").ARN: noPolicy,
			user(otherAccount, "admin").ARN: allowKMS("kms:RetireGrant"), user(otherAccount, "none").ARN: noPolicy,
			user(otherAccount, "key").ARN: noPolicy, user(otherAccount, "grantee").ARN: noPolicy, user(otherAccount, "another").ARN: noPolicy,
		})
	})
	keyAllows := user(otherAccount, "key")
	md := r.newKey(&CreateKeyRequest{Policy: one(
		`{"Effect":"Allow","Principal":{"AWS":"` + keyAllows.ARN + `"},"Action":"kms:RetireGrant","Resource":"*"}`)})
	grantee, grantAllows := user(otherAccount, "grantee"), user(otherAccount, "another")
	must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: grantAllows.ARN, Operations: []string{"RetireGrant"}}))(t)
	for _, test := range []struct {
		name     string
		caller   keystore.Caller
		retiring string
		ops      []string
		code     string
	}{
		{"the key's account", rootOf(testAccount), "", nil, ""},
		{"a user whose policy allows it", named("admin"), "", nil, ""},
		{"a user whose policy does not", named("revoker"), "", nil, codeAccessDenied},
		{"the retiring principal", named("none"), named("none").ARN, nil, ""},
		{"a retiring principal whose policy denies it", named("denied"), named("denied").ARN, nil, codeAccessDenied},
		{"the grantee", grantee, "", []string{"Encrypt"}, codeAccessDenied},
		{"the grantee with RetireGrant", grantee, "", []string{"Encrypt", "RetireGrant"}, ""},
		{"the grantee of another grant with RetireGrant", grantAllows, "", nil, codeAccessDenied},
		{"one whom the key policy allows it", keyAllows, "", nil, codeAccessDenied},
		{"another account", rootOf(otherAccount), "", nil, codeAccessDenied},
		{"a retiring account", rootOf(otherAccount), rootOf(otherAccount).ARN, nil, ""},
		{"a user of a retiring account", user(otherAccount, "admin"), rootOf(otherAccount).ARN, nil, ""},
		{"a user of a retiring account, not allowed", user(otherAccount, "none"), rootOf(otherAccount).ARN, nil, codeAccessDenied},
	} {
		t.Run(test.name, func(t *testing.T) {
			ops := test.ops
			if ops == nil {
				ops = []string{"Encrypt"}
			}
			g := must(r.CreateGrant(background, alice, &CreateGrantRequest{
				KeyId: md.KeyId, GranteePrincipal: grantee.ARN, RetiringPrincipal: test.retiring, Operations: ops}))(t)
			_, err := r.RetireGrant(background, test.caller, &RetireGrantRequest{KeyId: md.Arn, GrantId: g.GrantId})
			wantCode(t, err, test.code)
			left := must(r.ListGrants(background, alice, &ListGrantsRequest{KeyId: md.KeyId, GrantId: g.GrantId}))(t).Grants
			if (len(left) == 0) != (test.code == "") {
				t.Errorf("grants %+v", left)
			}
		})
	}
	gone := strings.Repeat("0", 64)
	_, err := r.RetireGrant(background, named("admin"), &RetireGrantRequest{KeyId: md.Arn, GrantId: gone})
	wantCode(t, err, codeNotFound)
	_, err = r.RetireGrant(background, grantAllows, &RetireGrantRequest{KeyId: md.Arn, GrantId: gone})
	wantCode(t, err, codeAccessDenied)
}

func TestContextNamesThatDifferInCase(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	_, err := r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x"), EncryptionContext: map[string]string{"a": "1", "A": "2"}})
	wantCode(t, err, codeValidation)
}

func TestLargeContext(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	for size, code := range map[int]string{maxContext: "", maxContext + 1: codeValidation} {
		ec := map[string]string{"name": strings.Repeat("v", size-len("name"))}
		_, err := r.Encrypt(background, alice, &EncryptRequest{KeyId: md.KeyId, Plaintext: []byte("x"), EncryptionContext: ec})
		wantCode(t, err, code)
	}
}

// Tags equal for a policy are refused, before a policy sees them, also beside existing tags.
func TestTagsThatDifferInCase(t *testing.T) {
	bob := user(testAccount, "bob")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{bob.ARN: `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Action":["kms:TagResource","kms:CreateKey"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestTag/access":"low"}}}]}`})
	})
	md := r.newKey(&CreateKeyRequest{Tags: []Tag{{"access", "low"}}})
	both := []Tag{{"access", "low"}, {"Access", "high"}}
	for range 20 {
		_, err := r.TagResource(background, bob, &TagResourceRequest{KeyId: md.KeyId, Tags: both})
		wantCode(t, err, codeTag)
		_, err = r.CreateKey(background, bob, &CreateKeyRequest{Tags: both})
		wantCode(t, err, codeTag)
	}
	_, err := r.TagResource(background, alice, &TagResourceRequest{KeyId: md.KeyId, Tags: []Tag{{"ACCESS", "high"}}})
	wantCode(t, err, codeTag)
	must(r.TagResource(background, bob, &TagResourceRequest{KeyId: md.KeyId, Tags: []Tag{{"access", "low"}, {"team", "blue"}}}))(t)
	must(r.UntagResource(background, alice, &UntagResourceRequest{md.KeyId, []string{"access"}}))(t)
	must(r.TagResource(background, alice, &TagResourceRequest{KeyId: md.KeyId, Tags: []Tag{{"ACCESS", "high"}}}))(t)
}

// Whether a key of another account exists is not for a stranger to find out.
func TestForeignKeysLookAlike(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	eve := user(otherAccount, "eve")
	missing := strings.Replace(md.Arn, md.KeyId[:8], "00000000", 1)
	_, there := r.DescribeKey(background, eve, &DescribeKeyRequest{KeyId: md.Arn})
	_, gone := r.DescribeKey(background, eve, &DescribeKeyRequest{KeyId: missing})
	wantCode(t, there, codeAccessDenied)
	wantCode(t, gone, codeAccessDenied)
	a, b := strings.ReplaceAll(there.Error(), md.Arn, "x"), strings.ReplaceAll(gone.Error(), missing, "x")
	if a != b {
		t.Errorf("%q and %q", a, b)
	}

	// Nor the key's aliases, even for a user of the key itself.
	must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/payroll", md.KeyId}))(t)
	must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: eve.ARN, Operations: []string{"DescribeKey"}}))(t)
	must(r.DescribeKey(background, eve, &DescribeKeyRequest{KeyId: md.Arn}))(t)
	_, there = r.ListAliases(background, eve, &ListAliasesRequest{KeyId: md.Arn})
	_, gone = r.ListAliases(background, eve, &ListAliasesRequest{KeyId: missing})
	wantCode(t, there, codeAccessDenied)
	wantCode(t, gone, codeAccessDenied)
	a, b = strings.ReplaceAll(there.Error(), md.Arn, "x"), strings.ReplaceAll(gone.Error(), missing, "x")
	if a != b {
		t.Errorf("%q and %q", a, b)
	}
}

// Nor whether an alias exists, or its target.
func TestForeignAliasesLookAlike(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/payroll", md.KeyId}))(t)
	eve := user(otherAccount, "eve")
	encrypt := func(name string) string {
		_, err := r.Encrypt(background, eve, &EncryptRequest{KeyId: aliasARN(testRegion, testAccount, name), Plaintext: []byte("x")})
		wantCode(t, err, codeAccessDenied)
		return strings.ReplaceAll(err.Error(), name, "x")
	}
	if a, b := encrypt("alias/payroll"), encrypt("alias/missing"); a != b || strings.Contains(a, md.KeyId) {
		t.Errorf("%q and %q", a, b)
	}
}

// TestAcrossAccounts: whatever its policy says, other accounts can only use a key; only its own account manages it.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
func TestAcrossAccounts(t *testing.T) {
	r := newRig(t)
	foreign := user(otherAccount, "bob")
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + testAccount + `","` + otherAccount + `"]},"Action":"kms:*","Resource":"*"}]}`
	md := r.newKey(&CreateKeyRequest{Policy: policy})
	blob := must(r.Encrypt(background, foreign, &EncryptRequest{KeyId: md.Arn, Plaintext: []byte("x")}))(t).CiphertextBlob
	must(r.ReEncrypt(background, foreign, &ReEncryptRequest{CiphertextBlob: blob, DestinationKeyId: md.Arn}))(t)
	must(r.DescribeKey(background, foreign, &DescribeKeyRequest{KeyId: md.Arn}))(t)
	must(r.GetKeyRotationStatus(background, foreign, &KeyRequest{md.Arn}))(t)
	grant := must(r.CreateGrant(background, foreign, &CreateGrantRequest{KeyId: md.Arn, GranteePrincipal: foreign.ARN, Operations: []string{"Decrypt"}}))(t)
	must(r.ListGrants(background, foreign, &ListGrantsRequest{KeyId: md.Arn}))(t)
	must(r.RevokeGrant(background, foreign, &RevokeGrantRequest{KeyId: md.Arn, GrantId: grant.GrantId}))(t)
	for name, err := range map[string]error{
		"ScheduleKeyDeletion":  failed(r.ScheduleKeyDeletion(background, foreign, &ScheduleKeyDeletionRequest{KeyId: md.Arn})),
		"PutKeyPolicy":         failed(r.PutKeyPolicy(background, foreign, &PutKeyPolicyRequest{KeyId: md.Arn, Policy: policy, BypassPolicyLockoutSafetyCheck: true})),
		"GetKeyPolicy":         failed(r.GetKeyPolicy(background, foreign, &GetKeyPolicyRequest{KeyId: md.Arn})),
		"DisableKey":           failed(r.DisableKey(background, foreign, &KeyRequest{md.Arn})),
		"UpdateKeyDescription": failed(r.UpdateKeyDescription(background, foreign, &UpdateKeyDescriptionRequest{md.Arn, "d"})),
		"EnableKeyRotation":    failed(r.EnableKeyRotation(background, foreign, &EnableKeyRotationRequest{KeyId: md.Arn})),
		"RotateKeyOnDemand":    failed(r.RotateKeyOnDemand(background, foreign, &KeyRequest{md.Arn})),
		"TagResource":          failed(r.TagResource(background, foreign, &TagResourceRequest{KeyId: md.Arn, Tags: []Tag{{"a", "b"}}})),
	} {
		if !isCode(err, codeAccessDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := must(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: md.Arn}))(t).KeyMetadata; got.KeyState != keystore.StateEnabled || got.Description != "" {
		t.Errorf("%+v", got)
	}
}

// TestNamesThatCannotBe: a malformed key name is refused as malformed, however long.
func TestNamesThatCannotBe(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 1500)
	for given, code := range map[string]string{
		"alias/" + long: codeNotFound,
		aliasARN(testRegion, testAccount, "alias/"+long):                            codeNotFound,
		"arn:aws:kms:" + testRegion + ":" + long + ":alias/a":                       codeInvalidArn,
		"arn:aws:kms:" + testRegion + ":1:key/00000000-0000-4000-8000-000000000000": codeInvalidArn,
	} {
		wantCode(t, failed(r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: given})), code)
	}
}

// ListRetirableGrants is authorized by the retiring principal, a principal of the caller's account.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_ListRetirableGrants.html
func TestWhoListsRetirableGrants(t *testing.T) {
	const service = "rds.amazonaws.com"
	app := role(testAccount, "app")
	allowed, denied := user(testAccount, "allowed"), user(testAccount, "denied")
	allowOne := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:ListRetirableGrants","Resource":"` + app.ARN + `"}]}`
	denyOne := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"},
		{"Effect":"Deny","Action":"kms:ListRetirableGrants","Resource":"` + app.ARN + `"}]}`
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{allowed.ARN: allowOne, denied.ARN: denyOne, alice.ARN: "", app.ARN: ""})
	})
	md := r.newKey(nil)
	for _, retiring := range []string{app.ARN, service} {
		must(r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: alice.ARN, RetiringPrincipal: retiring, Operations: []string{"Decrypt"}}))(t)
	}
	for _, test := range []struct {
		caller          keystore.Caller
		principal, code string
	}{
		{alice, app.ARN, ""},
		{allowed, app.ARN, ""},
		{allowed, alice.ARN, codeAccessDenied},
		{denied, app.ARN, codeAccessDenied},
		{denied, alice.ARN, ""},
		{alice, service, codeInvalidArn},
		{user(otherAccount, "mallory"), service, codeInvalidArn},
		{user(otherAccount, "mallory"), app.ARN, codeAccessDenied},
		{alice, user(otherAccount, "bob").ARN, codeAccessDenied},
		{alice, "app", codeInvalidArn},
	} {
		out, err := r.ListRetirableGrants(background, test.caller, &ListRetirableGrantsRequest{RetiringPrincipal: test.principal})
		if codeOf(err) != test.code || err == nil && (len(out.Grants) == 1) != (test.principal == app.ARN) {
			t.Errorf("%s, %s: %+v, %v, want %q", test.caller.ARN, test.principal, out, err, test.code)
		}
	}
}

// TestUnknownPrincipals: a principal outside the directory, or without a policy, may do what a key's policy or a grant
// allows it by name, and nothing by way of the account.
func TestUnknownPrincipals(t *testing.T) {
	r := newRig(t)
	made, err := r.CreateKey(background, alice, &CreateKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	nobody, err := iam.NewDirectory([]iam.User{{Name: "bare", ARN: iam.UserARN(testAccount, "bare"), AccountID: testAccount, AccessKey: "AKIABARE", Secret: iam.NewSecret("s")}})
	if err != nil {
		t.Fatal(err)
	}
	r.identities = nobody
	for _, arn := range []string{
		iam.UserARN(testAccount, "bare"), iam.UserARN(testAccount, "removed"), "arn:aws:iam::" + testAccount + ":role/unknown",
		"arn:aws:sts::" + testAccount + ":assumed-role/unknown/session", "arn:aws:sts::" + testAccount + ":federated-user/unknown",
	} {
		who := keystore.CallerOf(iam.Requester{ARN: arn, AccountID: testAccount}.Identify())
		for name, do := range map[string]func() error{
			"PutKeyPolicy": func() error {
				_, err := r.PutKeyPolicy(background, who, &PutKeyPolicyRequest{KeyId: id, Policy: defaultPolicy(testAccount)})
				return err
			},
			"ScheduleKeyDeletion": func() error {
				_, err := r.ScheduleKeyDeletion(background, who, &ScheduleKeyDeletionRequest{KeyId: id})
				return err
			},
			"CreateGrant": func() error {
				_, err := r.CreateGrant(background, who, &CreateGrantRequest{KeyId: id, GranteePrincipal: iam.UserARN(testAccount, "bare"), Operations: []string{"Decrypt"}})
				return err
			},
			"Encrypt": func() error {
				_, err := r.Encrypt(background, who, &EncryptRequest{KeyId: id, Plaintext: []byte("x")})
				return err
			},
			"CreateKey": func() error { _, err := r.CreateKey(background, who, &CreateKeyRequest{}); return err },
			"ListKeys":  func() error { _, err := r.ListKeys(background, who, &ListKeysRequest{}); return err },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("%s, %s: %v", arn, name, err)
			}
		}
	}
}
