package local

import (
	"testing"

	"waxseal/keystore/iam"
)

// TestKeyPolicyConditionKeys: a key policy with a Deny that could never hold is refused, and the answer names the
// condition key.
func TestKeyPolicyConditionKeys(t *testing.T) {
	r := newRig(t)
	key := r.newKey(nil)
	for condition, refused := range map[string]bool{
		`"StringEquals":{"aws:PrincipalType":"User"}`:         false,
		`"StringNotEquals":{"aws:ResourceAccount":"1"}`:       false,
		`"Bool":{"aws:PrincipalIsAWSService":"true"}`:         false,
		`"DateLessThan":{"aws:TokenIssueTime":"2026-01-01"}`:  false,
		`"Bool":{"aws:MultiFactorAuthPresent":"false"}`:       true,
		`"StringEquals":{"kms:KeySpecc":"SYMMETRIC_DEFAULT"}`: true,
		`"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}`:      true,
		`"Null":{"kms:EncryptionContext:team":"true"}`:        false,
	} {
		policy := `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"` + iam.RootARN(testAccount) + `"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*","Condition":{` + condition + `}}]}`
		_, err := r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: key.KeyId, Policy: policy, BypassPolicyLockoutSafetyCheck: true})
		if (err != nil) != refused {
			t.Errorf("%s: %v", condition, err)
		}
		if err != nil {
			wantCode(t, err, codeMalformedPolicy)
		}
	}
}
