package local

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// Identities is the directory of existing principals, such as *iam.Directory.
type Identities = iam.Identities

// parseKeyPolicy reads a key policy.
func parseKeyPolicy(document string) (*iam.Policy, error) {
	return iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Resource})
}

// authorize decides about an operation on a key, as AWS KMS does: an explicit deny anywhere wins; then the key's
// policy must allow the caller itself, or hand the decision to the caller's account and the caller's own policy
// allow; or a grant must allow. For a caller of another account both policies must allow.
func (c *call) authorize(k *key, given string, a access) error {
	if c.caller.Service {
		return nil // the service decrypts its own data keys after it has authorized the requester, and acts for its operator
	}
	if err := checkContext(a.context); err != nil {
		return err
	}
	req := &iam.Request{
		Principal: c.principal(), Action: "kms:" + orDefault(a.action, c.op), Resource: k.arn(),
		Conditions: c.conditions(k.record, given, a),
	}
	return c.decide(k, k.policy, req, a)
}

// principal returns the caller for policy evaluation.
func (c *call) principal() iam.Principal { return c.caller.Requester.Principal() }

// acrossAccounts are the actions that a key's policy can allow to other accounts. For all other actions such a
// permission has no effect.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-modifying-external-accounts.html
var acrossAccounts = []string{
	"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
	"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "Verify", "GenerateMac", "VerifyMac", "DeriveSharedSecret",
	"DescribeKey", "GetPublicKey", "GetKeyRotationStatus", "CreateGrant", "ListGrants", "RevokeGrant", "RetireGrant",
}

func (c *call) decide(k *key, policy *iam.Policy, req *iam.Request, a access) error {
	byKey := policy.Decide(req)
	own := c.caller.Requester.Decide(req)
	sameAccount := req.Principal.AccountID == k.Account
	switch {
	case byKey.Decision == iam.Deny:
		return c.denied(req.Action, req.Resource, deniedResource)
	case own.Identity == iam.Deny:
		return c.denied(req.Action, req.Resource, deniedIdentity)
	case own.Session == iam.Deny:
		return c.denied(req.Action, req.Resource, deniedSession)
	case !sameAccount && !slices.Contains(acrossAccounts, strings.TrimPrefix(req.Action, "kms:")):
		return c.denied(req.Action, req.Resource, deniedNoResource)
	case byKey.Decision == iam.Allow && (own.Allowed() || sameAccount && own.Passes(byKey.By)):
		return nil
	}
	if g := c.grantFor(k, req, own, a); g != nil {
		c.extra["grantId"] = g.ID
		return nil
	}
	switch {
	case byKey.Decision == iam.Allow && own.Identity == iam.Allow, byKey.By == iam.ByRole:
		return c.denied(req.Action, req.Resource, deniedNoSession)
	case byKey.Decision == iam.Allow:
		return c.denied(req.Action, req.Resource, deniedNoIdentity)
	}
	return c.denied(req.Action, req.Resource, deniedNoResource)
}

// maxContext is the limit on the bytes of an encryption context's names and values. AWS documents no limit of its own;
// a context is authenticated, evaluated by policies and recorded with each use of a ciphertext, so it needs a bound.
const maxContext = 8 << 10

// checkContext refuses a context that is too large, and two names that differ in case only. Policies compare names
// without case: they could see the value of Team while the ciphertext is bound to the value of team.
func checkContext(ec keystore.Context) error {
	size := 0
	for name, value := range ec {
		size += len(name) + len(value)
	}
	if size > maxContext {
		return invalid("The encryption context exceeds the maximum size of %d bytes.", maxContext)
	}
	seen := make(map[string]bool, len(ec))
	for name := range ec {
		lower := strings.ToLower(name)
		if seen[lower] {
			return invalid("EncryptionContext has two keys that differ in case only.")
		}
		seen[lower] = true
	}
	return nil
}

// conditions returns the condition keys of a request on a key.
func (c *call) conditions(r *record, given string, a access) iam.Values {
	v := c.callerConditions()
	v.Set("kms:KeySpec", r.Spec)
	v.Set("kms:KeyUsage", r.Usage)
	v.Set("kms:KeyOrigin", r.Origin)
	v.Set("kms:CustomerMasterKeySpec", r.Spec)
	v.Set("kms:CustomerMasterKeyUsage", r.Usage)
	v.Set("kms:MultiRegion", "false")
	if len(r.Aliases) > 0 {
		v.Set("kms:ResourceAliases", r.Aliases...)
	}
	if i := strings.Index(given, aliasNamePrefix); i >= 0 {
		v.Set("kms:RequestAlias", given[i:])
	}
	for _, t := range r.Tags {
		v.Set("aws:ResourceTag/"+t.TagKey, t.TagValue)
	}
	for name, value := range a.context {
		v.Set("kms:EncryptionContext:"+name, value)
		keys, _ := v["kms:encryptioncontextkeys"]
		v.Set("kms:EncryptionContextKeys", append(keys, name)...)
	}
	for name, values := range a.facts {
		v.Set(name, values...)
	}
	return v
}

// callerConditions returns the condition values that do not depend on the key.
func (c *call) callerConditions() iam.Values {
	v := c.caller.Conditions(c.now, c.s.region)
	v.Set("kms:CallerAccount", c.caller.AccountID)
	if c.caller.ViaService != "" {
		v.Set("kms:ViaService", c.caller.ViaService)
	}
	return v
}

// allowAccount authorizes an action without a key: only the caller's own policy counts.
func (c *call) allowAccount(action, resource string, f facts) error {
	if c.caller.Service {
		return nil
	}
	req := &iam.Request{Principal: c.principal(), Action: action, Resource: resource, Conditions: c.callerConditions()}
	for name, values := range f {
		req.Conditions.Set(name, values...)
	}
	switch own := c.caller.Requester.Decide(req); {
	case own.Allowed():
		return nil
	case own.Identity == iam.Deny:
		return c.denied(action, resource, deniedIdentity)
	case own.Session == iam.Deny:
		return c.denied(action, resource, deniedSession)
	case own.Identity == iam.Allow:
		return c.denied(action, resource, deniedNoSession)
	}
	return c.denied(action, resource, deniedNoIdentity)
}

// allowAlias authorizes an operation on an alias; the operation on its key is authorized separately.
func (c *call) allowAlias(name string) error {
	return c.allowAccount("kms:"+c.op, aliasARN(c.s.region, c.caller.AccountID, name), facts{"kms:RequestAlias": {name}})
}

// allowCreate authorises CreateKey, and TagResource with it when the key gets tags.
func (c *call) allowCreate(in *CreateKeyRequest, r *record) error {
	f := requestTags(in.Tags)
	for name, value := range map[string]string{
		"kms:KeySpec": r.Spec, "kms:KeyUsage": r.Usage, "kms:KeyOrigin": r.Origin, "kms:MultiRegion": "false",
		"kms:CustomerMasterKeySpec": r.Spec, "kms:CustomerMasterKeyUsage": r.Usage,
		"kms:BypassPolicyLockoutSafetyCheck": strconv.FormatBool(in.BypassPolicyLockoutSafetyCheck),
	} {
		f[name] = []string{value}
	}
	if err := c.allowAccount("kms:CreateKey", "*", f); err != nil {
		return err
	}
	if len(in.Tags) > 0 {
		return c.allowAccount("kms:TagResource", r.arn(), f)
	}
	return nil
}

// checkPolicy returns an error for an unsuitable key policy. The policy must be well formed and, unless the caller takes
// the risk, leave the caller able to change it again.
func (c *call) checkPolicy(r *record, document string, bypass bool) error {
	if len(document) > c.s.limits.PolicyBytes {
		return failf(codeLimitExceeded, "The key policy exceeds the maximum size of %d bytes.", c.s.limits.PolicyBytes)
	}
	policy, err := parseKeyPolicy(document)
	var malformed *iam.MalformedError
	if errors.As(err, &malformed) {
		return failf(codeMalformedPolicy, "%s", malformed.Message)
	}
	if err == nil {
		err = c.s.checkPrincipals(policy)
	}
	if err != nil {
		return err
	}
	if err := checkConditionKeys(policy); err != nil || bypass {
		return err
	}
	req := &iam.Request{
		Principal: c.principal(), Action: "kms:PutKeyPolicy", Resource: r.arn(), Conditions: c.conditions(r, r.ID, access{}),
	}
	req.Conditions.Set("kms:BypassPolicyLockoutSafetyCheck", "false")
	future := &call{s: c.s, caller: c.caller, op: "PutKeyPolicy", now: c.now, extra: map[string]any{}}
	if err := future.decide(&key{record: r}, policy, req, access{}); err != nil {
		return failf(codeMalformedPolicy, "The new key policy will not allow you to update the key policy in the future.")
	}
	return nil
}

// checkConditionKeys refuses a policy with a condition key unknown to the key service: a Deny on it would be stored and
// would never hold.
func checkConditionKeys(p *iam.Policy) error {
	for _, st := range p.Statements() {
		if key := st.VoidKey(func(_ *iam.Statement, key string) bool { return iam.KMSKeys.Has(key) }); key != "" {
			return failf(codeMalformedPolicy, "Policy contains a condition key that this key service does not support: %s", key)
		}
	}
	return nil
}

// has reports whether a list of a request contains a value.
func has(list []string, value string) bool { return slices.Contains(list, value) }
