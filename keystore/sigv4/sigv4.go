// Package sigv4 authenticates inbound requests: AWS Signature Version 4 for S3 and KMS, in the Authorization header, in
// a presigned URL, in the chunks and trailers of an aws-chunked body, and in a POST form's policy; and, where it is
// switched on, Signature Version 2.
//
// The package is pure: it opens no socket, reads no clock and keeps no user. The clock and the look-up of an access key
// are fields of [Verifier]; a request is the plain struct [Request], so that any HTTP server can feed it. [Auth.Owner]
// is the identity that the look-up returned beside the secret: identity and proof are resolved together, once. The
// caller must pass the path, the query and the headers exactly as on the wire: a cleaned-up path has a different
// signature.
//
// Every refusal is an [*Error] with AWS's code, message and status. No error, and no value of this package printed with
// any verb, holds a secret, a signing key or a customer's encryption key.
package sigv4

import (
	"errors"
	"time"

	"waxseal/keystore/iam"
)

// Header is one header, form field or trailer, in the order of the wire.
type Header struct {
	Name  string
	Value string
}

// Request is the request as sent by the client, undecoded.
type Request struct {
	Method   string
	RawPath  string // as on the wire: percent-encoded, not cleaned, without the query
	RawQuery string // as on the wire, without the question mark
	Host     string // the Host header's value
	Headers  []Header

	// ContentLength is the body's length on the wire, or -1 where it is not known (Transfer-Encoding: chunked).
	ContentLength int64

	// BodySHA256 is the hex SHA-256 of the body. Services other than S3 sign it without sending it, so their
	// callers read the body first; S3 ignores the field.
	BodySHA256 string

	headOnly bool // see VerifyHead

	// Bucket is the bucket in a virtual-hosted Host header, or "". Only Signature Version 2 needs it, as a part of
	// the signed text.
	Bucket string
}

// Verifier checks requests to one service. Its fields must not change after the first use; the zero values of
// Now and MaxSkew are ready to use.
type Verifier struct {
	Service string // the credential scope's service: "s3", "kms", "iam", "sts"
	Region  string // the credential scope's region; "" takes any

	// Global takes us-east-1 in the credential scope beside Region, and an empty region. AWS's SDKs sign requests to
	// IAM, and to the global endpoint of STS, for us-east-1; MinIO's SDKs sign requests to STS for an empty region.
	Global bool

	// Lookup resolves an access key with the session token that came with it, or "". An empty secret counts as not found.
	Lookup func(accessKey, token string) (iam.Credential, error)

	Now     func() time.Time // nil: time.Now
	MaxSkew time.Duration    // 0: the 15 minutes of AWS
	AllowV2 bool             // accept Signature Version 2 (S3 only)

	keys keyCache
}

const defaultSkew = 15 * time.Minute

// Kind is the way in which a request proved its sender.
type Kind uint8

// The kinds of proof.
const (
	Anonymous   Kind = iota // none
	HeaderV4                // Authorization: AWS4-HMAC-SHA256
	PresignedV4             // X-Amz-Signature in the query
	PostV4                  // x-amz-signature in a POST form
	HeaderV2                // Authorization: AWS
	PresignedV2             // Signature in the query
	PostV2                  // signature in a POST form
)

var kindNames = [...]string{"anonymous", "header", "presigned", "post", "header-v2", "presigned-v2", "post-v2"}

func (k Kind) String() string { return kindNames[k] }

// V4 reports whether the proof is a Signature Version 4 one, as S3 demands for SSE-KMS.
func (k Kind) V4() bool { return k == HeaderV4 || k == PresignedV4 || k == PostV4 }

// SignatureVersion returns CloudTrail's name of the scheme: "SigV4", "SigV2", or "" for an anonymous request.
func (k Kind) SignatureVersion() string {
	switch k {
	case Anonymous:
		return ""
	case HeaderV2, PresignedV2, PostV2:
		return "SigV2"
	default:
		return "SigV4"
	}
}

// Method returns CloudTrail's AuthenticationMethod: "AuthHeader", "QueryString", or "" for the rest.
func (k Kind) Method() string {
	switch k {
	case HeaderV4, HeaderV2:
		return "AuthHeader"
	case PresignedV4, PresignedV2:
		return "QueryString"
	default:
		return ""
	}
}

// Payload is the promise of x-amz-content-sha256 about the body.
type Payload uint8

// The promises, in the words of x-amz-content-sha256.
const (
	Unsigned                 Payload = iota // UNSIGNED-PAYLOAD, or no header where none is needed
	SignedSHA256                            // 64 hex digits
	StreamingSigned                         // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	StreamingSignedTrailer                  // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	StreamingUnsignedTrailer                // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

const (
	unsignedPayload          = "UNSIGNED-PAYLOAD"
	streamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingV4A             = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	streamingV4ATrailer      = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
)

// Streaming reports whether the body is aws-chunked.
func (p Payload) Streaming() bool { return p >= StreamingSigned }

// Auth is a request with a checked proof.
type Auth struct {
	AccessKey     string // "" for an anonymous request
	Owner         *iam.Requester
	Kind          Kind
	Region        string    // of the credential scope
	Date          time.Time // when the request was signed
	Expires       time.Time // when a presigned request ends; else zero
	SignedHeaders []string  // lower case
	Payload       Payload
	ContentSHA256 string   // the signed value for the body
	ContentLength int64    // of the body on the wire, or -1
	DecodedLength int64    // of the body's content, or -1 where it is not known
	TrailerNames  []string // lower case, as x-amz-trailer announced them
	Hoisted       []Header // x-amz-* parameters of a PresignedV2 request, signed as headers

	key       *signingKey // a pointer, so that no print verb shows the key
	signature string      // hex, the seed of the chunk signatures
	scope     string      // date/region/service/aws4_request
	timestamp string      // yyyyMMddTHHmmssZ, as it was signed
}

func (v *Verifier) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

func (v *Verifier) maxSkew() time.Duration {
	if v.MaxSkew == 0 {
		return defaultSkew
	}
	return v.MaxSkew
}

func (v *Verifier) s3() bool { return v.Service == "s3" }

// MaxToken bounds a session token. Proxies in front take lines of 8 KiB.
const MaxToken = 4 << 10

// credential resolves the signer's access key.
func (v *Verifier) credential(accessKey, token string) (c iam.Credential, secret string, err error) {
	if len(token) > MaxToken {
		return c, "", v.errToken()
	}
	c, err = v.Lookup(accessKey, token)
	secret = c.Secret.Reveal()
	switch {
	case err == nil && secret != "" && c.Owner != nil:
		return c, secret, nil
	case errors.Is(err, iam.ErrInvalidToken):
		return c, "", v.errToken()
	case errors.Is(err, iam.ErrExpiredToken):
		return c, "", v.errExpiredToken()
	case errors.Is(err, iam.ErrUnavailable):
		return c, "", fail(503, "ServiceUnavailable", "Who signed the request cannot be looked up now. Please try again.")
	case err != nil && !errors.Is(err, iam.ErrUnknownKey):
		return c, "", err // the directory cannot tell
	}
	return c, "", v.errAccessKey(accessKey)
}
