package speed

import (
	"bytes"
	"hash"
	"io"

	"waxseal/sse"
)

// sample is a plaintext and its sealed part.
type sample struct {
	plain, sealed []byte
	headers       sse.Headers
}

func newSample(plain []byte, keys sse.Keys) (*sample, error) {
	part := keys.SealPart(1, bytes.NewReader(plain), int64(len(plain)))
	defer part.Close()
	var b bytes.Buffer
	_, err := io.Copy(&b, part)
	return &sample{plain: plain, sealed: b.Bytes(), headers: part.Headers()}, err
}

func seal(keys sse.Keys) func(*sample) error {
	return func(s *sample) error { return sealFrom(keys, s, bytes.NewReader(s.plain)) }
}

func sealHashing(keys sse.Keys, newHash func() hash.Hash) func(*sample) error {
	return func(s *sample) error { return sealFrom(keys, s, io.TeeReader(bytes.NewReader(s.plain), newHash())) }
}

func sealFrom(keys sse.Keys, s *sample, src io.Reader) error {
	part := keys.SealPart(1, src, int64(len(s.plain)))
	defer part.Close()
	_, err := io.Copy(io.Discard, part)
	return err
}

func open(keys sse.Keys) func(*sample) error {
	return func(s *sample) error {
		size := int64(len(s.plain))
		layout := &sse.Layout{Layers: keys.Layers(), Parts: []sse.PartInfo{{Number: 1, Size: size, Headers: s.headers}}}
		r, err := keys.Open(layout, layout.Range(0, size), bytes.NewReader(s.sealed))
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
}

func hashing(newHash func() hash.Hash) func(*sample) error {
	return func(s *sample) error {
		_, err := newHash().Write(s.plain)
		return err
	}
}
