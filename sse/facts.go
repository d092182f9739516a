package sse

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

// Checksum algorithms.
const (
	CRC32 uint8 = 1 + iota
	CRC32C
	CRC64NVME
	SHA1
	SHA256
	SHA512
	MD5 // as a checksum requested by a client; Facts.MD5 is there for ETags
	XXHASH64
	XXHASH3
	XXHASH128
)

// checksumSizes by algorithm; zero is none.
var checksumSizes = [...]int{0, 4, 4, 8, 20, 32, 64, 16, 8, 8, 16}

// maxChecksum is the length of the longest value of any algorithm.
var maxChecksum = slices.Max(checksumSizes[:])

// ChecksumSize is the length of an algorithm's value, 0 for an unknown algorithm.
func ChecksumSize(algorithm uint8) int {
	if int(algorithm) >= len(checksumSizes) {
		return 0
	}
	return checksumSizes[algorithm]
}

// Checksum is of the plaintext: of all of it, or (Composite) of its parts' checksums.
type Checksum struct {
	Algorithm uint8
	Composite bool
	Value     []byte
}

// Facts are digests of the plaintext, sealed under the data keys because a digest confirms a guess of the plaintext.
type Facts struct {
	MD5       [16]byte
	HasMD5    bool
	Checksums []Checksum // at most one for each algorithm
}

// The first two bytes are flags: bit 0 the MD5, bit a the checksum of algorithm a up to SHA256, bit 6 a checksum of a
// later algorithm; in the second byte the bit means composite. Values follow in the order of the bits, for bit 6
// after its algorithm's number, so a set of facts has a single encoding.
const (
	factsMD5    = 1 << 0
	factsLater  = 1 << 6
	factsKnown  = 1<<7 - 1
	factsPrefix = 2
)

var factsMaxPlain = factsPrefix + 16 + 4 + 4 + 8 + 20 + 32 + 1 + maxChecksum

// factsBit is the bit of an algorithm.
func factsBit(algorithm uint8) byte {
	if algorithm > SHA256 {
		return factsLater
	}
	return 1 << algorithm
}

// sealedSize returns the size of the facts box. It depends on the set of facts, not on their values.
func (f *Facts) sealedSize() int {
	n := factsPrefix + TagSize
	if f.HasMD5 {
		n += len(f.MD5)
	}
	for _, c := range f.Checksums {
		n += ChecksumSize(c.Algorithm)
		if c.Algorithm > SHA256 {
			n++
		}
	}
	return n
}

func (f *Facts) encode() ([]byte, error) {
	b := make([]byte, factsPrefix, factsMaxPlain)
	if f.HasMD5 {
		b[0] |= factsMD5
		b = append(b, f.MD5[:]...)
	}
	sorted := f.Checksums
	if len(sorted) > 1 {
		sorted = slices.SortedFunc(slices.Values(f.Checksums), func(a, b Checksum) int {
			return int(a.Algorithm) - int(b.Algorithm)
		})
	}
	for _, c := range sorted {
		bit := factsBit(c.Algorithm)
		if ChecksumSize(c.Algorithm) == 0 || len(c.Value) != ChecksumSize(c.Algorithm) || b[0]&bit != 0 {
			return nil, fmt.Errorf("sse: bad or repeated checksum of algorithm %d", c.Algorithm)
		}
		b[0] |= bit
		if c.Composite {
			b[1] |= bit
		}
		if bit == factsLater {
			b = append(b, c.Algorithm)
		}
		b = append(b, c.Value...)
	}
	return b, nil
}

func decodeFacts(plain []byte) (*Facts, error) {
	in := fields{b: plain}
	have, composite := in.u8(), in.u8()
	if have&^factsKnown != 0 {
		return nil, fmt.Errorf("%w: unknown facts", ErrUnsupportedVersion)
	}
	if composite&^(have&^factsMD5) != 0 {
		return nil, fmt.Errorf("%w: facts", ErrMalformed)
	}
	f := &Facts{HasMD5: have&factsMD5 != 0}
	if f.HasMD5 {
		in.into(f.MD5[:])
	}
	for bit := CRC32; bit <= SHA512; bit++ {
		if have&(1<<bit) == 0 {
			continue
		}
		a := bit
		if bit == SHA512 {
			if a = in.u8(); in.err == nil && (a < SHA512 || ChecksumSize(a) == 0) {
				return nil, fmt.Errorf("%w: checksum of algorithm %d", ErrUnsupportedVersion, a)
			}
		}
		value := append([]byte(nil), in.take(ChecksumSize(a))...)
		f.Checksums = append(f.Checksums, Checksum{Algorithm: a, Composite: composite&(1<<bit) != 0, Value: value})
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	return f, nil
}

// Kinds of Tag.
const (
	TagNone  uint8 = iota // the store's own is shown
	TagMD5                // MD5 of the plaintext
	TagParts              // MD5 of the parts' MD5s, shown with "-" and their number
)

// Tag is the source of the ETag in HEAD and LIST, readable without a data key.
type Tag struct {
	Kind  uint8
	MD5   [16]byte
	Parts uint32
}

// String is the tag as clients see it, without quotes; empty for TagNone.
func (t Tag) String() string {
	switch t.Kind {
	case TagMD5:
		return hex.EncodeToString(t.MD5[:])
	case TagParts:
		return hex.EncodeToString(t.MD5[:]) + "-" + strconv.FormatUint(uint64(t.Parts), 10)
	}
	return ""
}

// size returns the size of the encoding: kind, then the kind's fields.
func (t Tag) size() int {
	switch t.Kind {
	case TagMD5:
		return 1 + len(t.MD5)
	case TagParts:
		return 1 + len(t.MD5) + 4
	}
	return 1
}

const tagMaxSize = 1 + 16 + 4

func (t Tag) check() error {
	if t.Kind > TagParts {
		return fmt.Errorf("sse: unknown kind of tag %d", t.Kind)
	}
	if t.Kind == TagParts && (t.Parts == 0 || t.Parts > MaxParts) {
		return fmt.Errorf("sse: a tag of %d parts", t.Parts)
	}
	return nil
}

func (t Tag) encode(b []byte) []byte {
	b = append(b, t.Kind)
	if t.Kind != TagNone {
		b = append(b, t.MD5[:]...)
	}
	if t.Kind == TagParts {
		b = binary.BigEndian.AppendUint32(b, t.Parts)
	}
	return b
}

func (f *fields) tag() Tag {
	t := Tag{Kind: f.u8()}
	if t.Kind == TagMD5 || t.Kind == TagParts {
		f.into(t.MD5[:])
	}
	if t.Kind == TagParts {
		t.Parts = f.u32()
	}
	if err := t.check(); err != nil {
		f.fail(fmt.Errorf("%w: %v", ErrMalformed, err))
		return Tag{}
	}
	return t
}

func decodeTag(plain []byte) (Tag, error) {
	in := fields{b: plain}
	t := in.tag()
	if err := in.end(); err != nil {
		return Tag{}, err
	}
	return t, nil
}

// ServiceKey is a deployment's key for tags, readable without a data key.
type ServiceKey struct {
	ID  uint32
	Key Key
}

// CountedServiceKeys bounds the ids of service keys numbered from 1: every deployment has a key 1. Higher ids are
// random, and unique to a deployment's key.
const CountedServiceKeys = 1 << 16

// ServiceKeys looks a service key up by its id.
type ServiceKeys func(id uint32) (Key, bool)

// open opens a public box. A box that does not open under a counted id may come from another deployment or a lost
// state: so the error is ErrUnknownServiceKey too, and the data key decides.
func (look ServiceKeys) open(id uint32, salt []byte, label string, box, aad []byte) (Tag, error) {
	key, ok := look(id)
	if !ok {
		return Tag{}, fmt.Errorf("%w: id %d", ErrUnknownServiceKey, id)
	}
	plain, err := key.Derive(salt, label).openBox(box, aad)
	switch {
	case err != nil && id < CountedServiceKeys:
		return Tag{}, fmt.Errorf("%w: %w: public box under the counted id %d", ErrUnknownServiceKey, err, id)
	case err != nil:
		return Tag{}, fmt.Errorf("%w: public box", err)
	}
	return decodeTag(plain)
}
