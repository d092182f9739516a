package keystore

import (
	"context"
	"encoding/binary"
	"sort"
	"strconv"
	"time"

	"waxseal/keystore/iam"
)

// Caller is the authenticated requester of the S3 or KMS request being served, and how the request
// came. The scalar fields name the requester to logs and caches. The caller's rights are in Requester alone: a Caller
// without one, and not the Service, may do nothing.
type Caller struct {
	Requester   *iam.Requester
	ARN         string
	AccountID   string
	AccessKeyID string
	UserName    string
	SourceIP    string
	UserAgent   string
	RequestID   string
	TLS         TLS
	Transport   Transport
	// ViaService is "s3.<region>.amazonaws.com" when the call is made on the caller's behalf for an S3 request.
	ViaService string
	// Service marks the service's own principal, not a user: it may open its own keys.
	Service bool
}

// CallerOf returns the caller of a proven requester.
func CallerOf(who *iam.Requester) Caller {
	if who == nil {
		return Caller{}
	}
	return Caller{Requester: who, ARN: who.ARN, AccountID: who.AccountID, AccessKeyID: who.AccessKey, UserName: who.Name}
}

// Conditions returns the condition keys of every request.
func (c Caller) Conditions(now time.Time, region string) iam.Values {
	v := iam.Values{}
	v.Set("aws:CurrentTime", now.UTC().Format(time.RFC3339))
	v.Set("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	v.Set("aws:RequestedRegion", region)
	v.Set("aws:ViaAWSService", strconv.FormatBool(c.ViaService != ""))
	if c.SourceIP != "" {
		v.Set("aws:SourceIp", c.SourceIP)
	}
	if c.UserAgent != "" {
		v.Set("aws:UserAgent", c.UserAgent)
	}
	if secure, ok := c.Transport.SecureTransport(); ok {
		v.Set("aws:SecureTransport", secure)
	}
	return v
}

// Transport is the transport of a request, for the condition key aws:SecureTransport. It is OverTLS also behind a trusted
// proxy that ends TLS, although the audit log then knows nothing of the connection.
type Transport uint8

// The transports.
const (
	NoTransport Transport = iota // the process's own call, over no transport
	PlainHTTP
	OverTLS
)

// TransportOf returns the transport of a request.
func TransportOf(tls bool) Transport {
	if tls {
		return OverTLS
	}
	return PlainHTTP
}

// SecureTransport returns the value of aws:SecureTransport. A call over no transport has none.
func (t Transport) SecureTransport() (value string, ok bool) {
	return strconv.FormatBool(t == OverTLS), t != NoTransport
}

// TLS describes a request's TLS connection for the audit log. It is empty for a request without TLS.
type TLS struct {
	TLSVersion               string // "TLSv1.3", as CloudTrail writes it
	CipherSuite              string
	ClientProvidedHostHeader string
}

// Context is a KMS encryption context: authenticated, logged, not secret.
type Context map[string]string

// Encode returns the canonical form of a context, for use as associated data: the number of pairs, then each key and
// value with its length before it, sorted by key, all numbers 32 bits big-endian. Two contexts have the same
// encoding only when they are equal, unlike where keys and values are merely concatenated.
func (c Context) Encode() []byte {
	keys := make([]string, 0, len(c))
	size := 4
	for k, v := range c {
		keys = append(keys, k)
		size += 8 + len(k) + len(v)
	}
	sort.Strings(keys)
	b := binary.BigEndian.AppendUint32(make([]byte, 0, size), uint32(len(keys)))
	for _, k := range keys {
		b = appendField(b, k)
		b = appendField(b, c[k])
	}
	return b
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

// DataKey is a 256-bit key, made or opened by a KMS key.
type DataKey struct {
	Plaintext  Secret
	Blob       []byte // the same key under the KMS key: opaque, safe to store
	KeyARN     string // of the KMS key, always the full ARN
	MaterialID string // of the KMS key, for this blob; empty when the provider does not tell
}

// States of a KMS key, as DescribeKey names them.
const (
	StateEnabled         = "Enabled"
	StateDisabled        = "Disabled"
	StatePendingImport   = "PendingImport"
	StatePendingDeletion = "PendingDeletion"
	StateUnavailable     = "Unavailable"
)

// KeyInfo describes a KMS key before its use.
type KeyInfo struct {
	ARN       string
	AccountID string
	State     string // a State, or another state of DescribeKey
	Symmetric bool   // of usage ENCRYPT_DECRYPT and spec SYMMETRIC_DEFAULT: S3 takes no other keys
	Usage     string // ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC, KEY_AGREEMENT
	Spec      string // SYMMETRIC_DEFAULT, RSA_2048, ...
	Manager   string // CUSTOMER or AWS
	Origin    string // AWS_KMS, EXTERNAL, ...
}

// Action is the purpose of a data key: KMS authorises and audits the two apart.
type Action string

const (
	GenerateDataKey Action = "GenerateDataKey"
	Decrypt         Action = "Decrypt"
)

// Provider is a key service. Implementations are safe for concurrent use and return a *Error for every failure but the
// end of the caller's context. keystoretest.Run is this contract in code.
type Provider interface {
	// Resolve finds a KMS key by key id, key ARN, alias name or alias ARN. It describes disabled keys and keys
	// of the wrong kind, too; only an absent key is an error. The embedded provider makes the key of
	// "alias/aws/s3" when it is first asked for.
	Resolve(ctx context.Context, caller Caller, keyID string) (KeyInfo, error)

	// GenerateDataKey makes a new data key under a KMS key and binds it to the context.
	GenerateDataKey(ctx context.Context, caller Caller, keyID string, ec Context) (DataKey, error)

	// Decrypt opens a blob of GenerateDataKey. The key and the context must be the same: another key is
	// IncorrectKey (or AccessDenied, NotFound), another context or a changed blob InvalidCiphertext.
	Decrypt(ctx context.Context, caller Caller, blob []byte, keyARN string, ec Context) (DataKey, error)

	// Authorize checks and audits an action for this caller as the call itself would be, and yields no key. The blob
	// is nil for GenerateDataKey.
	Authorize(ctx context.Context, caller Caller, action Action, keyARN string, blob []byte, ec Context) error

	// Version names a blob's version of its KMS key, where the key service can refuse a single version (Transit's
	// min_decryption_version); elsewhere it is empty. It makes no call.
	Version(blob []byte) string

	// Health returns an error unless the key service answers.
	Health(ctx context.Context) error

	// Close releases the provider's resources and zeroes its keys.
	Close() error
}

// KeyVersions is a provider with knowledge of the newest version of a KMS key.
type KeyVersions interface {
	// KeyVersion names a blob's version of its KMS key, and the version of new blobs. Both are empty where the provider
	// cannot tell. KeyVersion opens nothing, and so asks nobody's permission.
	KeyVersion(ctx context.Context, keyARN string, blob []byte) (version, newest string, err error)
}

// KeyVersion asks a provider, if it has KeyVersions.
func KeyVersion(ctx context.Context, p Provider, keyARN string, blob []byte) (version, newest string, err error) {
	v, ok := p.(KeyVersions)
	if !ok {
		return "", "", nil
	}
	return v.KeyVersion(ctx, keyARN, blob)
}

// ServiceKeys are the keys of the service itself, found by an id.
type ServiceKeys interface {
	// Current returns the current key and its id.
	Current() (id uint32, key Secret)

	// ByID returns the key of an id, which may be an earlier one.
	ByID(id uint32) (Secret, bool)
}

// Root is the source of the key-encryption keys of SSE-S3, and of the service's own keys.
type Root interface {
	// Current returns the key-encryption key for new data, and the id to be stored with the wrapped data key. The
	// caller releases the handle.
	Current(ctx context.Context) (kek *Handle, id []byte, err error)

	// Open returns the key-encryption key of an id of Current, now or in an earlier life.
	Open(ctx context.Context, id []byte) (*Handle, error)

	// ServiceKey returns the current service key, for MACs over facts shown without a KMS
	// call.
	ServiceKey(ctx context.Context) (id uint32, key Secret, err error)

	// ServiceKeyByID returns the service key of an id, which may be an earlier one.
	ServiceKeyByID(id uint32) (Secret, bool)
}
