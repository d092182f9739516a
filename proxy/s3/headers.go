package s3

// Header names, in the canonical form that net/http and fasthttp keep them in.
const (
	HeaderSSE             = "X-Amz-Server-Side-Encryption"
	HeaderSSEKMSKeyID     = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	HeaderSSEContext      = "X-Amz-Server-Side-Encryption-Context"
	HeaderSSEBucketKey    = "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"
	HeaderSSECAlgorithm   = "X-Amz-Server-Side-Encryption-Customer-Algorithm"
	HeaderSSECKey         = "X-Amz-Server-Side-Encryption-Customer-Key"
	HeaderSSECKeyMD5      = "X-Amz-Server-Side-Encryption-Customer-Key-Md5"
	HeaderCopySSEC        = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm"
	HeaderCopySSECKey     = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key"
	HeaderCopySSECKeyMD5  = "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key-Md5"
	PrefixSSE             = "X-Amz-Server-Side-Encryption"
	PrefixCopySSE         = "X-Amz-Copy-Source-Server-Side-Encryption"
	PrefixMeta            = "X-Amz-Meta-"
	PrefixChecksum        = "X-Amz-Checksum-"
	PrefixGrant           = "X-Amz-Grant-"
	PrefixObjectLock      = "X-Amz-Object-Lock-"
	PrefixAmz             = "X-Amz-"
	HeaderDate            = "X-Amz-Date"
	HeaderContentSHA256   = "X-Amz-Content-Sha256"
	HeaderDecodedLength   = "X-Amz-Decoded-Content-Length"
	HeaderTrailer         = "X-Amz-Trailer"
	HeaderTrailerSig      = "X-Amz-Trailer-Signature"
	HeaderSDKChecksum     = "X-Amz-Sdk-Checksum-Algorithm"
	HeaderSecurityToken   = "X-Amz-Security-Token"
	HeaderRequestID       = "X-Amz-Request-Id"
	HeaderID2             = "X-Amz-Id-2"
	HeaderUserAgent       = "X-Amz-User-Agent"
	HeaderACL             = "X-Amz-Acl"
	HeaderStorageClass    = "X-Amz-Storage-Class"
	HeaderTagging         = "X-Amz-Tagging"
	HeaderTaggingCount    = "X-Amz-Tagging-Count"
	HeaderTaggingDirect   = "X-Amz-Tagging-Directive"
	HeaderMetadataDirect  = "X-Amz-Metadata-Directive"
	HeaderMissingMeta     = "X-Amz-Missing-Meta"
	HeaderWebsiteRedirect = "X-Amz-Website-Redirect-Location"
	HeaderVersionID       = "X-Amz-Version-Id"
	HeaderDeleteMarker    = "X-Amz-Delete-Marker"
	HeaderMFA             = "X-Amz-Mfa"
	HeaderPartsCount      = "X-Amz-Mp-Parts-Count"
	HeaderMPObjectSize    = "X-Amz-Mp-Object-Size"
	HeaderExpiration      = "X-Amz-Expiration"
	HeaderRestore         = "X-Amz-Restore"
	HeaderReplication     = "X-Amz-Replication-Status"
	HeaderExpectedOwner   = "X-Amz-Expected-Bucket-Owner"
	HeaderRequestPayer    = "X-Amz-Request-Payer"
	HeaderRequestCharged  = "X-Amz-Request-Charged"
	HeaderBypassRetention = "X-Amz-Bypass-Governance-Retention"
	HeaderObjectAttrs     = "X-Amz-Object-Attributes"
	HeaderMaxParts        = "X-Amz-Max-Parts"
	HeaderPartMarker      = "X-Amz-Part-Number-Marker"
	HeaderBucketRegion    = "X-Amz-Bucket-Region"
	HeaderWriteOffset     = "X-Amz-Write-Offset-Bytes"
	HeaderOwnership       = "X-Amz-Object-Ownership"
	HeaderAbortDate       = "X-Amz-Abort-Date"
	HeaderAbortRule       = "X-Amz-Abort-Rule-Id"

	HeaderChecksumMode      = "X-Amz-Checksum-Mode"
	HeaderChecksumAlgorithm = "X-Amz-Checksum-Algorithm"
	HeaderChecksumType      = "X-Amz-Checksum-Type"

	HeaderCopySource            = "X-Amz-Copy-Source"
	HeaderCopyRange             = "X-Amz-Copy-Source-Range"
	HeaderCopyVersionID         = "X-Amz-Copy-Source-Version-Id"
	HeaderCopyIfMatch           = "X-Amz-Copy-Source-If-Match"
	HeaderCopyIfNoneMatch       = "X-Amz-Copy-Source-If-None-Match"
	HeaderCopyIfModifiedSince   = "X-Amz-Copy-Source-If-Modified-Since"
	HeaderCopyIfUnmodifiedSince = "X-Amz-Copy-Source-If-Unmodified-Since"
	HeaderSourceExpectedOwner   = "X-Amz-Source-Expected-Bucket-Owner"

	HeaderIfMatchLastModified = "X-Amz-If-Match-Last-Modified-Time"
	HeaderIfMatchSize         = "X-Amz-If-Match-Size"
	HeaderIfMatch             = "If-Match"
	HeaderIfNoneMatch         = "If-None-Match"
	HeaderIfModifiedSince     = "If-Modified-Since"
	HeaderIfUnmodifiedSince   = "If-Unmodified-Since"
	HeaderIfRange             = "If-Range"

	HeaderAcceptRanges       = "Accept-Ranges"
	HeaderAuthorization      = "Authorization"
	HeaderCacheControl       = "Cache-Control"
	HeaderContentDisposition = "Content-Disposition"
	HeaderContentEncoding    = "Content-Encoding"
	HeaderContentLanguage    = "Content-Language"
	HeaderContentLength      = "Content-Length"
	HeaderContentMD5         = "Content-Md5"
	HeaderContentRange       = "Content-Range"
	HeaderContentType        = "Content-Type"
	HeaderETag               = "Etag"
	HeaderExpires            = "Expires"
	HeaderLastModified       = "Last-Modified"
	HeaderLocation           = "Location"
	HeaderRange              = "Range"
	HeaderRetryAfter         = "Retry-After"
)

// Values of x-amz-server-side-encryption, and of SSE-C's algorithm.
const (
	SSEAES256 = "AES256"
	SSEKMS    = "aws:kms"
	SSEDSSE   = "aws:kms:dsse"
)

// Values of x-amz-content-sha256 that are no hash.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	EmptySHA256              = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Checksum types.
const (
	ChecksumFullObject = "FULL_OBJECT"
	ChecksumComposite  = "COMPOSITE"
)

// S3's limits.
const (
	MaxKeyLength      = 1024
	MaxMetadata       = 2048
	MaxPutSize        = 5 << 30
	MaxPartSize       = 5 << 30
	MinPartSize       = 5 << 20
	MaxPartNumber     = 10000
	MaxListKeys       = 1000
	MaxDeleteObjects  = 1000
	MaxTagsPerObject  = 10
	MaxPolicyDocument = 20 << 10
)
