package bucketkey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"waxseal/keystore"
)

const (
	chainVersion = 1
	chainLabel   = "waxseal/v1/bucketkey/chain"
	// maxPredecessors bounds a chain: almost three years of daily bucket keys, in 80 KiB. The oldest go first.
	maxPredecessors = 1024
	// maxChains bounds the chains of a target. A KMS key gets new material once a year, or at most 25 times on demand.
	maxChains = 32
	// maxRows bounds the chains of a target together, for the size of the record. The oldest material loses rows first.
	maxRows = 4 * maxPredecessors

	saltSize = 32
	boxSize  = keystore.SecretSize + 16
	rowSize  = sha256.Size + boxSize
)

// chains has the chains of a target, one for each material of its KMS key, the newest first. As JSON, it is the value of
// a record of the state:
//
//	{"v":1,"scope":"arn:aws:s3:::b","key":"arn:aws:kms:...","chains":[{"material":"...","head":"...","salt":"...","rows":"..."}]}
type chains struct {
	Version int      `json:"v"`
	Scope   string   `json:"scope"`
	Key     string   `json:"key"`
	Chains  []*chain `json:"chains"`

	index map[[8]byte]position // of rows, by the begin of their ids; built once, before several requests read it

	unusable bool // the record is damaged, or of a later version: there is no use in reading it again soon
}

// position is the place of a row.
type position struct{ chain, row int32 }

// indexRows makes find fast. A row of 1,000 would else take longer to find than to open.
func (c *chains) indexRows() {
	if c.index != nil {
		return // chains in memory, which other requests read
	}
	c.index = make(map[[8]byte]position)
	for i, ch := range c.Chains {
		for row := range ch.length() {
			c.index[[8]byte(ch.row(row))] = position{int32(i), int32(row)}
		}
	}
}

// chain is the latest bucket key of a target under one material of its KMS key, the head, with the earlier bucket keys
// sealed under it:
//
//	key   := HKDF-SHA256(head's key, salt: 32 random bytes, new for each chain, info: "waxseal/v1/bucketkey/chain")
//	row i := id of the predecessor's blob || AES-256-GCM(key, nonce: be96(i), predecessor's key,
//	         aad: fields(label, scope, KMS key's ARN, material, id of the head's blob, id of the predecessor's blob))
//
// fields has a 32-bit length before each field. The id of a blob is a hash over target and blob.
type chain struct {
	Material string `json:"material"`
	Head     []byte `json:"head"` // the blob
	Salt     []byte `json:"salt"`
	Rows     []byte `json:"rows"` // newest first
}

// predecessor is an earlier bucket key.
type predecessor struct {
	id  id // of its blob
	key keystore.Secret
}

func zero(all []predecessor) {
	for i := range all {
		all[i].key.Zero()
	}
}

// parseChains reads the value of the target's record. A chain with fields of wrong lengths is left out.
func parseChains(t *target, value []byte) (*chains, error) {
	var c chains
	if err := json.Unmarshal(value, &c); err != nil {
		return nil, fmt.Errorf("bucketkey: chains: %w", err)
	}
	if c.Version != chainVersion {
		return nil, fmt.Errorf("bucketkey: %w %d", errChainVersion, c.Version)
	}
	if c.Scope != t.scope || c.Key != t.keyARN {
		return nil, fmt.Errorf("bucketkey: chains of %s under %s", c.Scope, c.Key)
	}
	c.Chains = slices.DeleteFunc(c.Chains, func(ch *chain) bool { return !ch.whole() })
	return &c, nil
}

func (c *chain) whole() bool {
	return c != nil && c.Material != "" && len(c.Head) > 0 && len(c.Salt) == saltSize && len(c.Rows)%rowSize == 0
}

// of returns the chain under a material, or nil.
func (c *chains) of(material string) *chain {
	for _, ch := range c.Chains {
		if ch.Material == material {
			return ch
		}
	}
	return nil
}

// with returns chains with ch as the newest, in the place of the chain under the same material.
func (c *chains) with(ch *chain) *chains {
	others := slices.DeleteFunc(slices.Clone(c.Chains), func(old *chain) bool { return old.Material == ch.Material })
	next := &chains{Version: c.Version, Scope: c.Scope, Key: c.Key, Chains: []*chain{ch}}
	left := maxRows - ch.length()
	for _, old := range others[:min(len(others), maxChains-1)] {
		kept := *old
		kept.Rows = old.Rows[:min(old.length(), left)*rowSize]
		left -= kept.length()
		next.Chains = append(next.Chains, &kept)
	}
	return next
}

// find returns the chain and the row of a blob. known reports whether the blob is in a chain, as head or predecessor,
// or no chain is usable; the chain of a head is nil.
func (c *chains) find(t *target, blob id) (ch *chain, row int, known bool) {
	if at, ok := c.index[[8]byte(blob[:])]; ok {
		ch, row := c.Chains[at.chain], int(at.row)
		if bytes.Equal(ch.row(row)[:len(blob)], blob[:]) {
			return ch, row, true
		}
	}
	for _, ch := range c.Chains {
		if t.blobID(ch.Head) == blob {
			return nil, 0, true
		}
	}
	return nil, 0, c.unusable
}

func (c *chain) length() int { return len(c.Rows) / rowSize }

func (c *chain) row(i int) []byte { return c.Rows[i*rowSize:][:rowSize] }

// sealChain makes the chain of a new head. The caller zeroes the keys.
func sealChain(t *target, material string, head []byte, headKey []byte, earlier []predecessor) (*chain, error) {
	earlier = earlier[:min(len(earlier), maxPredecessors)]
	c := &chain{Material: material, Head: head, Salt: make([]byte, saltSize), Rows: make([]byte, 0, len(earlier)*rowSize)}
	rand.Read(c.Salt)
	aead, err := c.aead(headKey)
	if err != nil {
		return nil, err
	}
	for i := range earlier {
		p := &earlier[i]
		c.Rows = append(c.Rows, p.id[:]...)
		c.Rows = aead.Seal(c.Rows, chainNonce(i), p.key.Bytes(), c.aad(t, p.id))
	}
	return c, nil
}

// open returns the bucket key of a row, or an error unless the row was sealed for this place under this head.
func (c *chain) open(t *target, headKey []byte, row int) (predecessor, error) {
	aead, err := c.aead(headKey)
	if err != nil {
		return predecessor{}, err
	}
	return c.openRow(t, aead, row)
}

// openAll returns the bucket keys of all rows. A damaged row is left out: its blob stays, in the envelopes.
func (c *chain) openAll(t *target, headKey []byte) ([]predecessor, error) {
	aead, err := c.aead(headKey)
	if err != nil {
		return nil, err
	}
	all := make([]predecessor, 0, c.length())
	for i := range c.length() {
		if p, err := c.openRow(t, aead, i); err == nil {
			all = append(all, p)
		}
	}
	return all, nil
}

func (c *chain) openRow(t *target, aead cipher.AEAD, row int) (predecessor, error) {
	r := c.row(row)
	p := predecessor{id: id(r)}
	plain, err := aead.Open(make([]byte, 0, keystore.SecretSize), chainNonce(row), r[len(p.id):], c.aad(t, p.id))
	if err != nil {
		return predecessor{}, fmt.Errorf("bucketkey: row %d of a chain does not open: %w", row, err)
	}
	defer clear(plain)
	p.key, err = keystore.NewSecret(plain)
	return p, err
}

func (c *chain) aead(headKey []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, headKey, c.Salt, chainLabel, keystore.SecretSize)
	if err != nil {
		return nil, fmt.Errorf("bucketkey: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("bucketkey: %w", err)
	}
	return cipher.NewGCM(block)
}

func (c *chain) aad(t *target, earlier id) []byte {
	head := t.blobID(c.Head)
	b := make([]byte, 0, 512)
	for _, field := range []string{chainLabel, t.scope, t.keyARN, c.Material} {
		b = appendField(b, field)
	}
	return appendField(appendField(b, head[:]), earlier[:])
}

func chainNonce(row int) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 8, 12), uint32(row))
}
