package bucketkey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// The archived record: a head and two predecessors. Their keys are 32 bytes of 1, 2 and 3.
const (
	archivedChain = "testdata/chain-v1.json"
	archivedScope = "arn:aws:s3:::photos"
	archivedKey   = "arn:aws:kms:us-east-1:000000000000:key/8e1c6c7d-9e2b-7971-ae7a-0706cfdc3d4d"
)

var archivedBlobs = []string{"the head's blob", "yesterday's blob", "the blob of the day before"}

func filled(b byte) keystore.Secret {
	s, err := keystore.NewSecret(bytes.Repeat([]byte{b}, keystore.SecretSize))
	if err != nil {
		panic(err)
	}
	return s
}

// TestArchivedChain: a record of the first format is read for ever. The rows are opened twice: by the package, and by the
// words of the format's description.
func TestArchivedChain(t *testing.T) {
	value, err := os.ReadFile(archivedChain)
	if err != nil {
		t.Fatal(err)
	}
	on := bucketTargetOf(archivedScope, archivedKey)
	c, err := parseChains(on, value)
	if err != nil {
		t.Fatal(err)
	}
	head := filled(1)
	for i, blob := range archivedBlobs[1:] {
		c.indexRows()
		ch, row, known := c.find(on, on.blobID([]byte(blob)))
		if ch == nil || !known || row != i || ch.Material != "material-1" || string(ch.Head) != archivedBlobs[0] {
			t.Fatalf("%q: found %+v, row %d", blob, ch, row)
		}
		want := filled(byte(i + 2))
		p, err := ch.open(on, head.Bytes(), row)
		if err != nil || !p.key.Equal(&want) {
			t.Errorf("%q: another key, %v", blob, err)
		}
		if got := openByDescription(t, value, i, blob); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%q: the description opens another key", blob)
		}
	}
	if ch, _, known := c.find(on, on.blobID([]byte(archivedBlobs[0]))); ch != nil || !known {
		t.Error("the head is not known as a head")
	}
}

func bucketTargetOf(scope, keyARN string) *target {
	t, err := new(Keys).bucketTarget(scope, keyARN, nil)
	if err != nil {
		panic(err)
	}
	return t
}

// openByDescription opens a row with nothing but the standard library.
func openByDescription(t *testing.T, value []byte, row int, blob string) []byte {
	t.Helper()
	var record struct {
		Scope  string
		Key    string
		Chains []struct {
			Material         string
			Head, Salt, Rows []byte
		}
	}
	if err := json.Unmarshal(value, &record); err != nil {
		t.Fatal(err)
	}
	fields := func(all ...string) (b []byte) {
		for _, f := range all {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		}
		return b
	}
	sum := func(b []byte) string { s := sha256.Sum256(b); return string(s[:]) }
	targetID := sum(fields("waxseal/bucketkey", record.Scope, record.Key, "\x00\x00\x00\x00"))
	blobID := func(blob string) string { return sum(fields("waxseal/blob", targetID, "", blob)) }
	c := record.Chains[0]
	key, err := hkdf.Key(sha256.New, bytes.Repeat([]byte{1}, 32), c.Salt, "waxseal/v1/bucketkey/chain", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Rows[row*80:][:80]
	if string(r[:32]) != blobID(blob) {
		t.Errorf("row %d is of another blob", row)
	}
	nonce := append(make([]byte, 11), byte(row))
	plain, err := aead.Open(nil, nonce, r[32:], fields("waxseal/v1/bucketkey/chain", record.Scope, record.Key, c.Material,
		blobID(string(c.Head)), blobID(blob)))
	if err != nil {
		t.Errorf("row %d: %v", row, err)
	}
	return plain
}

// TestChainIsBounded: the oldest predecessors and materials go first, and the record fits into the state.
func TestChainIsBounded(t *testing.T) {
	on, head := bucketTargetOf(archivedScope, archivedKey), filled(1)
	earlier := make([]predecessor, maxPredecessors+3)
	for i := range earlier {
		earlier[i] = predecessor{id: on.blobID([]byte{byte(i), byte(i >> 8)}), key: filled(byte(i))}
	}
	c := &chains{Version: chainVersion, Scope: on.scope, Key: on.keyARN}
	for i := range maxChains + 3 {
		ch, err := sealChain(on, fmt.Sprint(i), []byte("head"), head.Bytes(), earlier)
		if err != nil {
			t.Fatal(err)
		}
		c = c.with(ch)
	}
	if len(c.Chains) != maxChains || c.Chains[0].Material != fmt.Sprint(maxChains+2) || c.of("2") != nil || c.of("3") == nil {
		t.Errorf("%d chains", len(c.Chains))
	}
	all, err := c.Chains[0].openAll(on, head.Bytes())
	if err != nil || len(all) != maxPredecessors || all[0].id != earlier[0].id || all[maxPredecessors-1].id != earlier[maxPredecessors-1].id {
		t.Errorf("%d predecessors, %v", len(all), err)
	}
	if op, err := new(chainRecord).op(on, c); err != nil || len(op.Value) > state.MaxValueSize {
		t.Errorf("a record of %d bytes, %v", len(op.Value), err)
	}
}

// TestChainPrice: a head and its record open the earlier keys of its bucket. An earlier key opens no later key, and no
// head opens a key of another bucket.
func TestChainPrice(t *testing.T) {
	on, other := bucketTargetOf(archivedScope, archivedKey), bucketTargetOf("arn:aws:s3:::archive", archivedKey)
	today, yesterday, before := filled(1), filled(2), filled(3)
	earlier := []predecessor{{on.blobID([]byte("yesterday")), yesterday}, {on.blobID([]byte("before")), before}}
	c, err := sealChain(on, "1", []byte("today"), today.Bytes(), earlier)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.openAll(on, today.Bytes())
	if err != nil || len(all) != 2 || !all[0].key.Equal(&yesterday) || !all[1].key.Equal(&before) {
		t.Errorf("today's key opens %d, %v", len(all), err)
	}
	if all, err := c.openAll(on, yesterday.Bytes()); err != nil || len(all) != 0 {
		t.Errorf("yesterday's key opens %d, %v", len(all), err)
	}
	if all, err := c.openAll(other, today.Bytes()); err != nil || len(all) != 0 {
		t.Errorf("as another bucket's, today's key opens %d, %v", len(all), err)
	}
}

// planted is a process with a chain of a single, hand-sealed row.
type planted struct {
	*Keys
	t             *testing.T
	kms           *keystoretest.Fake
	head, earlier keystore.DataKey
	row           predecessor
}

// plant makes two data keys, and a chain under this material with the second as the head and a row for the first, with
// another key in it.
func plant(t *testing.T, material string, between func(*keystoretest.Fake)) *planted {
	t.Helper()
	p := &planted{t: t, kms: keystoretest.NewFake()}
	key, ec := p.kms.AddKey(), keystore.Context{ScopeContextKey: archivedScope}
	store, on := state.NewMemory(), bucketTargetOf(archivedScope, key)
	p.Keys = New(p.kms, store, rootkey.New(keystore.RandomSecret()).Sealer("test"), Config{})
	t.Cleanup(p.Close)
	var err error
	generate := func() (dk keystore.DataKey) {
		if err == nil {
			dk, err = p.kms.GenerateDataKey(t.Context(), keystore.Caller{}, key, ec)
		}
		return dk
	}
	p.earlier = generate()
	between(p.kms)
	p.head = generate()
	p.row = predecessor{id: on.blobID(p.earlier.Blob), key: keystore.RandomSecret()}
	ch, sealErr := sealChain(on, material, p.head.Blob, p.head.Plaintext.Bytes(), []predecessor{p.row})
	op, opErr := new(chainRecord).op(on, &chains{Version: chainVersion, Scope: on.scope, Key: key, Chains: []*chain{ch}})
	if err := errors.Join(err, sealErr, opErr); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Txn(t.Context(), nil, []state.Op{op}); err != nil {
		t.Fatal(err)
	}
	p.kms.Reset()
	return p
}

// reads reads the earlier blob. It wants the key, its way (by the chain or not), and the number of calls since the start.
func (p *planted) reads(what string, itself bool, want *keystore.Secret, indirect bool, calls int) {
	p.t.Helper()
	read := p.ForRead
	if itself {
		read = p.ForReadItself
	}
	h, err := read(p.t.Context(), keystore.Caller{ARN: "alice"}, archivedScope, p.earlier.KeyARN, p.earlier.Blob, nil)
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	defer h.Release()
	if !bytes.Equal(h.Key(), want.Bytes()) || h.Indirect() != indirect {
		p.t.Errorf("%s: another key, indirect %v", what, h.Indirect())
	}
	if n := p.kms.Count(); n != calls {
		p.t.Errorf("%s: %d calls, want %d", what, n, calls)
	}
}

// TestChainRowDoesNotFit: a row may open to a key that does not belong to its blob. The caller can tell from the
// handle. ForReadItself then decrypts the blob itself, and later reads use its key.
func TestChainRowDoesNotFit(t *testing.T) {
	p := plant(t, "1", func(*keystoretest.Fake) {})
	p.reads("through the chain", false, &p.row.key, true, 1)
	p.reads("itself", true, &p.earlier.Plaintext, false, 2)
	p.reads("afterwards", false, &p.earlier.Plaintext, false, 2)
}

// TestChainAcross: a row is not used if its head is under another material, or its blob under a different version of
// the KMS key than the head.
func TestChainAcross(t *testing.T) {
	p := plant(t, "2", func(*keystoretest.Fake) {})
	p.reads("another material", false, &p.earlier.Plaintext, false, 2)
	p = plant(t, "v2", func(kms *keystoretest.Fake) { kms.SetVersion("v2") })
	p.reads("another version", false, &p.earlier.Plaintext, false, 1)
}
