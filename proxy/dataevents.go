package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"waxseal/keystore/audit"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
)

// DataEvents says which requests for objects have an audit record of their own, as CloudTrail's data events of S3
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html).
type DataEvents string

// The data events.
const (
	NoDataEvents    DataEvents = "off"
	WriteDataEvents DataEvents = "write"
	AllDataEvents   DataEvents = "all"
)

// bucketDataEvents are the requests to a bucket that CloudTrail counts among the data events, by their route's name.
var bucketDataEvents = []string{"DeleteObjects", "PostObject", "ListObjects", "ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "HeadBucket"}

// cloudTrailNames are the events whose names are not their operations' in the API.
var cloudTrailNames = map[string]string{
	"ListObjectsV2":      "ListObjects",
	"PutObjectLegalHold": "PutObjectLockLegalHold", "GetObjectLegalHold": "GetObjectLockLegalHold",
	"PutObjectRetention": "PutObjectLockRetention", "GetObjectRetention": "GetObjectLockRetention",
}

// isDataEvent reports whether CloudTrail counts an operation among the data events.
func (r *route) isDataEvent() bool {
	return r.on == onObject && r.method != http.MethodOptions || slices.Contains(bucketDataEvents, r.name)
}

// readsOnly reports whether an operation changes nothing.
func (r *route) readsOnly() bool {
	return r.method == http.MethodGet || r.method == http.MethodHead || r.name == "SelectObjectContent"
}

// recordDataEvent writes the audit record of a request for objects, once.
func (c *call) recordDataEvent() error {
	if c.recorded || !c.hasDataEvent() {
		return nil
	}
	c.recorded = true
	// A client that hangs up does not escape the record.
	if err := c.s.cfg.Audit.Write(context.Background(), c.dataEvent()); err != nil {
		return fmt.Errorf("the audit record of a data event was not written: %w", err)
	}
	return nil
}

func (c *call) hasDataEvent() bool {
	switch mode := c.s.cfg.DataEvents; {
	case mode == "", mode == NoDataEvents, c.route == nil, !c.route.isDataEvent():
		return false
	case mode == WriteDataEvents && c.route.readsOnly():
		return false
	}
	return c.isKnown()
}

// isKnown reports whether a requester is to be recorded. As in CloudTrail, a requester with credentials is, whatever came
// of the request, and a request whose signature does not hold is not. An anonymous requester is where a policy lets it in:
// nobody can fill the disk without credentials.
func (c *call) isKnown() bool {
	switch {
	case c.auth == nil:
		return false
	case c.auth.Kind == sigv4.Anonymous:
		return c.s.cfg.Anonymous && c.errCode != s3.AccessDenied
	}
	return c.user != nil && c.user.ARN != c.s.cfg.Courier
}

func (c *call) dataEvent() *audit.Record {
	name := c.route.name
	if known := cloudTrailNames[name]; known != "" {
		name = known
	}
	r := &audit.Record{
		UserIdentity: audit.Identify(audit.Principal{Requester: c.user}), EventTime: audit.At(c.start),
		EventSource: audit.S3Source, EventName: name, EventType: audit.APICall, EventCategory: audit.Data,
		AWSRegion: c.s.cfg.Region, RequestID: c.id, ReadOnly: c.route.readsOnly(),
		RequestParameters: c.eventParameters(), AdditionalEventData: c.eventData(), Resources: c.eventResources(),
		RecipientAccountID: c.s.cfg.Account,
	}
	r.From(c.clientIP().String(), "["+c.header("User-Agent")+"]", c.eventTLS())
	if c.errCode != "" {
		r.ErrorCode, r.ErrorMessage = string(c.errCode), c.errMessage
		return r
	}
	if !r.ReadOnly {
		r.ResponseElements = c.eventAnswer()
	}
	return r
}

// eventQuery are the parameters that a record shows; eventHeaders the request's headers. Neither has a secret in it.
var (
	eventQuery = []string{"versionId", "partNumber", "uploadId", "prefix", "delimiter", "list-type", "max-keys", "marker", "start-after",
		"key-marker", "version-id-marker", "upload-id-marker", "acl", "tagging", "retention", "legal-hold", "attributes", "delete", "uploads", "versions", "encryption", "restore"}
	eventHeaders = []string{"x-amz-copy-source", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-bucket-key-enabled", "x-amz-server-side-encryption-customer-algorithm", "x-amz-acl", "x-amz-storage-class",
		"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold", "x-amz-bypass-governance-retention",
		"x-amz-metadata-directive", "x-amz-tagging-directive", "range", "if-match", "if-none-match"}
	eventAnswers = []string{"x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
		"x-amz-server-side-encryption-bucket-key-enabled", "x-amz-server-side-encryption-customer-algorithm", "x-amz-version-id", "x-amz-delete-marker"}
)

func (c *call) eventParameters() map[string]any {
	p := map[string]any{"bucketName": c.bucket, "Host": c.host()}
	if c.key != "" {
		p["key"] = c.key
	}
	for _, name := range eventQuery {
		if c.query.Has(name) {
			p[name] = c.query.Get(name)
		}
	}
	for _, name := range eventHeaders {
		if value := c.header(name); value != "" {
			p[name] = value
		}
	}
	return p
}

func (c *outgoing) eventAnswer() map[string]any {
	answer := make(map[string]any)
	for _, name := range eventAnswers {
		if value := string(c.res.Header.Peek(name)); value != "" {
			answer[name] = value
		}
	}
	if len(answer) == 0 {
		return nil
	}
	return answer
}

func (c *call) eventData() map[string]any {
	data := map[string]any{"bytesTransferredIn": c.gotBytes, "bytesTransferredOut": c.sentBytes, "x-amz-id-2": hostID}
	if state := c.ctx.TLSConnectionState(); state != nil {
		data["CipherSuite"] = tls.CipherSuiteName(state.CipherSuite)
	}
	if c.auth.Kind != sigv4.Anonymous {
		data["SignatureVersion"] = map[bool]string{true: "SigV4", false: "SigV2"}[c.auth.Kind.V4()]
		data["AuthenticationMethod"] = c.auth.Kind.Method()
		if c.auth.Kind.Method() == "" {
			data["AuthenticationMethod"] = "HtmlForm"
		}
	}
	if applied := c.sseApplied(); applied != "" {
		data["SSEApplied"] = applied
	}
	return data
}

// sseApplied is CloudTrail's word for the encryption in the answer.
func (c *call) sseApplied() string {
	switch string(c.res.Header.Peek("x-amz-server-side-encryption")) {
	case "aws:kms":
		return "SSE_KMS"
	case "aws:kms:dsse":
		return "DSSE_KMS"
	case "AES256":
		if c.route.class == seal && c.header("x-amz-server-side-encryption") == "" {
			return "Default_SSE_S3"
		}
		return "SSE_S3"
	}
	if len(c.res.Header.Peek("x-amz-server-side-encryption-customer-algorithm")) > 0 {
		return "SSE_C"
	}
	return ""
}

func (c *call) eventTLS() audit.TLSDetails {
	state := c.ctx.TLSConnectionState()
	if state == nil {
		return audit.TLSDetails{}
	}
	return audit.TLSDetails{TLSVersion: strings.Replace(tls.VersionName(state.Version), " ", "v", 1),
		CipherSuite: tls.CipherSuiteName(state.CipherSuite), ClientProvidedHostHeader: c.host()}
}

// eventResources are the objects, and their bucket. DeleteObjects has many objects.
func (c *call) eventResources() []audit.Resource {
	var all []audit.Resource
	keys := c.deleting
	if c.key != "" {
		keys = []string{c.key}
	}
	for _, key := range keys {
		all = append(all, audit.Resource{Type: "AWS::S3::Object", ARN: objects.ObjectARN(c.bucket, key)})
	}
	return append(all, audit.Resource{AccountID: c.s.cfg.Account, Type: "AWS::S3::Bucket", ARN: objects.BucketARN(c.bucket)})
}

// keysOf are the keys that a DeleteObjects names.
func keysOf(objects []s3.DeleteObject) []string {
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	return keys
}
