package objects

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/sse"
)

// arnContext is S3's own pair in every encryption context: the object's ARN, or the bucket's where a Bucket
// Key is in use. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
const arnContext = "aws:s3:arn"

// ManagedKey is the AWS managed key of SSE-KMS, for requests without a key id.
const ManagedKey = "alias/aws/s3"

// Binding ties an envelope to the name it was written under and to its mode: an envelope under another
// bucket, key or mode does not open.
func Binding(bucket, key string, mode sse.Mode) []byte {
	b := make([]byte, 0, 16+len(bucket)+len(key))
	b = AppendString(b, "waxseal/v1/s3")
	b = AppendString(b, bucket)
	b = AppendString(b, key)
	return append(b, byte(mode))
}

func AppendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// keks are the key-encryption keys of one envelope: one, and for DSSE-KMS the outer layer's too.
type keks struct {
	inner, outer sse.Key
	release      []func()
	// indirect: another key opened the inner one; if it does not fit, itself asks for the envelope's own blob.
	indirect, itself bool
}

// Release zeroes the copies and gives the handles back.
func (k *keks) Release() {
	k.inner.Zero()
	k.outer.Zero()
	for _, f := range k.release {
		f()
	}
	k.release = nil
}

func (k *keks) take(into *sse.Key, h *keystore.Handle) error {
	k.release = append(k.release, h.Release)
	k.indirect = k.indirect || h.Indirect()
	key, err := sse.KeyFrom(h.Key())
	*into = key
	return err
}

// NewKEK gets the key-encryption key for a new envelope and writes its id or its blob into the envelope.
func (s *Session) NewKEK(env *sse.Envelope, enc *Encryption, at Place) (*keks, error) {
	k := &keks{}
	env.Mode = enc.Mode
	var err error
	switch enc.Mode {
	case sse.SSES3:
		env.KeyBlob, err = s.rootKEK(k, &k.inner)
	case sse.SSEKMS:
		err = s.kmsKEK(k, env, enc, at)
	case sse.DSSEKMS:
		if err = s.kmsKEK(k, env, enc, at); err == nil {
			env.OuterKeyBlob, err = s.rootKEK(k, &k.outer)
		}
	case sse.SSEC:
		k.inner = enc.Customer.Key
		env.KeyBlob = sse.NewVerifier(k.inner)
	default:
		err = fmt.Errorf("no such encryption mode %d", enc.Mode)
	}
	if err != nil {
		k.Release()
		return nil, err
	}
	return k, nil
}

func (s *Session) rootKEK(k *keks, into *sse.Key) (id []byte, err error) {
	h, id, err := s.Root.Current(s.Up)
	if err != nil {
		return nil, err
	}
	return id, k.take(into, h)
}

// kmsKEK is a bucket key or a data key of the object's own.
func (s *Session) kmsKEK(k *keks, env *sse.Envelope, enc *Encryption, at Place) error {
	name := enc.KeyID
	if name == "" {
		name = ManagedKey
	}
	info, err := s.Keys.Resolve(s.Up, s.From.Caller(), name)
	if err != nil {
		return err
	}
	if !info.Symmetric {
		return keystore.Errorf(keystore.InvalidKeyUsage, info.ARN, "%s is not a symmetric encryption key, the only kind that S3 supports", info.ARN)
	}
	env.KeyID, env.Context = info.ARN, enc.Context
	bucket := s.sealedAs(at.Bucket)
	if enc.BucketKey {
		h, err := s.Keys.ForWrite(s.Up, s.From.Caller(), BucketARN(bucket), info.ARN, enc.Context)
		if err == nil {
			env.BucketKey, env.KeyBlob = true, h.Blob()
			return k.take(&k.inner, h)
		}
		if !errors.Is(err, bucketkey.ErrTooManyContexts) {
			return err
		}
		// More distinct client contexts than are worth a bucket key each: a data key of the object's own.
	}
	dk, err := s.Provider.GenerateDataKey(s.Up, s.From.Caller(), info.ARN, withARN(enc.Context, ObjectARN(bucket, at.Key)))
	if err != nil {
		return err
	}
	env.BucketKey, env.KeyBlob = false, dk.Blob
	return k.take(&k.inner, keystore.NewHandle(dk.Plaintext, dk.KeyARN, dk.Blob))
}

func withARN(user keystore.Context, arn string) keystore.Context {
	ec := maps.Clone(user)
	if ec == nil {
		ec = make(keystore.Context, 1)
	}
	ec[arnContext] = arn
	return ec
}

// openKEK gets the key-encryption key of an envelope at a place. With itself, a bucket key comes from the
// envelope's own blob.
func (s *Session) openKEK(env *sse.Envelope, customer *CustomerKey, at Place, itself bool) (*keks, error) {
	k := &keks{itself: itself}
	var err error
	switch env.Mode {
	case sse.SSES3:
		err = s.openRoot(k, &k.inner, env.KeyBlob)
	case sse.SSEKMS:
		err = s.openKMS(k, env, at)
	case sse.DSSEKMS:
		if err = s.openKMS(k, env, at); err == nil {
			err = s.openRoot(k, &k.outer, env.OuterKeyBlob)
		}
	case sse.SSEC:
		if !sse.CheckVerifier(env.KeyBlob, customer.Key) {
			err = s.ErrWrongCustomerKey()
			break
		}
		k.inner = customer.Key
	default:
		err = sse.ErrUnsupportedVersion
	}
	if err != nil {
		k.Release()
		return nil, err
	}
	return k, nil
}

func (s *Session) openRoot(k *keks, into *sse.Key, id []byte) error {
	h, err := s.Root.Open(s.Up, id)
	if err != nil {
		return err
	}
	return k.take(into, h)
}

func (s *Session) openKMS(k *keks, env *sse.Envelope, at Place) error {
	if err := s.From.MayNameKMS(); err != nil {
		return err
	}
	bucket := s.sealedAs(at.Bucket)
	if env.BucketKey {
		open := s.Keys.ForRead
		if k.itself {
			open = s.Keys.ForReadItself
		}
		h, err := open(s.Up, s.From.Caller(), BucketARN(bucket), env.KeyID, env.KeyBlob, env.Context)
		if err != nil {
			return err
		}
		return k.take(&k.inner, h)
	}
	dk, err := s.Provider.Decrypt(s.Up, s.From.Caller(), env.KeyBlob, env.KeyID, withARN(env.Context, ObjectARN(bucket, at.Key)))
	if err != nil {
		return err
	}
	return k.take(&k.inner, keystore.NewHandle(dk.Plaintext, dk.KeyARN, dk.Blob))
}

// Sealing is an object in the making: its envelope, and the keys for it.
type Sealing struct {
	Envelope *sse.Envelope
	Keys     sse.Keys
	KEK      *keks
	Size     int64 // of the plaintext, where it is known: 0 for a multipart upload, because Complete charges its bytes
}

// KnownFacts are the digests and the ETag at the time when an envelope is sealed; both are nil if a manifest will have
// them.
type KnownFacts struct {
	Facts *sse.Facts
	Tag   *sse.Tag
}

// SealEnvelope wraps the keys for an object at a place and returns the metadata value. It charges the object to the ledger:
// no envelope reaches the store uncounted.
func (s *Session) SealEnvelope(o *Sealing, at Place, known KnownFacts) (string, error) {
	if err := s.Charge(o.Envelope, at, o.Size); err != nil {
		return "", err
	}
	svc, err := s.ServiceKey()
	if err != nil {
		return "", err
	}
	defer svc.Key.Zero()
	if err := o.Envelope.Seal(o.Keys, sse.KEKs{Inner: o.KEK.inner, Outer: o.KEK.outer}, svc, Binding(s.sealedAs(at.Bucket), at.Key, o.Envelope.Mode), known.Facts, known.Tag); err != nil {
		return "", err
	}
	text, err := o.Envelope.MarshalText()
	return string(text), err
}

// OpenEnvelope opens the data keys of an object. A bucket key of the wrong chain is no tampering: the chain
// may be damaged, and the envelope's own blob decides.
func (s *Session) OpenEnvelope(env *sse.Envelope, customer *CustomerKey, at Place) (sse.Keys, *sse.Facts, error) {
	keys, facts, indirect, err := s.openEnvelopeWith(env, customer, at, false)
	if err != nil && indirect {
		keys, facts, _, err = s.openEnvelopeWith(env, customer, at, true)
	}
	return keys, facts, err
}

func (s *Session) openEnvelopeWith(env *sse.Envelope, customer *CustomerKey, at Place, itself bool) (sse.Keys, *sse.Facts, bool, error) {
	k, err := s.openKEK(env, customer, at, itself)
	if err != nil {
		return sse.Keys{}, nil, false, err
	}
	defer k.Release()
	keys, facts, err := env.Open(k.inner, k.outer, Binding(s.sealedAs(at.Bucket), at.Key, env.Mode))
	return keys, facts, k.indirect, err
}

// Encryption is how an object is to be sealed: by the request's headers, else the bucket's default, else SSE-S3.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html
type Encryption struct {
	Mode      sse.Mode
	KeyID     string // as it was named; empty is the AWS managed key aws/s3
	Context   keystore.Context
	BucketKey bool
	Customer  *CustomerKey
}

// CustomerKey is an SSE-C key as the client sent it.
type CustomerKey struct {
	Key sse.Key
	MD5 string // base64, echoed in answers
}
