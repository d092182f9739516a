package proxy

import (
	"errors"

	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// keepManifestKey leaves the wrapped manifest key in the record of a new upload.
func (c *call) keepManifestKey(u *uploads.Upload, keys sse.Keys) error {
	root, box, err := c.WrapManifestKey(keys, u.Envelope)
	if err != nil {
		return err
	}
	u.ManifestKey = &uploads.ManifestKey{Root: root, Box: box}
	return nil
}

// sealBlind seals a manifest with the key that Create left.
func (c *call) sealBlind(u *uploads.Upload, m *sse.Manifest, svc sse.ServiceKey) ([]byte, error) {
	if u.ManifestKey == nil {
		return nil, errors.New("the upload's record has no manifest key")
	}
	key, err := c.UnwrapManifestKey(u.ManifestKey.Root, u.ManifestKey.Box, u.Envelope)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	return m.SealWith(key, svc)
}
