package proxy

import (
	"context"
	"net/http"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/proxy/ledger"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// session is what the code of sealed objects takes of a request: it needs neither the client's headers nor the answer.
type session struct {
	*vault
	from requester
	up   context.Context // for requests to the store and the KMS; ends with the request

	cleanups []func()
	charges  []*ledger.Charge // of the objects that the request writes
}

// requester is the request as a session sees it.
type requester interface {
	// caller returns how the KMS sees the requester.
	caller() keystore.Caller
	// sendWithin sends a request to the store, with the requester's own credentials there if there are any.
	sendWithin(ctx context.Context, r *store.Request) (*http.Response, error)
	// carry adds the headers that each read at the store takes along: the expected owner of the bucket, and the Origin.
	carry(h http.Header, at sealTarget)
	// mayNameKMS refuses KMS keys to a request that S3 does not let use them.
	mayNameKMS() error
}

// vault is what all sessions share: where keys come from, and under which names objects were sealed.
type vault struct {
	provider keystore.Provider
	keys     *bucketkey.Keys
	root     keystore.Root
	ledger   *ledger.Ledger // nil: objects are not counted

	aliases     map[string]string // bucket -> the name its objects were sealed under
	readThrough map[string]bool   // buckets whose plaintext objects are served
	ceph        bool              // errors as Ceph's, where they contradict AWS's
}

// sealedAs returns the bucket name that a bucket's objects were sealed under: its own, unless the operator declared an
// alias (disaster recovery into a bucket of another name).
func (v *vault) sealedAs(bucket string) string {
	if b, ok := v.aliases[bucket]; ok {
		return b
	}
	return bucket
}

// serviceKeys finds the service key that an object was written under.
func (v *vault) serviceKeys(id uint32) (sse.Key, bool) {
	secret, ok := v.root.ServiceKeyByID(id)
	if !ok {
		return sse.Key{}, false
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return key, err == nil
}

// errWrongCustomerKey is S3's refusal of a customer key that is not the object's, or Ceph's (rgw_crypt.cc,
// rgw_s3_prepare_decrypt: ERR_INVALID_DIGEST).
func (v *vault) errWrongCustomerKey() error {
	code := s3.AccessDenied
	if v.ceph {
		code = s3.InvalidDigest
	}
	return s3.Errorf(code, "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.")
}

// serviceKey returns the key that authenticates what HEAD and LIST show.
func (s *session) serviceKey() (sse.ServiceKey, error) {
	id, secret, err := s.root.ServiceKey(s.up)
	if err != nil {
		return sse.ServiceKey{}, err
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return sse.ServiceKey{ID: id, Key: key}, err
}

// send sends a request to the store as the requester.
func (s *session) send(r *store.Request) (*http.Response, error) { return s.from.sendWithin(s.up, r) }

// onDone runs f when the request, its answer's body included, is over.
func (s *session) onDone(f func()) { s.cleanups = append(s.cleanups, f) }

// close runs what onDone was given, the last first.
func (s *session) close() {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	s.cleanups = nil
}

// sealTarget is where a new envelope will lie.
type sealTarget struct{ bucket, key string }

func bucketARN(bucket string) string { return "arn:aws:s3:::" + bucket }

func objectARN(bucket, key string) string { return "arn:aws:s3:::" + bucket + "/" + key }

// name is bucket and key in one; no bucket's name has a slash.
func (t sealTarget) name() string { return t.bucket + "/" + t.key }
