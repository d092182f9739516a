package proxy

import (
	"slices"
	"strings"

	"waxseal/proxy/s3"
)

// Identifiers that a client sends and a store receives: of uploads, versions and configurations. waxseal asks the store
// with its own credentials, so an identifier that the store takes for a path would act on other buckets: versitygw 1.8
// removes the directory uploadId names, "../../../../bob" included. Waxseal therefore forwards an identifier of its own
// records, or one of the shape that stores give out.

// maxIdentifier bounds an identifier: S3's version ids have at most 1,024 bytes.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VersioningWorkflows.html
const maxIdentifier = 1024

// identifierExtra are the characters beside letters and digits in identifiers of AWS, MinIO, Ceph and versitygw:
// UUIDs, ULIDs, base64url and "2~..." of Ceph. A slash, a backslash and a percent sign are not among them.
const identifierExtra = "-._~+="

// plausibleIdentifier reports whether id has the shape of a store's identifiers. "." and ".." have not.
func plausibleIdentifier(id string) bool {
	if id == "" || len(id) > maxIdentifier || strings.Trim(id, ".") == "" {
		return false
	}
	for i := range len(id) {
		ch := id[i]
		if (ch < '0' || ch > '9') && (ch < 'a' || ch > 'z') && (ch < 'A' || ch > 'Z') && strings.IndexByte(identifierExtra, ch) < 0 {
			return false
		}
	}
	return true
}

// identifierParams are the query parameters with identifiers, and the refusal of one without their shape. uploadId is not
// among them: an upload is looked up in waxseal's records first.
var identifierParams = []struct {
	name    string
	refusal func(value string) error
}{
	{"versionId", errVersionID},
	{"version-id-marker", errVersionID},
	{"upload-id-marker", func(v string) error { return s3.InvalidArgument("upload-id-marker", v, "Invalid uploadId marker") }},
	{"id", func(v string) error { return s3.InvalidArgument("id", v, "The specified configuration id is invalid") }},
}

func errVersionID(id string) error {
	if id == "" {
		return s3.InvalidArgument("versionId", id, "Version id cannot be the empty string")
	}
	return s3.InvalidArgument("versionId", id, "Invalid version id specified")
}

// checkIdentifiers refuses a request whose query has an identifier of the operation without an identifier's shape, and
// turns the continuation token into the store's. An empty marker is none, as on S3.
func (c *call) checkIdentifiers() error {
	for _, p := range identifierParams {
		if !slices.Contains(c.route.params, p.name) || !c.query.Has(p.name) {
			continue
		}
		value := c.query.Get(p.name)
		if value == "" && strings.HasSuffix(p.name, "-marker") {
			continue
		}
		if !plausibleIdentifier(value) {
			return p.refusal(value)
		}
	}
	if err := c.openPageToken(); err != nil {
		return err
	}
	return c.checkMarkers()
}
