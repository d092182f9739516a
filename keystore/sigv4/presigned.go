package sigv4

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxExpires is a week, in seconds
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
const maxExpires = 604800

// queryForm is the signing scheme of a query's parameters.
type queryForm uint8

const (
	noQueryAuth queryForm = iota
	queryV4
	queryV4A
	queryV2
)

// authQuery holds the authentication parameters of a query, decoded.
type authQuery struct {
	form     queryForm
	hasToken bool
	token    string

	algorithm, credential, date, expires, signedHeaders, signature string // Version 4
	contentSHA256                                                  string
	accessKeyV2, signatureV2, expiresV2                            string
}

// field finds where a parameter of this name goes.
func (q *authQuery) field(name string) *string {
	switch name {
	case "X-Amz-Algorithm":
		return &q.algorithm
	case "X-Amz-Credential":
		return &q.credential
	case "X-Amz-Date":
		return &q.date
	case "X-Amz-Expires":
		return &q.expires
	case "X-Amz-SignedHeaders":
		return &q.signedHeaders
	case "X-Amz-Signature":
		return &q.signature
	case "X-Amz-Content-Sha256":
		return &q.contentSHA256
	case "AWSAccessKeyId":
		return &q.accessKeyV2
	case "Signature":
		return &q.signatureV2
	case "Expires":
		return &q.expiresV2
	}
	return nil
}

// parseAuthQuery returns the authentication parameters of a query. A repeated parameter could be signed in one
// reading and used in another, so it is refused.
func parseAuthQuery(query string) (authQuery, error) {
	var q authQuery
	if !strings.Contains(query, "X-Amz-") && !strings.Contains(query, "Signature") && !strings.Contains(query, "AWSAccessKeyId") {
		return q, nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		field := q.field(name)
		if strings.EqualFold(name, "X-Amz-Security-Token") {
			if q.hasToken {
				return q, errMalformedQuery("The query parameter " + name + " must be given once.")
			}
			q.hasToken, field = true, &q.token
		}
		if field == nil {
			continue
		}
		decoded, ok := decodeQuery(value)
		if !ok {
			return q, errURI()
		}
		if *field != "" {
			return q, errMalformedQuery("The query parameter " + name + " must be given once.")
		}
		*field = decoded
	}
	switch {
	case q.algorithm == algorithmV4A:
		q.form = queryV4A
	case q.algorithm != "" || q.signature != "" || q.credential != "":
		q.form = queryV4
	case q.signatureV2 != "" || q.accessKeyV2 != "":
		q.form = queryV2
	}
	return q, nil
}

// decodeQuery always returns memory of its own.
func decodeQuery(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c, size := decodeAt(s, i)
		if size == 0 {
			return "", false
		}
		if size == 1 && c == '+' {
			c = ' '
		}
		out = append(out, c)
		i += size
	}
	return string(out), true
}

// verifyPresigned checks a presigned URL
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html).
func (v *Verifier) verifyPresigned(r *Request, q authQuery, token string) (*Auth, error) {
	if q.algorithm == "" || q.credential == "" || q.date == "" || q.expires == "" || q.signedHeaders == "" || q.signature == "" {
		return nil, v.errQuery("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, " +
			"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	if q.algorithm != algorithm {
		return nil, v.errQuery("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	}
	c, err := v.parseCredential(q.credential, complainQuery)
	if err != nil {
		return nil, err
	}
	date, err := time.Parse(isoBasic, q.date)
	if err != nil {
		return nil, v.errQuery("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if day := date.Format(dateOnly); day != c.date {
		return nil, v.errCredentialDate(c.date, day, func(detail, _ string) *Error { return errMalformedQuery(detail) })
	}
	a := &Auth{Kind: PresignedV4, AccessKey: c.accessKey, Region: c.region, Date: date, signature: q.signature,
		scope: c.scope}
	if a.Expires, err = v.expiry(date, q.expires); err != nil {
		return nil, err
	}
	if v.s3() {
		r = r.withoutUnsignedHash(q.signedHeaders)
	}
	if err := v.presignedPayload(a, r, q); err != nil {
		return nil, err
	}
	if a.SignedHeaders, err = v.signedHeaders(r, q.signedHeaders, complainQuery); err != nil {
		return nil, err
	}
	return a, v.check(a, r, c, token, "X-Amz-Signature")
}

func (v *Verifier) errQuery(message string) *Error {
	if !v.s3() {
		return errIncompleteKMS(message)
	}
	return errMalformedQuery(message)
}

// expiry checks that now lies between the signing time and the expiry of a presigned URL.
func (v *Verifier) expiry(date time.Time, value string) (time.Time, error) {
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return date, v.errQuery("X-Amz-Expires should be a number")
	case seconds < 0:
		return date, v.errQuery("X-Amz-Expires must be non-negative")
	case seconds > maxExpires:
		return date, v.errQuery("X-Amz-Expires must be less than a week (in seconds); " +
			"that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	now := v.now().UTC()
	end := date.Add(time.Duration(seconds) * time.Second)
	if date.Sub(now) > v.maxSkew() {
		return end, v.errPresignedTime("Request is not valid yet", date, end, now)
	}
	if seconds == 0 || now.After(end) {
		return end, v.errPresignedTime("Request has expired", date, end, now)
	}
	return end, nil
}

func (v *Verifier) errPresignedTime(message string, date, end, now time.Time) *Error {
	if !v.s3() {
		return v.errSkew(date, now)
	}
	return errAccessDenied(message,
		Header{"X-Amz-Expires", strconv.FormatInt(int64(end.Sub(date)/time.Second), 10)},
		Header{"Expires", end.Format(isoExtended)},
		Header{"ServerTime", now.Format(isoExtended)})
}

// withoutUnsignedHash returns the request without an unsigned x-amz-content-sha256 header: S3 ignores it in a
// presigned request, and clients always sending it can use a URL. An announced frame of chunks is not ignored.
// https://github.com/localstack/localstack/blob/master/localstack-core/localstack/services/s3/presigned_url.py
func (r *Request) withoutUnsignedHash(signedHeaders string) *Request {
	const name = "x-amz-content-sha256"
	value, count := r.header(name)
	signed := slices.ContainsFunc(strings.Split(signedHeaders, ";"), func(s string) bool { return strings.EqualFold(s, name) })
	if count != 1 || signed || strings.HasPrefix(value, "STREAMING-") {
		return r
	}
	copied := *r
	copied.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h Header) bool { return strings.EqualFold(h.Name, name) })
	return &copied
}

// presignedPayload finds the signed value for the body: UNSIGNED-PAYLOAD, unless the URL or a signed header says more.
func (v *Verifier) presignedPayload(a *Auth, r *Request, q authQuery) error {
	if !v.s3() {
		return v.headerPayload(a, r)
	}
	value, count := r.header("X-Amz-Content-Sha256")
	switch {
	case count > 1:
		return errInvalidArgument("x-amz-content-sha256 must be given once.", "x-amz-content-sha256", value)
	case count == 0 && q.contentSHA256 != "":
		value = q.contentSHA256
	case count == 0:
		value = unsignedPayload
	}
	if err := a.setPayload(value); err != nil {
		return err
	}
	return a.setLengths(r)
}
