package proxy

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"waxseal/keystore"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/strictjson"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

const (
	algAES256 = "AES256"
	algKMS    = "aws:kms"
	algDSSE   = "aws:kms:dsse"

	hdrSSE     = "x-amz-server-side-encryption"
	hdrKMSKey  = hdrSSE + "-aws-kms-key-id"
	hdrContext = hdrSSE + "-context"
	hdrBucket  = hdrSSE + "-bucket-key-enabled"
	hdrSSEC    = hdrSSE + "-customer-"
	hdrCopySSE = "x-amz-copy-source-server-side-encryption-customer-"
)

// customerNames are the three headers of an SSE-C key.
type customerNames struct{ algorithm, key, md5 string }

var (
	objectCustomer = &customerNames{hdrSSEC + "algorithm", hdrSSEC + "key", hdrSSEC + "key-MD5"}
	sourceCustomer = &customerNames{hdrCopySSE + "algorithm", hdrCopySSE + "key", hdrCopySSE + "key-MD5"}
)

// fields is where encryption parameters are read from: a request's headers, or a POST form's fields.
type fields interface {
	header(name string) string
	hasHeader(name string) bool
}

// encryptionFor decides how a write is sealed.
// Precedence: https://docs.aws.amazon.com/AmazonS3/latest/userguide/default-bucket-encryption.html
func (c *call) encryptionFor(f fields) (*objects.Encryption, error) {
	conf, err := c.s.buckets.get(c.Up, c.bucket)
	if err != nil {
		return nil, err
	}
	customer, err := c.customerKey(f, objectCustomer)
	if err != nil {
		return nil, err
	}
	if customer != nil {
		return c.encryptWithCustomerKey(f, customer, conf)
	}
	if !f.hasHeader(hdrSSE) {
		if f.hasHeader(hdrKMSKey) || f.hasHeader(hdrContext) {
			return nil, s3.InvalidArgument(hdrSSE, "", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		return c.defaultEncryption(f, conf)
	}
	return c.namedEncryption(f, conf)
}

func (c *call) encryptWithCustomerKey(f fields, k *objects.CustomerKey, conf *bucketConfig) (*objects.Encryption, error) {
	if f.hasHeader(hdrSSE) {
		return nil, s3.InvalidArgument(hdrSSE, f.header(hdrSSE), "Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
	}
	if f.hasHeader(hdrKMSKey) || f.hasHeader(hdrContext) {
		return nil, s3.InvalidArgument(hdrSSE, "", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
	}
	if conf.blocksSSEC() {
		return nil, s3.Errorf(s3.AccessDenied, "User: %s is not authorized to perform: s3:PutObject on resource: %q because this bucket has blocked upload requests that specify Server Side Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type", c.who(), c.resource())
	}
	return &objects.Encryption{Mode: sse.SSEC, Customer: k}, nil
}

// namedEncryption is what the request's own headers ask for.
func (c *call) namedEncryption(f fields, conf *bucketConfig) (*objects.Encryption, error) {
	e := &objects.Encryption{KeyID: f.header(hdrKMSKey)}
	switch alg := f.header(hdrSSE); alg {
	case algAES256:
		if f.hasHeader(hdrKMSKey) || f.hasHeader(hdrContext) {
			return nil, s3.InvalidArgument(hdrSSE, alg, "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		e.Mode = sse.SSES3
		return e, nil
	case algKMS:
		e.Mode = sse.SSEKMS
	case algDSSE:
		e.Mode = sse.DSSEKMS
	default:
		return nil, s3.InvalidArgument(hdrSSE, alg, "The encryption method specified is not supported")
	}
	if c.s.cfg.CompatCeph && e.KeyID == "" {
		// ceph/s3-tests test_sse_kms_no_key; AWS uses aws/s3.
		return nil, s3.InvalidArgument(hdrKMSKey, "", "Server Side Encryption with KMS managed key requires HTTP header x-amz-server-side-encryption-aws-kms-key-id")
	}
	return e, c.kmsParameters(f, e, conf.bucketKeyEnabled())
}

// defaultEncryption is the bucket's default, else SSE-S3.
func (c *call) defaultEncryption(f fields, conf *bucketConfig) (*objects.Encryption, error) {
	alg, keyID, bucketKey := conf.defaultEncryption()
	e := &objects.Encryption{KeyID: keyID}
	switch alg {
	case algKMS:
		e.Mode = sse.SSEKMS
	case algDSSE:
		e.Mode = sse.DSSEKMS
	default:
		e.Mode = sse.SSES3
		return e, nil
	}
	return e, c.kmsParameters(f, e, bucketKey)
}

// MayNameKMS returns an error unless the request may use KMS keys. S3 demands Signature Version 4 for it, to write and to
// read. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func (c *call) MayNameKMS() error {
	if c.auth != nil && (c.auth.Kind.V4() || c.s.cfg.CompatCeph && c.auth.Kind != sigv4.Anonymous) {
		return nil // ceph/s3-tests sign forms with Version 2
	}
	kind := "Anonymous"
	if c.auth != nil && c.auth.Kind != sigv4.Anonymous {
		kind = "AWS"
	}
	return s3.InvalidArgument("Authorization", kind, "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.")
}

// kmsParameters reads the rest of an SSE-KMS request: context and Bucket Key.
func (c *call) kmsParameters(f fields, e *objects.Encryption, bucketKey bool) error {
	if err := c.MayNameKMS(); err != nil {
		return err
	}
	e.BucketKey = bucketKey
	switch v := f.header(hdrBucket); strings.ToLower(v) {
	case "":
	case "true":
		e.BucketKey = true
	case "false":
		e.BucketKey = false
	default:
		return s3.InvalidArgument(hdrBucket, v, "The value of the header x-amz-server-side-encryption-bucket-key-enabled must be true or false")
	}
	if e.Mode == sse.DSSEKMS {
		if strings.EqualFold(f.header(hdrBucket), "true") {
			return s3.InvalidArgument(hdrBucket, "true", "An S3 Bucket Key is not supported for dual-layer server-side encryption with AWS KMS keys (aws:kms:dsse)")
		}
		e.BucketKey = false
	}
	ec, err := parseContext(f.header(hdrContext))
	e.Context = ec
	return err
}

// maxContextBytes bounds a client's encryption context, which lies in the envelope and counts against the metadata.
const maxContextBytes = 1024

func parseContext(v string) (keystore.Context, error) {
	if v == "" {
		return nil, nil
	}
	bad := s3.InvalidArgument(hdrContext, v, "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map")
	raw, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return nil, bad
	}
	ec, ok := stringMap(raw)
	if !ok {
		return nil, bad
	}
	size := 0
	for k, v := range ec {
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return nil, s3.InvalidArgument(hdrContext, k, "Encryption context keys that begin with aws: are reserved")
		}
		size += len(k) + len(v)
	}
	if size > maxContextBytes {
		return nil, s3.Errorf(s3.MetadataTooLarge, "The encryption context is over %d bytes", maxContextBytes)
	}
	return ec, nil
}

// stringMap reads a JSON object of strings, strictly: what is bound to the key must not depend on how a reader takes a
// null, a name that comes twice, or text that is no Unicode.
func stringMap(raw []byte) (keystore.Context, bool) {
	document, err := strictjson.Decode(raw)
	pairs, ok := document.(map[string]any)
	if err != nil || !ok {
		return nil, false
	}
	ec := make(keystore.Context, len(pairs))
	for name, value := range pairs {
		if ec[name], ok = value.(string); !ok {
			return nil, false
		}
	}
	return ec, true
}

// CustomerKey reads the three SSE-C headers h; nil when none is there.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func (c *call) customerKey(f fields, h *customerNames) (*objects.CustomerKey, error) {
	alg, key, sum := f.header(h.algorithm), f.header(h.key), f.header(h.md5)
	hasAlg, hasKey, hasSum := f.hasHeader(h.algorithm), f.hasHeader(h.key), f.hasHeader(h.md5)
	if !hasAlg && !hasKey && !hasSum {
		return nil, nil
	}
	if !c.secure && !c.s.cfg.AllowInsecureSSEC {
		return nil, s3.Errorf(s3.InvalidRequest, "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.")
	}
	if !hasAlg {
		return nil, errCustomer("Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm.")
	}
	if alg != algAES256 {
		return nil, s3.Errorf(s3.InvalidEncryptionAlgorithmError, "The Encryption request you specified is not valid. Supported value: AES256.").
			With("ArgumentName", hdrSSE).With("ArgumentValue", alg)
	}
	if !hasKey {
		return nil, errCustomer("Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.")
	}
	if !hasSum {
		return nil, errCustomer("Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key.")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 && !c.readsObject() {
		return nil, errCustomer("The secret key was invalid for the specified algorithm.")
	}
	defer clear(raw)
	digest := md5.Sum(raw)
	if want, err := base64.StdEncoding.DecodeString(sum); err != nil || hex.EncodeToString(want) != hex.EncodeToString(digest[:]) {
		return nil, errCustomer("The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	if len(raw) != 32 {
		return nil, c.ErrWrongCustomerKey() // to a reader, S3 says no more of a key than that it is not the object's
	}
	k := &objects.CustomerKey{MD5: s3.Base64(digest[:])}
	if k.Key, err = sse.KeyFrom(raw); err != nil {
		return nil, err
	}
	c.OnDone(k.Key.Zero)
	return k, nil
}

// readsObject reports whether the SSE-C key of the request is that of an object to read.
func (c *parsed) readsObject() bool {
	switch c.route.name {
	case "GetObject", "HeadObject", "GetObjectAttributes":
		return true
	}
	return false
}

// errCustomer is S3's refusal of an SSE-C header. It always names x-amz-server-side-encryption.
func errCustomer(message string) error {
	return s3.Errorf(s3.InvalidArgumentCode, "%s", message).With("ArgumentName", hdrSSE)
}

// algorithmOf is what x-amz-server-side-encryption says of a mode; empty for SSE-C.
func algorithmOf(m sse.Mode) string {
	switch m {
	case sse.SSES3:
		return algAES256
	case sse.SSEKMS:
		return algKMS
	case sse.DSSEKMS:
		return algDSSE
	}
	return ""
}
