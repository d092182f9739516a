package proxy

import (
	"errors"

	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// keepManifestKey leaves the manifest key in the record of a new upload.
func (c *session) keepManifestKey(u *uploads.Upload, keys sse.Keys) error {
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
	u.ManifestKey = &uploads.ManifestKey{Root: root, Box: key.Wrap(k.inner, []byte(u.Envelope))}
	return nil
}

// sealBlind seals a manifest with the key that Create left.
func (c *session) sealBlind(u *uploads.Upload, m *sse.Manifest, svc sse.ServiceKey) ([]byte, error) {
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
