package iam

import (
	"path"
	"slices"
	"strings"
)

// Keys are the condition keys, in lower case, of the requests to a service. A name with an asterisk at its end stands
// for every key with this prefix, for example "kms:encryptioncontext:*".
type Keys []string

// NewKeys returns the keys of these names, beside the keys of every request and the keys derived from its principal.
func NewKeys(names ...string) Keys {
	keys := slices.Clone(requestKeys)
	for _, name := range names {
		keys = append(keys, strings.ToLower(name))
	}
	return keys
}

// requestKeys are the global keys of requests to every service here
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html).
var requestKeys = Keys{
	"aws:currenttime", "aws:epochtime", "aws:federatedprovider", "aws:principalaccount", "aws:principalarn", "aws:principalisawsservice",
	"aws:principaltype", "aws:requestedregion", "aws:resourceaccount", "aws:securetransport", "aws:sourceip",
	"aws:tokenissuetime", "aws:useragent", "aws:userid", "aws:username", "aws:viaawsservice",
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

// VoidKey returns a condition key, unknown to known, that makes a statement misleading: a Deny that never holds, or an
// Allow that always holds, for example under StringNotEquals. An Allow that never holds is safe. Without such a key
// VoidKey returns "".
func (s *Statement) VoidKey(known func(s *Statement, key string) bool) string {
	for i := range s.conditions {
		c := &s.conditions[i]
		if (s.Effect == EffectDeny || c.operator.holdsWithoutKey()) && !known(s, c.key) {
			return c.key
		}
	}
	return ""
}

// holdsWithoutKey reports whether a request without the key can meet an operator.
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
