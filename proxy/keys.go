package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/sse"
)

// arnContext is the pair that S3 adds to every encryption context: the object's ARN, or the bucket's where a Bucket
// Key is in use. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
const arnContext = "aws:s3:arn"

// managedKey is the AWS managed key that SSE-KMS uses when no key is named.
const managedKey = "alias/aws/s3"

// binding ties an envelope to the name it was written under and to its mode: an envelope that is moved to another
// bucket, key or mode does not open.
func binding(bucket, key string, mode sse.Mode) []byte {
	b := make([]byte, 0, 16+len(bucket)+len(key))
	b = appendString(b, "waxseal/v1/s3")
	b = appendString(b, bucket)
	b = appendString(b, key)
	return append(b, byte(mode))
}

func appendString(b []byte, s string) []byte {
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

// newKEK gets the key-encryption key for a new envelope and writes into the envelope what finds it again.
func (s *session) newKEK(env *sse.Envelope, enc *encryption, at sealTarget) (*keks, error) {
	k := &keks{}
	env.Mode = enc.mode
	var err error
	switch enc.mode {
	case sse.SSES3:
		env.KeyBlob, err = s.rootKEK(k, &k.inner)
	case sse.SSEKMS:
		err = s.kmsKEK(k, env, enc, at)
	case sse.DSSEKMS:
		if err = s.kmsKEK(k, env, enc, at); err == nil {
			env.OuterKeyBlob, err = s.rootKEK(k, &k.outer)
		}
	case sse.SSEC:
		k.inner = enc.customer.key
		env.KeyBlob = sse.NewVerifier(k.inner)
	default:
		err = fmt.Errorf("no such encryption mode %d", enc.mode)
	}
	if err != nil {
		k.Release()
		return nil, err
	}
	return k, nil
}

func (s *session) rootKEK(k *keks, into *sse.Key) (id []byte, err error) {
	h, id, err := s.root.Current(s.up)
	if err != nil {
		return nil, err
	}
	return id, k.take(into, h)
}

// kmsKEK is a bucket key or a data key of the object's own.
func (s *session) kmsKEK(k *keks, env *sse.Envelope, enc *encryption, at sealTarget) error {
	name := enc.keyID
	if name == "" {
		name = managedKey
	}
	info, err := s.keys.Resolve(s.up, s.from.caller(), name)
	if err != nil {
		return err
	}
	if !info.Symmetric {
		return keystore.Errorf(keystore.InvalidKeyUsage, info.ARN, "%s is not a symmetric encryption key, the only kind that S3 supports", info.ARN)
	}
	env.KeyID, env.Context = info.ARN, enc.context
	bucket := s.sealedAs(at.bucket)
	if enc.bucketKey {
		h, err := s.keys.ForWrite(s.up, s.from.caller(), bucketARN(bucket), info.ARN, enc.context)
		if err == nil {
			env.BucketKey, env.KeyBlob = true, h.Blob()
			return k.take(&k.inner, h)
		}
		if !errors.Is(err, bucketkey.ErrTooManyContexts) {
			return err
		}
		// More distinct client contexts than are worth a bucket key each: a data key of the object's own.
	}
	dk, err := s.provider.GenerateDataKey(s.up, s.from.caller(), info.ARN, withARN(enc.context, objectARN(bucket, at.key)))
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

// openKEK gets the key-encryption key of an envelope that lies at bucket and key. With itself, a bucket key comes from the
// envelope's own blob.
func (s *session) openKEK(env *sse.Envelope, customer *customerKey, at sealTarget, itself bool) (*keks, error) {
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
		if !sse.CheckVerifier(env.KeyBlob, customer.key) {
			err = s.errWrongCustomerKey()
			break
		}
		k.inner = customer.key
	default:
		err = sse.ErrUnsupportedVersion
	}
	if err != nil {
		k.Release()
		return nil, err
	}
	return k, nil
}

func (s *session) openRoot(k *keks, into *sse.Key, id []byte) error {
	h, err := s.root.Open(s.up, id)
	if err != nil {
		return err
	}
	return k.take(into, h)
}

func (s *session) openKMS(k *keks, env *sse.Envelope, at sealTarget) error {
	if err := s.from.mayNameKMS(); err != nil {
		return err
	}
	bucket := s.sealedAs(at.bucket)
	if env.BucketKey {
		open := s.keys.ForRead
		if k.itself {
			open = s.keys.ForReadItself
		}
		h, err := open(s.up, s.from.caller(), bucketARN(bucket), env.KeyID, env.KeyBlob, env.Context)
		if err != nil {
			return err
		}
		return k.take(&k.inner, h)
	}
	dk, err := s.provider.Decrypt(s.up, s.from.caller(), env.KeyBlob, env.KeyID, withARN(env.Context, objectARN(bucket, at.key)))
	if err != nil {
		return err
	}
	return k.take(&k.inner, keystore.NewHandle(dk.Plaintext, dk.KeyARN, dk.Blob))
}

// sealing is an object that is being sealed: its envelope, and the keys that go into it.
type sealing struct {
	env  *sse.Envelope
	keys sse.Keys
	kek  *keks
	size int64 // of the plaintext, where it is known: 0 of an upload's, which Complete charges
}

// knownFacts are the digests and the ETag that are known when an envelope is sealed; both are nil if a manifest will have
// them.
type knownFacts struct {
	facts *sse.Facts
	tag   *sse.Tag
}

// sealEnvelope wraps the keys for an object at a place and returns the metadata value. It charges the object to the ledger:
// no envelope reaches the store uncounted.
func (s *session) sealEnvelope(o *sealing, at sealTarget, known knownFacts) (string, error) {
	if err := s.charge(o.env, at, o.size); err != nil {
		return "", err
	}
	svc, err := s.serviceKey()
	if err != nil {
		return "", err
	}
	defer svc.Key.Zero()
	if err := o.env.Seal(o.keys, sse.KEKs{Inner: o.kek.inner, Outer: o.kek.outer}, svc, binding(s.sealedAs(at.bucket), at.key, o.env.Mode), known.facts, known.tag); err != nil {
		return "", err
	}
	text, err := o.env.MarshalText()
	return string(text), err
}

// openEnvelope opens the data keys of an object. A bucket key from a chain that does not fit is no tampering: the chain
// may be damaged, and the envelope's own blob decides.
func (s *session) openEnvelope(env *sse.Envelope, customer *customerKey, at sealTarget) (sse.Keys, *sse.Facts, error) {
	keys, facts, indirect, err := s.openEnvelopeWith(env, customer, at, false)
	if err != nil && indirect {
		keys, facts, _, err = s.openEnvelopeWith(env, customer, at, true)
	}
	return keys, facts, err
}

func (s *session) openEnvelopeWith(env *sse.Envelope, customer *customerKey, at sealTarget, itself bool) (sse.Keys, *sse.Facts, bool, error) {
	k, err := s.openKEK(env, customer, at, itself)
	if err != nil {
		return sse.Keys{}, nil, false, err
	}
	defer k.Release()
	keys, facts, err := env.Open(k.inner, k.outer, binding(s.sealedAs(at.bucket), at.key, env.Mode))
	return keys, facts, k.indirect, err
}

// encryption is how an object is to be sealed: what the request asks for, else the bucket's default, else SSE-S3.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html
type encryption struct {
	mode      sse.Mode
	keyID     string // as it was named; empty is the AWS managed key aws/s3
	context   keystore.Context
	bucketKey bool
	customer  *customerKey
}

// customerKey is an SSE-C key as the client sent it.
type customerKey struct {
	key sse.Key
	md5 string // base64, echoed in answers
}
