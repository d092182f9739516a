package local

import (
	"context"

	"waxseal/keystore"
)

// KeyVersion names the material that a blob is under and the current one of its key. It opens nothing, so it asks
// nobody's permission and leaves no record: a report of what still hangs on an older material needs no more.
func (p *provider) KeyVersion(ctx context.Context, blob []byte) (version, current string, err error) {
	h, err := parseBlob(blob)
	if err != nil {
		return "", "", &keystore.Error{Kind: keystore.InvalidCiphertext, Err: err}
	}
	k, err := p.s.load(ctx, h.account, h.keyID)
	if err != nil {
		return "", "", providerError(err, h.keyID)
	}
	if m := k.current(); m != nil {
		current = m.ID
	}
	return h.material, current, nil
}
