package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"sync"
)

// signingKey is the key derived for one day, region and service, and its HMACs.
type signingKey struct {
	// secret returns the key's origin, to notice a changed secret. With a verb of the wrong type fmt reaches strings
	// behind pointers, but not a function's result.
	secret func() string
	macs   sync.Pool
}

// deriveKey follows
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step 4.
func deriveKey(secret, date, region, service string) *signingKey {
	k := mac256([]byte("AWS4"+secret), date)
	k = mac256(k, region)
	k = mac256(k, service)
	k = mac256(k, "aws4_request")
	key := &signingKey{secret: func() string { return secret }}
	key.macs.New = func() any { return hmac.New(sha256.New, k) }
	return key
}

func mac256(key []byte, message string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// sign returns the hex signature of message.
func (k *signingKey) sign(message []byte) [64]byte {
	m := k.macs.Get().(hash.Hash)
	m.Reset()
	m.Write(message)
	var sum [32]byte
	m.Sum(sum[:0])
	k.macs.Put(m)
	var out [64]byte
	hex.Encode(out[:], sum[:])
	return out
}

// matches compares the signature of message with provided in constant time.
func (k *signingKey) matches(message []byte, provided string) bool {
	want := k.sign(message)
	return hmac.Equal(want[:], []byte(provided))
}

// keyID names a signing key.
type keyID struct{ accessKey, date, region, service string }

// keyCache keeps signing keys only after a valid signature, so that an unauthenticated client cannot fill it. When the
// young generation is full it becomes the old generation, and unused keys fall out.
type keyCache struct {
	mu         sync.Mutex
	young, old map[keyID]*signingKey
}

const keysPerGeneration = 2048

// get returns the key of id, unless it was derived from an earlier secret.
func (c *keyCache) get(id keyID, secret string) *signingKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := c.young[id]
	if key == nil {
		if key = c.old[id]; key == nil {
			return nil
		}
		c.add(id, key)
	}
	if subtle.ConstantTimeCompare([]byte(key.secret()), []byte(secret)) != 1 {
		delete(c.young, id)
		delete(c.old, id)
		return nil
	}
	return key
}

func (c *keyCache) put(id keyID, key *signingKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(id, key)
}

func (c *keyCache) add(id keyID, key *signingKey) {
	if c.young == nil {
		c.young = make(map[keyID]*signingKey)
	}
	if len(c.young) >= keysPerGeneration {
		c.old, c.young = c.young, make(map[keyID]*signingKey)
	}
	c.young[id] = key
}
