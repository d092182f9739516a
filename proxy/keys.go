package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// arnContext is the pair that S3 adds to every encryption context: the object's ARN, or the bucket's where a Bucket
// Key is in use. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
const arnContext = "aws:s3:arn"

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

// sealedAs is the bucket name that a bucket's objects were sealed under: its own, unless the operator declared an
// alias (disaster recovery into a bucket of another name).
func (s *Server) sealedAs(bucket string) string {
	if b, ok := s.cfg.BucketAliases[bucket]; ok {
		return b
	}
	return bucket
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

// sealTarget is where a new envelope will lie.
type sealTarget struct{ bucket, key string }

// newKEK gets the key-encryption key for a new envelope and writes into the envelope what finds it again.
func (c *call) newKEK(env *sse.Envelope, enc *encryption, at sealTarget) (*keks, error) {
	k := &keks{}
	env.Mode = enc.mode
	var err error
	switch enc.mode {
	case sse.SSES3:
		env.KeyBlob, err = c.rootKEK(k, &k.inner)
	case sse.SSEKMS:
		err = c.kmsKEK(k, env, enc, at)
	case sse.DSSEKMS:
		if err = c.kmsKEK(k, env, enc, at); err == nil {
			env.OuterKeyBlob, err = c.rootKEK(k, &k.outer)
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

func (c *call) rootKEK(k *keks, into *sse.Key) (id []byte, err error) {
	h, id, err := c.s.cfg.Root.Current(c.up)
	if err != nil {
		return nil, err
	}
	return id, k.take(into, h)
}

// kmsKEK is a bucket key or a data key of the object's own.
func (c *call) kmsKEK(k *keks, env *sse.Envelope, enc *encryption, at sealTarget) error {
	name := enc.keyID
	if name == "" {
		name = managedKey
	}
	info, err := c.s.cfg.Keys.Resolve(c.up, c.caller(), name)
	if err != nil {
		return err
	}
	if !info.Symmetric {
		return keystore.Errorf(keystore.InvalidKeyUsage, info.ARN, "%s is not a symmetric encryption key, the only kind that S3 supports", info.ARN)
	}
	env.KeyID, env.Context = info.ARN, enc.context
	bucket := c.s.sealedAs(at.bucket)
	if enc.bucketKey {
		h, err := c.s.cfg.Keys.ForWrite(c.up, c.caller(), bucketARN(bucket), info.ARN, enc.context)
		if err == nil {
			env.BucketKey, env.KeyBlob = true, h.Blob()
			return k.take(&k.inner, h)
		}
		if !errors.Is(err, bucketkey.ErrTooManyContexts) {
			return err
		}
		// More distinct client contexts than are worth a bucket key each: a data key of the object's own.
	}
	dk, err := c.s.cfg.Provider.GenerateDataKey(c.up, c.caller(), info.ARN, withARN(enc.context, objectARN(bucket, at.key)))
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
func (c *call) openKEK(env *sse.Envelope, customer *customerKey, at sealTarget, itself bool) (*keks, error) {
	k := &keks{itself: itself}
	var err error
	switch env.Mode {
	case sse.SSES3:
		err = c.openRoot(k, &k.inner, env.KeyBlob)
	case sse.SSEKMS:
		err = c.openKMS(k, env, at)
	case sse.DSSEKMS:
		if err = c.openKMS(k, env, at); err == nil {
			err = c.openRoot(k, &k.outer, env.OuterKeyBlob)
		}
	case sse.SSEC:
		if !sse.CheckVerifier(env.KeyBlob, customer.key) {
			err = c.errWrongCustomerKey()
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

// errWrongCustomerKey is S3's refusal of a customer key that is not the object's, or Ceph's (rgw_crypt.cc,
// rgw_s3_prepare_decrypt: ERR_INVALID_DIGEST).
func (c *call) errWrongCustomerKey() error {
	code := s3.AccessDenied
	if c.s.cfg.CompatCeph {
		code = s3.InvalidDigest
	}
	return s3.Errorf(code, "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.")
}

func (c *call) openRoot(k *keks, into *sse.Key, id []byte) error {
	h, err := c.s.cfg.Root.Open(c.up, id)
	if err != nil {
		return err
	}
	return k.take(into, h)
}

func (c *call) openKMS(k *keks, env *sse.Envelope, at sealTarget) error {
	if err := c.mayNameKMS(); err != nil {
		return err
	}
	bucket := c.s.sealedAs(at.bucket)
	if env.BucketKey {
		open := c.s.cfg.Keys.ForRead
		if k.itself {
			open = c.s.cfg.Keys.ForReadItself
		}
		h, err := open(c.up, c.caller(), bucketARN(bucket), env.KeyID, env.KeyBlob, env.Context)
		if err != nil {
			return err
		}
		return k.take(&k.inner, h)
	}
	dk, err := c.s.cfg.Provider.Decrypt(c.up, c.caller(), env.KeyBlob, env.KeyID, withARN(env.Context, objectARN(bucket, at.key)))
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
}

// knownFacts are the digests and the ETag that are known when an envelope is sealed; both are nil if a manifest will have
// them.
type knownFacts struct {
	facts *sse.Facts
	tag   *sse.Tag
}

// sealEnvelope wraps the keys for an object at a place and returns the metadata value.
func (c *call) sealEnvelope(s *sealing, at sealTarget, known knownFacts) (string, error) {
	svc, err := c.s.serviceKey(c)
	if err != nil {
		return "", err
	}
	defer svc.Key.Zero()
	if err := s.env.Seal(s.keys, sse.KEKs{Inner: s.kek.inner, Outer: s.kek.outer}, svc, binding(c.s.sealedAs(at.bucket), at.key, s.env.Mode), known.facts, known.tag); err != nil {
		return "", err
	}
	text, err := s.env.MarshalText()
	return string(text), err
}

// openEnvelope opens the data keys of an object. A bucket key from a chain that does not fit is no tampering: the chain
// may be damaged, and the envelope's own blob decides.
func (c *call) openEnvelope(env *sse.Envelope, customer *customerKey, at sealTarget) (sse.Keys, *sse.Facts, error) {
	keys, facts, indirect, err := c.openEnvelopeWith(env, customer, at, false)
	if err != nil && indirect {
		keys, facts, _, err = c.openEnvelopeWith(env, customer, at, true)
	}
	return keys, facts, err
}

func (c *call) openEnvelopeWith(env *sse.Envelope, customer *customerKey, at sealTarget, itself bool) (sse.Keys, *sse.Facts, bool, error) {
	k, err := c.openKEK(env, customer, at, itself)
	if err != nil {
		return sse.Keys{}, nil, false, err
	}
	defer k.Release()
	keys, facts, err := env.Open(k.inner, k.outer, binding(c.s.sealedAs(at.bucket), at.key, env.Mode))
	return keys, facts, k.indirect, err
}

// serviceKey is the key under which waxseal vouches for what HEAD and LIST show.
func (s *Server) serviceKey(c *call) (sse.ServiceKey, error) {
	id, secret, err := s.cfg.Root.ServiceKey(c.up)
	if err != nil {
		return sse.ServiceKey{}, err
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return sse.ServiceKey{ID: id, Key: key}, err
}

// serviceKeys finds the service key that an object was written under.
func (s *Server) serviceKeys(id uint32) (sse.Key, bool) {
	secret, ok := s.cfg.Root.ServiceKeyByID(id)
	if !ok {
		return sse.Key{}, false
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return key, err == nil
}
