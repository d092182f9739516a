package local

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"

	"waxseal/keystore"
)

// Values of a cell of the table.
const (
	ok          = ""
	disabled    = codeDisabled + "|is disabled."
	deleting    = codeInvalidState + "|is pending deletion."
	notDeleting = codeInvalidState + "|is not pending deletion."
	importing   = codeInvalidState + "|is pending import."
	isExternal  = codeUnsupported + "|origin is EXTERNAL which is not valid for this operation."
	isNotExtern = codeUnsupported + "|origin is AWS_KMS which is not valid for this operation."
)

// stateTable is AWS's key state table, written down from its page and not from the code. Columns: Enabled, Disabled,
// PendingDeletion, PendingImport; the last for keys of origin EXTERNAL only.
var stateTable = []struct {
	op    string
	kind  string // of the key: symmetric, external, mac, signing, agreement
	cells [4]string
}{
	{"CancelKeyDeletion", "external", [4]string{notDeleting, notDeleting, ok, notDeleting}},
	{"CreateAlias", "external", [4]string{ok, ok, deleting, ok}},
	{"CreateGrant", "external", [4]string{ok, disabled, deleting, importing}},
	{"Decrypt", "external", [4]string{ok, disabled, deleting, importing}},
	{"DeleteAlias", "external", [4]string{ok, ok, ok, ok}},
	{"DeleteImportedKeyMaterial", "external", [4]string{ok, ok, ok, ok}},
	{"DeleteImportedKeyMaterial", "symmetric", [4]string{isNotExtern, isNotExtern, isNotExtern}},
	{"DeriveSharedSecret", "agreement", [4]string{ok, disabled, deleting}},
	{"DescribeKey", "external", [4]string{ok, ok, ok, ok}},
	{"DisableKey", "external", [4]string{ok, ok, deleting, importing}},
	{"DisableKeyRotation", "symmetric", [4]string{ok, disabled, deleting}},
	{"DisableKeyRotation", "external", [4]string{isExternal, isExternal, isExternal, isExternal}},
	{"DisableKeyRotation", "mac", [4]string{ok, disabled, deleting}},
	{"EnableKey", "external", [4]string{ok, ok, deleting, importing}},
	{"EnableKeyRotation", "symmetric", [4]string{ok, disabled, deleting}},
	{"EnableKeyRotation", "external", [4]string{isExternal, isExternal, isExternal, isExternal}},
	{"EnableKeyRotation", "mac", [4]string{codeUnsupported, codeUnsupported, codeUnsupported}},
	{"Encrypt", "external", [4]string{ok, disabled, deleting, importing}},
	{"GenerateDataKey", "external", [4]string{ok, disabled, deleting, importing}},
	{"GenerateDataKeyPair", "external", [4]string{ok, disabled, deleting, importing}},
	{"GenerateDataKeyPairWithoutPlaintext", "external", [4]string{ok, disabled, deleting, importing}},
	{"GenerateDataKeyWithoutPlaintext", "external", [4]string{ok, disabled, deleting, importing}},
	{"GenerateMac", "mac", [4]string{ok, disabled, deleting}},
	{"GetKeyLastUsage", "external", [4]string{ok, ok, ok, ok}},
	{"GetKeyPolicy", "external", [4]string{ok, ok, ok, ok}},
	{"GetKeyRotationStatus", "symmetric", [4]string{ok, ok, ok}},
	{"GetKeyRotationStatus", "external", [4]string{isExternal, isExternal, isExternal, isExternal}},
	{"GetKeyRotationStatus", "mac", [4]string{ok, ok, ok}},
	{"GetKeyRotationStatus", "signing", [4]string{ok, ok, ok}},
	{"GetParametersForImport", "external", [4]string{ok, ok, deleting, ok}},
	{"GetParametersForImport", "symmetric", [4]string{isNotExtern, isNotExtern, isNotExtern}},
	{"GetPublicKey", "signing", [4]string{ok, disabled, deleting}},
	{"ImportKeyMaterial", "external", [4]string{ok, ok, deleting, ok}},
	{"ImportKeyMaterial", "symmetric", [4]string{isNotExtern, isNotExtern, isNotExtern}},
	{"ListAliases", "external", [4]string{ok, ok, ok, ok}},
	{"ListGrants", "external", [4]string{ok, ok, ok, ok}},
	{"ListKeyPolicies", "external", [4]string{ok, ok, ok, ok}},
	{"ListKeyRotations", "external", [4]string{ok, ok, ok, ok}},
	{"ListResourceTags", "external", [4]string{ok, ok, ok, ok}},
	{"PutKeyPolicy", "external", [4]string{ok, ok, ok, ok}},
	{"ReEncrypt", "external", [4]string{ok, disabled, deleting, importing}},
	{"RetireGrant", "external", [4]string{ok, ok, ok, ok}},
	{"RevokeGrant", "external", [4]string{ok, ok, ok, ok}},
	{"RotateKeyOnDemand", "symmetric", [4]string{ok, disabled, deleting}},
	{"RotateKeyOnDemand", "external", [4]string{codeInvalidState + "|No available key material", disabled, deleting, importing}},
	{"ScheduleKeyDeletion", "external", [4]string{ok, ok, deleting, ok}},
	{"Sign", "signing", [4]string{ok, disabled, deleting}},
	{"TagResource", "external", [4]string{ok, ok, deleting, ok}},
	{"UntagResource", "external", [4]string{ok, ok, deleting, ok}},
	{"UpdateAlias", "external", [4]string{ok, ok, deleting, ok}},
	{"UpdateKeyDescription", "external", [4]string{ok, ok, deleting, ok}},
	{"Verify", "signing", [4]string{ok, disabled, deleting}},
	{"VerifyMac", "mac", [4]string{ok, disabled, deleting}},
}

// specimen is a key with everything needed by some operation.
type specimen struct {
	*rig
	id, other        string
	blob, token      []byte
	wrapped          []byte
	alias, grant     string
	signature, macOf []byte
	public           []byte
}

var wrappingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func (s *specimen) make(kind, state string) {
	t := s.t
	in := map[string]*CreateKeyRequest{
		"symmetric": {}, "external": {Origin: originExternal},
		"mac":       {KeySpec: "HMAC_256", KeyUsage: usageMAC},
		"signing":   {KeySpec: "ECC_NIST_P256", KeyUsage: usageSign},
		"agreement": {KeySpec: "ECC_NIST_P256", KeyUsage: usageAgreement},
	}[kind]
	s.id, s.other = s.newKey(in).KeyId, s.newKey(nil).KeyId
	s.alias = "alias/on-key"
	s.prepareImport()
	if kind == "external" {
		s.importMaterial()
	}
	if kind == "external" || kind == "symmetric" {
		s.blob = must(s.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("x")}))(t).CiphertextBlob
		s.grant = must(s.CreateGrant(background, alice, &CreateGrantRequest{KeyId: s.id, GranteePrincipal: alice.ARN, RetiringPrincipal: alice.ARN, Operations: []string{"Decrypt"}}))(t).GrantId
	}
	switch kind {
	case "mac":
		s.macOf = must(s.GenerateMac(background, alice, &GenerateMacRequest{KeyId: s.id, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256"}))(t).Mac
	case "signing":
		s.signature = must(s.Sign(background, alice, &SignRequest{KeyId: s.id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256"}))(t).Signature
	case "agreement":
		peer := must(ecdh.P256().GenerateKey(rand.Reader))(t)
		s.public = must(x509.MarshalPKIXPublicKey(peer.PublicKey()))(t)
	}
	must(s.CreateAlias(background, alice, &CreateAliasRequest{s.alias, s.id}))(t)
	must(s.CreateAlias(background, alice, &CreateAliasRequest{"alias/on-other", s.other}))(t)
	switch state {
	case keystore.StateDisabled:
		must(s.DisableKey(background, alice, &KeyRequest{s.id}))(t)
	case keystore.StatePendingDeletion:
		must(s.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: s.id}))(t)
	case keystore.StatePendingImport:
		must(s.DeleteImportedKeyMaterial(background, alice, &DeleteImportedKeyMaterialRequest{KeyId: s.id}))(t)
	}
	if got := must(s.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))(t).KeyMetadata.KeyState; got != state {
		t.Fatalf("state %s, want %s", got, state)
	}
}

// prepareImport makes a token as GetParametersForImport does, without the wait for an RSA key.
func (s *specimen) prepareImport() {
	s.token = must(s.sealToken(importToken{testAccount, s.id, algOAEPSHA256, s.clock().Add(importTokenLife), x509.MarshalPKCS1PrivateKey(wrappingKey())}))(s.t)
	s.wrapped = s.wrap(bytes.Repeat([]byte{5}, 32))
}

func (r *rig) wrap(material []byte) []byte {
	return must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &wrappingKey().PublicKey, material, nil))(r.t)
}

func (s *specimen) importMaterial() {
	must(s.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: s.wrapped, ExpirationModel: expiresNever}))(s.t)
}

func failed[T any](_ T, err error) error { return err }

// invoke calls an operation on the key of a specimen.
var invoke = map[string]func(s *specimen) error{
	"CancelKeyDeletion": func(s *specimen) error { return failed(s.CancelKeyDeletion(background, alice, &KeyRequest{s.id})) },
	"CreateAlias": func(s *specimen) error {
		return failed(s.CreateAlias(background, alice, &CreateAliasRequest{"alias/new", s.id}))
	},
	"CreateGrant": func(s *specimen) error {
		return failed(s.CreateGrant(background, alice, &CreateGrantRequest{KeyId: s.id, GranteePrincipal: alice.ARN, Operations: []string{"Encrypt"}}))
	},
	"Decrypt": func(s *specimen) error {
		return failed(s.Decrypt(background, alice, &DecryptRequest{CiphertextBlob: s.blob}))
	},
	"DeleteAlias": func(s *specimen) error {
		return failed(s.DeleteAlias(background, alice, &DeleteAliasRequest{s.alias}))
	},
	"DeleteImportedKeyMaterial": func(s *specimen) error {
		return failed(s.DeleteImportedKeyMaterial(background, alice, &DeleteImportedKeyMaterialRequest{KeyId: s.id}))
	},
	"DeriveSharedSecret": func(s *specimen) error {
		return failed(s.DeriveSharedSecret(background, alice, &DeriveSharedSecretRequest{KeyId: s.id, KeyAgreementAlgorithm: algECDH, PublicKey: s.public}))
	},
	"DescribeKey": func(s *specimen) error {
		return failed(s.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: s.id}))
	},
	"DisableKey":         func(s *specimen) error { return failed(s.DisableKey(background, alice, &KeyRequest{s.id})) },
	"DisableKeyRotation": func(s *specimen) error { return failed(s.DisableKeyRotation(background, alice, &KeyRequest{s.id})) },
	"EnableKey":          func(s *specimen) error { return failed(s.EnableKey(background, alice, &KeyRequest{s.id})) },
	"EnableKeyRotation": func(s *specimen) error {
		return failed(s.EnableKeyRotation(background, alice, &EnableKeyRotationRequest{KeyId: s.id}))
	},
	"Encrypt": func(s *specimen) error {
		return failed(s.Encrypt(background, alice, &EncryptRequest{KeyId: s.id, Plaintext: []byte("x")}))
	},
	"GenerateDataKey": func(s *specimen) error {
		return failed(s.GenerateDataKey(background, alice, &GenerateDataKeyRequest{KeyId: s.id, KeySpec: "AES_256"}))
	},
	"GenerateDataKeyPair": func(s *specimen) error {
		return failed(s.GenerateDataKeyPair(background, alice, &GenerateDataKeyPairRequest{KeyId: s.id, KeyPairSpec: "ECC_NIST_P256"}))
	},
	"GenerateDataKeyPairWithoutPlaintext": func(s *specimen) error {
		return failed(s.GenerateDataKeyPairWithoutPlaintext(background, alice, &GenerateDataKeyPairRequest{KeyId: s.id, KeyPairSpec: "ECC_NIST_P256"}))
	},
	"GenerateDataKeyWithoutPlaintext": func(s *specimen) error {
		return failed(s.GenerateDataKeyWithoutPlaintext(background, alice, &GenerateDataKeyRequest{KeyId: s.id, KeySpec: "AES_128"}))
	},
	"GenerateMac": func(s *specimen) error {
		return failed(s.GenerateMac(background, alice, &GenerateMacRequest{KeyId: s.id, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256"}))
	},
	"GetKeyLastUsage": func(s *specimen) error { return failed(s.GetKeyLastUsage(background, alice, &KeyRequest{s.id})) },
	"GetKeyPolicy": func(s *specimen) error {
		return failed(s.GetKeyPolicy(background, alice, &GetKeyPolicyRequest{KeyId: s.id}))
	},
	"GetKeyRotationStatus": func(s *specimen) error { return failed(s.GetKeyRotationStatus(background, alice, &KeyRequest{s.id})) },
	"GetParametersForImport": func(s *specimen) error {
		return failed(s.GetParametersForImport(background, alice, &GetParametersForImportRequest{s.id, algOAEPSHA256, "RSA_2048"}))
	},
	"GetPublicKey": func(s *specimen) error {
		return failed(s.GetPublicKey(background, alice, &GetPublicKeyRequest{KeyId: s.id}))
	},
	"ImportKeyMaterial": func(s *specimen) error {
		return failed(s.ImportKeyMaterial(background, alice, &ImportKeyMaterialRequest{KeyId: s.id, ImportToken: s.token, EncryptedKeyMaterial: s.wrapped, ExpirationModel: expiresNever}))
	},
	"ListAliases": func(s *specimen) error {
		return failed(s.ListAliases(background, alice, &ListAliasesRequest{KeyId: s.id}))
	},
	"ListGrants": func(s *specimen) error {
		return failed(s.ListGrants(background, alice, &ListGrantsRequest{KeyId: s.id}))
	},
	"ListKeyPolicies": func(s *specimen) error {
		return failed(s.ListKeyPolicies(background, alice, &ListOfKeyRequest{KeyId: s.id}))
	},
	"ListKeyRotations": func(s *specimen) error {
		return failed(s.ListKeyRotations(background, alice, &ListKeyRotationsRequest{KeyId: s.id}))
	},
	"ListResourceTags": func(s *specimen) error {
		return failed(s.ListResourceTags(background, alice, &ListOfKeyRequest{KeyId: s.id}))
	},
	"PutKeyPolicy": func(s *specimen) error {
		return failed(s.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: s.id, Policy: defaultPolicy(testAccount)}))
	},
	"ReEncrypt": func(s *specimen) error {
		return failed(s.ReEncrypt(background, alice, &ReEncryptRequest{CiphertextBlob: s.blob, DestinationKeyId: s.other}))
	},
	"RetireGrant": func(s *specimen) error {
		return failed(s.RetireGrant(background, alice, &RetireGrantRequest{KeyId: s.id, GrantId: s.grant}))
	},
	"RevokeGrant": func(s *specimen) error {
		return failed(s.RevokeGrant(background, alice, &RevokeGrantRequest{KeyId: s.id, GrantId: s.grant}))
	},
	"RotateKeyOnDemand": func(s *specimen) error { return failed(s.RotateKeyOnDemand(background, alice, &KeyRequest{s.id})) },
	"ScheduleKeyDeletion": func(s *specimen) error {
		return failed(s.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: s.id}))
	},
	"Sign": func(s *specimen) error {
		return failed(s.Sign(background, alice, &SignRequest{KeyId: s.id, Message: []byte("m"), SigningAlgorithm: "ECDSA_SHA_256"}))
	},
	"TagResource": func(s *specimen) error {
		return failed(s.TagResource(background, alice, &TagResourceRequest{s.id, []Tag{{"k", "v"}}}))
	},
	"UntagResource": func(s *specimen) error {
		return failed(s.UntagResource(background, alice, &UntagResourceRequest{s.id, []string{"k"}}))
	},
	"UpdateAlias": func(s *specimen) error {
		return failed(s.UpdateAlias(background, alice, &UpdateAliasRequest{"alias/on-other", s.id}))
	},
	"UpdateKeyDescription": func(s *specimen) error {
		return failed(s.UpdateKeyDescription(background, alice, &UpdateKeyDescriptionRequest{s.id, "d"}))
	},
	"Verify": func(s *specimen) error {
		return failed(s.Verify(background, alice, &VerifyRequest{KeyId: s.id, Message: []byte("m"), Signature: s.signature, SigningAlgorithm: "ECDSA_SHA_256"}))
	},
	"VerifyMac": func(s *specimen) error {
		return failed(s.VerifyMac(background, alice, &VerifyMacRequest{KeyId: s.id, Message: []byte("m"), Mac: s.macOf, MacAlgorithm: "HMAC_SHA_256"}))
	},
}

func TestKeyStates(t *testing.T) {
	states := []string{keystore.StateEnabled, keystore.StateDisabled, keystore.StatePendingDeletion, keystore.StatePendingImport}
	for _, row := range stateTable {
		for i, state := range states {
			if state == keystore.StatePendingImport && row.kind != "external" {
				continue
			}
			t.Run(row.op+"/"+row.kind+"/"+state, func(t *testing.T) {
				s := &specimen{rig: newRig(t)}
				s.make(row.kind, state)
				s.audit.Reset()
				err := invoke[row.op](s)
				checkCell(t, err, row.cells[i])
				if n := s.audit.Count(row.op); n != 1 {
					t.Errorf("%d audit records", n)
				}
			})
		}
	}
	for op := range stateRules {
		if !slices.ContainsFunc(stateTable, func(row struct {
			op, kind string
			cells    [4]string
		}) bool {
			return row.op == op
		}) {
			t.Errorf("%s has a rule and no row in this test", op)
		}
	}
}

func checkCell(t *testing.T, err error, cell string) {
	t.Helper()
	code, message, _ := strings.Cut(cell, "|")
	wantCode(t, err, code)
	if err != nil && !strings.Contains(err.(*Error).Message, message) {
		t.Errorf("message %q, want ...%q", err.(*Error).Message, message)
	}
}
