package s3

import "encoding/xml"

// ServerSideEncryptionConfiguration is a bucket's default encryption.
type ServerSideEncryptionConfiguration struct {
	XMLName xml.Name         `xml:"ServerSideEncryptionConfiguration"`
	Rules   []EncryptionRule `xml:"Rule"` // S3 takes exactly one
}

// EncryptionRule is the rule of a bucket's default encryption. A nil field was absent from the document: without
// BlockedEncryptionTypes an earlier block stays.
type EncryptionRule struct {
	Default                *EncryptionByDefault    `xml:"ApplyServerSideEncryptionByDefault,omitempty"`
	BucketKeyEnabled       *bool                   `xml:"BucketKeyEnabled,omitempty"`
	BlockedEncryptionTypes *BlockedEncryptionTypes `xml:"BlockedEncryptionTypes,omitempty"`
}

// EncryptionByDefault is the algorithm and the key for objects without their own.
type EncryptionByDefault struct {
	SSEAlgorithm   string `xml:"SSEAlgorithm"`
	KMSMasterKeyID string `xml:"KMSMasterKeyID,omitempty"`
}

// BlockedEncryptionTypes lists the modes refused for writes: SSE-C, or NONE to lift the block.
type BlockedEncryptionTypes struct {
	EncryptionTypes []string `xml:"EncryptionType"`
}

// ListAllMyBucketsResult answers ListBuckets.
type ListAllMyBucketsResult struct {
	XMLName           xml.Name `xml:"ListAllMyBucketsResult"`
	Owner             Owner    `xml:"Owner"`
	Buckets           Buckets  `xml:"Buckets"`
	ContinuationToken string   `xml:"ContinuationToken,omitempty"`
	Prefix            string   `xml:"Prefix,omitempty"`
}

// Buckets holds the buckets; it is there even when it is empty.
type Buckets struct {
	Buckets []Bucket `xml:"Bucket"`
}

// Bucket is a bucket of ListBuckets.
type Bucket struct {
	Name         string `xml:"Name"`
	CreationDate string `xml:"CreationDate"`
	BucketRegion string `xml:"BucketRegion,omitempty"`
}

// LocationConstraint answers GetBucketLocation.
type LocationConstraint struct {
	XMLName  xml.Name `xml:"LocationConstraint"`
	Location string   `xml:",chardata"`
}

// CreateBucketConfiguration is the request of CreateBucket.
type CreateBucketConfiguration struct {
	XMLName            xml.Name        `xml:"CreateBucketConfiguration"`
	LocationConstraint string          `xml:"LocationConstraint,omitempty"`
	Location           *BucketLocation `xml:"Location,omitempty"`
	Bucket             *BucketInfo     `xml:"Bucket,omitempty"`
	Tags               *CreateTags     `xml:"Tags,omitempty"`
}

// BucketLocation is where a directory bucket goes.
type BucketLocation struct {
	Name string `xml:"Name,omitempty"`
	Type string `xml:"Type,omitempty"`
}

// BucketInfo describes a directory bucket.
type BucketInfo struct {
	DataRedundancy string `xml:"DataRedundancy,omitempty"`
	Type           string `xml:"Type,omitempty"`
}

// CreateTags are the tags of a new bucket.
type CreateTags struct {
	Tags []Tag `xml:"Tag"`
}

// VersioningConfiguration is a bucket's versioning state; Status is empty where it was never set.
type VersioningConfiguration struct {
	XMLName   xml.Name `xml:"VersioningConfiguration"`
	Status    string   `xml:"Status,omitempty"`
	MFADelete string   `xml:"MfaDelete,omitempty"`
}
