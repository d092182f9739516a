package proxy

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	embedded "waxseal/keystore/local"
	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
)

// chainKit has objects of several days under one KMS key, each day's under a bucket key of its own.
type chainKit struct {
	*contractKit
	clock *testClock
	key   string
	days  int
}

func startChain(t *testing.T, days int) *chainKit {
	k := &chainKit{contractKit: startContract(t, nil), clock: &testClock{now: time.Now()}}
	k.key = k.newKey()
	k.again()
	k.write(days)
	return k
}

// again is the next process.
func (k *chainKit) again() { k.restart(func(c *bucketkey.Config) { c.Now = k.clock.Now }) }

// write writes an object a day.
func (k *chainKit) write(days int) {
	k.t.Helper()
	for range days {
		k.askAs("carol", "PUT", k.object(fmt.Sprint(k.days)), with(sseKMS(k.key), bucketKeyOn()), fmt.Sprint("day ", k.days)).ok(k.t)
		k.days++
		k.clock.advance(24 * time.Hour)
	}
}

// read reads every day's object, and wants this refusal where there is one.
func (k *chainKit) read(user string, status int, code s3.Code) {
	k.t.Helper()
	for i := range k.days {
		a := k.askAs(user, "GET", k.object(fmt.Sprint(i)), nil, "")
		switch want := fmt.Sprint("day ", i); {
		case status != 200:
			a.fails(k.t, status, code, "")
		case a.StatusCode != 200 || string(a.body) != want:
			k.t.Errorf("%s, day %d: %s %q", user, i, a.Status, a.body)
		}
	}
}

// TestChainOfDays: with the embedded key service, each reader of many days' objects is one Decrypt in the audit log, under
// the reader's own name; each material of the KMS key is one more, of the service's.
func TestChainOfDays(t *testing.T) {
	k := startChain(t, 5)
	k.again()
	for _, user := range []string{"alice", "bob"} {
		records := k.wantCalls(func() { k.read(user, 200, "") }, "Decrypt")
		if arn := records[0].UserIdentity.ARN; arn != "arn:aws:iam::"+testAccount+":user/"+user {
			t.Errorf("%s reads, and %s is in the log", user, arn)
		}
	}
	if _, err := k.kms.RotateKeyOnDemand(t.Context(), k.rootCaller(), &embedded.KeyRequest{KeyId: k.key}); err != nil {
		t.Fatal(err)
	}
	k.write(3)
	k.again()
	k.wantCalls(func() { k.read("alice", 200, "") }, "Decrypt", "Decrypt")
}

// TestChainRevocation: whatever ends a reader's right to the KMS key, or the key itself, ends it for all days at once, in a
// process that has the whole chain open.
func TestChainRevocation(t *testing.T) {
	ctx := context.Background()
	allow := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}%s]}`
	only := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + testAccount + `:root"},"Action":"kms:*","Resource":"*",
		"Condition":{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/alice"}}}]}`
	policy := func(t *testing.T, k *chainKit, text string) {
		t.Helper()
		if _, err := k.kms.PutKeyPolicy(ctx, k.rootCaller(), &embedded.PutKeyPolicyRequest{KeyId: k.key, Policy: text}); err != nil {
			t.Fatal(err)
		}
	}
	var grant string
	for name, c := range map[string]struct {
		before, end func(t *testing.T, k *chainKit)
		status      int
		code        s3.Code
	}{
		"key disabled": {nil, func(t *testing.T, k *chainKit) {
			if _, err := k.kms.DisableKey(ctx, k.rootCaller(), &embedded.KeyRequest{KeyId: k.key}); err != nil {
				t.Fatal(err)
			}
		}, 400, s3.KMSDisabledException},
		"policy changed": {nil, func(t *testing.T, k *chainKit) {
			policy(t, k, fmt.Sprintf(allow, `,{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::`+testAccount+`:user/alice"},"Action":"kms:Decrypt","Resource":"*"}`))
		}, 403, s3.AccessDenied},
		"grant revoked": {func(t *testing.T, k *chainKit) {
			policy(t, k, only)
			out, err := k.kms.CreateGrant(ctx, k.rootCaller(), &embedded.CreateGrantRequest{KeyId: k.key,
				GranteePrincipal: "arn:aws:iam::" + testAccount + ":user/alice", Operations: []string{"Decrypt"}})
			if err != nil {
				t.Fatal(err)
			}
			grant = out.GrantId
		}, func(t *testing.T, k *chainKit) {
			if _, err := k.kms.RevokeGrant(ctx, k.rootCaller(), &embedded.RevokeGrantRequest{KeyId: k.key, GrantId: grant}); err != nil {
				t.Fatal(err)
			}
		}, 403, s3.AccessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			k := startChain(t, 4)
			k.again()
			if c.before != nil {
				c.before(t, k)
			}
			k.read("alice", 200, "")
			c.end(t, k)
			k.read("alice", c.status, c.code)
		})
	}
}

// TestChainDoesNotFit: a row of the chain that opens to another key than its blob's is no tampering with the object: the
// envelope's own blob is decrypted.
func TestChainDoesNotFit(t *testing.T) {
	k := startChain(t, 3)
	h, err := k.keys.ForWrite(t.Context(), keystore.Caller{ARN: k.rootCaller().ARN, AccountID: testAccount, Service: true}, objects.BucketARN(k.bucket), k.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	k.forge(h.Key())
	k.again()
	k.wantCalls(func() { k.read("alice", 200, "") }, "Decrypt", "Decrypt", "Decrypt", "Decrypt")
	k.wantCalls(func() { k.read("alice", 200, "") })
	if s := k.keys.Stats(); s.ChainOpens != 3 || s.ChainMisses != 0 {
		t.Errorf("the forged rows were not read: %+v", s)
	}
}

// forge seals another key into each row of the chain, as only somebody with the head's key can.
func (k *chainKit) forge(head []byte) {
	k.t.Helper()
	store := k.kit.server.cfg.State
	entries, err := store.Range(context.Background(), bucketkey.ChainPrefix, "", 0)
	if err != nil || len(entries) != 1 {
		k.t.Fatal(len(entries), err)
	}
	var record struct {
		Version int    `json:"v"`
		Scope   string `json:"scope"`
		Key     string `json:"key"`
		Chains  []struct {
			Material string `json:"material"`
			Head     []byte `json:"head"`
			Salt     []byte `json:"salt"`
			Rows     []byte `json:"rows"`
		} `json:"chains"`
	}
	if err := json.Unmarshal(entries[0].Value, &record); err != nil {
		k.t.Fatal(err)
	}
	c := record.Chains[0]
	key, err := hkdf.Key(sha256.New, head, c.Salt, "waxseal/v1/bucketkey/chain", 32)
	if err != nil {
		k.t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		k.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		k.t.Fatal(err)
	}
	targetID := sum256(prefixed("waxseal/bucketkey", record.Scope, record.Key, "\x00\x00\x00\x00"))
	headID := sum256(prefixed("waxseal/blob", targetID, "", string(c.Head)))
	const row = 80
	for i := range len(c.Rows) / row {
		r := c.Rows[i*row:][:row]
		nonce := append(make([]byte, 11), byte(i))
		aad := prefixed("waxseal/v1/bucketkey/chain", record.Scope, record.Key, c.Material, headID, string(r[:32]))
		if _, err := aead.Open(nil, nonce, r[32:], aad); err != nil {
			k.t.Fatalf("row %d: %v", i, err)
		}
		copy(r[32:], aead.Seal(nil, nonce, bytes.Repeat([]byte{9}, 32), aad))
	}
	value, err := json.Marshal(record)
	if err == nil {
		_, err = store.Txn(context.Background(), nil, []state.Op{{Key: entries[0].Key, Value: value}})
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func prefixed(all ...string) (b []byte) {
	for _, f := range all {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

func sum256(b []byte) string {
	sum := sha256.Sum256(b)
	return string(sum[:])
}
