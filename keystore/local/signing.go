package local

import (
	"context"
	"crypto/hmac"
	"slices"

	"waxseal/keystore"
)

// Sign signs a message or its digest with the private key.
func (s *Service) Sign(ctx context.Context, caller keystore.Caller, in *SignRequest) (*SignResponse, error) {
	return perform(ctx, s, caller, "Sign", in, func(c *call) (*SignResponse, error) {
		k, digest, secret, err := c.signing(ctx, signRequest{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens, in.DryRun})
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		signature, err := sign(secret, in.SigningAlgorithm, digest)
		if err != nil {
			return nil, err
		}
		return &SignResponse{k.arn(), signature, in.SigningAlgorithm}, nil
	})
}

// Verify checks a signature; an invalid signature is KMSInvalidSignatureException.
func (s *Service) Verify(ctx context.Context, caller keystore.Caller, in *VerifyRequest) (*VerifyResponse, error) {
	return perform(ctx, s, caller, "Verify", in, func(c *call) (*VerifyResponse, error) {
		k, digest, secret, err := c.signing(ctx, signRequest{in.KeyId, in.Message, in.MessageType, in.SigningAlgorithm, in.GrantTokens, in.DryRun})
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		ok, err := verify(secret, in.SigningAlgorithm, digest, in.Signature)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, failf(codeInvalidSignature, "")
		}
		return &VerifyResponse{k.arn(), true, in.SigningAlgorithm}, nil
	})
}

type signRequest struct {
	keyID            string
	message          []byte
	messageType, alg string
	tokens           []string
	dryRun           bool
}

// signing is the common part of Sign and Verify: everything up to the private key. The caller erases the key.
func (c *call) signing(ctx context.Context, in signRequest) (k *key, digest, secret []byte, err error) {
	messageType := orDefault(in.messageType, "RAW")
	c.params["messageType"] = messageType
	k, err = c.use(ctx, in.keyID, access{
		aliases: true, usage: usageSign, tokens: in.tokens,
		facts: facts{"kms:SigningAlgorithm": {in.alg}, "kms:MessageType": {messageType}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if !slices.Contains(k.spec().algorithms[k.Usage], in.alg) {
		return nil, nil, nil, failf(codeInvalidKeyUsage, "Algorithm %s is incompatible with key spec %s.", in.alg, k.Spec)
	}
	if digest, err = digestOf(in.alg, messageType, in.message); err != nil {
		return nil, nil, nil, err
	}
	if in.dryRun {
		return nil, nil, nil, errDryRun()
	}
	if secret, err = c.s.openMaterial(k.record, k.current()); err != nil {
		return nil, nil, nil, err
	}
	c.crypto = true
	return k, digest, secret, nil
}

// GetPublicKey returns the public half of an asymmetric key.
func (s *Service) GetPublicKey(ctx context.Context, caller keystore.Caller, in *GetPublicKeyRequest) (*GetPublicKeyResponse, error) {
	return perform(ctx, s, caller, "GetPublicKey", in, func(c *call) (*GetPublicKeyResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{aliases: true, tokens: in.GrantTokens})
		if err != nil {
			return nil, err
		}
		if !k.spec().asymmetric() {
			return nil, failf(codeUnsupported, "%s key spec is %s which is not valid for GetPublicKey.", k.arn(), k.Spec)
		}
		secret, err := s.openMaterial(k.record, k.current())
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		public, err := publicKey(secret)
		if err != nil {
			return nil, err
		}
		md := k.metadata()
		return &GetPublicKeyResponse{
			KeyId: k.arn(), PublicKey: public, CustomerMasterKeySpec: k.Spec, KeySpec: k.Spec, KeyUsage: k.Usage,
			EncryptionAlgorithms: md.EncryptionAlgorithms, SigningAlgorithms: md.SigningAlgorithms,
			KeyAgreementAlgorithms: md.KeyAgreementAlgorithms,
		}, nil
	})
}

// GenerateMac authenticates a message with an HMAC key.
func (s *Service) GenerateMac(ctx context.Context, caller keystore.Caller, in *GenerateMacRequest) (*GenerateMacResponse, error) {
	return perform(ctx, s, caller, "GenerateMac", in, func(c *call) (*GenerateMacResponse, error) {
		k, sum, err := c.mac(ctx, in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens, in.DryRun)
		if err != nil {
			return nil, err
		}
		return &GenerateMacResponse{sum, in.MacAlgorithm, k.arn()}, nil
	})
}

// VerifyMac checks a MAC; an invalid MAC is KMSInvalidMacException.
func (s *Service) VerifyMac(ctx context.Context, caller keystore.Caller, in *VerifyMacRequest) (*VerifyMacResponse, error) {
	return perform(ctx, s, caller, "VerifyMac", in, func(c *call) (*VerifyMacResponse, error) {
		k, sum, err := c.mac(ctx, in.KeyId, in.MacAlgorithm, in.Message, in.GrantTokens, in.DryRun)
		if err != nil {
			return nil, err
		}
		if !hmac.Equal(sum, in.Mac) {
			return nil, failf(codeInvalidMac, "")
		}
		return &VerifyMacResponse{k.arn(), true, in.MacAlgorithm}, nil
	})
}

func (c *call) mac(ctx context.Context, keyID, alg string, message []byte, tokens []string, dryRun bool) (*key, []byte, error) {
	k, err := c.use(ctx, keyID, access{
		aliases: true, usage: usageMAC, tokens: tokens, facts: facts{"kms:MacAlgorithm": {alg}},
	})
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(k.spec().algorithms[k.Usage], alg) {
		return nil, nil, failf(codeInvalidKeyUsage, "Algorithm %s is incompatible with key spec %s.", alg, k.Spec)
	}
	if dryRun {
		return nil, nil, errDryRun()
	}
	secret, err := c.s.openMaterial(k.record, k.current())
	if err != nil {
		return nil, nil, err
	}
	defer clear(secret)
	c.crypto = true
	return k, mac(secret, alg, message), nil
}
