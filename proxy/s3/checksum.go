package s3

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/crc64nvme"
	"github.com/zeebo/xxh3"

	"waxseal/sse"
)

// Algorithm is an algorithm of x-amz-checksum-*.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
type Algorithm struct {
	ID     uint8  // in the object format, such as sse.CRC32
	Name   string // as in x-amz-checksum-algorithm
	Header string // of a value, and its trailer, in lower case

	hash  func() hash.Hash
	field func(*Checksums) *string
	crc   *crcField // nil: the checksum of a whole does not follow from the checksums of its runs
}

// Algorithms is the table of all algorithms, in S3's order.
var Algorithms = []Algorithm{
	{sse.CRC32, "CRC32", ChecksumPrefix + "crc32", func() hash.Hash { return crc32.NewIEEE() },
		func(c *Checksums) *string { return &c.ChecksumCRC32 }, &crcField{0xedb88320, 1 << 31}},
	{sse.CRC32C, "CRC32C", ChecksumPrefix + "crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
		func(c *Checksums) *string { return &c.ChecksumCRC32C }, &crcField{0x82f63b78, 1 << 31}},
	{sse.CRC64NVME, "CRC64NVME", ChecksumPrefix + "crc64nvme", func() hash.Hash { return crc64nvme.New() },
		func(c *Checksums) *string { return &c.ChecksumCRC64NVME }, &crcField{0x9a6c9329ac4bc9b5, 1 << 63}},
	{sse.SHA1, "SHA1", ChecksumPrefix + "sha1", sha1.New, func(c *Checksums) *string { return &c.ChecksumSHA1 }, nil},
	{sse.SHA256, "SHA256", ChecksumPrefix + "sha256", sha256.New, func(c *Checksums) *string { return &c.ChecksumSHA256 }, nil},
	{sse.SHA512, "SHA512", ChecksumPrefix + "sha512", sha512.New, func(c *Checksums) *string { return &c.ChecksumSHA512 }, nil},
	{sse.MD5, "MD5", ChecksumPrefix + "md5", md5.New, func(c *Checksums) *string { return &c.ChecksumMD5 }, nil},
	{sse.XXHASH64, "XXHASH64", ChecksumPrefix + "xxhash64", func() hash.Hash { return xxhash.New() },
		func(c *Checksums) *string { return &c.ChecksumXXHASH64 }, nil},
	{sse.XXHASH3, "XXHASH3", ChecksumPrefix + "xxhash3", func() hash.Hash { return xxh3.New() },
		func(c *Checksums) *string { return &c.ChecksumXXHASH3 }, nil},
	{sse.XXHASH128, "XXHASH128", ChecksumPrefix + "xxhash128", func() hash.Hash { return xxh3.New128() },
		func(c *Checksums) *string { return &c.ChecksumXXHASH128 }, nil},
}

// ChecksumPrefix begins the names of the headers with checksums, in lower case.
const ChecksumPrefix = "x-amz-checksum-"

// ChecksumAlgorithms are the names of the algorithms, in S3's order.
var ChecksumAlgorithms = func() (names []string) {
	for i := range Algorithms {
		names = append(names, Algorithms[i].Name)
	}
	return names
}()

// none is the algorithm that S3 does not have.
var none Algorithm

func byName(name string) *Algorithm {
	for i := range Algorithms {
		if Algorithms[i].Name == name {
			return &Algorithms[i]
		}
	}
	return &none
}

func byID(id uint8) *Algorithm {
	for i := range Algorithms {
		if Algorithms[i].ID == id {
			return &Algorithms[i]
		}
	}
	return &none
}

// ChecksumName returns the name of an algorithm of the object format, empty if there is none.
func ChecksumName(id uint8) string { return byID(id).Name }

// ChecksumID returns the number of an algorithm in the object format, 0 if there is none. Upper and lower case are the
// same, as in x-amz-trailer.
func ChecksumID(name string) uint8 {
	i := slices.IndexFunc(Algorithms, func(a Algorithm) bool { return strings.EqualFold(a.Name, name) })
	if i < 0 {
		return 0
	}
	return Algorithms[i].ID
}

// ChecksumHeaderOf returns the header and trailer for a checksum of an algorithm of the object format, in lower case.
func ChecksumHeaderOf(id uint8) string { return byID(id).Header }

// ChecksumHeader returns the header for a checksum of the named algorithm, in the canonical form.
func ChecksumHeader(algorithm string) string {
	if h := byName(algorithm).Header; h != "" {
		return http.CanonicalHeaderKey(h)
	}
	return ""
}

// NewChecksum makes the hash of a named algorithm, nil if there is none of this name.
func NewChecksum(algorithm string) hash.Hash { return byName(algorithm).newHash() }

// NewChecksumOf makes the hash of an algorithm of the object format, nil if there is none.
func NewChecksumOf(id uint8) hash.Hash { return byID(id).newHash() }

func (a *Algorithm) newHash() hash.Hash {
	if a.hash == nil {
		return nil
	}
	return a.hash()
}

// Field returns where a document keeps the checksum of an algorithm, nil for an algorithm that S3 does not have.
func (c *Checksums) Field(algorithm string) *string {
	if a := byName(algorithm); a.field != nil {
		return a.field(c)
	}
	return nil
}
