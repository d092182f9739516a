package iam

import (
	"path"
	"slices"
	"strings"
)

// Keys are the condition keys, in lower case, that the requests to a service have. A name that ends in an asterisk stands
// for every key that begins like it, as "kms:encryptioncontext:*".
type Keys []string

// NewKeys returns the keys of these names, beside those that every request has or that follow from its principal.
func NewKeys(names ...string) Keys {
	keys := slices.Clone(requestKeys)
	for _, name := range names {
		keys = append(keys, strings.ToLower(name))
	}
	return keys
}

// requestKeys are the global keys that hold for requests to every service here
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html).
var requestKeys = Keys{
	"aws:currenttime", "aws:epochtime", "aws:principalaccount", "aws:principalarn", "aws:principalisawsservice",
	"aws:principaltype", "aws:requestedregion", "aws:resourceaccount", "aws:securetransport", "aws:sourceip",
	"aws:useragent", "aws:userid", "aws:username", "aws:viaawsservice",
}

// KMSKeys are the condition keys of requests to the key service
// (https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html).
var KMSKeys = NewKeys(
	"aws:RequestTag/*", "aws:ResourceTag/*", "aws:TagKeys",
	"kms:BypassPolicyLockoutSafetyCheck", "kms:CallerAccount", "kms:CustomerMasterKeySpec", "kms:CustomerMasterKeyUsage",
	"kms:DataKeyPairSpec", "kms:EncryptionAlgorithm", "kms:EncryptionContext:*", "kms:EncryptionContextKeys",
	"kms:ExpirationModel", "kms:GrantConstraintType", "kms:GrantIsForAWSResource", "kms:GrantOperations",
	"kms:GranteePrincipal", "kms:KeyAgreementAlgorithm", "kms:KeyOrigin", "kms:KeySpec", "kms:KeyUsage",
	"kms:MacAlgorithm", "kms:MessageType", "kms:MultiRegion", "kms:ReEncryptOnSameKey", "kms:RequestAlias",
	"kms:ResourceAliases", "kms:RetiringPrincipal", "kms:RotationPeriodInDays",
	"kms:ScheduleKeyDeletionPendingWindowInDays", "kms:SigningAlgorithm", "kms:ValidTo", "kms:ViaService",
	"kms:WrappingAlgorithm", "kms:WrappingKeySpec",
)

// Has reports whether requests have a key, given in lower case.
func (k Keys) Has(key string) bool {
	return slices.ContainsFunc(k, func(name string) bool {
		prefix, wild := strings.CutSuffix(name, "*")
		return name == key || wild && len(key) > len(prefix) && strings.HasPrefix(key, prefix)
	})
}

// VoidKey returns a condition key that makes a statement say something else than it seems to, where known does not know
// it: a Deny that would never hold, or an Allow that would always hold, as one under StringNotEquals. An Allow that would
// never hold is safe. The answer is empty where there is no such key.
func (s *Statement) VoidKey(known func(s *Statement, key string) bool) string {
	for i := range s.conditions {
		c := &s.conditions[i]
		if (s.Effect == EffectDeny || c.operator.holdsWithoutKey()) && !known(s, c.key) {
			return c.key
		}
	}
	return ""
}

// holdsWithoutKey reports whether an operator can be met by a request that does not have the key.
func (o operator) holdsWithoutKey() bool {
	return o.kind == isNull || o.ifExists || o.set == forAll || o.set == single && o.negated
}

// AboutService reports whether a statement may be about actions of a service, as "s3" or "kms".
func (s *Statement) AboutService(service string) bool {
	if len(s.NotActions) > 0 {
		return !slices.ContainsFunc(s.NotActions, func(name string) bool { return name == "*" || strings.EqualFold(name, service+":*") })
	}
	return slices.ContainsFunc(s.Actions, func(name string) bool {
		of, _, _ := strings.Cut(strings.ToLower(name), ":")
		ok, err := path.Match(of, service)
		return ok || err != nil
	})
}
