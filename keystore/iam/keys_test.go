package iam

import "testing"

// documentedKeys are global condition keys and the key service's, and whether requests to the key service have them here.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
var documentedKeys = map[string]bool{
	"aws:CalledVia": false, "aws:CalledViaFirst": false, "aws:CalledViaLast": false, "aws:CurrentTime": true,
	"aws:EpochTime": true, "aws:FederatedProvider": true, "aws:MultiFactorAuthAge": false,
	"aws:MultiFactorAuthPresent": false, "aws:PrincipalAccount": true, "aws:PrincipalArn": true,
	"aws:PrincipalIsAWSService": true, "aws:PrincipalOrgID": false, "aws:PrincipalOrgPaths": false,
	"aws:PrincipalServiceName": false, "aws:PrincipalServiceNamesList": false, "aws:PrincipalTag/team": false,
	"aws:PrincipalType": true, "aws:RequestTag/team": true, "aws:RequestedRegion": true, "aws:ResourceAccount": true,
	"aws:ResourceOrgID": false, "aws:ResourceOrgPaths": false, "aws:ResourceTag/team": true, "aws:SecureTransport": true,
	"aws:SourceAccount": false, "aws:SourceArn": false, "aws:SourceIdentity": false, "aws:SourceIp": true,
	"aws:SourceOrgID": false, "aws:SourceVpc": false, "aws:SourceVpcArn": false, "aws:SourceVpce": false,
	"aws:TagKeys": true, "aws:TokenIssueTime": true, "aws:UserAgent": true, "aws:ViaAWSService": true,
	"aws:VpcSourceIp": false, "aws:userid": true, "aws:username": true, "ec2:SourceInstanceARN": false,
	"kms:BypassPolicyLockoutSafetyCheck": true, "kms:CallerAccount": true, "kms:CustomerMasterKeySpec": true,
	"kms:DataKeyPairSpec": true, "kms:EncryptionAlgorithm": true, "kms:EncryptionContext:team": true,
	"kms:EncryptionContextKeys": true, "kms:ExpirationModel": true, "kms:GrantConstraintType": true,
	"kms:GrantIsForAWSResource": true, "kms:GrantOperations": true, "kms:GranteePrincipal": true,
	"kms:KeyAgreementAlgorithm": true, "kms:KeyOrigin": true, "kms:KeySpec": true, "kms:KeyUsage": true,
	"kms:MacAlgorithm": true, "kms:MessageType": true, "kms:MultiRegion": true, "kms:MultiRegionKeyType": false,
	"kms:PrimaryRegion": false, "kms:ReEncryptOnSameKey": true, "kms:RecipientAttestation:ImageSha384": false,
	"kms:ReplicaRegion": false, "kms:RequestAlias": true, "kms:ResourceAliases": true, "kms:RetiringPrincipal": true,
	"kms:RotationPeriodInDays": true, "kms:ScheduleKeyDeletionPendingWindowInDays": true, "kms:SigningAlgorithm": true,
	"kms:ValidTo": true, "kms:ViaService": true, "kms:WrappingAlgorithm": true, "kms:WrappingKeySpec": true,
	"kms:KeySpecc": false, "kms:EncryptionContext:": false, "kms:encryptioncontext": false, "aws:SourceIP4": false,
}

// TestVoidKeys: a condition on a key absent from requests is found wherever it would make a Deny void or an Allow
// unlimited, under every operator.
func TestVoidKeys(t *testing.T) {
	for _, test := range []struct {
		effect, operator string
		void             bool
	}{
		{"Deny", "StringEquals", true}, {"Deny", "StringNotEquals", true}, {"Deny", "StringLikeIfExists", true},
		{"Deny", "ForAnyValue:StringEquals", true}, {"Deny", "ForAllValues:StringEquals", true},
		{"Allow", "StringNotEquals", true}, {"Allow", "StringNotLike", true}, {"Allow", "StringEqualsIfExists", true},
		{"Allow", "ForAllValues:StringEquals", true}, {"Allow", "ForAllValues:StringNotEquals", true},
		{"Allow", "StringEquals", false}, {"Allow", "StringLike", false}, {"Allow", "ForAnyValue:StringEquals", false},
		{"Allow", "ForAnyValue:StringNotEquals", false}, {"Deny", "Null", true}, {"Allow", "Null", true},
	} {
		for key, known := range documentedKeys {
			p, err := ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"`+test.effect+`","Principal":"*","Action":"kms:*","Resource":"*",
				"Condition":{"`+test.operator+`":{"`+key+`":"true"}}}}`), Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := p.Statements()[0].VoidKey(func(_ *Statement, key string) bool { return KMSKeys.Has(key) })
			if (got != "") != (test.void && !known) {
				t.Errorf("%s %s %s: void key %q", test.effect, test.operator, key, got)
			}
		}
	}
}

// TestPrincipalsKeys: keys derived from the principal are always present.
func TestPrincipalsKeys(t *testing.T) {
	const account = "111122223333"
	for arn, kind := range map[string]string{
		UserARN(account, "alice"): "User", RootARN(account): "Account", "arn:aws:iam::" + account + ":role/r": "AssumedRole",
		"arn:aws:sts::" + account + ":assumed-role/r/s": "AssumedRole", "arn:aws:sts::" + account + ":federated-user/f": "FederatedUser",
	} {
		r := &Request{Principal: Principal{ARN: arn, AccountID: account, UserID: "id"}, Action: "kms:Decrypt", Resource: "arn:aws:kms:us-east-1:" + account + ":key/1"}
		for key, want := range map[string]string{"aws:principaltype": kind, "aws:principalisawsservice": "false",
			"aws:resourceaccount": account, "aws:principalaccount": account, "aws:userid": "id"} {
			if got := r.values(key); len(got) != 1 || got[0] != want {
				t.Errorf("%s of %s: %q, want %q", key, arn, got, want)
			}
		}
	}
}
