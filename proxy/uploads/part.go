package uploads

import (
	"time"

	"waxseal/sse"
)

// Part is one send of a part. A client may send the same part number several times.
type Part struct {
	Number int       `json:"number"`
	Size   int64     `json:"size"` // of plaintext
	ETag   string    `json:"etag"` // as clients see it, without quotes
	Time   time.Time `json:"time"`

	StoreETag string `json:"store_etag,omitempty"` // of the sealed part at the store
	Staged    string `json:"held,omitempty"`       // name of the staged part, if it is staged
	StagedCRC uint32 `json:"held_crc,omitempty"`   // CRC32C of the sealed bytes, if staged in the directory
	StagedSum []byte `json:"held_sum,omitempty"`   // SHA-256 of the sealed bytes, if staged in a bucket

	MD5    []byte         `json:"md5,omitempty"`
	Sums   []sse.Checksum `json:"sums"` // the upload's algorithm first, then the client's further checksums
	Data   []byte         `json:"data"` // stream headers
	Outer  []byte         `json:"outer,omitempty"`
	Sealed int64          `json:"-"` // sealed size

	id       string
	revision int64
	intent   int64 // revision of the intent of a part staged in a bucket
}

// SetHeaders stores the stream headers of the sealed part.
func (p *Part) SetHeaders(h sse.Headers, layers int) {
	p.Data = append([]byte(nil), h.Data[:]...)
	if layers > 1 {
		p.Outer = append([]byte(nil), h.Outer[:]...)
	}
}

func (p *Part) headers() (h sse.Headers) {
	copy(h.Data[:], p.Data)
	copy(h.Outer[:], p.Outer)
	return h
}

// Sum returns the part's checksum of an algorithm, or nil if it is not known.
func (p *Part) Sum(algorithm uint8) []byte {
	for _, s := range p.Sums {
		if s.Algorithm == algorithm {
			return s.Value
		}
	}
	return nil
}
