package embedded

import (
	"net/http"
)

// level is what an operation is about.
type level uint8

const (
	onBucket level = iota
	onObject
	onService
)

// op is one S3 operation: who may do it, and how it is done.
type op struct {
	action string // of IAM; "" where the handler asks for the rights itself, or everybody may
	on     level
	grant  grant // canned ACLs give this to everybody
	handle func(*Store, *request) (*response, error)
}

// operation gives AWS's name of the operation. A request that is none gets a name that is in no table.
func operation(q *request) string {
	switch {
	case q.method == http.MethodOptions:
		return "Preflight"
	case q.bucket == "":
		return named(q.method, "", map[string]string{"GET": "ListBuckets"})
	case q.key == "":
		return bucketOperation(q)
	}
	return objectOperation(q)
}

func named(method, sub string, names map[string]string) string {
	if name, ok := names[method]; ok {
		return name
	}
	return method + "?" + sub
}

func bucketOperation(q *request) string {
	for sub, names := range bucketOperations {
		if q.query.Has(sub) {
			return named(q.method, sub, names)
		}
	}
	for sub, noun := range documentNouns {
		if q.query.Has(sub) {
			return named(q.method, sub, map[string]string{"GET": "Get" + noun, "PUT": "Put" + noun, "DELETE": "Delete" + noun})
		}
	}
	if q.method == http.MethodGet && q.query.Get("list-type") == "2" {
		return "ListObjectsV2"
	}
	return named(q.method, "", map[string]string{"GET": "ListObjects", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"})
}

var bucketOperations = map[string]map[string]string{
	"location":     {"GET": "GetBucketLocation"},
	"versioning":   {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"},
	"versions":     {"GET": "ListObjectVersions"},
	"uploads":      {"GET": "ListMultipartUploads"},
	"delete":       {"POST": "DeleteObjects"},
	"acl":          {"GET": "GetBucketAcl", "PUT": "PutBucketAcl"},
	"policyStatus": {"GET": "GetBucketPolicyStatus"},
}

// documentNouns are the sub-resources of a bucket that are documents.
var documentNouns = map[string]string{
	"policy": "BucketPolicy", "lifecycle": "BucketLifecycleConfiguration", "cors": "BucketCors", "tagging": "BucketTagging",
	"object-lock": "ObjectLockConfiguration", "publicAccessBlock": "PublicAccessBlock", "ownershipControls": "BucketOwnershipControls",
	"logging": "BucketLogging", "notification": "BucketNotificationConfiguration", "accelerate": "BucketAccelerateConfiguration",
	"requestPayment": "BucketRequestPayment", "website": "BucketWebsite", "replication": "BucketReplication", "encryption": "BucketEncryption",
	"analytics": "BucketAnalyticsConfiguration", "inventory": "BucketInventoryConfiguration", "metrics": "BucketMetricsConfiguration",
	"intelligent-tiering": "BucketIntelligentTieringConfiguration",
}

func objectOperation(q *request) string {
	copies := q.header.Get("X-Amz-Copy-Source") != ""
	if q.query.Has("uploadId") {
		if q.method == http.MethodPut && copies {
			return "UploadPartCopy"
		}
		return named(q.method, "uploadId", map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"})
	}
	for sub, names := range objectOperations {
		if q.query.Has(sub) {
			return named(q.method, sub, names)
		}
	}
	if q.method == http.MethodPut && copies {
		return "CopyObject"
	}
	return named(q.method, "", map[string]string{"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"})
}

var objectOperations = map[string]map[string]string{
	"uploads":    {"POST": "CreateMultipartUpload"},
	"attributes": {"GET": "GetObjectAttributes"},
	"tagging":    {"GET": "GetObjectTagging", "PUT": "PutObjectTagging", "DELETE": "DeleteObjectTagging"},
	"acl":        {"GET": "GetObjectAcl", "PUT": "PutObjectAcl"},
	"retention":  {"GET": "GetObjectRetention", "PUT": "PutObjectRetention"},
	"legal-hold": {"GET": "GetObjectLegalHold", "PUT": "PutObjectLegalHold"},
	"encryption": {},
	"torrent":    {},
	"select":     {},
	"restore":    {},
}

var operations map[string]op

// The table is filled at start, since its handlers refer to it.
func init() {
	operations = map[string]op{
		"ListBuckets": {"s3:ListAllMyBuckets", onService, none, (*Store).listBuckets},
		"Preflight":   {"", onService, none, (*Store).preflight},

		"CreateBucket":          {"s3:CreateBucket", onService, none, (*Store).createBucket},
		"DeleteBucket":          {"s3:DeleteBucket", onBucket, none, (*Store).deleteBucket},
		"HeadBucket":            {"s3:ListBucket", onBucket, readBucket, (*Store).headBucket},
		"GetBucketLocation":     {"s3:GetBucketLocation", onBucket, none, (*Store).getLocation},
		"GetBucketVersioning":   {"s3:GetBucketVersioning", onBucket, none, (*Store).getVersioning},
		"PutBucketVersioning":   {"s3:PutBucketVersioning", onBucket, none, (*Store).putVersioning},
		"GetBucketAcl":          {"s3:GetBucketAcl", onBucket, none, (*Store).getBucketACL},
		"PutBucketAcl":          {"s3:PutBucketAcl", onBucket, none, (*Store).putBucketACL},
		"GetBucketPolicyStatus": {"s3:GetBucketPolicyStatus", onBucket, none, (*Store).getPolicyStatus},
		"ListObjects":           {"s3:ListBucket", onBucket, readBucket, (*Store).listObjects},
		"ListObjectsV2":         {"s3:ListBucket", onBucket, readBucket, (*Store).listObjectsV2},
		"ListObjectVersions":    {"s3:ListBucketVersions", onBucket, readBucket, (*Store).listVersions},
		"ListMultipartUploads":  {"s3:ListBucketMultipartUploads", onBucket, readBucket, (*Store).listUploads},
		"DeleteObjects":         {"", onBucket, none, (*Store).deleteObjects},

		"PutObject":           {"s3:PutObject", onObject, none, (*Store).putObject},
		"GetObject":           {"s3:GetObject", onObject, readObject, (*Store).getObject},
		"HeadObject":          {"s3:GetObject", onObject, readObject, (*Store).getObject},
		"DeleteObject":        {"s3:DeleteObject", onObject, none, (*Store).deleteObject},
		"CopyObject":          {"s3:PutObject", onObject, none, (*Store).copyObject},
		"GetObjectAttributes": {"s3:GetObjectAttributes", onObject, readObject, (*Store).getAttributes},
		"GetObjectTagging":    {"s3:GetObjectTagging", onObject, none, (*Store).getTagging},
		"PutObjectTagging":    {"s3:PutObjectTagging", onObject, none, (*Store).putTagging},
		"DeleteObjectTagging": {"s3:DeleteObjectTagging", onObject, none, (*Store).deleteTagging},
		"GetObjectAcl":        {"s3:GetObjectAcl", onObject, none, (*Store).getObjectACL},
		"PutObjectAcl":        {"s3:PutObjectAcl", onObject, none, (*Store).putObjectACL},
		"GetObjectRetention":  {"s3:GetObjectRetention", onObject, none, (*Store).getRetention},
		"PutObjectRetention":  {"s3:PutObjectRetention", onObject, none, (*Store).putRetention},
		"GetObjectLegalHold":  {"s3:GetObjectLegalHold", onObject, none, (*Store).getLegalHold},
		"PutObjectLegalHold":  {"s3:PutObjectLegalHold", onObject, none, (*Store).putLegalHold},

		"CreateMultipartUpload":   {"s3:PutObject", onObject, none, (*Store).createUpload},
		"UploadPart":              {"s3:PutObject", onObject, none, (*Store).uploadPart},
		"UploadPartCopy":          {"s3:PutObject", onObject, none, (*Store).uploadPartCopy},
		"CompleteMultipartUpload": {"s3:PutObject", onObject, none, (*Store).completeUpload},
		"AbortMultipartUpload":    {"s3:AbortMultipartUpload", onObject, none, (*Store).abortUpload},
		"ListParts":               {"s3:ListMultipartUploadParts", onObject, none, (*Store).listParts},
	}
	addDocuments()
	addCollections()
}
