package bucketkey

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"time"

	"waxseal/keystore"
)

// id names a target or a blob in the caches. It is a hash over everything checked by the key service, so a cached key or
// authorisation under an id is for exactly this target or blob.
type id [sha256.Size]byte

// target is the purpose of a shared key: a scope under a KMS key with an encryption context.
type target struct {
	id     id
	scope  string
	keyARN string
	// context is the whole encryption context. It is built when a call is made, not for every request.
	context func() keystore.Context
	// shared: the active blob is kept in the state. Blobs with client contexts are not; there can be any number.
	shared bool
	// chained: a bucket key opens its predecessors.
	chained bool
	period  time.Duration
}

// scopedKey is the key for counting client contexts.
type scopedKey struct{ scope, keyARN string }

func (t *target) scoped() scopedKey { return scopedKey{t.scope, t.keyARN} }

// underVersion returns the subject of an authorisation to Decrypt: the target, or, if the key service can refuse a single
// version of the KMS key, the target's blobs under this version.
func (t *target) underVersion(version string) id {
	if version == "" {
		return t.id
	}
	return hash("waxseal/version", string(t.id[:]), version, nil)
}

// bucketTarget returns the target of an S3 Bucket Key.
func (b *Keys) bucketTarget(scope, keyARN string, user keystore.Context) (*target, error) {
	if v, ok := user[ScopeContextKey]; ok && v != scope {
		return nil, ErrReservedContext
	}
	return &target{
		id:     hash("waxseal/bucketkey", scope, keyARN, user.Encode()),
		scope:  scope,
		keyARN: keyARN,
		context: func() keystore.Context {
			ec := make(keystore.Context, len(user)+1)
			maps.Copy(ec, user)
			ec[ScopeContextKey] = scope
			return ec
		},
		shared: len(user) == 0, chained: len(user) == 0 && !b.cfg.NoChain,
		period: b.cfg.Period,
	}, nil
}

// blobID returns the id of a blob of this target.
func (t *target) blobID(blob []byte) id {
	return hash("waxseal/blob", string(t.id[:]), "", blob)
}

func hash(label, a, b string, c []byte) id {
	buf := make([]byte, 0, 512)
	buf = appendField(buf, label)
	buf = appendField(buf, a)
	buf = appendField(buf, b)
	return sha256.Sum256(appendField(buf, c))
}

// requester identifies the subject of an authorization, with the revision of the requester's rights: a change of a
// policy makes a new authorization necessary. Two access keys of the same user are two requesters. So are requests with
// and without TLS, because policies with a condition on TLS are common.
type requester struct {
	arn, accountID, accessKeyID, revision string
	transport                             keystore.Transport
}

func requesterOf(c keystore.Caller) requester {
	return requester{c.ARN, c.AccountID, c.AccessKeyID, c.Requester.Revision(), c.Transport}
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}
