package local

import (
	"context"
	"errors"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// Provider returns the service as a keystore.Provider, for the S3 side: with the same keys, authorization and audit log
// as the KMS API.
func (s *Service) Provider() keystore.Provider { return &provider{s} }

type provider struct{ s *Service }

// Resolve is not an operation of the KMS API. It is not authorized: its answer goes to the proxy, not to the requester.
func (p *provider) Resolve(ctx context.Context, caller keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	if caller.AccountID == "" {
		caller.AccountID = p.s.account
	}
	c := &call{s: p.s, caller: caller, op: "DescribeKey", now: p.s.now().UTC(), extra: map[string]any{}}
	k, err := c.find(ctx, keyID, true)
	if err != nil {
		return keystore.KeyInfo{}, providerError(c.visible(err), keyID)
	}
	return keystore.KeyInfo{
		ARN: k.arn(), AccountID: k.Account, State: k.State, Symmetric: k.symmetric() && k.Usage == usageEncrypt,
		Usage: k.Usage, Spec: k.Spec, Manager: k.Class, Origin: k.Origin,
	}, nil
}

func (p *provider) GenerateDataKey(ctx context.Context, caller keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	out, err := p.s.GenerateDataKey(ctx, caller, &GenerateDataKeyRequest{KeyId: keyID, EncryptionContext: ec, KeySpec: "AES_256"})
	if err != nil {
		return keystore.DataKey{}, providerError(err, keyID)
	}
	return dataKey(out.Plaintext, out.CiphertextBlob, out.KeyId, out.KeyMaterialId)
}

func (p *provider) Decrypt(ctx context.Context, caller keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	if len(blob) == 0 {
		return keystore.DataKey{}, keystore.Errorf(keystore.InvalidCiphertext, keyARN, "")
	}
	out, err := p.s.Decrypt(ctx, caller, &DecryptRequest{CiphertextBlob: blob, KeyId: keyARN, EncryptionContext: ec})
	if err != nil {
		return keystore.DataKey{}, providerError(err, keyARN)
	}
	return dataKey(out.Plaintext, blob, out.KeyId, out.KeyMaterialId)
}

// Version returns "": a change of a key concerns all of its material.
func (p *provider) Version([]byte) string { return "" }

// Authorize makes the call itself and throws its result away: then it is authorised and recorded as the call is, by
// construction.
func (p *provider) Authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, keyARN string, blob []byte, ec keystore.Context) error {
	var k keystore.DataKey
	var err error
	switch action {
	case keystore.GenerateDataKey:
		k, err = p.GenerateDataKey(ctx, caller, keyARN, ec)
	case keystore.Decrypt:
		k, err = p.Decrypt(ctx, caller, blob, keyARN, ec)
	default:
		return keystore.Errorf(keystore.Internal, keyARN, "unknown action %s", action)
	}
	k.Plaintext.Zero()
	return err
}

// Health reads an entry that always exists in the state.
func (p *provider) Health(ctx context.Context) error {
	_, err := p.s.state.Get(ctx, rootKey)
	if errors.Is(err, state.ErrNotFound) {
		return &keystore.Error{Kind: keystore.Internal, Err: errors.New("the root key is gone from the state")}
	}
	if err != nil {
		return &keystore.Error{Kind: keystore.Unavailable, Err: err}
	}
	return nil
}

func (p *provider) Close() error { return p.s.Close() }

// dataKey takes over a plaintext. GenerateDataKey never made bytes for S3 that are no 256-bit key.
func dataKey(plaintext, blob []byte, keyARN, materialID string) (keystore.DataKey, error) {
	defer clear(plaintext)
	secret, err := keystore.NewSecret(plaintext)
	if err != nil {
		return keystore.DataKey{}, &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: keyARN, Err: err}
	}
	return keystore.DataKey{Plaintext: secret, Blob: blob, KeyARN: keyARN, MaterialID: materialID}, nil
}

var kinds = map[string]keystore.Kind{
	codeNotFound: keystore.NotFound, codeInvalidArn: keystore.NotFound, codeDisabled: keystore.Disabled,
	codeInvalidState: keystore.InvalidState, codeAccessDenied: keystore.AccessDenied,
	codeInvalidKeyUsage: keystore.InvalidKeyUsage, codeInvalidCiphertext: keystore.InvalidCiphertext,
	codeIncorrectKey: keystore.IncorrectKey, codeThrottling: keystore.Throttled, codeKeyUnavailable: keystore.Unavailable,
	codeDependencyTimeout: keystore.Unavailable,
	// In waxseal's own requests only the client's encryption context can be invalid, and no key is given out for it.
	codeValidation: keystore.AccessDenied,
}

func providerError(err error, keyARN string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err // the end of the caller's context
	}
	kind, ok := kinds[e.Code]
	if !ok {
		kind = keystore.Internal
	}
	return &keystore.Error{Kind: kind, KeyARN: keyARN, Message: e.Message}
}
