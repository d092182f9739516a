package s3

import (
	"net/http"
	"strings"
)

// LowerName returns the name of a header in lower case. Frequent names need no copy for that.
func LowerName(name string) string {
	if lower, ok := lowerNames[name]; ok {
		return lower
	}
	return strings.ToLower(name)
}

var lowerNames = func() map[string]string {
	m := make(map[string]string)
	for _, lower := range []string{
		"accept-ranges", "cache-control", "connection", "content-encoding", "content-length", "content-range",
		"content-security-policy", "content-type", "date", "etag", "last-modified", "server", "strict-transport-security",
		"vary", "x-amz-content-sha256", "x-amz-date", "x-amz-decoded-content-length", "x-amz-id-2", "x-amz-request-id",
		"x-amz-server-side-encryption", "x-amz-storage-class", "x-amz-trailer", "x-amz-version-id",
		"x-content-type-options", "x-ratelimit-limit", "x-ratelimit-remaining", "x-xss-protection", HeaderEnvelope,
	} {
		m[http.CanonicalHeaderKey(lower)] = lower
	}
	return m
}()

// ClientEncoding returns a Content-Encoding without aws-chunked, which only frames the request.
func ClientEncoding(v string) string {
	if !strings.Contains(v, "aws-chunked") {
		return v
	}
	var keep []string
	for _, e := range strings.Split(v, ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			keep = append(keep, e)
		}
	}
	return strings.Join(keep, ",")
}
