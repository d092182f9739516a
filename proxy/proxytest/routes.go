package proxytest

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"waxseal/proxy/s3"
)

// parse finds out which operation a request is, and writes it down.
func (u *Upstream) parse(r *http.Request) (*request, error) {
	q := &request{Request: r}
	var err error
	if q.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return q, s3.NewError(s3.InvalidURI)
	}
	path, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
	if err != nil || !utf8.ValidString(path) {
		return q, s3.NewError(s3.InvalidURI)
	}
	q.bucket, q.key, _ = strings.Cut(path, "/")
	if name, ok := strings.CutSuffix(q.key, "__XLDIR__"); ok && u.FoldFolders {
		q.key = name + "/"
	}
	q.op = operation(q)
	q.record = &Recorded{Method: r.Method, URI: r.RequestURI, Bucket: q.bucket, Key: q.key, Operation: q.op, Query: q.query,
		Header: r.Header.Clone(), AccessKey: accessKeyOf(r, q.query), ContentLength: r.ContentLength}
	u.log.add(q.record, orDefault(u.MaxRequests, 10000))
	if len(q.key) > s3.MaxKeyLength {
		return q, s3.NewError(s3.KeyTooLongError)
	}
	return q, nil
}

// operation gives AWS's name of the operation.
func operation(q *request) string {
	switch {
	case q.Method == http.MethodOptions:
		return "Preflight"
	case q.bucket == "":
		return named(q.Method, "", map[string]string{"GET": "ListBuckets"})
	case q.key == "":
		return bucketOperation(q)
	}
	return objectOperation(q)
}

func named(method, sub string, names map[string]string) string {
	if name, ok := names[method]; ok {
		return name
	}
	return method + "?" + sub // in no table, so NotImplemented
}

func bucketOperation(q *request) string {
	for sub, names := range bucketOperations {
		if q.query.Has(sub) {
			return named(q.Method, sub, names)
		}
	}
	for sub, noun := range documentNouns {
		if q.query.Has(sub) {
			return documentOperation(q.Method, "Bucket"+noun)
		}
	}
	if q.Method == http.MethodGet && q.query.Get("list-type") == "2" {
		return "ListObjectsV2"
	}
	return named(q.Method, "", map[string]string{"GET": "ListObjects", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"})
}

var bucketOperations = map[string]map[string]string{
	"location":   {"GET": "GetBucketLocation"},
	"versioning": {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"},
	"versions":   {"GET": "ListObjectVersions"},
	"uploads":    {"GET": "ListMultipartUploads"},
	"delete":     {"POST": "DeleteObjects"},
	"acl":        {"GET": "GetBucketAcl", "PUT": "PutBucketAcl"},
}

func documentOperation(method, noun string) string {
	return named(method, noun, map[string]string{"GET": "Get" + noun, "PUT": "Put" + noun, "DELETE": "Delete" + noun})
}

func objectOperation(q *request) string {
	copies := q.Header.Get(s3.HeaderCopySource) != ""
	if q.query.Has("uploadId") {
		if q.Method == http.MethodPut && copies {
			return "UploadPartCopy"
		}
		return named(q.Method, "uploadId", map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"})
	}
	for sub, names := range objectOperations {
		if q.query.Has(sub) {
			return named(q.Method, sub, names)
		}
	}
	if q.Method == http.MethodPut && copies {
		return "CopyObject"
	}
	return named(q.Method, "", map[string]string{"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"})
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

// documentNouns are the bucket's documents that are kept as they come.
var documentNouns = map[string]string{
	"policy": "Policy", "lifecycle": "LifecycleConfiguration", "cors": "Cors", "tagging": "Tagging", "encryption": "Encryption",
	"website": "Website", "logging": "Logging", "notification": "NotificationConfiguration", "replication": "Replication",
	"object-lock": "ObjectLockConfiguration", "publicAccessBlock": "PublicAccessBlock", "ownershipControls": "OwnershipControls",
	"requestPayment": "RequestPayment", "accelerate": "AccelerateConfiguration",
}

type handler func(*Upstream, *request) (*response, error)

var handlers map[string]handler

// The table is filled at start, as the handlers refer to it.
func init() {
	handlers = map[string]handler{
		"ListBuckets": (*Upstream).listBuckets, "CreateBucket": (*Upstream).createBucket, "DeleteBucket": (*Upstream).deleteBucket,
		"HeadBucket": (*Upstream).headBucket, "GetBucketLocation": (*Upstream).getLocation, "Preflight": (*Upstream).preflight,
		"GetBucketVersioning": (*Upstream).getVersioning, "PutBucketVersioning": (*Upstream).putVersioning,
		"GetBucketAcl": (*Upstream).getBucketACL, "PutBucketAcl": (*Upstream).putBucketACL,
		"ListObjects": (*Upstream).listObjects, "ListObjectsV2": (*Upstream).listObjectsV2, "ListObjectVersions": (*Upstream).listVersions,
		"PutObject": (*Upstream).putObject, "GetObject": (*Upstream).getObject, "HeadObject": (*Upstream).getObject,
		"DeleteObject": (*Upstream).deleteObject, "DeleteObjects": (*Upstream).deleteObjects, "CopyObject": (*Upstream).copyObject,
		"GetObjectAttributes": (*Upstream).getAttributes, "GetObjectTagging": (*Upstream).getTagging,
		"PutObjectTagging": (*Upstream).putTagging, "DeleteObjectTagging": (*Upstream).deleteTagging,
		"GetObjectAcl": objectDocument("acl"), "PutObjectAcl": putObjectDocument("acl"),
		"GetObjectRetention": objectDocument("retention"), "PutObjectRetention": putObjectDocument("retention"),
		"GetObjectLegalHold": objectDocument("legal-hold"), "PutObjectLegalHold": putObjectDocument("legal-hold"),
		"CreateMultipartUpload": (*Upstream).createUpload, "UploadPart": (*Upstream).uploadPart, "UploadPartCopy": (*Upstream).uploadPartCopy,
		"CompleteMultipartUpload": (*Upstream).completeUpload, "AbortMultipartUpload": (*Upstream).abortUpload,
		"ListParts": (*Upstream).listParts, "ListMultipartUploads": (*Upstream).listUploads,
	}
	for sub, noun := range documentNouns {
		handlers["GetBucket"+noun] = getDocument(sub)
		handlers["PutBucket"+noun] = putDocument(sub)
		handlers["DeleteBucket"+noun] = deleteDocument(sub)
	}
}
