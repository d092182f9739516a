package local

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
)

// Invalid principals, for every place that takes a principal.
var nobodies = []string{
	"arn:aws:iam::" + testAccount + ":group/admins", "arn:aws:iam::" + testAccount + ":policy/p", "arn:aws:iam::" + testAccount + ":instance-profile/p",
	"arn:aws:iam::" + testAccount + ":user/", "arn:aws:iam::" + testAccount + ":users/alice", "arn:aws:iam::1:user/alice", "arn:aws:iam::" + testAccount + ":root/x",
	"arn:aws:sts::" + testAccount + ":user/alice", "arn:aws:sts::" + testAccount + ":assumed-role/app", "arn:aws:iam::" + testAccount + ":assumed-role/app/s",
	"arn:aws:s3:::bucket", "arn:aws-cn:iam::" + testAccount + ":user/alice", "arn:aws-us-gov:iam::" + testAccount + ":root", "arn:aws:iam:us-east-1:" + testAccount + ":user/alice",
	"arn:aws:iam::" + testAccount + ":user/nobody", "arn:aws:iam::" + testAccount + ":role/nobody", "arn:aws:sts::" + testAccount + ":assumed-role/nobody/s",
	"arn:aws:iam::" + otherAccount + ":user/alice",
}

// TestNobody: a grant or a key policy for a missing principal is refused, as AWS refuses it: a principal made later
// under that name would get the right.
func TestNobody(t *testing.T) {
	app := role(testAccount, "app")
	r := newRig(t, func(c *Config) {
		c.Identities = directory(t, map[string]string{alice.ARN: "", app.ARN: ""}).(andEverybody).Directory
	})
	md := r.newKey(nil)
	grant := func(grantee, retiring string) error {
		_, err := r.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: grantee, RetiringPrincipal: retiring, Operations: []string{"Decrypt"}})
		return err
	}
	policy := func(principal string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + rootOf(testAccount).ARN + `"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"kms:Decrypt","Resource":"*"}]}`
	}
	put := func(principal string) error {
		_, err := r.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: policy(principal)})
		return err
	}
	for _, nobody := range append(nobodies, "nonsense", testAccount, "s3.amazonaws.com.example", "*", ".amazonaws.com") {
		wantCode(t, grant(nobody, ""), codeInvalidArn)
		wantCode(t, grant(alice.ARN, nobody), codeInvalidArn)
	}
	for _, nobody := range append(nobodies, "nonsense", "arn:aws:iam::"+testAccount+":user/*") {
		if err := put(nobody); err == nil || codeOf(err) != codeMalformedPolicy {
			t.Errorf("a policy for %s: %v", nobody, err)
		}
		_, err := r.CreateKey(background, alice, &CreateKeyRequest{Policy: policy(nobody), BypassPolicyLockoutSafetyCheck: true})
		wantCode(t, err, codeMalformedPolicy)
	}
	for _, somebody := range []string{
		alice.ARN, app.ARN, rootOf(testAccount).ARN, rootOf(otherAccount).ARN, "arn:aws:sts::" + testAccount + ":assumed-role/app/session",
		strings.Replace(app.ARN, "role/", "role/with/a/path/", 1),
	} {
		if err := grant(somebody, somebody); err != nil {
			t.Errorf("a grant for %s: %v", somebody, err)
		}
		if err := put(somebody); err != nil {
			t.Errorf("a policy for %s: %v", somebody, err)
		}
	}
	if err := grant("rds.us-east-1.amazonaws.com", ""); err != nil {
		t.Error(err)
	}
}

// TestOtherPartitions: a key ARN of another partition names no key here, in any operation with a key.
func TestOtherPartitions(t *testing.T) {
	r := newRig(t)
	md := r.newKey(nil)
	must(r.CreateAlias(background, alice, &CreateAliasRequest{AliasName: "alias/a", TargetKeyId: md.KeyId}))(t)
	for _, partition := range []string{"aws-cn", "aws-us-gov", "aws-iso", "", "AWS", "other"} {
		for _, given := range []string{md.Arn, "arn:aws:kms:" + testRegion + ":" + testAccount + ":alias/a"} {
			given = strings.Replace(given, "arn:aws:", "arn:"+partition+":", 1)
			_, err := r.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: given})
			wantCode(t, err, codeNotFound)
			_, err = r.Encrypt(background, alice, &EncryptRequest{KeyId: given, Plaintext: []byte("x")})
			wantCode(t, err, codeNotFound)
			_, err = r.Provider().GenerateDataKey(background, viaS3(alice), given, nil)
			if err == nil {
				t.Errorf("%s: a data key", given)
			}
		}
	}
}

// TestImportIsExact: material with trailing bytes after the private key is refused.
func TestImportIsExact(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string]any{"RSA_2048": rsaKey, "ECC_NIST_P256": ecKey, "ECC_NIST_EDWARDS25519": edKey} {
		spec, _, ok := findSpec(name)
		if !ok {
			t.Fatal(name)
		}
		exact := must(x509.MarshalPKCS8PrivateKey(private))(t)
		if err := checkMaterial(spec, exact); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if checkMaterial(spec, append(exact[:len(exact):len(exact)], 0)) == nil {
			t.Errorf("%s: a byte behind the document was taken", name)
		}
		if checkMaterial(spec, append(exact[:len(exact):len(exact)], exact...)) == nil {
			t.Errorf("%s: a document behind the document was taken", name)
		}
		var inner struct {
			Version   int
			Algorithm pkix.AlgorithmIdentifier
			Key       []byte
		}
		if _, err := asn1.Unmarshal(exact, &inner); err != nil {
			t.Fatal(err)
		}
		inner.Key = append(inner.Key, 0, 0)
		if checkMaterial(spec, must(asn1.Marshal(inner))(t)) == nil {
			t.Errorf("%s: bytes behind the key in the document were taken", name)
		}
	}
}
