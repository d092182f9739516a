package local

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Where things are in the state.
const (
	keyPrefix   = "kms/key/"   // <account>/<key id> -> record
	aliasPrefix = "kms/alias/" // <account>/<name without "alias/"> -> aliasRecord
	grantPrefix = "kms/grant/" // <key id>/<grant id> -> grantRecord
	countPrefix = "kms/count/" // <account> -> number of keys
	usagePrefix = "kms/usage/" // <key id> -> lastUse
	rootKey     = "kms/root"   // rootRecord
	eventPrefix = "kms/event/" // <event id> -> audit record still to be written
	doomPrefix  = "kms/doom/"  // <key id> of a deleted key with grants still to be removed
)

const (
	aliasNamePrefix    = "alias/"
	reservedAliasNames = "alias/aws/"
	managedS3Alias     = "alias/aws/s3"
)

func keyPath(account, id string) string { return keyPrefix + account + "/" + id }
func aliasPath(account, name string) string {
	return aliasPrefix + account + "/" + strings.TrimPrefix(name, aliasNamePrefix)
}
func grantPath(keyID, grantID string) string { return grantPrefix + keyID + "/" + grantID }

func keyARN(region, account, id string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", region, account, id)
}

func aliasARN(region, account, name string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:%s", region, account, name)
}

// partition is the partition of every ARN here: no key is in AWS's partitions for China or governments.
const partition = "aws"

// keyRef is a client's key identifier, parsed.
type keyRef struct {
	given   string
	account string
	region  string // empty unless an ARN was given
	id      string // a key id, or
	alias   string // an alias name, "alias/" included
}

// parseRef parses any of the four forms: key id, key ARN, alias name, alias ARN.
func parseRef(given, callerAccount string) (keyRef, error) {
	ref := keyRef{given: given, account: callerAccount}
	resource := given
	if strings.HasPrefix(given, "arn:") {
		parts := strings.SplitN(given, ":", 6)
		if len(parts) != 6 || parts[2] != "kms" || !isAccount(parts[4]) {
			return keyRef{}, failf(codeInvalidArn, "Invalid arn %s", given)
		}
		if parts[1] != partition {
			return keyRef{}, failf(codeNotFound, "Invalid arn %s", parts[1])
		}
		ref.region, ref.account, resource = parts[3], parts[4], parts[5]
		id, isKey := strings.CutPrefix(resource, "key/")
		if !isKey && !strings.HasPrefix(resource, aliasNamePrefix) {
			return keyRef{}, failf(codeInvalidArn, "Invalid arn %s", given)
		}
		if isKey {
			resource = id
		}
	}
	if strings.HasPrefix(resource, aliasNamePrefix) {
		if len(resource) > maxAlias {
			return keyRef{}, failf(codeNotFound, "Alias %.300s is not found.", resource)
		}
		ref.alias = resource
		return ref, nil
	}
	if !isKeyID(resource) {
		return keyRef{}, failf(codeNotFound, "Invalid keyId '%s'", resource)
	}
	ref.id = resource
	return ref, nil
}

// maxAlias is how long an alias can be, its prefix included.
const maxAlias = 256

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// isKeyID reports whether s is a UUID in canonical form, as KMS demands, or a Multi-Region id: such an id is well
// formed, but no key here has it.
func isKeyID(s string) bool {
	if hexDigits, ok := strings.CutPrefix(s, "mrk-"); ok {
		return len(hexDigits) == 32 && strings.Trim(hexDigits, "0123456789abcdef") == ""
	}
	return len(s) == 36 && uuid.Validate(s) == nil
}
