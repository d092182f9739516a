package proxy

import (
	"errors"

	"waxseal/sse"
)

// S3 completes an SSE-C upload without the client's key, and there are clients that count on it. The manifest must be
// sealed under the data key, which waxseal does not have then and must not keep. So Create, which does come with the
// key, leaves the manifest key: derived from the data key, it seals manifests and opens no data. It lies wrapped under
// the root key in the upload's record, until the upload has ended.
type keptKey struct {
	Root []byte `json:"root"` // names the root key
	Box  []byte `json:"box"`
}

// keepManifestKey leaves the manifest key in the record of a new upload.
func (c *call) keepManifestKey(u *upload, keys sse.Keys) error {
	key, err := keys.ManifestKey()
	if err != nil {
		return err
	}
	defer key.Zero()
	k := new(keks)
	defer k.Release()
	root, err := c.rootKEK(k, &k.inner)
	if err != nil {
		return err
	}
	u.ManifestKey = &keptKey{Root: root, Box: key.Wrap(k.inner, []byte(u.Envelope))}
	return nil
}

// sealBlind seals a manifest with the key that Create left.
func (c *call) sealBlind(u *upload, m *sse.Manifest, svc sse.ServiceKey) ([]byte, error) {
	if u.ManifestKey == nil {
		return nil, errors.New("the upload's record has no manifest key")
	}
	k := new(keks)
	defer k.Release()
	if err := c.openRoot(k, &k.inner, u.ManifestKey.Root); err != nil {
		return nil, err
	}
	key, err := sse.UnwrapManifestKey(u.ManifestKey.Box, k.inner, []byte(u.Envelope))
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	return m.SealWith(key, svc)
}
