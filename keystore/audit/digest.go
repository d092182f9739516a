package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Digest is a signed link of a chain. Each link names the link before by its hash, so that no link can be taken out of
// the middle. The head of the chain stands in the state, so that no link can be taken off the end. The order of links
// is their sequence; clocks have no say.
//
//	<chain>-000000000042.digest = digest in JSON || "\n" || {"key": id, "signature": base64} || "\n"
//	signature                   = Ed25519("waxseal/v1/audit-digest\n" || digest in JSON)
//	hash                        = SHA-256(digest in JSON), in hexadecimal
type Digest struct {
	Chain    string      `json:"chain"`
	Sequence uint64      `json:"sequence"` // from 1
	Kind     Kind        `json:"kind"`
	Time     Time        `json:"time"`
	Previous string      `json:"previous,omitempty"` // hash of the link before
	File     *FileDigest `json:"file,omitempty"`     // of KindFile
	Pruned   *PruneMark  `json:"pruned,omitempty"`   // of KindPruned
	Absent   []Head      `json:"absent,omitempty"`   // for KindRestored: chains with absent directories
	Text     string      `json:"text,omitempty"`     // for KindMended: the fault found
}

// Kind is the subject of a link.
type Kind string

// The kinds of links.
const (
	KindFile     Kind = "file"     // a file of records was closed
	KindClosed   Kind = "closed"   // the process ended in order: no record follows until the next start
	KindPruned   Kind = "pruned"   // an operator had old files removed
	KindRestored Kind = "restored" // the state is a backup's
	KindMended   Kind = "mended"   // a start found the directory's own files damaged
)

// FileDigest describes a closed file in a link.
type FileDigest struct {
	Number  uint64 `json:"number"`
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Records int    `json:"records"`
	SHA256  string `json:"sha256"` // hash of the file's bytes, never compressed
	First   Time   `json:"first"`  // eventTime of the first record
	Last    Time   `json:"last"`   // eventTime of the last record

	// Found is the origin of the first FoundSize bytes: a start found them, so the digest attests them from then on
	// only.
	Found     Found `json:"found,omitempty"`
	FoundSize int64 `json:"foundSize,omitempty"`
}

// Found is the origin of records found by a start without a digest.
type Found string

// Where records without a digest come from.
const (
	FoundUnclosed    Found = "unclosed"     // a process ended without closing: a crash
	FoundBeforeChain Found = "before-chain" // written by a version without digests
	FoundAfterClose  Found = "after-close"  // put there by somebody else: the process before had closed its chain
)

// PruneMark names the links and files removed on an operator's order.
type PruneMark struct {
	Through uint64 `json:"through"` // sequence of the last link of these
	Hash    string `json:"hash"`    // of the link
	File    uint64 `json:"file"`    // number of the last file of these
}

const (
	signedPrefix = "waxseal/v1/audit-digest\n"
	digestSuffix = ".digest"
)

// signature is the second line of a digest's file.
type signature struct {
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// link is a digest with its hash.
type link struct {
	Digest
	hash string
}

// digestName returns the name of a link's file.
func digestName(chain string, sequence uint64) string {
	return fmt.Sprintf("%s-%012d%s", chain, sequence, digestSuffix)
}

// parseDigestName parses a file name. It accepts only names made by digestName.
func parseDigestName(name string) (chain string, sequence uint64, ok bool) {
	rest, ok := strings.CutSuffix(name, digestSuffix)
	if !ok {
		return "", 0, false
	}
	chain, digits, ok := strings.Cut(rest, "-")
	if !ok {
		return "", 0, false
	}
	sequence, err := strconv.ParseUint(digits, 10, 64)
	return chain, sequence, err == nil && digestName(chain, sequence) == name
}

// sign returns the content of a link's file, and the link's hash.
func (d *Digest) sign(key ed25519.PrivateKey) (content []byte, hash string, err error) {
	line, err := json.Marshal(d)
	if err != nil {
		return nil, "", fmt.Errorf("audit: %w", err)
	}
	public := key.Public().(ed25519.PublicKey)
	sig := ed25519.Sign(key, append([]byte(signedPrefix), line...))
	last, err := json.Marshal(signature{KeyID(public), base64.StdEncoding.EncodeToString(sig)})
	if err != nil {
		return nil, "", fmt.Errorf("audit: %w", err)
	}
	return slicesOfLines(line, last), hashOf(line), nil
}

func slicesOfLines(lines ...[]byte) []byte { return append(bytes.Join(lines, []byte("\n")), '\n') }

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// KeyID names a public key: the first 8 bytes of its SHA-256 in hexadecimal.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

var errNotSigned = errors.New("is not signed by a key of this waxseal")

// parseDigest reads the content of a link's file and checks its signature. Content with the right meaning in another
// form, for example with a space more, is refused: nothing but a change makes it.
func parseDigest(content []byte, keys map[string]ed25519.PublicKey) (link, error) {
	line, rest, ok := bytes.Cut(content, []byte("\n"))
	if !ok {
		return link{}, errors.New("is cut short")
	}
	var s signature
	if err := json.Unmarshal(rest, &s); err != nil {
		return link{}, errors.New("has no signature")
	}
	if canonical, err := json.Marshal(s); err != nil || !bytes.Equal(rest, append(canonical, '\n')) {
		return link{}, errors.New("has another form than it was written in")
	}
	sig, err := base64.StdEncoding.DecodeString(s.Signature)
	key := keys[s.Key]
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(signedPrefix), line...), sig) {
		return link{}, errNotSigned
	}
	l := link{hash: hashOf(line)}
	if err := json.Unmarshal(line, &l.Digest); err != nil {
		return link{}, fmt.Errorf("is signed and no digest: %w", err)
	}
	return l, nil
}

// readLink reads and checks the link of a chain with a sequence. It refuses a link with a different chain or sequence.
func readLink(dir, chain string, sequence uint64, keys map[string]ed25519.PublicKey) (link, error) {
	content, err := os.ReadFile(filepath.Join(dir, digestName(chain, sequence)))
	if err != nil {
		return link{}, err
	}
	l, err := parseDigest(content, keys)
	if err == nil && (l.Chain != chain || l.Sequence != sequence) {
		err = fmt.Errorf("is digest %d of chain %s", l.Sequence, l.Chain)
	}
	return l, err
}

// digestsIn lists the sequences of the links in a directory by chain, each list in order.
func digestsIn(dir string) (map[string][]uint64, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by sequence
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	found := make(map[string][]uint64)
	for _, e := range entries {
		if chain, sequence, ok := parseDigestName(e.Name()); ok {
			found[chain] = append(found[chain], sequence)
		}
	}
	return found, nil
}
