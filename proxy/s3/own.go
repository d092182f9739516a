package s3

// HeaderEnvelope carries an object's envelope at the store. Clients do not see it, and cannot send it.
const HeaderEnvelope = "x-amz-meta-waxseal"

// PrefixWaxseal begins the names of waxseal's own headers.
const PrefixWaxseal = "x-waxseal-"

// Headers of waxseal's own. HeaderPlaintext marks an answer about an object without an envelope, from a bucket where
// such objects are served. The operator's listener takes and gives the other headers; package proxy says what they mean.
const (
	HeaderPlaintext  = "x-waxseal-plaintext"
	HeaderOrder      = "x-waxseal-order"
	HeaderKeyVersion = "x-waxseal-key-version"
	HeaderKeyCurrent = "x-waxseal-key-current"
	OrderRewrap      = "rewrap"
	OrderReencrypt   = "reencrypt"
)

// HeaderErrorKind distinguishes errors with the same S3 code, for clients without a look at the message. KindCustomerKey
// marks the InvalidRequest of a request for an SSE-C object without its key, KindNotSealed the InvalidObjectState of an
// object that was not written through waxseal.
const (
	HeaderErrorKind = "x-waxseal-error-kind"
	KindCustomerKey = "customer-key"
	KindNotSealed   = "not-sealed"
)

// MetaPrefix begins the names of user metadata.
const MetaPrefix = "x-amz-meta-"
