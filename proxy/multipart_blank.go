package proxy

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// S3 completes an SSE-C upload without the client's key, and there are clients that count on it. The manifest must be
// sealed under the data key, which waxseal does not have then and must not keep. So each part of such an upload, which
// does come with the key, leaves a blank: a derived key that can seal one manifest and open nothing, wrapped under the
// root key. A Complete with the client's key needs none.
//
// A blank's nonces are fixed, so it may seal only one manifest. Which one is recorded before it does: a Complete that
// is repeated seals the same bytes again, and one of other parts takes another blank.
type blank struct {
	Root []byte `json:"root"` // names the root key
	Box  []byte `json:"box"`
}

type usedBlank struct {
	Part   string `json:"part"` // whose blank it is
	Blank  blank  `json:"blank"`
	Digest []byte `json:"digest"` // of the manifest that it seals
}

// makeBlank makes a part's blank.
func (w *partWrite) makeBlank() (*blank, error) {
	key, err := w.keys.ManifestKey()
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	k := new(keks)
	defer k.Release()
	root, err := w.rootKEK(k, &k.inner)
	if err != nil {
		return nil, err
	}
	return &blank{Root: root, Box: key.Wrap(k.inner, []byte(w.upload.name))}, nil
}

// takeBlank assigns a blank to the manifest that is to be sealed. It is the caller's to record it.
func (p *completion) takeBlank(known []*part) error {
	digest, err := p.manifestDigest()
	if err != nil {
		return err
	}
	used := make(map[string]bool)
	for _, b := range p.upload.Blanks {
		if string(b.Digest) == string(digest) {
			p.blank = &b.Blank
			return nil
		}
		used[b.Part] = true
	}
	for _, part := range known {
		if part.Blank != nil && !used[part.id] {
			p.blank = part.Blank
			p.upload.Blanks = append(p.upload.Blanks, usedBlank{Part: part.id, Blank: *part.Blank, Digest: digest})
			return nil
		}
	}
	return s3.Errorf(s3.InvalidRequest, "The multipart upload initiate requested encryption. This request must include the appropriate encryption parameters.")
}

// manifestDigest names the exact bytes that sealing the manifest gives: what is in it, and the service key that
// vouches for it.
func (p *completion) manifestDigest() ([]byte, error) {
	svc, err := p.s.serviceKey(p.call)
	if err != nil {
		return nil, err
	}
	svc.Key.Zero()
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", svc.ID)
	if err := json.NewEncoder(h).Encode(manifestOf(p.upload, p.chosen, p.out.Sum)); err != nil {
		return nil, fmt.Errorf("digesting a manifest: %w", err)
	}
	p.blankFor = svc.ID
	return h.Sum(nil), nil
}

// sealBlind seals the manifest with the blank that was assigned to it.
func (p *completion) sealBlind(m *sse.Manifest, svc sse.ServiceKey) ([]byte, error) {
	if svc.ID != p.blankFor {
		return nil, fmt.Errorf("the service key changed from %d to %d between two steps", p.blankFor, svc.ID)
	}
	k := new(keks)
	defer k.Release()
	if err := p.openRoot(k, &k.inner, p.blank.Root); err != nil {
		return nil, err
	}
	key, err := sse.UnwrapManifestKey(p.blank.Box, k.inner, []byte(p.upload.name))
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	return m.SealWith(key, svc)
}
