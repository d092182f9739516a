package s3

import (
	"encoding/xml"
	"time"
)

// Checksums are the checksum elements that S3 repeats in many documents; base64, of the plaintext.
type Checksums struct {
	ChecksumCRC32     string `xml:"ChecksumCRC32,omitempty"`
	ChecksumCRC32C    string `xml:"ChecksumCRC32C,omitempty"`
	ChecksumCRC64NVME string `xml:"ChecksumCRC64NVME,omitempty"`
	ChecksumSHA1      string `xml:"ChecksumSHA1,omitempty"`
	ChecksumSHA256    string `xml:"ChecksumSHA256,omitempty"`
	ChecksumSHA512    string `xml:"ChecksumSHA512,omitempty"`
	ChecksumMD5       string `xml:"ChecksumMD5,omitempty"`
	ChecksumXXHASH64  string `xml:"ChecksumXXHASH64,omitempty"`
	ChecksumXXHASH3   string `xml:"ChecksumXXHASH3,omitempty"`
	ChecksumXXHASH128 string `xml:"ChecksumXXHASH128,omitempty"`
}

// CopyObjectResult answers CopyObject.
type CopyObjectResult struct {
	XMLName      xml.Name `xml:"CopyObjectResult"`
	LastModified string   `xml:"LastModified"`
	ETag         string   `xml:"ETag"`
	ChecksumType string   `xml:"ChecksumType,omitempty"`
	Checksums
}

// CopyPartResult answers UploadPartCopy.
type CopyPartResult struct {
	XMLName      xml.Name `xml:"CopyPartResult"`
	LastModified string   `xml:"LastModified"`
	ETag         string   `xml:"ETag"`
	Checksums
}

// GetObjectAttributesResponse answers GetObjectAttributes. AWS's reference calls the root
// GetObjectAttributesOutput; on the wire it is this.
type GetObjectAttributesResponse struct {
	XMLName      xml.Name           `xml:"GetObjectAttributesResponse"`
	ETag         string             `xml:"ETag,omitempty"` // without quotes here
	Checksum     *AttributeChecksum `xml:"Checksum,omitempty"`
	ObjectParts  *AttributeParts    `xml:"ObjectParts,omitempty"`
	StorageClass string             `xml:"StorageClass,omitempty"`
	ObjectSize   *int64             `xml:"ObjectSize,omitempty"`
}

// AttributeChecksum is an object's checksum in GetObjectAttributes.
type AttributeChecksum struct {
	Checksums
	ChecksumType string `xml:"ChecksumType,omitempty"`
}

// AttributeParts is a page of an object's parts in GetObjectAttributes. Parts are listed only when they have
// checksums; the count is always there.
type AttributeParts struct {
	PartsCount           int             `xml:"PartsCount"`
	PartNumberMarker     int             `xml:"PartNumberMarker"`
	NextPartNumberMarker int             `xml:"NextPartNumberMarker"`
	MaxParts             int             `xml:"MaxParts"`
	IsTruncated          bool            `xml:"IsTruncated"`
	Parts                []AttributePart `xml:"Part"`
}

// AttributePart is a part in GetObjectAttributes.
type AttributePart struct {
	PartNumber int   `xml:"PartNumber"`
	Size       int64 `xml:"Size"`
	Checksums
}

// Delete is the request of DeleteObjects.
type Delete struct {
	XMLName xml.Name       `xml:"Delete"`
	Quiet   bool           `xml:"Quiet,omitempty"`
	Objects []DeleteObject `xml:"Object"`
}

// DeleteObject names an object to delete, and its conditions.
type DeleteObject struct {
	Key              string  `xml:"Key"`
	VersionID        string  `xml:"VersionId,omitempty"`
	ETag             *string `xml:"ETag"` // the conditions: an empty element is one, too
	LastModifiedTime *string `xml:"LastModifiedTime"`
	Size             *int64  `xml:"Size"`
}

// DeleteResult answers DeleteObjects.
type DeleteResult struct {
	XMLName xml.Name      `xml:"DeleteResult"`
	Deleted []Deleted     `xml:"Deleted"`
	Errors  []DeleteError `xml:"Error"`
}

// Deleted is a success of DeleteObjects.
type Deleted struct {
	Key                   string `xml:"Key"`
	VersionID             string `xml:"VersionId,omitempty"`
	DeleteMarker          bool   `xml:"DeleteMarker,omitempty"`
	DeleteMarkerVersionID string `xml:"DeleteMarkerVersionId,omitempty"`
}

// DeleteError is a failure of DeleteObjects.
type DeleteError struct {
	Key       string `xml:"Key"`
	VersionID string `xml:"VersionId,omitempty"`
	Code      Code   `xml:"Code"`
	Message   string `xml:"Message"`
}

// Tagging is the tag set of an object or a bucket.
type Tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	TagSet  TagSet   `xml:"TagSet"`
}

// TagSet holds the tags; it is there even when it is empty.
type TagSet struct {
	Tags []Tag `xml:"Tag"`
}

// Tag is an object or bucket tag.
type Tag struct {
	Key   string `xml:"Key"`
	Value string `xml:"Value"`
}

// Retention is the lock of an object: GetObjectRetention's answer.
type Retention struct {
	Mode            string `xml:"Mode,omitempty"`
	RetainUntilDate string `xml:"RetainUntilDate,omitempty"`
}

// PostResponse answers a form upload that asked for status 201. It has no namespace.
type PostResponse struct {
	XMLName  xml.Name `xml:"PostResponse"`
	Location string   `xml:"Location"`
	Bucket   string   `xml:"Bucket"`
	Key      string   `xml:"Key"`
	ETag     string   `xml:"ETag"`
}

// ObjectEncryption is the request of UpdateObjectEncryption.
type ObjectEncryption struct {
	XMLName xml.Name          `xml:"ObjectEncryption"`
	SSEKMS  *ObjectEncryptKMS `xml:"SSE-KMS"`
}

// ObjectEncryptKMS names the KMS key an object moves to; a full ARN.
type ObjectEncryptKMS struct {
	KMSKeyArn        string `xml:"KMSKeyArn"`
	BucketKeyEnabled string `xml:"BucketKeyEnabled,omitempty"` // true or false; S3 has words for anything else
}

// Owner is an owner or initiator.
type Owner struct {
	ID          string `xml:"ID,omitempty"`
	DisplayName string `xml:"DisplayName,omitempty"`
}

// FormatTime writes a time as S3's XML documents do.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
