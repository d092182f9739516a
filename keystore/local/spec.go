package local

import (
	"crypto"
	"slices"
)

// Key usages, as in KeyMetadata.KeyUsage.
const (
	usageEncrypt   = "ENCRYPT_DECRYPT"
	usageSign      = "SIGN_VERIFY"
	usageMAC       = "GENERATE_VERIFY_MAC"
	usageAgreement = "KEY_AGREEMENT"
	usageKEM       = "ENCAPSULATE_DECAPSULATE" // usage of refused key specs
)

// Algorithms named in the code; the rest appear only in the table below.
const (
	specSymmetric = "SYMMETRIC_DEFAULT"

	algSymmetric  = "SYMMETRIC_DEFAULT"
	algOAEPSHA1   = "RSAES_OAEP_SHA_1"
	algOAEPSHA256 = "RSAES_OAEP_SHA_256"
	algECDH       = "ECDH"
	algEd25519    = "ED25519_SHA_512"
	algEd25519ph  = "ED25519_PH_SHA_512"
)

// family selects the code for the material of a key spec.
type family int

const (
	familySymmetric family = iota + 1
	familyRSA
	familyECC
	familyEdwards
	familyMAC
)

// keySpec is a row of KMS's table of key types: the material, and the algorithms of each usage.
type keySpec struct {
	name       string
	family     family
	bits       int                 // modulus or curve size; for HMAC and symmetric keys the size of the material
	algorithms map[string][]string // usage -> algorithms
}

var rsaSigning = []string{
	"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
	"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
}

// keySpecs are the supported key types. AWS's specs without an implementation in Go's standard library (refusedSpecs)
// are refused by name.
var keySpecs = []keySpec{
	{specSymmetric, familySymmetric, 256, map[string][]string{usageEncrypt: {algSymmetric}}},
	rsaSpec("RSA_2048", 2048), rsaSpec("RSA_3072", 3072), rsaSpec("RSA_4096", 4096),
	eccSpec("ECC_NIST_P256", 256, "ECDSA_SHA_256"),
	eccSpec("ECC_NIST_P384", 384, "ECDSA_SHA_384"),
	eccSpec("ECC_NIST_P521", 521, "ECDSA_SHA_512"),
	{"ECC_NIST_EDWARDS25519", familyEdwards, 256, map[string][]string{usageSign: {algEd25519, algEd25519ph}}},
	macSpec("HMAC_224", 224, "HMAC_SHA_224"), macSpec("HMAC_256", 256, "HMAC_SHA_256"),
	macSpec("HMAC_384", 384, "HMAC_SHA_384"), macSpec("HMAC_512", 512, "HMAC_SHA_512"),
}

// refusedSpecs are valid names on AWS without support here: most have no public implementation in Go's standard
// library.
var refusedSpecs = []string{"ECC_SECG_P256K1", "SM2", "ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"}

func rsaSpec(name string, bits int) keySpec {
	return keySpec{name, familyRSA, bits, map[string][]string{
		usageEncrypt: {algOAEPSHA1, algOAEPSHA256},
		usageSign:    rsaSigning,
	}}
}

func eccSpec(name string, bits int, signing string) keySpec {
	return keySpec{name, familyECC, bits, map[string][]string{
		usageSign:      {signing},
		usageAgreement: {algECDH},
	}}
}

func macSpec(name string, bits int, alg string) keySpec {
	return keySpec{name, familyMAC, bits, map[string][]string{usageMAC: {alg}}}
}

// findSpec looks up a key type; refused means an AWS type without support here.
func findSpec(name string) (spec keySpec, refused, ok bool) {
	for _, s := range keySpecs {
		if s.name == name {
			return s, false, true
		}
	}
	return keySpec{}, slices.Contains(refusedSpecs, name), false
}

// asymmetric reports whether the key has a public half.
func (k keySpec) asymmetric() bool {
	return k.family == familyRSA || k.family == familyECC || k.family == familyEdwards
}

// hashOf maps a signing or MAC algorithm to its digest.
var hashOf = map[string]crypto.Hash{
	"RSASSA_PKCS1_V1_5_SHA_256": crypto.SHA256, "RSASSA_PKCS1_V1_5_SHA_384": crypto.SHA384, "RSASSA_PKCS1_V1_5_SHA_512": crypto.SHA512,
	"RSASSA_PSS_SHA_256": crypto.SHA256, "RSASSA_PSS_SHA_384": crypto.SHA384, "RSASSA_PSS_SHA_512": crypto.SHA512,
	"ECDSA_SHA_256": crypto.SHA256, "ECDSA_SHA_384": crypto.SHA384, "ECDSA_SHA_512": crypto.SHA512,
	algEd25519: crypto.SHA512, algEd25519ph: crypto.SHA512,
	"HMAC_SHA_224": crypto.SHA224, "HMAC_SHA_256": crypto.SHA256, "HMAC_SHA_384": crypto.SHA384, "HMAC_SHA_512": crypto.SHA512,
	algOAEPSHA1: crypto.SHA1, algOAEPSHA256: crypto.SHA256,
}
