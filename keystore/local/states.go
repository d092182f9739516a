package local

import "waxseal/keystore"

// verdict is the effect of a key's state on an operation.
type verdict int

const (
	allowed           verdict = iota
	notEnabled                // DisabledException "... is disabled."
	pendingDeletion           // KMSInvalidStateException "... is pending deletion."
	notPendingDeleted         // KMSInvalidStateException "... is not pending deletion."
	isPendingImport           // KMSInvalidStateException "... is pending import."
)

// stateRule is a row of AWS's key state table; Enabled allows everything but CancelKeyDeletion.
type stateRule struct{ enabled, disabled, deletion, imports verdict }

var (
	anyState    = stateRule{}
	cryptoRule  = stateRule{allowed, notEnabled, pendingDeletion, isPendingImport}
	changeRule  = stateRule{allowed, allowed, pendingDeletion, allowed}
	enableRule  = stateRule{allowed, allowed, pendingDeletion, isPendingImport}
	rotateRule  = stateRule{allowed, notEnabled, pendingDeletion, isPendingImport}
	cancelRule  = stateRule{notPendingDeleted, notPendingDeleted, allowed, notPendingDeleted}
	importsRule = stateRule{allowed, allowed, pendingDeletion, allowed}
)

// stateRules is the table "Key states of AWS KMS keys":
// https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html The states Unavailable, Creating, Updating and
// PendingReplicaDeletion belong to custom key stores and multi-Region keys. Both do not exist here. For a key pending
// deletion the table leaves open DisabledException or KMSInvalidStateException: it is the latter, as observed on AWS.
// Whether a key's origin or type allows an operation at all is the operation's own check.
var stateRules = map[string]stateRule{
	"CancelKeyDeletion":                   cancelRule,
	"CreateAlias":                         changeRule,
	"CreateGrant":                         cryptoRule,
	"Decrypt":                             cryptoRule,
	"DeleteAlias":                         anyState,
	"DeleteImportedKeyMaterial":           anyState,
	"DeriveSharedSecret":                  cryptoRule,
	"DescribeKey":                         anyState,
	"DisableKey":                          enableRule,
	"DisableKeyRotation":                  rotateRule,
	"EnableKey":                           enableRule,
	"EnableKeyRotation":                   rotateRule,
	"Encrypt":                             cryptoRule,
	"GenerateDataKey":                     cryptoRule,
	"GenerateDataKeyPair":                 cryptoRule,
	"GenerateDataKeyPairWithoutPlaintext": cryptoRule,
	"GenerateDataKeyWithoutPlaintext":     cryptoRule,
	"GenerateMac":                         cryptoRule,
	"GetKeyLastUsage":                     anyState,
	"GetKeyPolicy":                        anyState,
	"GetKeyRotationStatus":                anyState,
	"GetParametersForImport":              importsRule,
	"GetPublicKey":                        cryptoRule,
	"ImportKeyMaterial":                   importsRule,
	"ListAliases":                         anyState,
	"ListGrants":                          anyState,
	"ListKeyPolicies":                     anyState,
	"ListKeyRotations":                    anyState,
	"ListResourceTags":                    anyState,
	"PutKeyPolicy":                        anyState,
	"ReEncrypt":                           cryptoRule,
	"RetireGrant":                         anyState,
	"RevokeGrant":                         anyState,
	"RotateKeyOnDemand":                   rotateRule,
	"ScheduleKeyDeletion":                 changeRule,
	"Sign":                                cryptoRule,
	"TagResource":                         changeRule,
	"UntagResource":                       changeRule,
	"UpdateAlias":                         changeRule,
	"UpdateKeyDescription":                changeRule,
	"Verify":                              cryptoRule,
	"VerifyMac":                           cryptoRule,
}

// checkState applies the table. An operation without a row is a fault of this program, not of the client's.
func checkState(op string, r *record) error {
	rule, ok := stateRules[op]
	if !ok {
		panic("keystore/local: internal error: no key state rule for " + op)
	}
	var v verdict
	switch r.State {
	case keystore.StateEnabled:
		v = rule.enabled
	case keystore.StateDisabled:
		v = rule.disabled
	case keystore.StatePendingDeletion:
		v = rule.deletion
	case keystore.StatePendingImport:
		v = rule.imports
	default:
		return failf(codeKeyUnavailable, "%s is unavailable.", r.arn())
	}
	switch v {
	case notEnabled:
		return failf(codeDisabled, "%s is disabled.", r.arn())
	case pendingDeletion:
		return failf(codeInvalidState, "%s is pending deletion.", r.arn())
	case notPendingDeleted:
		return failf(codeInvalidState, "%s is not pending deletion.", r.arn())
	case isPendingImport:
		return failf(codeInvalidState, "%s is pending import.", r.arn())
	}
	return nil
}
