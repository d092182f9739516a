package local

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/google/uuid"

	"waxseal/keystore"
)

// The format of CiphertextBlob; CIPHERTEXT.md specifies it.
const (
	blobMagic      = 'W' // first byte
	blobVersion    = 1
	blobAccountLen = 5 // a 12-digit account number fits 40 bits
	blobSaltLen    = 32
	blobTagLen     = 16
	materialIDLen  = 32

	blobHeaderLen = 2 + blobAccountLen + 16 + materialIDLen + blobSaltLen
	blobOverhead  = blobHeaderLen + blobTagLen

	blobLabel = "waxseal/kms/ciphertext/v1"
)

// blobHeader is the clear, authenticated front of a blob. It names the key and material that open it.
type blobHeader struct {
	account  string
	keyID    string
	material string // 64 hex digits
}

var errBlob = errors.New("ciphertext is not whole")

// materialID returns an id for material within its key: a one-way function of both. HMAC with the material as the HMAC
// key cannot be inverted, and two materials never share an id. So an id in a blob commits the blob to its material.
func materialID(account, keyID string, material []byte) string {
	sum := mac(material, "HMAC_SHA_256", []byte("waxseal/kms/material/v1\x00"+account+"\x00"+keyID))
	return hex.EncodeToString(sum)
}

// sealBlob encrypts under the material of a key. Every blob has its own cipher key, derived with a fresh salt. So the
// nonce is zero, and no (key, nonce) pair repeats, however many blobs use the material.
func sealBlob(h blobHeader, keyARN string, material, plaintext []byte, ec keystore.Context) ([]byte, error) {
	out, err := h.encode()
	if err != nil {
		return nil, err
	}
	salt := make([]byte, blobSaltLen)
	rand.Read(salt)
	out = append(out, salt...)
	aead, err := blobAEAD(material, salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), plaintext, blobAAD(out, keyARN, ec)), nil
}

// openBlob decrypts a blob of sealBlob. Any change of the blob, the key or the context gives the same error.
func openBlob(blob []byte, keyARN string, material []byte, ec keystore.Context) ([]byte, error) {
	if len(blob) < blobOverhead {
		return nil, errBlob
	}
	aead, err := blobAEAD(material, blob[blobHeaderLen-blobSaltLen:blobHeaderLen])
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, make([]byte, aead.NonceSize()), blob[blobHeaderLen:], blobAAD(blob[:blobHeaderLen], keyARN, ec))
	if err != nil {
		return nil, errBlob
	}
	return plaintext, nil
}

func blobAEAD(material, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, material, salt, blobLabel, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// blobAAD binds the header, the key's ARN (account and Region included) and the encryption context, each with its
// length. The header is copied, because Seal appends to the slice behind it.
func blobAAD(header []byte, keyARN string, ec keystore.Context) []byte {
	aad := binary.BigEndian.AppendUint32(bytes.Clone(header), uint32(len(keyARN)))
	aad = append(aad, keyARN...)
	return append(aad, ec.Encode()...)
}

func (h blobHeader) encode() ([]byte, error) {
	account, err := strconv.ParseUint(h.account, 10, 40)
	if err != nil || len(h.account) != 12 {
		return nil, errors.New("account is not a 12-digit number")
	}
	id, err := uuid.Parse(h.keyID)
	if err != nil {
		return nil, err
	}
	material, err := hex.DecodeString(h.material)
	if err != nil || len(material) != materialIDLen {
		return nil, errors.New("material id is not 64 hex digits")
	}
	out := make([]byte, 0, blobOverhead+64)
	out = append(out, blobMagic, blobVersion)
	out = append(out, binary.BigEndian.AppendUint64(nil, account)[8-blobAccountLen:]...)
	out = append(out, id[:]...)
	return append(out, material...), nil
}

// parseBlob reads the header of a blob; it authenticates nothing.
func parseBlob(blob []byte) (blobHeader, error) {
	if len(blob) < blobOverhead || blob[0] != blobMagic || blob[1] != blobVersion {
		return blobHeader{}, errBlob
	}
	rest := blob[2:]
	account := binary.BigEndian.Uint64(append(make([]byte, 8-blobAccountLen), rest[:blobAccountLen]...))
	rest = rest[blobAccountLen:]
	number := strconv.FormatUint(account, 10)
	if len(number) > 12 {
		return blobHeader{}, errBlob
	}
	return blobHeader{
		account:  "000000000000"[len(number):] + number,
		keyID:    uuid.UUID(rest[:16]).String(),
		material: hex.EncodeToString(rest[16 : 16+materialIDLen]),
	}, nil
}
