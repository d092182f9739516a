package sigv4

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Error is a refusal in AWS's words. Code is the service's own: S3's error codes for S3, the names of the common
// errors for KMS.
type Error struct {
	Code    string
	Message string
	Status  int

	// Fields are the elements that S3 adds to this error, in its order (StringToSign, CanonicalRequest, Region,
	// RequestTime, ServerTime, ...). They are for the client's answer, not for a log.
	Fields []Header
}

func (e *Error) Error() string { return "sigv4: " + e.Code + ": " + e.Message }

// Field returns the value of one of Fields, or "".
func (e *Error) Field(name string) string {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// AsError finds the Error in err's chain.
func AsError(err error) (*Error, bool) { return errors.AsType[*Error](err) }

func fail(status int, code, message string, fields ...Header) *Error {
	return &Error{Code: code, Message: message, Status: status, Fields: fields}
}

// Messages as S3 and KMS send them (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html,
// https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html).

const v2Unsupported = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."

func errV2() *Error { return fail(400, "InvalidRequest", v2Unsupported) }

// errPresignedV2 adds the remedy: version 1 of the aws CLI presigns with Version 2 by default.
func errPresignedV2() *Error {
	return fail(400, "InvalidRequest", v2Unsupported+" With version 1 of the aws CLI: aws configure set default.s3.signature_version s3v4")
}

func errV4A() *Error {
	return fail(501, "NotImplemented", "AWS Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented. Please use AWS4-HMAC-SHA256.")
}

func errAccessDenied(message string, fields ...Header) *Error {
	return fail(403, "AccessDenied", message, fields...)
}

func errInvalidArgument(message, name, value string) *Error {
	// The server may lend name and value only until its handler returns.
	return fail(400, "InvalidArgument", message, Header{"ArgumentName", strings.Clone(name)}, Header{"ArgumentValue", strings.Clone(value)})
}

func errTwoMechanisms(authorization string) *Error {
	return errInvalidArgument("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "+
		"Signature query string parameter or the Authorization header should be specified", "Authorization", scheme(authorization))
}

// scheme cuts an Authorization value to its first word: the rest may hold a password.
func scheme(authorization string) string {
	word, _, _ := strings.Cut(authorization, " ")
	return schemeOf(word)
}

func errMalformedHeader(detail string, fields ...Header) *Error {
	return fail(400, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+detail, fields...)
}

func errMalformedQuery(message string, fields ...Header) *Error {
	return fail(400, "AuthorizationQueryParametersError", message, fields...)
}

func errURI() *Error { return fail(400, "InvalidURI", "Couldn't parse the specified URI.") }

// errLength returns S3's error for a body with a length other than announced.
func errLength(fields ...Header) *Error {
	return fail(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header", fields...)
}

// errIncompleteBody returns S3's error for a cut body, and for every aws-chunked body with a broken frame.
func errIncompleteBody(fields ...Header) *Error {
	return fail(400, "IncompleteBody", "The request body terminated unexpectedly", fields...)
}

func errMalformedTrailer() *Error {
	return fail(400, "MalformedTrailerError",
		"The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

// errChunkEncoding names the fault in a chunk's frame.
func errChunkEncoding(detail string) *Error {
	return errIncompleteBody(Header{"additionalMessage", "The body is not valid aws-chunked content: " + detail})
}

func errMissingLength() *Error {
	return fail(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
}

func (v *Verifier) errToken() *Error {
	if !v.s3() {
		return fail(400, "UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	return fail(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
}

func (v *Verifier) errExpiredToken() *Error {
	if !v.s3() {
		return fail(400, "ExpiredTokenException", "The security token included in the request is expired")
	}
	return fail(400, "ExpiredToken", "The provided token has expired.")
}

func (v *Verifier) errAccessKey(accessKey string) *Error {
	if !v.s3() {
		return fail(400, "UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	return fail(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
		Header{"AWSAccessKeyId", accessKey})
}

func (v *Verifier) errNotSigned(names string) *Error {
	if !v.s3() {
		return fail(400, "InvalidSignatureException", "'"+names+"' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return errAccessDenied("There were headers present in the request which were not signed", Header{"HeadersNotSigned", names})
}

func (v *Verifier) errNoDate() *Error {
	if !v.s3() {
		return errIncompleteKMS("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	return errAccessDenied("AWS authentication requires a valid Date or x-amz-date header")
}

func errIncompleteKMS(detail string) *Error { return fail(400, "IncompleteSignatureException", detail) }

// errSkew reports a request signed too far from now.
func (v *Verifier) errSkew(signed, now time.Time) *Error {
	if !v.s3() {
		limit := v.maxSkew()
		if signed.Before(now) {
			return fail(400, "InvalidSignatureException", fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %d min.)",
				signed.Format(isoBasic), now.Add(-limit).Format(isoBasic), now.Format(isoBasic), int(limit.Minutes())))
		}
		return fail(400, "InvalidSignatureException", fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %d min.)",
			signed.Format(isoBasic), now.Add(limit).Format(isoBasic), now.Format(isoBasic), int(limit.Minutes())))
	}
	return fail(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
		Header{"RequestTime", signed.Format(isoBasic)},
		Header{"ServerTime", now.Format(isoExtended)},
		Header{"MaxAllowedSkewMilliseconds", strconv.FormatInt(v.maxSkew().Milliseconds(), 10)})
}

const mismatchS3 = "The request signature we calculated does not match the signature you provided. Check your key and signing method."

// errMismatch reports a wrong signature. S3 shows the client its string to sign, so that a mistake can be found. The
// shown text has no secrets: see Request.redacted.
func (v *Verifier) errMismatch(accessKey, provided string, stringToSign, canonical []byte) *Error {
	if !v.s3() {
		return fail(400, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	e := fail(403, "SignatureDoesNotMatch", mismatchS3, Header{"AWSAccessKeyId", accessKey})
	show := len(stringToSign) <= maxShown
	if show {
		e.Fields = append(e.Fields, Header{"StringToSign", string(stringToSign)})
	}
	e.Fields = append(e.Fields, Header{"SignatureProvided", provided})
	if show {
		e.Fields = append(e.Fields, Header{"StringToSignBytes", spacedHex(stringToSign)})
	}
	if canonical != nil && len(canonical) <= maxShown {
		e.Fields = append(e.Fields, Header{"CanonicalRequest", string(canonical)}, Header{"CanonicalRequestBytes", spacedHex(canonical)})
	}
	return e
}

// maxShown bounds the part of the request in an unauthenticated response: a canonical request can have 100 KB, and
// three times as much in hexadecimal digits.
const maxShown = 8 << 10

// spacedHex returns S3's form of StringToSignBytes: two hex digits a byte, with spaces.
func spacedHex(b []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 3*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}
