package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	embedded "waxseal/keystore/local"
	"waxseal/proxy/s3"
)

// The people of the source documents' policy deck, at the S3 endpoint: an application that only encrypts, one that only
// decrypts, a key's administrator, its users, and those of another account.

const partnerAccount = "444455556666"

// deckKeyPolicy is the deck's policy "key-consolepolicy-2" for the tests' account.
var deckKeyPolicy = strings.NewReplacer("OWN", testAccount, "PARTNER", partnerAccount).Replace(`{
 "Id": "key-consolepolicy-2", "Version": "2012-10-17",
 "Statement": [
  {"Sid": "Enable IAM policies", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::OWN:root"}, "Action": "kms:*", "Resource": "*"},
  {"Sid": "Allow access for Key Administrators", "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::OWN:user/keyadmin"]},
   "Action": ["kms:Describe*", "kms:Put*", "kms:Create*", "kms:Update*", "kms:Enable*", "kms:Revoke*", "kms:List*", "kms:Disable*",
    "kms:Get*", "kms:Delete*", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:TagResource", "kms:UntagResource"], "Resource": "*"},
  {"Sid": "Allow use of the key", "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::OWN:user/keyuser", "arn:aws:iam::PARTNER:root"]},
   "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"], "Resource": "*"},
  {"Sid": "Allow attachment of persistent resources", "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::OWN:user/keyuser", "arn:aws:iam::PARTNER:root"]},
   "Action": ["kms:ListGrants", "kms:CreateGrant", "kms:RevokeGrant"], "Resource": "*", "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}}
 ]}`)

// deck are users with the KMS actions that their own policies allow beside everything of S3.
var deck = []struct {
	name, account string
	kms           []string
	writes, reads bool // under a key with the deck's policy
}{
	{"encrypter", testAccount, []string{"kms:Encrypt", "kms:GenerateDataKey*"}, true, false},
	{"decrypter", testAccount, []string{"kms:Decrypt"}, false, true},
	{"keyuser", testAccount, nil, true, true}, // named by the key's policy
	{"keyadmin", testAccount, nil, false, false},
	{"nobody", testAccount, nil, false, false},
	{"partner", partnerAccount, []string{"kms:*"}, true, true},
	{"partnerwriter", partnerAccount, []string{"kms:GenerateDataKey"}, true, false},
	{"partnerintern", partnerAccount, nil, false, false}, // his account is let in, and does not let him
	{"stranger", "999999999999", []string{"kms:*"}, false, false},
}

func startDeck(t *testing.T) *contractKit {
	t.Helper()
	return startContract(t, func(c *Config) {
		root := userOf(c.Users, testAccess)
		users := []iam.User{*root}
		for _, d := range deck {
			actions := `"s3:*"`
			for _, a := range d.kms {
				actions += `,"` + a + `"`
			}
			p, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+actions+`],"Resource":"*"}]}`),
				iam.Options{Kind: iam.Identity})
			if err != nil {
				t.Fatal(err)
			}
			users = append(users, iam.User{Name: d.name, ARN: iam.UserARN(d.account, d.name), AccountID: d.account,
				AccessKey: "AKIA" + d.name, Secret: iam.NewSecret(d.name + "-secret"), Policy: p})
		}
		if err := c.Users.Replace(users); err != nil {
			t.Fatal(err)
		}
	})
}

// judged wants a success, or a refusal that names the KMS action.
func judged(t *testing.T, a answer, allowed bool, arn, action, key string) {
	t.Helper()
	if allowed {
		a.ok(t)
		return
	}
	a.fails(t, 403, s3.AccessDenied, "")
	e := s3.ParseError(a.StatusCode, a.body)
	if want := "User: " + arn + " is not authorized to perform: kms:" + action + " on resource: " + key; !strings.HasPrefix(e.Message, want) {
		t.Errorf("message %q, want %q...", e.Message, want)
	}
}

// TestPolicyDeck: who writes and who reads under a key, in every mode that uses it, also while its keys are in memory.
func TestPolicyDeck(t *testing.T) {
	k := startDeck(t)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy = deckKeyPolicy })
	for name, h := range map[string]hdr{"SSE-KMS": sseKMS(key), "SSE-KMS with a Bucket Key": with(sseKMS(key), bucketKeyOn()), "DSSE-KMS": dsse(key)} {
		k.ask("PUT", k.object("there"), h, "x").ok(t)
		for _, who := range deck {
			arn := iam.UserARN(who.account, who.name)
			k.run(t, name+"/"+who.name, func(t *testing.T) {
				judged(t, k.askAs(who.name, "PUT", k.object("new"), h, "x"), who.writes, arn, "GenerateDataKey", key)
				judged(t, k.askAs(who.name, "GET", k.object("there"), nil, ""), who.reads, arn, "Decrypt", key)
				// Without the plaintext there is nothing to ask the KMS for.
				k.askAs(who.name, "HEAD", k.object("there"), nil, "").ok(t)
			})
		}
	}
}

// TestPolicyDeckCopies: a copy reads and writes, so it needs both.
func TestPolicyDeckCopies(t *testing.T) {
	k := startDeck(t)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy = deckKeyPolicy })
	k.ask("PUT", k.object("sealed"), sseKMS(key), "x").ok(t)
	k.ask("PUT", k.object("plain"), nil, "x").ok(t)
	for _, who := range deck {
		arn := iam.UserARN(who.account, who.name)
		k.run(t, who.name, func(t *testing.T) {
			from := func(source string, h hdr) answer {
				return k.askAs(who.name, "PUT", k.object("copy"), with(h, hdr{"x-amz-copy-source": k.object(source)}), "")
			}
			judged(t, from("sealed", sseS3()), who.reads, arn, "Decrypt", key)
			judged(t, from("plain", sseKMS(key)), who.writes, arn, "GenerateDataKey", key)
			from("plain", sseS3()).ok(t) // uses no KMS key
			if both := from("sealed", sseKMS(key)); both.StatusCode == 200 != (who.reads && who.writes) {
				t.Errorf("from and to SSE-KMS: %s", both.Status)
			}
		})
	}
}

// TestPolicyDeckUploads: an upload in parts asks for GenerateDataKey when it begins and for Decrypt after, so whoever may
// only encrypt cannot do it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
func TestPolicyDeckUploads(t *testing.T) {
	k := startDeck(t)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy = deckKeyPolicy })
	for _, who := range deck {
		arn := iam.UserARN(who.account, who.name)
		k.run(t, who.name, func(t *testing.T) {
			begun := k.askAs(who.name, "POST", k.object("mp")+"?uploads=", sseKMS(key), "")
			judged(t, begun, who.writes, arn, "GenerateDataKey", key)
			if !who.writes {
				return
			}
			id := reply[s3.InitiateMultipartUploadResult](t, begun.body).UploadID
			part := k.askAs(who.name, "PUT", k.object("mp")+"?partNumber=1&uploadId="+id, nil, "x")
			judged(t, part, who.reads, arn, "Decrypt", key)
			if who.reads {
				k.askAs(who.name, "POST", k.object("mp")+"?uploadId="+id, nil, completeBody(part.Header.Get("Etag"))).ok(t)
			}
		})
	}
}

// TestPolicyDeckDefaults: a bucket's default key is asked for like one that the request names; SSE-S3 asks nobody.
func TestPolicyDeckDefaults(t *testing.T) {
	k := startDeck(t)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy = deckKeyPolicy })
	k.setDefault(k.bucket, algKMS, key, true)
	k.ask("PUT", k.object("there"), nil, "x").ok(t)
	for _, who := range deck {
		arn := iam.UserARN(who.account, who.name)
		k.run(t, who.name, func(t *testing.T) {
			judged(t, k.askAs(who.name, "PUT", k.object("new"), nil, "x"), who.writes, arn, "GenerateDataKey", key)
			judged(t, k.askAs(who.name, "GET", k.object("there"), nil, ""), who.reads, arn, "Decrypt", key)
			k.askAs(who.name, "PUT", k.object("own"), sseS3(), "x").ok(t)
			k.askAs(who.name, "GET", k.object("own"), nil, "").ok(t)
		})
	}
}

// TestPolicyDeckRecords: the log tells who wrote and who read, with which context, and who was refused.
func TestPolicyDeckRecords(t *testing.T) {
	k := startDeck(t)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy = deckKeyPolicy })
	var got []string
	for _, r := range k.wantCalls(func() {
		k.askAs("encrypter", "PUT", k.object("o"), sseKMS(key), "x").ok(t)
		k.askAs("decrypter", "GET", k.object("o"), nil, "").ok(t)
		k.askAs("encrypter", "GET", k.object("o"), nil, "").fails(t, 403, s3.AccessDenied, "")
		k.askAs("stranger", "GET", k.object("o"), nil, "").fails(t, 403, s3.AccessDenied, "")
	}, "GenerateDataKey", "Decrypt", "Decrypt AccessDenied", "Decrypt AccessDenied") {
		got = append(got, strings.Join([]string{r.EventName, r.UserIdentity.UserName, r.UserIdentity.InvokedBy, r.ErrorCode,
			r.RecipientAccountID, fmt.Sprint(r.RequestParameters["encryptionContext"])}, "|"))
	}
	ec := fmt.Sprint(map[string]string{"aws:s3:arn": "arn:aws:s3:::" + k.bucket + "/o"})
	want := []string{
		"GenerateDataKey|encrypter|AWS Internal||" + testAccount + "|" + ec,
		"Decrypt|decrypter|AWS Internal||" + testAccount + "|" + ec,
		"Decrypt|encrypter|AWS Internal|AccessDenied|" + testAccount + "|" + ec,
		"Decrypt|stranger|AWS Internal|AccessDenied|999999999999|" + ec,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
