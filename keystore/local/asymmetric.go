package local

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSAES_OAEP_SHA_1 is part of the contract
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
)

// Material is stored as bytes: raw for symmetric and HMAC keys, PKCS #8 for the rest.

// newMaterial generates the material of a key type.
func newMaterial(spec keySpec) ([]byte, error) {
	var private any
	var err error
	switch spec.family {
	case familySymmetric, familyMAC:
		raw := make([]byte, spec.bits/8)
		rand.Read(raw)
		return raw, nil
	case familyRSA:
		private, err = rsa.GenerateKey(rand.Reader, spec.bits)
	case familyECC:
		private, err = ecdsa.GenerateKey(curveOf(spec), rand.Reader)
	case familyEdwards:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = errors.New("unknown key family")
	}
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(private)
}

func curveOf(spec keySpec) elliptic.Curve {
	switch spec.bits {
	case 256:
		return elliptic.P256()
	case 384:
		return elliptic.P384()
	}
	return elliptic.P521()
}

// checkMaterial checks that imported bytes are valid material for the key type.
func checkMaterial(spec keySpec, material []byte) error {
	if !spec.asymmetric() {
		if len(material) != spec.bits/8 {
			return errors.New("wrong length")
		}
		return nil
	}
	private, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil || !exactPKCS8(material) {
		return errors.New("not a PKCS #8 private key")
	}
	switch key := private.(type) {
	case *rsa.PrivateKey:
		if spec.family == familyRSA && key.N.BitLen() == spec.bits {
			return key.Validate()
		}
	case *ecdsa.PrivateKey:
		if spec.family == familyECC && key.Curve == curveOf(spec) {
			return nil
		}
	case ed25519.PrivateKey:
		if spec.family == familyEdwards {
			return nil
		}
	}
	return errors.New("another key type")
}

// exactPKCS8 reports whether nothing is behind a PKCS #8 document, or behind the key in it: Go's parser passes over both.
// https://datatracker.ietf.org/doc/html/rfc5208#section-5
func exactPKCS8(material []byte) bool {
	var document struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	rest, err := asn1.Unmarshal(material, &document)
	if err != nil || len(rest) > 0 {
		return false
	}
	var key asn1.RawValue
	rest, err = asn1.Unmarshal(document.Key, &key)
	return err == nil && len(rest) == 0
}

// signer opens the PKCS #8 material of an asymmetric key.
func signer(material []byte) (crypto.Signer, error) {
	private, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		return nil, err
	}
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("material is not a private key")
	}
	return s, nil
}

// publicKey returns the DER-encoded SubjectPublicKeyInfo of an asymmetric key.
func publicKey(material []byte) ([]byte, error) {
	s, err := signer(material)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(s.Public())
}

// digestOf returns the digest to sign: of the message, or the caller's own.
func digestOf(alg, messageType string, message []byte) ([]byte, error) {
	hash := hashOf[alg]
	switch {
	case messageType == "EXTERNAL_MU":
		return nil, invalid("MessageType EXTERNAL_MU is not valid for algorithm %s.", alg)
	case alg == algEd25519:
		if messageType == "DIGEST" {
			return nil, invalid("MessageType DIGEST is not valid for algorithm %s.", alg)
		}
		return message, nil
	case alg == algEd25519ph && messageType != "DIGEST":
		return nil, invalid("MessageType %s is not valid for algorithm %s.", messageType, alg)
	case messageType == "DIGEST":
		if len(message) != hash.Size() {
			return nil, invalid("Digest is invalid length for algorithm %s.", alg)
		}
		return message, nil
	}
	h := hash.New()
	h.Write(message)
	return h.Sum(nil), nil
}

func signerOpts(alg string) crypto.SignerOpts {
	hash := hashOf[alg]
	switch {
	case strings.HasPrefix(alg, "RSASSA_PSS_"):
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	case alg == algEd25519:
		return crypto.Hash(0)
	}
	return hash
}

func sign(material []byte, alg string, digest []byte) ([]byte, error) {
	s, err := signer(material)
	if err != nil {
		return nil, err
	}
	return s.Sign(rand.Reader, digest, signerOpts(alg))
}

func verify(material []byte, alg string, digest, signature []byte) (bool, error) {
	s, err := signer(material)
	if err != nil {
		return false, err
	}
	switch public := s.Public().(type) {
	case *rsa.PublicKey:
		if opts, ok := signerOpts(alg).(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, opts.Hash, digest, signature, opts) == nil, nil
		}
		return rsa.VerifyPKCS1v15(public, hashOf[alg], digest, signature) == nil, nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature), nil
	case ed25519.PublicKey:
		opts := &ed25519.Options{Hash: signerOpts(alg).HashFunc()}
		return ed25519.VerifyWithOptions(public, digest, signature, opts) == nil, nil
	}
	return false, errors.New("material cannot verify")
}

// maxRSAPlaintext returns the longest plaintext for OAEP: 190 bytes for RSA_2048 with SHA-256.
func maxRSAPlaintext(spec keySpec, alg string) int {
	return spec.bits/8 - 2*hashOf[alg].Size() - 2
}

func rsaEncrypt(material []byte, alg string, plaintext []byte) ([]byte, error) {
	s, err := signer(material)
	if err != nil {
		return nil, err
	}
	public, ok := s.Public().(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("material is not RSA")
	}
	return rsa.EncryptOAEP(hashOf[alg].New(), rand.Reader, public, plaintext, nil)
}

func rsaDecrypt(material []byte, alg string, ciphertext []byte) ([]byte, error) {
	s, err := signer(material)
	if err != nil {
		return nil, err
	}
	private, ok := s.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("material is not RSA")
	}
	return rsa.DecryptOAEP(hashOf[alg].New(), nil, private, ciphertext, nil)
}

func mac(material []byte, alg string, message []byte) []byte {
	h := hmac.New(hashOf[alg].New, material)
	h.Write(message)
	return h.Sum(nil)
}

var errPeerKey = errors.New("not a public key on the curve of this key")

// sharedSecret computes ECDH with the peer's DER-encoded public key.
func sharedSecret(material, peerDER []byte) ([]byte, error) {
	s, err := signer(material)
	if err != nil {
		return nil, err
	}
	own, ok := s.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("material is not an elliptic curve key")
	}
	private, err := own.ECDH()
	if err != nil {
		return nil, err
	}
	peer, err := parsePeer(peerDER)
	if err != nil || peer.Curve() != private.Curve() {
		return nil, errPeerKey
	}
	return private.ECDH(peer)
}

func parsePeer(der []byte) (*ecdh.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, errPeerKey
	}
	return public.ECDH()
}
