package kmsapi

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// The tests here drive every operation with the AWS SDK for Go, a client independent of this code.

func newKey(t *testing.T, c *kms.Client, in *kms.CreateKeyInput) *types.KeyMetadata {
	t.Helper()
	if in == nil {
		in = &kms.CreateKeyInput{}
	}
	return must(c.CreateKey(background, in))(t).KeyMetadata
}

func TestSDKKeys(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, &kms.CreateKeyInput{Description: aws.String("first"), Tags: []types.Tag{{TagKey: aws.String("k"), TagValue: aws.String("v")}}})
	if !md.Enabled || md.KeyState != types.KeyStateEnabled || *md.AWSAccountId != testAccount || md.KeyManager != types.KeyManagerTypeCustomer ||
		md.KeySpec != types.KeySpecSymmetricDefault || md.KeyUsage != types.KeyUsageTypeEncryptDecrypt || *md.MultiRegion ||
		!slices.Equal(md.EncryptionAlgorithms, []types.EncryptionAlgorithmSpec{"SYMMETRIC_DEFAULT"}) || len(*md.CurrentKeyMaterialId) != 64 ||
		*md.Arn != "arn:aws:kms:ap-northeast-2:111122223333:key/"+*md.KeyId || time.Since(*md.CreationDate) > time.Minute {
		t.Errorf("metadata %+v", md)
	}
	id := md.KeyId
	must(c.UpdateKeyDescription(background, &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("second")}))(t)
	must(c.DisableKey(background, &kms.DisableKeyInput{KeyId: id}))(t)
	got := must(c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.Arn}))(t).KeyMetadata
	if *got.Description != "second" || got.KeyState != types.KeyStateDisabled || got.Enabled {
		t.Errorf("described %+v", got)
	}
	_, err := c.Encrypt(background, &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	wantException(t, err, "DisabledException", *md.Arn+" is disabled.")
	must(c.EnableKey(background, &kms.EnableKeyInput{KeyId: id}))(t)

	gone := must(c.ScheduleKeyDeletion(background, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)}))(t)
	if gone.KeyState != types.KeyStatePendingDeletion || *gone.PendingWindowInDays != 7 || time.Until(*gone.DeletionDate) > 7*24*time.Hour {
		t.Errorf("scheduled %+v", gone)
	}
	_, err = c.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: id, KeySpec: types.DataKeySpecAes256})
	wantException(t, err, "KMSInvalidStateException", *md.Arn+" is pending deletion.")
	got = must(c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: id}))(t).KeyMetadata
	// The window is for primary keys in PendingReplicaDeletion only: their deletion has no date yet.
	if got.DeletionDate == nil || got.PendingDeletionWindowInDays != nil {
		t.Errorf("described %+v", got)
	}
	back := must(c.CancelKeyDeletion(background, &kms.CancelKeyDeletionInput{KeyId: id}))(t)
	got = must(c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: id}))(t).KeyMetadata
	if *back.KeyId != *md.Arn || got.KeyState != types.KeyStateDisabled || got.DeletionDate != nil {
		t.Errorf("cancelled %+v", got)
	}
	for _, days := range []int32{6, 31, 400} {
		_, err = c.ScheduleKeyDeletion(background, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(days)})
		wantException(t, err, "ValidationException", "")
	}
}

func TestSDKListsInPages(t *testing.T) {
	c := start(t).client("alice")
	var want, got []string
	for range 7 {
		want = append(want, *newKey(t, c, nil).KeyId)
	}
	slices.Sort(want)
	pages := kms.NewListKeysPaginator(c, &kms.ListKeysInput{Limit: aws.Int32(3)})
	count := 0
	for pages.HasMorePages() {
		count++
		for _, k := range must(pages.NextPage(background))(t).Keys {
			got = append(got, *k.KeyId)
		}
	}
	if !slices.Equal(got, want) || count != 3 {
		t.Errorf("got %v in %d pages, want %v", got, count, want)
	}
	for _, name := range []string{"alias/a", "alias/b/c", "alias/d"} {
		must(c.CreateAlias(background, &kms.CreateAliasInput{AliasName: aws.String(name), TargetKeyId: &want[0]}))(t)
	}
	var names []string
	aliases := kms.NewListAliasesPaginator(c, &kms.ListAliasesInput{Limit: aws.Int32(2), KeyId: &want[0]})
	for aliases.HasMorePages() {
		for _, a := range must(aliases.NextPage(background))(t).Aliases {
			names = append(names, *a.AliasName)
		}
	}
	if !slices.Equal(names, []string{"alias/a", "alias/b/c", "alias/d"}) {
		t.Errorf("aliases %v", names)
	}
	_, err := c.ListKeys(background, &kms.ListKeysInput{Marker: aws.String("nonsense")})
	wantException(t, err, "InvalidMarkerException", "")
}

func TestSDKAliases(t *testing.T) {
	c := start(t).client("alice")
	one, two := newKey(t, c, nil), newKey(t, c, nil)
	mac := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
	name := aws.String("alias/app")
	must(c.CreateAlias(background, &kms.CreateAliasInput{AliasName: name, TargetKeyId: one.KeyId}))(t)
	_, err := c.CreateAlias(background, &kms.CreateAliasInput{AliasName: name, TargetKeyId: two.KeyId})
	wantException(t, err, "AlreadyExistsException", "An alias with the name arn:aws:kms:ap-northeast-2:111122223333:alias/app already exists")
	enc := must(c.Encrypt(background, &kms.EncryptInput{KeyId: name, Plaintext: []byte("x")}))(t)
	if *enc.KeyId != *one.Arn {
		t.Errorf("alias led to %s", *enc.KeyId)
	}
	must(c.UpdateAlias(background, &kms.UpdateAliasInput{AliasName: name, TargetKeyId: two.KeyId}))(t)
	enc = must(c.Encrypt(background, &kms.EncryptInput{KeyId: aws.String("arn:aws:kms:ap-northeast-2:111122223333:alias/app"), Plaintext: []byte("x")}))(t)
	if *enc.KeyId != *two.Arn {
		t.Errorf("alias led to %s", *enc.KeyId)
	}
	_, err = c.UpdateAlias(background, &kms.UpdateAliasInput{AliasName: name, TargetKeyId: mac.KeyId})
	wantException(t, err, "ValidationException", "")
	_, err = c.EnableKey(background, &kms.EnableKeyInput{KeyId: name})
	wantException(t, err, "NotFoundException", "Invalid keyId 'alias/app'")
	must(c.DeleteAlias(background, &kms.DeleteAliasInput{AliasName: name}))(t)
	_, err = c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: name})
	wantException(t, err, "NotFoundException", "Alias arn:aws:kms:ap-northeast-2:111122223333:alias/app is not found.")
	for _, bad := range []string{"app", "alias/"} {
		_, err = c.CreateAlias(background, &kms.CreateAliasInput{AliasName: &bad, TargetKeyId: one.KeyId})
		wantException(t, err, "ValidationException", `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	}
	_, err = c.CreateAlias(background, &kms.CreateAliasInput{AliasName: aws.String("alias/a:b"), TargetKeyId: one.KeyId})
	wantException(t, err, "ValidationException", "alias/a:b contains invalid characters for an alias")
	_, err = c.CreateAlias(background, &kms.CreateAliasInput{AliasName: aws.String("alias/x"), TargetKeyId: aws.String("alias/y")})
	wantException(t, err, "ValidationException", "Aliases must refer to keys. Not aliases")
	_, err = c.CreateAlias(background, &kms.CreateAliasInput{AliasName: aws.String("alias/a!"), TargetKeyId: one.KeyId})
	wantException(t, err, "ValidationException", "1 validation error detected: Value 'alias/a!' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")
	_, err = c.CreateAlias(background, &kms.CreateAliasInput{AliasName: aws.String("alias/aws/x"), TargetKeyId: one.KeyId})
	wantException(t, err, "NotAuthorizedException", "")
}

func TestSDKTagsAndPolicies(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, nil)
	tags := func(pairs ...string) (out []types.Tag) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, types.Tag{TagKey: &pairs[i], TagValue: &pairs[i+1]})
		}
		return out
	}
	must(c.TagResource(background, &kms.TagResourceInput{KeyId: md.KeyId, Tags: tags("a", "1", "b", "2")}))(t)
	must(c.TagResource(background, &kms.TagResourceInput{KeyId: md.KeyId, Tags: tags("b", "3", "c", "4")}))(t)
	must(c.UntagResource(background, &kms.UntagResourceInput{KeyId: md.KeyId, TagKeys: []string{"a"}}))(t)
	list := must(c.ListResourceTags(background, &kms.ListResourceTagsInput{KeyId: md.KeyId}))(t).Tags
	if len(list) != 2 || *list[0].TagKey != "b" || *list[0].TagValue != "3" || *list[1].TagKey != "c" {
		t.Errorf("tags %v", list)
	}
	_, err := c.TagResource(background, &kms.TagResourceInput{KeyId: md.KeyId, Tags: tags("x", "1", "x", "2")})
	wantException(t, err, "TagException", "Duplicate tag keys")
	_, err = c.TagResource(background, &kms.TagResourceInput{KeyId: md.KeyId, Tags: tags("AWS:x", "1")})
	wantException(t, err, "TagException", "Tags beginning with aws: are reserved")
	_, err = c.TagResource(background, &kms.TagResourceInput{KeyId: md.KeyId, Tags: tags(strings.Repeat("a", 129), "1")})
	wantException(t, err, "ValidationException", "1 validation error detected: Value '"+strings.Repeat("a", 129)+
		"' at 'tags.1.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 128")

	got := must(c.GetKeyPolicy(background, &kms.GetKeyPolicyInput{KeyId: md.KeyId}))(t)
	if !strings.Contains(*got.Policy, "arn:aws:iam::111122223333:root") || *got.PolicyName != "default" {
		t.Errorf("policy %s", *got.Policy)
	}
	if names := must(c.ListKeyPolicies(background, &kms.ListKeyPoliciesInput{KeyId: md.KeyId}))(t); !slices.Equal(names.PolicyNames, []string{"default"}) {
		t.Errorf("names %v", names.PolicyNames)
	}
	must(c.PutKeyPolicy(background, &kms.PutKeyPolicyInput{KeyId: md.KeyId, Policy: got.Policy}))(t)
	lockout := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"},"Action":"kms:*","Resource":"*"}]}`
	_, err = c.PutKeyPolicy(background, &kms.PutKeyPolicyInput{KeyId: md.KeyId, Policy: &lockout})
	wantException(t, err, "MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	_, err = c.PutKeyPolicy(background, &kms.PutKeyPolicyInput{KeyId: md.KeyId, Policy: aws.String("{")})
	wantException(t, err, "MalformedPolicyDocumentException", "")
	must(c.PutKeyPolicy(background, &kms.PutKeyPolicyInput{KeyId: md.KeyId, Policy: &lockout, BypassPolicyLockoutSafetyCheck: true}))(t)
	_, err = c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.KeyId})
	wantException(t, err, "AccessDeniedException", "")
}

func TestSDKCrypto(t *testing.T) {
	e := start(t)
	c := e.client("alice")
	md, other := newKey(t, c, nil), newKey(t, c, nil)
	ec := map[string]string{"purpose": "test"}
	dk := must(c.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.KeyId, KeySpec: types.DataKeySpecAes256, EncryptionContext: ec}))(t)
	dec := must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: dk.CiphertextBlob, EncryptionContext: ec}))(t)
	if !bytes.Equal(dk.Plaintext, dec.Plaintext) || len(dk.Plaintext) != 32 || *dec.KeyId != *md.Arn || dec.EncryptionAlgorithm != "SYMMETRIC_DEFAULT" ||
		*dk.KeyMaterialId != *md.CurrentKeyMaterialId {
		t.Errorf("data key %+v, %+v", dk, dec)
	}
	_, err := c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: dk.CiphertextBlob})
	wantException(t, err, "InvalidCiphertextException", "")
	_, err = c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: dk.CiphertextBlob, EncryptionContext: ec, KeyId: other.KeyId})
	wantException(t, err, "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	without := must(c.GenerateDataKeyWithoutPlaintext(background, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: md.KeyId, NumberOfBytes: aws.Int32(1024)}))(t)
	if dec := must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: without.CiphertextBlob}))(t); len(dec.Plaintext) != 1024 {
		t.Errorf("%d bytes", len(dec.Plaintext))
	}
	moved := must(c.ReEncrypt(background, &kms.ReEncryptInput{
		CiphertextBlob: dk.CiphertextBlob, SourceEncryptionContext: ec, DestinationKeyId: other.KeyId,
	}))(t)
	if *moved.SourceKeyId != *md.Arn || *moved.KeyId != *other.Arn || *moved.DestinationKeyMaterialId != *other.CurrentKeyMaterialId {
		t.Errorf("moved %+v", moved)
	}
	if dec := must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob}))(t); !bytes.Equal(dec.Plaintext, dk.Plaintext) {
		t.Error("ReEncrypt changed the plaintext")
	}
	if r := must(c.GenerateRandom(background, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(12)}))(t); len(r.Plaintext) != 12 {
		t.Errorf("%d random bytes", len(r.Plaintext))
	}
	_, err = c.GenerateRandom(background, &kms.GenerateRandomInput{})
	wantException(t, err, "ValidationException", "NumberOfBytes is required.")
	_, err = c.GenerateRandom(background, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})
	wantException(t, err, "ValidationException", "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have value less than or equal to 1024")
	_, err = c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: make([]byte, 4097)})
	wantException(t, err, "ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096")
	_, err = c.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.KeyId, KeySpec: types.DataKeySpecAes256, DryRun: aws.Bool(true)})
	wantException(t, err, "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
	_, err = c.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.KeyId})
	wantException(t, err, "ValidationException", "")
	for _, spec := range []types.DataKeyPairSpec{types.DataKeyPairSpecRsa2048, types.DataKeyPairSpecEccNistP256, types.DataKeyPairSpecEccNistP521, "ECC_NIST_EDWARDS25519"} {
		pair := must(c.GenerateDataKeyPair(background, &kms.GenerateDataKeyPairInput{KeyId: md.KeyId, KeyPairSpec: spec}))(t)
		private := must(x509.ParsePKCS8PrivateKey(pair.PrivateKeyPlaintext))(t).(crypto.Signer)
		public := must(x509.MarshalPKIXPublicKey(private.Public()))(t)
		dec := must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: pair.PrivateKeyCiphertextBlob}))(t)
		if !bytes.Equal(public, pair.PublicKey) || !bytes.Equal(dec.Plaintext, pair.PrivateKeyPlaintext) {
			t.Errorf("%s: pair does not fit", spec)
		}
	}
	must(c.GenerateDataKeyPairWithoutPlaintext(background, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: md.KeyId, KeyPairSpec: "ECC_NIST_P384"}))(t)
	_, err = c.GenerateDataKeyPair(background, &kms.GenerateDataKeyPairInput{KeyId: md.KeyId, KeyPairSpec: types.DataKeyPairSpecEccSecgP256k1})
	wantException(t, err, "UnsupportedOperationException", "KeyPairSpec ECC_SECG_P256K1 is not supported by this key service.")

	usage := must(c.GetKeyLastUsage(background, &kms.GetKeyLastUsageInput{KeyId: md.KeyId}))(t)
	records := e.audit.Records()
	found := slices.ContainsFunc(records, func(r auditRecord) bool {
		return r.EventID == aws.ToString(usage.KeyLastUsage.CloudTrailEventId) && r.EventName == "GenerateDataKeyPairWithoutPlaintext"
	})
	if !found {
		t.Errorf("last usage %+v is no record", usage.KeyLastUsage)
	}
}

func TestSDKSigning(t *testing.T) {
	c := start(t).client("alice")
	message := []byte("a message")
	digest := sha256.Sum256(message)
	for spec, algorithms := range map[types.KeySpec][]types.SigningAlgorithmSpec{
		types.KeySpecRsa2048:     {"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_512", "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384"},
		types.KeySpecEccNistP256: {"ECDSA_SHA_256"}, types.KeySpecEccNistP384: {"ECDSA_SHA_384"}, types.KeySpecEccNistP521: {"ECDSA_SHA_512"},
		"ECC_NIST_EDWARDS25519": {"ED25519_SHA_512"},
	} {
		md := newKey(t, c, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: types.KeyUsageTypeSignVerify})
		for _, alg := range algorithms {
			sig := must(c.Sign(background, &kms.SignInput{KeyId: md.KeyId, Message: message, SigningAlgorithm: alg}))(t)
			if ok := must(c.Verify(background, &kms.VerifyInput{KeyId: md.KeyId, Message: message, SigningAlgorithm: alg, Signature: sig.Signature}))(t); !ok.SignatureValid {
				t.Errorf("%s: not valid", alg)
			}
			_, err := c.Verify(background, &kms.VerifyInput{KeyId: md.KeyId, Message: []byte("another"), SigningAlgorithm: alg, Signature: sig.Signature})
			wantException(t, err, "KMSInvalidSignatureException", "")
			if strings.HasSuffix(string(alg), "_SHA_256") {
				must(c.Verify(background, &kms.VerifyInput{KeyId: md.KeyId, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: alg, Signature: sig.Signature}))(t)
			}
		}
		public := must(c.GetPublicKey(background, &kms.GetPublicKeyInput{KeyId: md.KeyId}))(t)
		if _, err := x509.ParsePKIXPublicKey(public.PublicKey); err != nil || public.KeySpec != spec {
			t.Errorf("%s: %v", spec, err)
		}
	}
	rsaKey := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeSignVerify})
	_, err := c.Sign(background, &kms.SignInput{KeyId: rsaKey.KeyId, Message: message, MessageType: types.MessageTypeDigest, SigningAlgorithm: "RSASSA_PSS_SHA_256"})
	wantException(t, err, "ValidationException", "Digest is invalid length for algorithm RSASSA_PSS_SHA_256.")
	_, err = c.Sign(background, &kms.SignInput{KeyId: rsaKey.KeyId, Message: message, SigningAlgorithm: "ECDSA_SHA_256"})
	wantException(t, err, "InvalidKeyUsageException", "Algorithm ECDSA_SHA_256 is incompatible with key spec RSA_2048.")
	_, err = c.Encrypt(background, &kms.EncryptInput{KeyId: rsaKey.KeyId, Plaintext: message})
	wantException(t, err, "InvalidKeyUsageException", *rsaKey.Arn+" key usage is SIGN_VERIFY which is not valid for Encrypt.")
}

func TestSDKRSAEncryption(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	for alg, limit := range map[types.EncryptionAlgorithmSpec]int{"RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190} {
		enc := must(c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: make([]byte, limit), EncryptionAlgorithm: alg}))(t)
		dec := must(c.Decrypt(background, &kms.DecryptInput{KeyId: md.KeyId, CiphertextBlob: enc.CiphertextBlob, EncryptionAlgorithm: alg}))(t)
		if len(dec.Plaintext) != limit {
			t.Errorf("%s: %d bytes", alg, len(dec.Plaintext))
		}
		_, err := c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: make([]byte, limit+1), EncryptionAlgorithm: alg})
		wantException(t, err, "ValidationException", "")
	}
	// A ciphertext made outside with the public key decrypts inside.
	der := must(c.GetPublicKey(background, &kms.GetPublicKeyInput{KeyId: md.KeyId}))(t).PublicKey
	public := must(x509.ParsePKIXPublicKey(der))(t).(*rsa.PublicKey)
	outside := must(rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("from outside"), nil))(t)
	dec := must(c.Decrypt(background, &kms.DecryptInput{KeyId: md.KeyId, CiphertextBlob: outside, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}))(t)
	if string(dec.Plaintext) != "from outside" {
		t.Errorf("got %q", dec.Plaintext)
	}
}

func TestSDKMacsAndAgreement(t *testing.T) {
	c := start(t).client("alice")
	for _, bits := range []string{"224", "256", "384", "512"} {
		md := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpec("HMAC_" + bits), KeyUsage: types.KeyUsageTypeGenerateVerifyMac})
		alg := types.MacAlgorithmSpec("HMAC_SHA_" + bits)
		mac := must(c.GenerateMac(background, &kms.GenerateMacInput{KeyId: md.KeyId, Message: []byte("m"), MacAlgorithm: alg}))(t)
		must(c.VerifyMac(background, &kms.VerifyMacInput{KeyId: md.KeyId, Message: []byte("m"), MacAlgorithm: alg, Mac: mac.Mac}))(t)
		_, err := c.VerifyMac(background, &kms.VerifyMacInput{KeyId: md.KeyId, Message: []byte("n"), MacAlgorithm: alg, Mac: mac.Mac})
		wantException(t, err, "KMSInvalidMacException", "")
	}
	md := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeKeyAgreement})
	mine := must(ecdh.P256().GenerateKey(rand.Reader))(t)
	shared := must(c.DeriveSharedSecret(background, &kms.DeriveSharedSecretInput{
		KeyId: md.KeyId, KeyAgreementAlgorithm: "ECDH", PublicKey: must(x509.MarshalPKIXPublicKey(mine.PublicKey()))(t),
	}))(t)
	theirs := must(x509.ParsePKIXPublicKey(must(c.GetPublicKey(background, &kms.GetPublicKeyInput{KeyId: md.KeyId}))(t).PublicKey))(t)
	public := must(theirs.(interface {
		ECDH() (*ecdh.PublicKey, error)
	}).ECDH())(t)
	if want := must(mine.ECDH(public))(t); !bytes.Equal(want, shared.SharedSecret) {
		t.Error("the two sides do not agree")
	}
}
