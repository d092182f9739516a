package objects

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

// Session is a request as far as sealed objects need it: without the client's headers, without the answer.
type Session struct {
	*Vault
	From Requester
	Up   context.Context // for requests to the store and the KMS; ends with the request

	cleanups []func()
	charges  []*ledger.Charge // of the objects written by the request
}

// Requester is the request as a session sees it.
type Requester interface {
	// Caller returns how the KMS sees the requester.
	Caller() keystore.Caller
	// SendWithin sends a request to the store, with the requester's own credentials there if there are any.
	SendWithin(ctx context.Context, r *store.Request) (*http.Response, error)
	// Carry adds the headers that each read at the store takes along: the expected owner of the bucket, and the Origin.
	Carry(h http.Header, at Place)
	// MayNameKMS refuses KMS keys to a request without the right to use them, for example an unsigned request.
	MayNameKMS() error
}

// Vault is what all sessions share: where keys come from, and under which names objects were sealed.
type Vault struct {
	Provider keystore.Provider
	Keys     *bucketkey.Keys
	Root     keystore.Root
	Ledger   *ledger.Ledger // nil: objects are not counted

	Aliases     map[string]string // bucket -> the name its objects were sealed under
	ReadThrough map[string]bool   // buckets whose plaintext objects are served
	Ceph        bool              // errors as Ceph's, where they contradict AWS's
}

// sealedAs returns the bucket name in the bindings of a bucket's objects: its own, unless the operator declared an
// alias (disaster recovery into a bucket of another name).
func (v *Vault) sealedAs(bucket string) string {
	if b, ok := v.Aliases[bucket]; ok {
		return b
	}
	return bucket
}

// ServiceKeys returns the service key of an id.
func (v *Vault) ServiceKeys(id uint32) (sse.Key, bool) {
	secret, ok := v.Root.ServiceKeyByID(id)
	if !ok {
		return sse.Key{}, false
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return key, err == nil
}

// ErrWrongCustomerKey is S3's refusal of a customer key of another object, or Ceph's (rgw_crypt.cc,
// rgw_s3_prepare_decrypt: ERR_INVALID_DIGEST).
func (v *Vault) ErrWrongCustomerKey() error {
	code := s3.AccessDenied
	if v.Ceph {
		code = s3.InvalidDigest
	}
	return s3.Errorf(code, "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.")
}

// ServiceKey returns the key for the tags and sizes of HEAD and LIST.
func (s *Session) ServiceKey() (sse.ServiceKey, error) {
	id, secret, err := s.Root.ServiceKey(s.Up)
	if err != nil {
		return sse.ServiceKey{}, err
	}
	defer secret.Zero()
	key, err := sse.KeyFrom(secret.Bytes())
	return sse.ServiceKey{ID: id, Key: key}, err
}

// send sends a request to the store as the requester.
func (s *Session) Send(r *store.Request) (*http.Response, error) { return s.From.SendWithin(s.Up, r) }

// OnDone runs f when the request, its answer's body included, is over.
func (s *Session) OnDone(f func()) { s.cleanups = append(s.cleanups, f) }

// close runs the functions of OnDone, the last first.
func (s *Session) Close() {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	s.cleanups = nil
}

// Place is where a new envelope will lie.
type Place struct{ Bucket, Key string }

func BucketARN(bucket string) string { return "arn:aws:s3:::" + bucket }

func ObjectARN(bucket, key string) string { return "arn:aws:s3:::" + bucket + "/" + key }

// name is bucket and key in one; no bucket's name has a slash.
func (t Place) Name() string { return t.Bucket + "/" + t.Key }
