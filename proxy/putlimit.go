package proxy

import (
	"fmt"
	"sort"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// maxPut is S3's limit on one PUT or part, on plaintext here and on ciphertext at the store.
const maxPut = 5 << 30

// longestManifest is, by the number of layers, the size of the longest manifest that ends an object of one PUT.
var longestManifest = [...]int64{1: manifestOfPut(1), 2: manifestOfPut(2)}

func manifestOfPut(layers int) (longest int64) {
	for _, k := range s3.Algorithms {
		m := &sse.Manifest{Parts: make([]sse.ManifestPart, 1), Tag: sse.Tag{Kind: sse.TagMD5},
			Facts: sse.Facts{HasMD5: true, Checksums: []sse.Checksum{{Algorithm: k.ID}}}}
		longest = max(longest, m.SealedSize(layers))
	}
	return longest
}

// checkPut holds an object's size to what one PUT can have, with the longest manifest behind it: whether there will be
// one, and which, is not known yet.
func checkPut(size int64, layers int) error {
	return checkSealed(size, layers, longestManifest[layers])
}

// checkPart holds a part's size to what one part can have. The manifest has a part of its own.
func checkPart(size int64, layers int) error { return checkSealed(size, layers, 0) }

// checkLength holds a body's announced size to what it can have in any mode, before the mode is known.
func (c *call) checkLength() error {
	if c.query.Has("uploadId") {
		return checkPart(c.auth.DecodedLength, 1)
	}
	return checkPut(c.auth.DecodedLength, 1)
}

func checkSealed(size int64, layers int, behind int64) error {
	if size < 0 || fitsPut(size, layers, behind) {
		return nil
	}
	message := "Your proposed upload exceeds the maximum allowed size"
	if size <= maxPut {
		message = "Sealed, this exceeds the store's limit of 5 GiB for one PUT. Use a multipart upload."
	}
	return s3.Errorf(s3.EntityTooLarge, "%s", message).
		With("ProposedSize", fmt.Sprint(size)).With("MaxSizeAllowed", fmt.Sprint(maxSealable(layers, behind)))
}

// fitsPut says whether a plaintext's sealed form, and what comes behind it, fits one PUT.
func fitsPut(size int64, layers int, behind int64) bool {
	return size <= maxPut && sse.SealedSize(size, layers)+behind <= maxPut
}

// maxSealable is the largest plaintext whose sealed form, and what comes behind it, fits one PUT.
func maxSealable(layers int, behind int64) int64 {
	const enough = maxPut >> 8 // a seal adds far less
	return maxPut - int64(sort.Search(enough, func(less int) bool { return fitsPut(maxPut-int64(less), layers, behind) }))
}

func layersOf(m sse.Mode) int {
	if m.Double() {
		return 2
	}
	return 1
}
