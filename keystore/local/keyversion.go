package local

import (
	"context"

	"waxseal/keystore"
)

// KeyVersion implements keystore.KeyVersions: it names the material that a blob is under and the current one of its key.
// It leaves no record: a report of what still hangs on an older material needs no more.
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
