package s3

import "encoding/xml"

// CORSConfiguration is a bucket's ?cors.
type CORSConfiguration struct {
	XMLName xml.Name   `xml:"CORSConfiguration"`
	Rules   []CORSRule `xml:"CORSRule"`
}

// CORSRule allows origins some methods.
type CORSRule struct {
	ID             string   `xml:"ID,omitempty"`
	AllowedHeaders []string `xml:"AllowedHeader"`
	AllowedMethods []string `xml:"AllowedMethod"`
	AllowedOrigins []string `xml:"AllowedOrigin"`
	ExposeHeaders  []string `xml:"ExposeHeader"`
	MaxAgeSeconds  *int     `xml:"MaxAgeSeconds,omitempty"`
}

// LifecycleConfiguration is a bucket's ?lifecycle.
type LifecycleConfiguration struct {
	XMLName xml.Name        `xml:"LifecycleConfiguration"`
	Rules   []LifecycleRule `xml:"Rule"`
}

// LifecycleRule is a rule. Transitions are read to be refused by name.
type LifecycleRule struct {
	ID                             string                          `xml:"ID,omitempty"`
	Prefix                         *string                         `xml:"Prefix,omitempty"` // the older form of Filter
	Filter                         *LifecycleFilter                `xml:"Filter,omitempty"`
	Status                         string                          `xml:"Status"`
	Expiration                     *LifecycleExpiration            `xml:"Expiration,omitempty"`
	NoncurrentVersionExpiration    *NoncurrentVersionExpiration    `xml:"NoncurrentVersionExpiration,omitempty"`
	AbortIncompleteMultipartUpload *AbortIncompleteMultipartUpload `xml:"AbortIncompleteMultipartUpload,omitempty"`
	Transitions                    []LifecycleTransition           `xml:"Transition"`
	NoncurrentVersionTransitions   []LifecycleTransition           `xml:"NoncurrentVersionTransition"`
}

// LifecycleFilter selects the objects of a rule. And joins several conditions.
type LifecycleFilter struct {
	Prefix                *string       `xml:"Prefix,omitempty"`
	Tag                   *Tag          `xml:"Tag,omitempty"`
	ObjectSizeGreaterThan *int64        `xml:"ObjectSizeGreaterThan,omitempty"`
	ObjectSizeLessThan    *int64        `xml:"ObjectSizeLessThan,omitempty"`
	And                   *LifecycleAnd `xml:"And,omitempty"`
}

// LifecycleAnd selects the objects with all its conditions.
type LifecycleAnd struct {
	Prefix                *string `xml:"Prefix,omitempty"`
	Tags                  []Tag   `xml:"Tag"`
	ObjectSizeGreaterThan *int64  `xml:"ObjectSizeGreaterThan,omitempty"`
	ObjectSizeLessThan    *int64  `xml:"ObjectSizeLessThan,omitempty"`
}

// LifecycleExpiration ends current objects, or delete markers with nothing behind them.
type LifecycleExpiration struct {
	Days                      *int   `xml:"Days,omitempty"`
	Date                      string `xml:"Date,omitempty"`
	ExpiredObjectDeleteMarker *bool  `xml:"ExpiredObjectDeleteMarker,omitempty"`
}

// NoncurrentVersionExpiration ends noncurrent versions.
type NoncurrentVersionExpiration struct {
	NoncurrentDays          *int `xml:"NoncurrentDays,omitempty"`
	NewerNoncurrentVersions *int `xml:"NewerNoncurrentVersions,omitempty"`
}

// AbortIncompleteMultipartUpload ends incomplete uploads.
type AbortIncompleteMultipartUpload struct {
	DaysAfterInitiation *int `xml:"DaysAfterInitiation,omitempty"`
}

// LifecycleTransition moves objects to another storage class.
type LifecycleTransition struct {
	Days                    *int   `xml:"Days,omitempty"`
	Date                    string `xml:"Date,omitempty"`
	NoncurrentDays          *int   `xml:"NoncurrentDays,omitempty"`
	NewerNoncurrentVersions *int   `xml:"NewerNoncurrentVersions,omitempty"`
	StorageClass            string `xml:"StorageClass,omitempty"`
}

// PublicAccessBlockConfiguration is a bucket's ?publicAccessBlock.
type PublicAccessBlockConfiguration struct {
	XMLName               xml.Name `xml:"PublicAccessBlockConfiguration"`
	BlockPublicAcls       bool     `xml:"BlockPublicAcls"`
	IgnorePublicAcls      bool     `xml:"IgnorePublicAcls"`
	BlockPublicPolicy     bool     `xml:"BlockPublicPolicy"`
	RestrictPublicBuckets bool     `xml:"RestrictPublicBuckets"`
}

// OwnershipControls is a bucket's ?ownershipControls.
type OwnershipControls struct {
	XMLName xml.Name        `xml:"OwnershipControls"`
	Rules   []OwnershipRule `xml:"Rule"` // S3 takes exactly one
}

// OwnershipRule says whether ACLs count.
type OwnershipRule struct {
	ObjectOwnership string `xml:"ObjectOwnership"`
}

// ObjectLockConfiguration is a bucket's ?object-lock.
type ObjectLockConfiguration struct {
	XMLName           xml.Name        `xml:"ObjectLockConfiguration"`
	ObjectLockEnabled string          `xml:"ObjectLockEnabled,omitempty"`
	Rule              *ObjectLockRule `xml:"Rule,omitempty"`
}

// ObjectLockRule holds the retention of new objects.
type ObjectLockRule struct {
	DefaultRetention *DefaultRetention `xml:"DefaultRetention,omitempty"`
}

// DefaultRetention is the retention of new objects, in days or years.
type DefaultRetention struct {
	Mode  string `xml:"Mode,omitempty"`
	Days  *int   `xml:"Days,omitempty"`
	Years *int   `xml:"Years,omitempty"`
}

// LegalHold is an object's ?legal-hold.
type LegalHold struct {
	XMLName xml.Name `xml:"LegalHold"`
	Status  string   `xml:"Status,omitempty"`
}

// PolicyStatus is a bucket's ?policyStatus.
type PolicyStatus struct {
	XMLName  xml.Name `xml:"PolicyStatus"`
	IsPublic bool     `xml:"IsPublic"`
}

// AccessControlPolicy is an ?acl.
type AccessControlPolicy struct {
	XMLName xml.Name          `xml:"AccessControlPolicy"`
	Owner   *Owner            `xml:"Owner,omitempty"`
	List    AccessControlList `xml:"AccessControlList"`
}

// AccessControlList holds the grants of an ACL.
type AccessControlList struct {
	Grants []Grant `xml:"Grant"`
}

// Grant gives somebody a permission.
type Grant struct {
	Grantee    Grantee `xml:"Grantee"`
	Permission string  `xml:"Permission"`
}

// Grantee is a user by its canonical id, or a group by its URI.
type Grantee struct {
	XMLNS        string `xml:"xmlns:xsi,attr,omitempty"`
	Type         string `xml:"xsi:type,attr,omitempty"`
	ID           string `xml:"ID,omitempty"`
	DisplayName  string `xml:"DisplayName,omitempty"`
	EmailAddress string `xml:"EmailAddress,omitempty"`
	URI          string `xml:"URI,omitempty"`
}

// AllUsers is everybody, as an ACL calls them.
const AllUsers = "http://acs.amazonaws.com/groups/global/AllUsers"

// EmptyConfiguration is a sub-resource without anything in it. EncodeAs gives its root a name.
type EmptyConfiguration struct{}

// EmptyList is a list of configurations without any. EncodeAs gives its root a name.
type EmptyList struct {
	IsTruncated bool `xml:"IsTruncated"`
}

// AccelerateConfiguration is a bucket's ?accelerate.
type AccelerateConfiguration struct {
	XMLName xml.Name `xml:"AccelerateConfiguration"`
	Status  string   `xml:"Status"`
}

// RequestPaymentConfiguration is a bucket's ?requestPayment.
type RequestPaymentConfiguration struct {
	XMLName xml.Name `xml:"RequestPaymentConfiguration"`
	Payer   string   `xml:"Payer"`
}
