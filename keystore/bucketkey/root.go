package bucketkey

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"waxseal/keystore"
)

// RootContextKey is the key of the encryption context of the external root's blobs.
const RootContextKey = "waxseal:root"

// rootIDVersion is the first byte of an external root's id: version || be32 length || KMS key ARN || blob.
const rootIDVersion = 1

// RootConfig is the configuration of an Root.
type RootConfig struct {
	// KeyID names the KMS key: id, ARN, or alias.
	KeyID string
	// Name goes into the encryption context, so that a key policy can tell deployments apart. Default "default". It
	// must not change: under a new name, older objects do not open.
	Name string
	// Accept are the ARNs of earlier KMS keys of the root, for objects written under them. An id comes from the store,
	// and the store must not be able to name a KMS key of its own, and so a root known to it.
	Accept []string
	// Period is how long a root key wraps new data. Default a year.
	Period time.Duration
}

// Root is a [keystore.Root] under a KMS key of any provider: a data key, kept and used like a bucket key, wraps for a
// long time. It needs the key service at most twice in a window.
type Root struct {
	keys *Keys
	ring keystore.ServiceKeys
	cfg  RootConfig
}

var _ keystore.Root = (*Root)(nil)

// NewRoot makes no call: the service can start while the key service is away.
func NewRoot(keys *Keys, ring keystore.ServiceKeys, cfg RootConfig) (*Root, error) {
	if cfg.KeyID == "" {
		return nil, errors.New("bucketkey: the root of an external key service needs a KMS key")
	}
	if cfg.Name == "" {
		cfg.Name = "default"
	}
	set(&cfg.Period, 365*24*time.Hour)
	return &Root{keys: keys, ring: ring, cfg: cfg}, nil
}

// Current implements Root.
func (r *Root) Current(ctx context.Context) (*keystore.Handle, []byte, error) {
	info, err := r.keys.Resolve(ctx, r.keys.cfg.Service, r.cfg.KeyID)
	if err != nil {
		return nil, nil, err
	}
	h, err := r.keys.write(ctx, r.keys.cfg.Service, r.target(info.ARN))
	if err != nil {
		return nil, nil, err
	}
	return h, rootID(h.KeyARN(), h.Blob()), nil
}

// Open implements Root.
func (r *Root) Open(ctx context.Context, id []byte) (*keystore.Handle, error) {
	keyARN, blob, ok := parseRootID(id)
	if !ok {
		return nil, &keystore.Error{Kind: keystore.InvalidCiphertext, Err: errors.New("not the id of an external root key")}
	}
	if err := r.accepts(ctx, keyARN); err != nil {
		return nil, err
	}
	return r.keys.read(ctx, r.keys.cfg.Service, r.target(keyARN), blob, true)
}

// accepts returns an error for a KMS key that is neither the root's nor listed in Accept.
func (r *Root) accepts(ctx context.Context, keyARN string) error {
	if slices.Contains(r.cfg.Accept, keyARN) || r.cfg.KeyID == keyARN {
		return nil
	}
	info, err := r.keys.Resolve(ctx, r.keys.cfg.Service, r.cfg.KeyID)
	if err != nil {
		return err
	}
	if info.ARN != keyARN {
		return &keystore.Error{Kind: keystore.IncorrectKey, KeyARN: keyARN, Err: errors.New("not a KMS key of the root: see Accept")}
	}
	return nil
}

// ServiceKey implements Root.
func (r *Root) ServiceKey(context.Context) (uint32, keystore.Secret, error) {
	id, key := r.ring.Current()
	return id, key, nil
}

// ServiceKeyByID implements Root.
func (r *Root) ServiceKeyByID(id uint32) (keystore.Secret, bool) { return r.ring.ByID(id) }

func (r *Root) target(keyARN string) *target {
	return &target{
		id:      hash("waxseal/root", r.cfg.Name, keyARN, nil),
		scope:   "root " + r.cfg.Name,
		keyARN:  keyARN,
		context: func() keystore.Context { return keystore.Context{RootContextKey: r.cfg.Name} },
		shared:  true,
		period:  r.cfg.Period,
	}
}

func rootID(keyARN string, blob []byte) []byte {
	return append(appendField([]byte{rootIDVersion}, keyARN), blob...)
}

func parseRootID(id []byte) (keyARN string, blob []byte, ok bool) {
	const fixed = 1 + 4
	if len(id) < fixed || id[0] != rootIDVersion {
		return "", nil, false
	}
	n := uint64(binary.BigEndian.Uint32(id[1:]))
	if rest := uint64(len(id) - fixed); n == 0 || n >= rest {
		return "", nil, false
	}
	return string(id[fixed : fixed+n]), id[fixed+n:], true
}
