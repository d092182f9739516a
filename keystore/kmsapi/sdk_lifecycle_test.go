package kmsapi

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestSDKGrants(t *testing.T) {
	e := start(t)
	owner, eve := e.client("alice"), e.client("eve")
	md := newKey(t, owner, nil)
	ec := map[string]string{"tenant": "eve"}
	_, err := eve.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.Arn, KeySpec: "AES_256"})
	wantException(t, err, "AccessDeniedException", "")
	in := &kms.CreateGrantInput{
		KeyId: md.KeyId, GranteePrincipal: aws.String("arn:aws:iam::444455556666:user/eve"), Name: aws.String("g"),
		RetiringPrincipal: aws.String("arn:aws:iam::444455556666:user/eve"),
		Operations:        []types.GrantOperation{"GenerateDataKey", "Decrypt", "DescribeKey"},
		Constraints:       &types.GrantConstraints{EncryptionContextSubset: ec},
	}
	g := must(owner.CreateGrant(background, in))(t)
	if again := must(owner.CreateGrant(background, in))(t); *again.GrantId != *g.GrantId {
		t.Error("the same grant of the same name is another one")
	}
	dk := must(eve.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.Arn, KeySpec: "AES_256", EncryptionContext: ec, GrantTokens: []string{*g.GrantToken}}))(t)
	must(eve.Decrypt(background, &kms.DecryptInput{CiphertextBlob: dk.CiphertextBlob, EncryptionContext: ec}))(t)
	must(eve.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.Arn}))(t)
	_, err = eve.GenerateDataKey(background, &kms.GenerateDataKeyInput{KeyId: md.Arn, KeySpec: "AES_256"})
	wantException(t, err, "AccessDeniedException", "")
	_, err = eve.Encrypt(background, &kms.EncryptInput{KeyId: md.Arn, Plaintext: []byte("x"), EncryptionContext: ec})
	wantException(t, err, "AccessDeniedException", "")
	list := must(owner.ListGrants(background, &kms.ListGrantsInput{KeyId: md.KeyId}))(t).Grants
	if len(list) != 1 || *list[0].GrantId != *g.GrantId || list[0].Constraints.EncryptionContextSubset["tenant"] != "eve" {
		t.Errorf("grants %+v", list)
	}
	mine := must(eve.ListRetirableGrants(background, &kms.ListRetirableGrantsInput{RetiringPrincipal: in.RetiringPrincipal}))(t)
	if len(mine.Grants) != 1 {
		t.Errorf("retirable %+v", mine.Grants)
	}
	must(eve.RetireGrant(background, &kms.RetireGrantInput{GrantToken: g.GrantToken}))(t)
	_, err = eve.Decrypt(background, &kms.DecryptInput{CiphertextBlob: dk.CiphertextBlob, EncryptionContext: ec})
	wantException(t, err, "AccessDeniedException", "")
	g = must(owner.CreateGrant(background, in))(t)
	must(owner.RevokeGrant(background, &kms.RevokeGrantInput{KeyId: md.KeyId, GrantId: g.GrantId}))(t)
	_, err = owner.RevokeGrant(background, &kms.RevokeGrantInput{KeyId: md.KeyId, GrantId: g.GrantId})
	wantException(t, err, "NotFoundException", "")
	_, err = eve.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.Arn, GrantTokens: []string{"nonsense"}})
	wantException(t, err, "InvalidGrantTokenException", "")
}

func TestSDKRotation(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, nil)
	must(c.EnableKeyRotation(background, &kms.EnableKeyRotationInput{KeyId: md.KeyId, RotationPeriodInDays: aws.Int32(90)}))(t)
	status := must(c.GetKeyRotationStatus(background, &kms.GetKeyRotationStatusInput{KeyId: md.KeyId}))(t)
	if !status.KeyRotationEnabled || *status.RotationPeriodInDays != 90 || status.NextRotationDate == nil {
		t.Errorf("status %+v", status)
	}
	must(c.DisableKeyRotation(background, &kms.DisableKeyRotationInput{KeyId: md.KeyId}))(t)
	signing := newKey(t, c, &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify})
	if out := must(c.GetKeyRotationStatus(background, &kms.GetKeyRotationStatusInput{KeyId: signing.KeyId}))(t); out.KeyRotationEnabled {
		t.Errorf("a key for signing rotates: %+v", out) // such a key does not rotate; Terraform asks this of every key
	}
	must(c.DisableKeyRotation(background, &kms.DisableKeyRotationInput{KeyId: signing.KeyId}))(t)
	old := must(c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: []byte("old")}))(t)
	for range 25 {
		if out := must(c.RotateKeyOnDemand(background, &kms.RotateKeyOnDemandInput{KeyId: md.KeyId}))(t); *out.KeyId != *md.Arn {
			t.Fatalf("key id %s", *out.KeyId)
		}
	}
	_, err := c.RotateKeyOnDemand(background, &kms.RotateKeyOnDemandInput{KeyId: md.KeyId})
	wantException(t, err, "LimitExceededException", "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: "+*md.Arn)
	if dec := must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: old.CiphertextBlob}))(t); string(dec.Plaintext) != "old" || *dec.KeyMaterialId != *md.CurrentKeyMaterialId {
		t.Errorf("old ciphertext: %+v", dec)
	}
	now := must(c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.KeyId}))(t).KeyMetadata
	if *now.CurrentKeyMaterialId == *md.CurrentKeyMaterialId {
		t.Error("the material did not change")
	}
	list := must(c.ListKeyRotations(background, &kms.ListKeyRotationsInput{KeyId: md.KeyId, Limit: aws.Int32(20)}))(t)
	if len(list.Rotations) != 20 || !list.Truncated || list.Rotations[0].RotationType != types.RotationTypeOnDemand {
		t.Errorf("%d rotations", len(list.Rotations))
	}
	all := must(c.ListKeyRotations(background, &kms.ListKeyRotationsInput{KeyId: md.KeyId, IncludeKeyMaterial: types.IncludeKeyMaterialAllKeyMaterial}))(t)
	if n := len(all.Rotations); n != 26 || all.Rotations[n-1].KeyMaterialState != types.KeyMaterialStateCurrent || *all.Rotations[n-1].KeyMaterialId != *now.CurrentKeyMaterialId {
		t.Errorf("%d materials", n)
	}
}

func TestSDKImport(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, &kms.CreateKeyInput{Origin: types.OriginTypeExternal})
	if md.KeyState != types.KeyStatePendingImport || md.Enabled || md.CurrentKeyMaterialId != nil {
		t.Errorf("metadata %+v", md)
	}
	params := must(c.GetParametersForImport(background, &kms.GetParametersForImportInput{
		KeyId: md.KeyId, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: types.WrappingKeySpecRsa2048,
	}))(t)
	if until := time.Until(*params.ParametersValidTo); until > 24*time.Hour || until < 23*time.Hour {
		t.Errorf("valid for %s", until)
	}
	public := must(x509.ParsePKIXPublicKey(params.PublicKey))(t).(*rsa.PublicKey)
	wrap := func(material []byte) []byte {
		return must(rsa.EncryptOAEP(sha256.New(), rand.Reader, public, material, nil))(t)
	}
	one := bytes.Repeat([]byte{1}, 32)
	_, err := c.ImportKeyMaterial(background, &kms.ImportKeyMaterialInput{KeyId: md.KeyId, ImportToken: params.ImportToken, EncryptedKeyMaterial: wrap(one)})
	wantException(t, err, "ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	_, err = c.ImportKeyMaterial(background, &kms.ImportKeyMaterialInput{
		KeyId: md.KeyId, ImportToken: params.ImportToken, EncryptedKeyMaterial: wrap(one[:31]), ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire})
	wantException(t, err, "IncorrectKeyMaterialException", "")
	imported := must(c.ImportKeyMaterial(background, &kms.ImportKeyMaterialInput{
		KeyId: md.KeyId, ImportToken: params.ImportToken, EncryptedKeyMaterial: wrap(one), ValidTo: aws.Time(time.Now().Add(time.Hour)),
	}))(t)
	got := must(c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: md.KeyId}))(t).KeyMetadata
	if got.KeyState != types.KeyStateEnabled || *got.CurrentKeyMaterialId != *imported.KeyMaterialId || got.ValidTo == nil ||
		got.ExpirationModel != types.ExpirationModelTypeKeyMaterialExpires {
		t.Errorf("after import %+v", got)
	}
	enc := must(c.Encrypt(background, &kms.EncryptInput{KeyId: md.KeyId, Plaintext: []byte("x")}))(t)
	must(c.DeleteImportedKeyMaterial(background, &kms.DeleteImportedKeyMaterialInput{KeyId: md.KeyId}))(t)
	_, err = c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
	wantException(t, err, "KMSInvalidStateException", *md.Arn+" is pending import.")
	never := types.ExpirationModelTypeKeyMaterialDoesNotExpire
	_, err = c.ImportKeyMaterial(background, &kms.ImportKeyMaterialInput{
		KeyId: md.KeyId, ImportToken: params.ImportToken, EncryptedKeyMaterial: wrap(bytes.Repeat([]byte{2}, 32)), ExpirationModel: never})
	wantException(t, err, "IncorrectKeyMaterialException", "")
	must(c.ImportKeyMaterial(background, &kms.ImportKeyMaterialInput{KeyId: md.KeyId, ImportToken: params.ImportToken, EncryptedKeyMaterial: wrap(one), ExpirationModel: never}))(t)
	must(c.Decrypt(background, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob}))(t)
	ours := newKey(t, c, nil)
	_, err = c.GetParametersForImport(background, &kms.GetParametersForImportInput{KeyId: ours.KeyId, WrappingAlgorithm: types.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: types.WrappingKeySpecRsa2048})
	wantException(t, err, "UnsupportedOperationException", *ours.Arn+" origin is AWS_KMS which is not valid for this operation.")
}

func TestSDKRefusedByName(t *testing.T) {
	c := start(t).client("alice")
	md := newKey(t, c, nil)
	_, err := c.CreateKey(background, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	wantException(t, err, "UnsupportedOperationException", noMultiRegion)
	_, err = c.CreateKey(background, &kms.CreateKeyInput{Origin: types.OriginTypeAwsCloudhsm, CustomKeyStoreId: aws.String("cks-1")})
	wantException(t, err, "UnsupportedOperationException", noCustomStore)
	_, err = c.CreateKey(background, &kms.CreateKeyInput{KeySpec: "ML_DSA_44", KeyUsage: "SIGN_VERIFY"})
	wantException(t, err, "UnsupportedOperationException", "KeySpec ML_DSA_44 is not supported by this key service.")
	_, err = c.ReplicateKey(background, &kms.ReplicateKeyInput{KeyId: md.KeyId, ReplicaRegion: aws.String("eu-west-1")})
	wantException(t, err, "UnsupportedOperationException", noMultiRegion)
	_, err = c.DescribeCustomKeyStores(background, &kms.DescribeCustomKeyStoresInput{})
	wantException(t, err, "UnsupportedOperationException", noCustomStore)
	_, err = c.CreateKey(background, &kms.CreateKeyInput{KeySpec: "HMAC_256"})
	wantException(t, err, "ValidationException", "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	_, err = c.CreateKey(background, &kms.CreateKeyInput{KeySpec: "RSA_2048", KeyUsage: "KEY_AGREEMENT"})
	wantException(t, err, "ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048")
}

func TestSDKKeyNames(t *testing.T) {
	c := start(t).client("alice")
	for given, message := range map[string]string{
		"fake-key-id": "Invalid keyId 'fake-key-id'", "134f2428cec14b25a1ae9048164dba47": "Invalid keyId '134f2428cec14b25a1ae9048164dba47'",
		"mrk-fake-key-id":                      "Invalid keyId 'mrk-fake-key-id'",
		"12345678-1234-1234-1234-123456789012": "Key 'arn:aws:kms:ap-northeast-2:111122223333:key/12345678-1234-1234-1234-123456789012' does not exist",
		"arn:aws:kms:eu-west-1:111122223333:key/12345678-1234-1234-1234-123456789012": "Invalid arn eu-west-1",
		"mrk-12345678123412341234123456789012":                                        "Key 'arn:aws:kms:ap-northeast-2:111122223333:key/mrk-12345678123412341234123456789012' does not exist",
	} {
		_, err := c.DescribeKey(background, &kms.DescribeKeyInput{KeyId: &given})
		wantException(t, err, "NotFoundException", message)
	}
}
