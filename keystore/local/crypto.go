package local

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"slices"
	"strconv"

	"waxseal/keystore"
)

// Encrypt encrypts up to 4096 bytes under a symmetric key, or as much as OAEP takes under an RSA key.
func (s *Service) Encrypt(ctx context.Context, caller keystore.Caller, in *EncryptRequest) (*EncryptResponse, error) {
	alg := orDefault(in.EncryptionAlgorithm, algSymmetric)
	return perform(ctx, s, caller, "Encrypt", in, func(c *call) (*EncryptResponse, error) {
		c.params["encryptionAlgorithm"] = alg
		k, err := c.use(ctx, in.KeyId, encryptionAccess(in.EncryptionContext, in.GrantTokens, alg))
		if err != nil {
			return nil, err
		}
		if err := checkAlgorithm(k.record, alg, in.EncryptionContext); err != nil {
			return nil, err
		}
		if err := checkSize(k.record, alg, in.Plaintext); err != nil {
			return nil, err
		}
		if in.DryRun {
			return nil, errDryRun()
		}
		blob, _, err := c.encrypt(k, alg, in.Plaintext, in.EncryptionContext)
		if err != nil {
			return nil, err
		}
		return &EncryptResponse{blob, k.arn(), alg}, nil
	})
}

// encryptionAccess returns the demand of Encrypt, Decrypt and ReEncrypt on a key.
func encryptionAccess(ec keystore.Context, tokens []string, alg string) access {
	return access{
		aliases: true, usage: usageEncrypt, context: ec, tokens: tokens,
		facts: facts{"kms:EncryptionAlgorithm": {alg}},
	}
}

func checkAlgorithm(r *record, alg string, ec keystore.Context) error {
	if !slices.Contains(r.spec().algorithms[r.Usage], alg) {
		return failf(codeInvalidKeyUsage, "Algorithm %s is incompatible with key spec %s.", alg, r.Spec)
	}
	if alg != algSymmetric && len(ec) > 0 {
		return invalid("EncryptionContext is not supported when using algorithm %s.", alg)
	}
	return nil
}

// checkSize refuses a plaintext too long for a block of RSA.
func checkSize(r *record, alg string, plaintext []byte) error {
	if alg == algSymmetric {
		return nil
	}
	if limit := maxRSAPlaintext(r.spec(), alg); len(plaintext) > limit {
		return invalid("Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", alg, r.Spec, limit)
	}
	return nil
}

// encrypt seals under the current material of a key.
func (c *call) encrypt(k *key, alg string, plaintext []byte, ec keystore.Context) (blob []byte, materialID string, err error) {
	c.crypto = true
	m := k.current()
	secret, err := c.s.openMaterial(k.record, m)
	if err != nil {
		return nil, "", err
	}
	defer clear(secret)
	if alg != algSymmetric {
		blob, err = rsaEncrypt(secret, alg, plaintext)
		return blob, "", err
	}
	c.extra["keyMaterialId"] = m.ID
	blob, err = sealBlob(blobHeader{k.Account, k.ID, m.ID}, k.arn(), secret, plaintext, ec)
	return blob, m.ID, err
}

// Decrypt opens a ciphertext. A symmetric ciphertext names its key; for an asymmetric ciphertext the caller does.
func (s *Service) Decrypt(ctx context.Context, caller keystore.Caller, in *DecryptRequest) (*DecryptResponse, error) {
	alg := orDefault(in.EncryptionAlgorithm, algSymmetric)
	return perform(ctx, s, caller, "Decrypt", in, func(c *call) (*DecryptResponse, error) {
		c.params["encryptionAlgorithm"] = alg
		if caller.ViaService != "" {
			delete(c.params, "keyId") // S3 itself sends no KeyId; the proxy sends it only as a check
		}
		if err := refuseRecipient(in.Recipient); err != nil {
			return nil, err
		}
		src := source{in.CiphertextBlob, in.KeyId, alg, in.EncryptionContext, in.DryRun, in.DryRunModifiers}
		k, plaintext, material, err := c.decrypt(ctx, src, encryptionAccess(in.EncryptionContext, in.GrantTokens, alg))
		if err != nil {
			return nil, err
		}
		if in.DryRun {
			clear(plaintext)
			return nil, errDryRun()
		}
		return &DecryptResponse{k.arn(), plaintext, alg, material}, nil
	})
}

// source is a ciphertext to open, of Decrypt and ReEncrypt.
type source struct {
	blob      []byte
	keyID     string // optional for symmetric keys
	alg       string
	context   keystore.Context
	dryRun    bool
	modifiers []string
}

// decrypt finds the key of a ciphertext, authorises, and opens it.
func (c *call) decrypt(ctx context.Context, src source, a access) (k *key, plaintext []byte, materialID string, err error) {
	ignore := slices.Contains(src.modifiers, "IGNORE_CIPHERTEXT")
	switch {
	case ignore && (!src.dryRun || src.keyID == ""):
		return nil, nil, "", invalid("The IGNORE_CIPHERTEXT modifier needs DryRun and a key ID.")
	case len(src.blob) == 0 && !ignore:
		return nil, nil, "", invalid("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must not be null")
	}
	k, header, err := c.sourceKey(ctx, src, a, ignore)
	if err != nil {
		return nil, nil, "", err
	}
	if err := checkAlgorithm(k.record, src.alg, src.context); err != nil {
		return nil, nil, "", err
	}
	if ignore {
		return k, nil, "", nil
	}
	m := k.current()
	if src.alg == algSymmetric {
		m = k.material(header.material)
		if m == nil {
			return nil, nil, "", failf(codeInvalidCiphertext, "")
		}
		c.extra["keyMaterialId"] = m.ID
	}
	c.crypto = true
	plaintext, err = c.open(k, m, src)
	if err != nil {
		return nil, nil, "", err
	}
	if src.alg == algSymmetric {
		materialID = m.ID
	}
	return k, plaintext, materialID, nil
}

// sourceKey returns the key named in a ciphertext or by the caller. If both name a key, it must be the same.
func (c *call) sourceKey(ctx context.Context, src source, a access, ignore bool) (*key, blobHeader, error) {
	if src.keyID == "" && src.alg != algSymmetric {
		return nil, blobHeader{}, invalid("KeyId is required when the encryption algorithm is %s.", src.alg)
	}
	var given *key
	var err error
	if src.keyID != "" {
		if given, err = c.find(ctx, src.keyID, a.aliases); err != nil {
			return nil, blobHeader{}, err
		}
	}
	if src.alg != algSymmetric || ignore {
		return given, blobHeader{}, c.check(given, src.keyID, a)
	}
	header, err := parseBlob(src.blob)
	if err != nil {
		if given != nil { // without the right to use the key, not even this is told
			if err := c.check(given, src.keyID, a); err != nil && !isCode(err, codeInvalidKeyUsage) {
				return nil, header, err
			}
		}
		return nil, header, failf(codeInvalidCiphertext, "")
	}
	if given != nil && (given.ID != header.keyID || given.Account != header.account) {
		c.touched(given.record)
		if err := c.authorize(given, src.keyID, a); err != nil {
			return nil, header, err
		}
		return nil, header, failf(codeIncorrectKey, "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	k, err := c.s.load(ctx, header.account, header.keyID)
	if errors.Is(err, errNoKey) {
		return nil, header, failf(codeAccessDenied, "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.")
	}
	if err != nil {
		return nil, header, err
	}
	return k, header, c.check(k, src.keyID, a)
}

func (c *call) open(k *key, m *material, src source) ([]byte, error) {
	secret, err := c.s.openMaterial(k.record, m)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	var plaintext []byte
	if src.alg == algSymmetric {
		plaintext, err = openBlob(src.blob, k.arn(), secret, src.context)
	} else {
		plaintext, err = rsaDecrypt(secret, src.alg, src.blob)
	}
	if err != nil {
		return nil, failf(codeInvalidCiphertext, "")
	}
	return plaintext, nil
}

// ReEncrypt moves a ciphertext to another key or context; the plaintext does not leave the service.
func (s *Service) ReEncrypt(ctx context.Context, caller keystore.Caller, in *ReEncryptRequest) (*ReEncryptResponse, error) {
	sourceAlg := orDefault(in.SourceEncryptionAlgorithm, algSymmetric)
	destAlg := orDefault(in.DestinationEncryptionAlgorithm, algSymmetric)
	return perform(ctx, s, caller, "ReEncrypt", in, func(c *call) (*ReEncryptResponse, error) {
		c.params["sourceEncryptionAlgorithm"], c.params["destinationEncryptionAlgorithm"] = sourceAlg, destAlg
		dest, err := c.find(ctx, in.DestinationKeyId, true)
		if err != nil {
			return nil, err
		}
		from := encryptionAccess(in.SourceEncryptionContext, in.GrantTokens, sourceAlg)
		from.action = "ReEncryptFrom"
		to := encryptionAccess(in.DestinationEncryptionContext, in.GrantTokens, destAlg)
		to.action = "ReEncryptTo"
		same := strconv.FormatBool(c.sameKey(ctx, in, dest))
		from.facts["kms:ReEncryptOnSameKey"], to.facts["kms:ReEncryptOnSameKey"] = []string{same}, []string{same}

		src := source{in.CiphertextBlob, in.SourceKeyId, sourceAlg, in.SourceEncryptionContext, in.DryRun, in.DryRunModifiers}
		k, plaintext, fromMaterial, err := c.decrypt(ctx, src, from)
		if err != nil {
			return nil, err
		}
		defer clear(plaintext)
		if err := c.check(dest, in.DestinationKeyId, to); err != nil {
			return nil, err
		}
		if err := checkAlgorithm(dest.record, destAlg, in.DestinationEncryptionContext); err != nil {
			return nil, err
		}
		if err := checkSize(dest.record, destAlg, plaintext); err != nil {
			return nil, err
		}
		if in.DryRun {
			return nil, errDryRun()
		}
		blob, toMaterial, err := c.encrypt(dest, destAlg, plaintext, in.DestinationEncryptionContext)
		if err != nil {
			return nil, err
		}
		delete(c.extra, "keyMaterialId")
		c.extra["sourceKeyMaterialId"], c.extra["destinationKeyMaterialId"] = fromMaterial, toMaterial
		return &ReEncryptResponse{blob, k.arn(), dest.arn(), sourceAlg, destAlg, fromMaterial, toMaterial}, nil
	})
}

// sameKey reports whether source and destination of a ReEncrypt are the same key, for a policy's condition on it.
func (c *call) sameKey(ctx context.Context, in *ReEncryptRequest, dest *key) bool {
	if header, err := parseBlob(in.CiphertextBlob); err == nil {
		return header.keyID == dest.ID
	}
	if in.SourceKeyId == "" {
		return false
	}
	k, err := c.find(ctx, in.SourceKeyId, true)
	return err == nil && k.ID == dest.ID
}

// GenerateDataKey makes a data key and returns it twice: in the clear, and under the KMS key.
func (s *Service) GenerateDataKey(ctx context.Context, caller keystore.Caller, in *GenerateDataKeyRequest) (*GenerateDataKeyResponse, error) {
	return s.generateDataKey(ctx, caller, "GenerateDataKey", in)
}

// GenerateDataKeyWithoutPlaintext makes a data key for later.
func (s *Service) GenerateDataKeyWithoutPlaintext(ctx context.Context, caller keystore.Caller, in *GenerateDataKeyRequest) (*GenerateDataKeyResponse, error) {
	out, err := s.generateDataKey(ctx, caller, "GenerateDataKeyWithoutPlaintext", in)
	if err != nil {
		return nil, err
	}
	clear(out.Plaintext)
	out.Plaintext = nil
	return out, nil
}

func (s *Service) generateDataKey(ctx context.Context, caller keystore.Caller, op string, in *GenerateDataKeyRequest) (*GenerateDataKeyResponse, error) {
	return perform(ctx, s, caller, op, in, func(c *call) (*GenerateDataKeyResponse, error) {
		if err := refuseRecipient(in.Recipient); err != nil {
			return nil, err
		}
		size, err := dataKeySize(in)
		if err != nil {
			return nil, err
		}
		k, err := c.useSymmetric(ctx, in.KeyId, encryptionAccess(in.EncryptionContext, in.GrantTokens, algSymmetric))
		if err != nil {
			return nil, err
		}
		if in.DryRun {
			return nil, errDryRun()
		}
		plaintext := make([]byte, size)
		rand.Read(plaintext)
		blob, material, err := c.encrypt(k, algSymmetric, plaintext, in.EncryptionContext)
		if err != nil {
			return nil, err
		}
		return &GenerateDataKeyResponse{blob, plaintext, k.arn(), material}, nil
	})
}

// useSymmetric is use for operations on symmetric encryption keys only.
func (c *call) useSymmetric(ctx context.Context, given string, a access) (*key, error) {
	k, err := c.use(ctx, given, a)
	if err != nil {
		return nil, err
	}
	if !k.symmetric() {
		return nil, failf(codeInvalidKeyUsage, "%s key spec is %s which is not valid for %s.", k.arn(), k.Spec, c.op)
	}
	return k, nil
}

func dataKeySize(in *GenerateDataKeyRequest) (int, error) {
	switch {
	case (in.KeySpec == "") == (in.NumberOfBytes == nil):
		return 0, invalid("Please specify either number of bytes or key spec.")
	case in.NumberOfBytes != nil:
		return *in.NumberOfBytes, nil
	case in.KeySpec == "AES_128":
		return 16, nil
	}
	return 32, nil
}

// GenerateDataKeyPair makes an asymmetric key pair outside the service; its private half is returned like a data key.
func (s *Service) GenerateDataKeyPair(ctx context.Context, caller keystore.Caller, in *GenerateDataKeyPairRequest) (*GenerateDataKeyPairResponse, error) {
	return s.generatePair(ctx, caller, "GenerateDataKeyPair", in)
}

// GenerateDataKeyPairWithoutPlaintext makes a key pair and returns its private key only encrypted, for later use.
func (s *Service) GenerateDataKeyPairWithoutPlaintext(ctx context.Context, caller keystore.Caller, in *GenerateDataKeyPairRequest) (*GenerateDataKeyPairResponse, error) {
	out, err := s.generatePair(ctx, caller, "GenerateDataKeyPairWithoutPlaintext", in)
	if err != nil {
		return nil, err
	}
	clear(out.PrivateKeyPlaintext)
	out.PrivateKeyPlaintext = nil
	return out, nil
}

func (s *Service) generatePair(ctx context.Context, caller keystore.Caller, op string, in *GenerateDataKeyPairRequest) (*GenerateDataKeyPairResponse, error) {
	return perform(ctx, s, caller, op, in, func(c *call) (*GenerateDataKeyPairResponse, error) {
		if err := refuseRecipient(in.Recipient); err != nil {
			return nil, err
		}
		spec, refused, ok := findSpec(in.KeyPairSpec)
		if refused || !ok {
			return nil, failf(codeUnsupported, "KeyPairSpec %s is not supported by this key service.", in.KeyPairSpec)
		}
		a := encryptionAccess(in.EncryptionContext, in.GrantTokens, algSymmetric)
		a.facts["kms:DataKeyPairSpec"] = []string{in.KeyPairSpec}
		k, err := c.useSymmetric(ctx, in.KeyId, a)
		if err != nil {
			return nil, err
		}
		if in.DryRun {
			return nil, errDryRun()
		}
		private, err := newMaterial(spec)
		if err != nil {
			return nil, err
		}
		public, err := publicKey(private)
		if err != nil {
			return nil, err
		}
		blob, material, err := c.encrypt(k, algSymmetric, private, in.EncryptionContext)
		if err != nil {
			return nil, err
		}
		return &GenerateDataKeyPairResponse{blob, private, public, k.arn(), in.KeyPairSpec, material}, nil
	})
}

// GenerateRandom returns random bytes.
func (s *Service) GenerateRandom(ctx context.Context, caller keystore.Caller, in *GenerateRandomRequest) (*GenerateRandomResponse, error) {
	return perform(ctx, s, caller, "GenerateRandom", in, func(c *call) (*GenerateRandomResponse, error) {
		if err := c.allowAccount("kms:GenerateRandom", "*", nil); err != nil {
			return nil, err
		}
		if err := refuseRecipient(in.Recipient); err != nil {
			return nil, err
		}
		if in.CustomKeyStoreId != "" {
			return nil, failf(codeUnsupported, "Custom key stores are not supported by this key service.")
		}
		if in.NumberOfBytes == nil {
			return nil, invalid("NumberOfBytes is required.")
		}
		out := make([]byte, *in.NumberOfBytes)
		rand.Read(out)
		return &GenerateRandomResponse{out}, nil
	})
}

func refuseRecipient(r *Recipient) error {
	if r != nil {
		return failf(codeUnsupported, "Recipient (Nitro enclave attestation) is not supported by this key service.")
	}
	return nil
}

// DeriveSharedSecret is ECDH between a key of usage KEY_AGREEMENT and a public key.
func (s *Service) DeriveSharedSecret(ctx context.Context, caller keystore.Caller, in *DeriveSharedSecretRequest) (*DeriveSharedSecretResponse, error) {
	return perform(ctx, s, caller, "DeriveSharedSecret", in, func(c *call) (*DeriveSharedSecretResponse, error) {
		if err := refuseRecipient(in.Recipient); err != nil {
			return nil, err
		}
		k, err := c.use(ctx, in.KeyId, access{
			aliases: true, usage: usageAgreement, tokens: in.GrantTokens,
			facts: facts{"kms:KeyAgreementAlgorithm": {in.KeyAgreementAlgorithm}},
		})
		if err != nil {
			return nil, err
		}
		if _, err := x509.ParsePKIXPublicKey(in.PublicKey); err != nil {
			return nil, invalid("")
		}
		if in.DryRun {
			return nil, errDryRun()
		}
		secret, err := s.openMaterial(k.record, k.current())
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		c.crypto = true
		shared, err := sharedSecret(secret, in.PublicKey)
		if err != nil {
			return nil, invalid("")
		}
		return &DeriveSharedSecretResponse{k.arn(), shared, in.KeyAgreementAlgorithm, k.Origin}, nil
	})
}

func isCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
