package local

import (
	"testing"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
)

// directory has users with policies of their own, until the test ends; everybody else may do everything.
func directory(t *testing.T, policies map[string]string) Identities {
	t.Helper()
	var users []iam.User
	for arn, document := range policies {
		account := arn[len("arn:aws:iam::"):][:12]
		u := iam.User{Name: arn[len(arn)-3:], ARN: arn, AccountID: account, AccessKey: "AKIA" + arn, Secret: iam.NewSecret("s")}
		u.Everything = document == ""
		if document != "" {
			p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
			if err != nil {
				t.Fatal(err)
			}
			u.Policy = p
		}
		users = append(users, u)
		was := *who(arn).Requester
		*people[arn] = *u.Requester()
		t.Cleanup(func() { *people[arn] = was })
	}
	d, err := iam.NewDirectory(users)
	if err != nil {
		t.Fatal(err)
	}
	return andEverybody{d}
}

const allowNothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`

func TestProviderSuite(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		denied := user(testAccount, "eve")
		r := newRig(t, func(c *Config) { c.Identities = directory(t, map[string]string{denied.ARN: allowNothing}) })
		key, other := r.newKey(nil), r.newKey(nil)
		asymmetric := r.newKey(&CreateKeyRequest{KeySpec: "ECC_NIST_P256", KeyUsage: usageSign})
		must(r.CreateAlias(background, alice, &CreateAliasRequest{"alias/suite", key.KeyId}))(t)
		return r.Provider(), keystoretest.Fixture{
			Key: key.KeyId, OtherKey: other.KeyId, Alias: "alias/suite", AliasARN: aliasARN(testRegion, testAccount, "alias/suite"),
			Missing: uuid.NewString(), Asymmetric: asymmetric.KeyId, Caller: alice, Denied: &denied,
			SetEnabled: func(t *testing.T, id string, enabled bool) {
				change := r.DisableKey
				if enabled {
					change = r.EnableKey
				}
				must(change(background, alice, &KeyRequest{id}))(t)
			},
			ScheduleDeletion: func(t *testing.T, id string) {
				must(r.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: id}))(t)
			},
			Rotate: func(t *testing.T, id string) { must(r.RotateKeyOnDemand(background, alice, &KeyRequest{id}))(t) },
		}
	})
}
