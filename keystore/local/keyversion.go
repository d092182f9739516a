package local

import (
	"context"

	"waxseal/keystore"
)

// KeyVersion implements keystore.KeyVersions: it returns the blob's material and the current material of its key. It
// leaves no audit record, because no key is used: it only serves a report of objects under older material.
func (p *provider) KeyVersion(ctx context.Context, _ string, blob []byte) (version, newest string, err error) {
	h, err := parseBlob(blob)
	if err != nil {
		return "", "", &keystore.Error{Kind: keystore.InvalidCiphertext, Err: err}
	}
	k, err := p.s.load(ctx, h.account, h.keyID)
	if err != nil {
		return "", "", providerError(err, h.keyID)
	}
	if m := k.current(); m != nil {
		newest = m.ID
	}
	return h.material, newest, nil
}
