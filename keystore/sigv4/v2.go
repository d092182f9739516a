package sigv4

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 2 (https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html), for the old clients
// of an operator who allows it. It signs neither the body nor most of the query.

// subResources are the query parameters signed by Version 2, sorted.
var subResources = []string{"accelerate", "acl", "analytics", "cors", "delete", "encryption", "inventory", "lifecycle",
	"location", "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "policyStatus",
	"publicAccessBlock", "replication", "requestPayment", "response-cache-control", "response-content-disposition",
	"response-content-encoding", "response-content-language", "response-content-type", "response-expires", "restore",
	"retention", "legal-hold", "select", "select-type", "tagging", "torrent", "uploadId", "uploads", "versionId",
	"versioning", "versions", "website", "ownershipControls", "intelligent-tiering", "attributes"}

func init() { slices.Sort(subResources) }

func mac1(secret string, message []byte) string {
	m := hmac.New(sha1.New, []byte(secret))
	m.Write(message)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

func (v *Verifier) verifyV2Header(r *Request, rest string) (*Auth, error) {
	if !v.AllowV2 {
		return nil, errV2()
	}
	cut := strings.LastIndexByte(rest, ':')
	if cut <= 0 || strings.ContainsAny(rest, " ,") {
		return nil, errInvalidArgument("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature", "Authorization", "AWS")
	}
	value, amz := r.header("X-Amz-Date")
	shown := ""
	if amz == 0 {
		value, amz = r.header("Date")
		shown = value
	}
	date, ok := parseDate(value)
	if !ok || amz > 1 {
		return nil, v.errNoDate()
	}
	now := v.now().UTC()
	if d := now.Sub(date); d > v.maxSkew() || d < -v.maxSkew() {
		return nil, v.errSkew(date, now)
	}
	a := &Auth{Kind: HeaderV2, AccessKey: rest[:cut], Date: date, signature: rest[cut+1:]}
	return a, v.checkV2(a, r, shown)
}

func (v *Verifier) verifyV2Query(r *Request, q authQuery) (*Auth, error) {
	if !v.AllowV2 || !v.s3() {
		return nil, errPresignedV2()
	}
	if q.accessKeyV2 == "" || q.signatureV2 == "" || q.expiresV2 == "" {
		return nil, errAccessDenied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	seconds, err := strconv.ParseInt(q.expiresV2, 10, 64)
	if err != nil {
		return nil, errAccessDenied("Invalid date (should be seconds since epoch): " + q.expiresV2)
	}
	now := v.now().UTC()
	end := time.Unix(seconds, 0).UTC()
	if now.After(end) {
		return nil, errAccessDenied("Request has expired", Header{"Expires", end.Format(isoExtended)}, Header{"ServerTime", now.Format(isoExtended)})
	}
	hoisted, ok := hoistedHeaders(r)
	if !ok {
		return nil, errURI()
	}
	added := hoisted.Headers[len(r.Headers):]
	a := &Auth{Kind: PresignedV2, Hoisted: amzHeaders(added), AccessKey: q.accessKeyV2, Date: now, Expires: end, signature: q.signatureV2}
	return a, v.checkV2(a, hoisted, q.expiresV2)
}

// amzHeaders returns copies of the headers signed by Version 2, with their names as signed.
func amzHeaders(headers []Header) []Header {
	var amz []Header
	for _, h := range headers {
		if name := strings.ToLower(h.Name); strings.HasPrefix(name, "x-amz-") {
			amz = append(amz, Header{strings.Clone(name), strings.Clone(h.Value)})
		}
	}
	return amz
}

// hoistedHeaders returns a presigned request with its headers in the query, as boto puts them there, moved back: they
// were signed as headers.
func hoistedHeaders(r *Request) (*Request, bool) {
	c := *r
	c.Headers = slices.Clip(c.Headers)
	there := make(map[string]bool, len(r.Headers))
	for i := range r.Headers {
		there[strings.ToLower(r.Headers[i].Name)] = true
	}
	for pair := range strings.SplitSeq(r.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		lower := strings.ToLower(name)
		if there[lower] || !strings.HasPrefix(lower, "x-amz-") && lower != "content-type" && lower != "content-md5" {
			continue
		}
		decoded, ok := decodeQuery(value)
		if !ok {
			return nil, false
		}
		c.Headers = append(c.Headers, Header{name, decoded})
	}
	return &c, true
}

// checkV2 compares the signature. date is the line for Date in the string to sign: "" if x-amz-date replaces it.
func (v *Verifier) checkV2(a *Auth, r *Request, date string) error {
	found, secret, err := v.credential(a.AccessKey, "")
	if err != nil {
		return err
	}
	a.Owner = found.Owner
	if err := v.compareV2(a, r, secret, date); err != nil {
		return err
	}
	value, count := r.header("X-Amz-Content-Sha256")
	if count == 0 {
		a.ContentLength, a.DecodedLength = r.ContentLength, r.ContentLength
		return nil
	}
	if err := a.setPayload(value); err != nil {
		return err
	}
	if a.Payload == StreamingSigned || a.Payload == StreamingSignedTrailer {
		return errInvalidArgument("Signed chunks require AWS4-HMAC-SHA256.", "x-amz-content-sha256", value)
	}
	return a.setLengths(r)
}

// compareV2 takes "/bucket" as it was sent and as "/bucket/": boto signs the latter.
func (v *Verifier) compareV2(a *Auth, r *Request, secret, date string) error {
	toSign, ok := stringToSignV2(r, date)
	if !ok {
		return errURI()
	}
	if hmac.Equal([]byte(mac1(secret, toSign)), []byte(a.signature)) {
		return nil
	}
	if r.Bucket == "" && len(r.RawPath) > 1 && strings.LastIndexByte(r.RawPath, '/') == 0 {
		slashed := *r
		slashed.RawPath += "/"
		if other, ok := stringToSignV2(&slashed, date); ok && hmac.Equal([]byte(mac1(secret, other)), []byte(a.signature)) {
			return nil
		}
	}
	shown, ok := stringToSignV2(r.redacted(), date)
	if !ok {
		return errURI()
	}
	return v.errMismatch(a.AccessKey, a.signature, shown, nil)
}

func stringToSignV2(r *Request, date string) ([]byte, bool) {
	md5, _ := r.header("Content-Md5")
	contentType, _ := r.header("Content-Type")
	b := []byte(r.Method + "\n" + md5 + "\n" + contentType + "\n" + date + "\n")
	b = appendAmzHeaders(b, r)
	if r.Bucket != "" {
		b = append(append(b, '/'), r.Bucket...)
	}
	if r.RawPath == "" {
		b = append(b, '/')
	}
	b = append(b, r.RawPath...)
	return appendSubResources(b, r.RawQuery)
}

// appendAmzHeaders adds the x-amz-* headers, sorted. Version 2 leaves the spaces inside a value as they are.
func appendAmzHeaders(dst []byte, r *Request) []byte {
	amz := make([]Header, 0, len(r.Headers))
	for _, h := range r.Headers {
		if name := strings.ToLower(h.Name); strings.HasPrefix(name, "x-amz-") {
			amz = append(amz, Header{name, strings.Trim(h.Value, " \t")})
		}
	}
	slices.SortStableFunc(amz, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	for i, h := range amz {
		switch {
		case i == 0:
			dst = append(append(dst, h.Name...), ':')
		case h.Name == amz[i-1].Name:
			dst = append(dst, ',')
		default:
			dst = append(append(append(dst, '\n'), h.Name...), ':')
		}
		dst = append(dst, h.Value...)
	}
	if len(amz) > 0 {
		dst = append(dst, '\n')
	}
	return dst
}

// appendSubResources adds the signed part of the query: sorted, and with decoded names and values. The handler
// decodes the names, so that "taggin%67" is as much a sub-resource as "tagging".
func appendSubResources(dst []byte, query string) ([]byte, bool) {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, ok := decodeQuery(name)
		if !ok {
			return dst, false
		}
		if _, signed := slices.BinarySearch(subResources, name); !signed {
			continue
		}
		decoded, ok := decodeQuery(value)
		if !ok {
			return dst, false
		}
		if decoded != "" { // "?acl" and "?acl=" are the same
			name += "=" + decoded
		}
		kept = append(kept, name)
	}
	slices.SortFunc(kept, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	for i, pair := range kept {
		if i == 0 {
			dst = append(dst, '?')
		} else {
			dst = append(dst, '&')
		}
		dst = append(dst, pair...)
	}
	return dst, true
}
