package objects

import "waxseal/sse"

// WrapManifestKey wraps an upload's manifest key under the current root key, whose id it returns. The manifest key opens
// no data: with it Complete seals the manifest of an SSE-C upload without the customer's key.
func (s *Session) WrapManifestKey(keys sse.Keys, envelope string) (root, box []byte, err error) {
	key, err := keys.ManifestKey()
	if err != nil {
		return nil, nil, err
	}
	defer key.Zero()
	k := new(keks)
	defer k.Release()
	if root, err = s.rootKEK(k, &k.inner); err != nil {
		return nil, nil, err
	}
	return root, key.Wrap(k.inner, []byte(envelope)), nil
}

// UnwrapManifestKey undoes WrapManifestKey.
func (s *Session) UnwrapManifestKey(root, box []byte, envelope string) (sse.ManifestKey, error) {
	k := new(keks)
	defer k.Release()
	if err := s.openRoot(k, &k.inner, root); err != nil {
		return sse.ManifestKey{}, err
	}
	return sse.UnwrapManifestKey(box, k.inner, []byte(envelope))
}
