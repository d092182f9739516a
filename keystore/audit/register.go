package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"waxseal/keystore/state"
)

// Keys of the register in the state. The program's state seals every value and binds it to its key.
const (
	signerPrefix  = "audit/signer/"        // and the key's id: a signing key
	signerCurrent = "audit/signer-current" // the id of the signing key
	chainPrefix   = "audit/chain/"         // and the chain's id: its Head
	restoredKey   = "audit/restored"       // the state is a backup's, and no chain says so yet
)

// Head is the end of a chain as the state knows it.
type Head struct {
	Chain     string `json:"chain"`
	Sequence  uint64 `json:"sequence"` // of the newest link; 0: there is none yet
	Hash      string `json:"hash,omitempty"`
	File      uint64 `json:"file"`             // number of the newest closed file
	Before    uint64 `json:"before,omitempty"` // number of the newest file older than the chain
	Closed    bool   `json:"closed"`           // nothing is written before the next start
	Directory string `json:"directory"`
	Updated   Time   `json:"updated"`
}

// Register keeps the proof of chains of digests in the state: the signing keys and the head of each chain. So write
// access to the directory of records is not enough to sign a digest or set a head.
//
// The signing key is no KMS key: a KMS key can be disabled, and each use of it would be a record to sign in turn.
type Register struct {
	state state.Store
	keys  map[string]ed25519.PublicKey
	key   ed25519.PrivateKey // signs; nil in a register opened to read
}

// signer is a signing key in the state.
type signer struct {
	Seed    []byte `json:"seed"`
	Created Time   `json:"created"`
}

// OpenRegister opens the register of a state, and makes its signing key at the first start.
func OpenRegister(ctx context.Context, s state.Store) (*Register, error) {
	r, err := ReadRegister(ctx, s)
	if err != nil || r.key != nil {
		return r, err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	value, err := json.Marshal(signer{private.Seed(), At(time.Now())})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	id := KeyID(public)
	_, err = s.Txn(ctx, []state.Cond{{Key: signerCurrent}, {Key: signerPrefix + id}},
		[]state.Op{{Key: signerPrefix + id, Value: value}, {Key: signerCurrent, Value: []byte(id)}})
	// Another replica may have been first.
	if err != nil && !errors.Is(err, state.ErrConflict) {
		return nil, fmt.Errorf("audit: signing key: %w", err)
	}
	if r, err = ReadRegister(ctx, s); err == nil && r.key == nil {
		err = errors.New("audit: the signing key is not in the state")
	}
	return r, err
}

// ReadRegister reads the register of a state and makes nothing.
func ReadRegister(ctx context.Context, s state.Store) (*Register, error) {
	r := &Register{state: s, keys: make(map[string]ed25519.PublicKey)}
	current, err := s.Get(ctx, signerCurrent)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, fmt.Errorf("audit: signing key: %w", err)
	}
	entries, err := s.Range(ctx, signerPrefix, "", 0)
	if err != nil {
		return nil, fmt.Errorf("audit: signing keys: %w", err)
	}
	for _, e := range entries {
		var k signer
		if err := json.Unmarshal(e.Value, &k); err != nil || len(k.Seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("audit: %s is no signing key", e.Key)
		}
		private := ed25519.NewKeyFromSeed(k.Seed)
		public := private.Public().(ed25519.PublicKey)
		if KeyID(public) != e.Key[len(signerPrefix):] {
			return nil, fmt.Errorf("audit: %s is another signing key", e.Key)
		}
		r.keys[KeyID(public)] = public
		if KeyID(public) == string(current.Value) {
			r.key = private
		}
	}
	return r, nil
}

// PublicKeys returns the valid signing keys for links, by id, and the id of the current signing key.
func (r *Register) PublicKeys() (keys map[string]ed25519.PublicKey, current string) {
	if r.key != nil {
		current = KeyID(r.key.Public().(ed25519.PublicKey))
	}
	return r.keys, current
}

// Heads returns the heads of all chains, by id.
func (r *Register) Heads(ctx context.Context) ([]Head, error) {
	entries, err := r.state.Range(ctx, chainPrefix, "", 0)
	if err != nil {
		return nil, fmt.Errorf("audit: chains: %w", err)
	}
	heads := make([]Head, 0, len(entries))
	for _, e := range entries {
		h, err := parseHead(e)
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	slices.SortFunc(heads, func(a, b Head) int { return cmp.Compare(a.Chain, b.Chain) })
	return heads, nil
}

func parseHead(e state.Entry) (Head, error) {
	var h Head
	if err := json.Unmarshal(e.Value, &h); err != nil || chainPrefix+h.Chain != e.Key {
		return h, fmt.Errorf("audit: %s is no head of that chain", e.Key)
	}
	return h, nil
}

// publish makes h the head of its chain. It never takes a chain back: if the chain in the state is longer, it has
// another writer.
func (r *Register) publish(ctx context.Context, h Head) error {
	value, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	key := chainPrefix + h.Chain
	e, err := r.state.Get(ctx, key)
	switch {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		return fmt.Errorf("audit: chain %s: %w", h.Chain, err)
	default:
		old, err := parseHead(e)
		if err != nil {
			return err
		}
		if old.Sequence > h.Sequence || old.Sequence == h.Sequence && old.Hash != h.Hash {
			return fmt.Errorf("audit: chain %s: the state knows another digest %d: another process writes this chain", h.Chain, old.Sequence)
		}
	}
	if _, err = r.state.Txn(ctx, []state.Cond{{Key: key, Revision: e.Revision}}, []state.Op{{Key: key, Value: value}}); err != nil {
		return fmt.Errorf("audit: chain %s: %w", h.Chain, err)
	}
	return nil
}

// MarkRestored marks a state as restored from a backup: the next start signs the restore in its chain.
func MarkRestored(ctx context.Context, s state.Store, now time.Time) error {
	_, err := s.Txn(ctx, nil, []state.Op{{Key: restoredKey, Value: []byte(now.UTC().Format(timeFormat))}})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// restored reports whether MarkRestored's note is there.
func (r *Register) restored(ctx context.Context) (bool, error) {
	_, err := r.state.Get(ctx, restoredKey)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("audit: %w", err)
	}
	return true, nil
}

// restoreSigned takes MarkRestored's note away.
func (r *Register) restoreSigned(ctx context.Context) error {
	if _, err := r.state.Txn(ctx, nil, []state.Op{{Key: restoredKey, Delete: true}}); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// TrustOf returns the keys and heads in a state's register, and changes nothing there.
func TrustOf(ctx context.Context, s state.Store) (Trust, error) {
	r, err := ReadRegister(ctx, s)
	if err != nil {
		return Trust{}, err
	}
	return r.Trust(ctx)
}
