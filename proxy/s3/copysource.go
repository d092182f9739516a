package s3

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// A CopySource is the object in x-amz-copy-source.
type CopySource struct{ Bucket, Key, VersionID string }

// ParseCopySource reads x-amz-copy-source: [/]bucket/key[?versionId=id], percent-encoded. The version is
// split off before decoding, so that a key may hold an encoded question mark. A plus sign is a space, as on S3:
// s5cmd writes it for one, and other clients encode theirs. https://github.com/aws/aws-sdk-js/issues/1821
func ParseCopySource(header string) (CopySource, error) {
	path, version, versioned := cutLast(header, "?versionId=")
	bad := func(message string) (CopySource, error) {
		return CopySource{}, InvalidArgument("x-amz-copy-source", header, message)
	}
	if versioned && version == "" {
		return bad("Version id cannot be the empty string")
	}
	path, err := url.QueryUnescape(path)
	if err != nil || !utf8.ValidString(path) {
		return bad("Invalid copy source encoding")
	}
	if version, err = url.PathUnescape(version); err != nil || !utf8.ValidString(version) {
		return bad("Invalid version id specified")
	}
	if strings.HasPrefix(path, "arn:") || strings.HasPrefix(path, "/arn:") {
		return CopySource{}, Errorf(NotImplemented, "A copy source that is an access point's ARN is not implemented.")
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case bucket == "":
		return bad("Invalid copy source bucket name")
	case key == "":
		// S3 has the header's name here in the place of its value.
		return CopySource{}, InvalidArgument("x-amz-copy-source", "x-amz-copy-source", "Invalid copy source object key")
	}
	return CopySource{bucket, key, version}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// String returns the header's value; every ambiguous byte is encoded.
func (c CopySource) String() string {
	s := "/" + c.Bucket + "/" + EscapePath(c.Key)
	if c.VersionID != "" {
		s += "?versionId=" + EscapePath(c.VersionID)
	}
	return s
}
