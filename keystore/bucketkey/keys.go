package bucketkey

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"waxseal/keystore"

	"waxseal/keystore/state"
)

// ScopeContextKey is the key of the scope in the encryption context of a bucket key.
const ScopeContextKey = "aws:s3:arn"

var (
	// ErrTooManyContexts is returned for a scope with the maximum of bucket keys for different client contexts. The
	// caller uses a data key of the object's own instead.
	ErrTooManyContexts = errors.New("bucketkey: too many encryption contexts share this scope")
	// ErrReservedContext is returned for a client's context with another scope in it.
	ErrReservedContext = errors.New("bucketkey: the encryption context key " + ScopeContextKey + " is reserved")
)

// Config is the configuration of a Keys. Zero fields have defaults.
type Config struct {
	// PlaintextTTL is the revocation window: how long a requester's authorisation lasts, counted from before the
	// authorising call. An opened key is used with an authorisation only. It stays in memory until it was out of use for
	// as long, and maxOpened at most. Default 5 minutes.
	PlaintextTTL time.Duration
	// Period is how long a bucket key wraps new data. Default 24 hours.
	Period time.Duration
	// Capacity is how many opened keys are kept. Authorisations are smaller and more: grantsPerKey times as many.
	// Keys with client contexts have a quarter of it to themselves. Default 4096.
	Capacity int
	// NegativeTTL is how long a refusal (denied, disabled, not found) is repeated without asking. Default 5 s.
	NegativeTTL time.Duration
	// TransientTTL is the same for a key service without an answer. Default 1 s.
	TransientTTL time.Duration
	// AliasTTL is how long the answer of Resolve is kept. Default 1 minute.
	AliasTTL time.Duration
	// MaxContexts is how many client contexts of a scope and KMS key may have bucket keys for writing at the same time. A
	// context unused for PlaintextTTL gives up its place. Default 64.
	MaxContexts int
	// NoChain switches the chains off: a bucket key does not open its predecessors.
	NoChain bool
	// CallTimeout bounds a call to the provider. A call outlives its request. Default 10 s.
	CallTimeout time.Duration
	// Now is time.Now outside of tests. Its monotonic reading is used: a clock set back extends no window.
	Now func() time.Time
	// Service is the principal for opening bucket keys, once in a window for all requesters.
	Service keystore.Caller
	// Log is slog.Default() when nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	set(&c.PlaintextTTL, 5*time.Minute)
	set(&c.Period, 24*time.Hour)
	set(&c.Capacity, 4096)
	set(&c.NegativeTTL, 5*time.Second)
	set(&c.TransientTTL, time.Second)
	set(&c.AliasTTL, time.Minute)
	set(&c.MaxContexts, 64)
	set(&c.CallTimeout, 10*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Service.Service = true
	return c
}

func set[T time.Duration | int](v *T, or T) {
	if *v <= 0 {
		*v = or
	}
}

// Keys hands out key-encryption keys shared by many objects: S3 Bucket Keys. The package documentation has the
// two procedures. It is safe for concurrent use.
type Keys struct {
	provider keystore.Provider
	store    state.Store
	sealer   state.Sealer // of active blobs in the state
	cfg      Config
	now      func() stamp
	stats    counters
	inflight group
	memory   memory
}

// New puts bucket keys in front of a provider. Replicas share active blobs through the state, sealed by sealer.
func New(p keystore.Provider, s state.Store, sealer state.Sealer, cfg Config) *Keys {
	cfg = cfg.withDefaults()
	b := &Keys{provider: p, store: s, sealer: sealer, cfg: cfg, now: newClock(cfg.Now)}
	b.memory.init(cfg, b.now, &b.stats)
	return b
}

// ForWrite returns the key for new data keys of a scope (a bucket's ARN) under a KMS key, if the requester may
// GenerateDataKey. user is the client's own part of the encryption context.
func (b *Keys) ForWrite(ctx context.Context, caller keystore.Caller, scope, keyARN string, user keystore.Context) (*keystore.Handle, error) {
	t, err := b.bucketTarget(scope, keyARN, user)
	if err != nil {
		return nil, err
	}
	return b.write(ctx, caller, t)
}

// ForRead returns the key of a blob of ForWrite with the same scope, KMS key and context, if the requester may Decrypt.
func (b *Keys) ForRead(ctx context.Context, caller keystore.Caller, scope, keyARN string, blob []byte, user keystore.Context) (*keystore.Handle, error) {
	t, err := b.bucketTarget(scope, keyARN, user)
	if err != nil {
		return nil, err
	}
	return b.read(ctx, caller, t, blob, false)
}

// ForReadItself returns the key as ForRead does, and has the blob itself decrypted. The caller of ForRead uses it for a
// data key that does not open under an [keystore.Handle.Indirect] key: a damaged chain must not pass for tampering.
func (b *Keys) ForReadItself(ctx context.Context, caller keystore.Caller, scope, keyARN string, blob []byte, user keystore.Context) (*keystore.Handle, error) {
	t, err := b.bucketTarget(scope, keyARN, user)
	if err != nil {
		return nil, err
	}
	return b.read(ctx, caller, t, blob, true)
}

// errVersionOver is returned for an active blob under a version of its KMS key that the provider refuses to open.
var errVersionOver = errors.New("bucketkey: the version is over")

// writeAttempts bounds how often write looks again after a concurrent requester or replica was first.
const writeAttempts = 4

func (b *Keys) write(ctx context.Context, caller keystore.Caller, t *target) (*keystore.Handle, error) {
	b.stats.requests.Add(1)
	for range writeAttempts {
		granted, err := b.granted(caller, keystore.GenerateDataKey, t, t.id, t.id)
		if err != nil {
			return nil, err
		}
		cur, err := b.active(ctx, t)
		if err != nil {
			return nil, err
		}
		if cur == nil {
			// The first authorised requester's own GenerateDataKey makes the key, and so costs no call more.
			h, err := b.generate(ctx, caller, t)
			if h != nil || err != nil {
				return h, err
			}
			continue
		}
		h, err := b.open(ctx, caller, t, cur, granted)
		if !errors.Is(err, errVersionOver) {
			return h, err
		}
		if err := b.retire(ctx, t, cur); err != nil {
			return nil, err
		}
	}
	return nil, keystore.Errorf(keystore.Unavailable, t.keyARN, "The current key changed too often.")
}

// open completes a write under an existing active key.
func (b *Keys) open(ctx context.Context, caller keystore.Caller, t *target, cur *active, granted bool) (*keystore.Handle, error) {
	if !granted {
		if err := b.authorize(ctx, caller, keystore.GenerateDataKey, t, t.id, nil); err != nil {
			return nil, err
		}
	}
	// The requester's GenerateDataKey proves the KMS key usable, but no older version of it.
	maxAge, versioned := maxOpened, b.provider.Version(cur.Blob) != ""
	if versioned {
		maxAge = b.cfg.PlaintextTTL
	}
	o, err := b.memory.key(t, cur.id, maxAge)
	switch {
	case o != nil && granted:
		b.stats.hits.Add(1)
	case o == nil && err == nil:
		o, err = b.decrypt(ctx, b.cfg.Service, t, cur.id, cur.Blob)
	}
	if versioned && keystore.KindOf(err) == keystore.InvalidState {
		return nil, errVersionOver
	}
	if err != nil {
		return nil, err
	}
	return b.handle(o, t, cur.Blob), nil
}

// handle hands out a key to an authorised requester.
func (b *Keys) handle(o *opened, t *target, blob []byte) *keystore.Handle {
	o.used.Store(int64(b.now().mono))
	return keystore.NewSharedHandle(o, t.keyARN, blob)
}

func (b *Keys) read(ctx context.Context, caller keystore.Caller, t *target, blob []byte, itself bool) (*keystore.Handle, error) {
	b.stats.requests.Add(1)
	if len(blob) == 0 {
		return nil, &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: t.keyARN}
	}
	id := t.blobID(blob)
	granted, err := b.granted(caller, keystore.Decrypt, t, t.underVersion(b.provider.Version(blob)), id)
	if err != nil {
		return nil, err
	}
	if !b.memory.holds(t, id) && !itself {
		var h *keystore.Handle
		if h, granted, err = b.readChained(ctx, caller, t, blob, granted); h != nil || err != nil {
			return h, err
		}
	}
	o, called, err := b.openFor(ctx, caller, t, id, blob, granted)
	if err != nil {
		return nil, err
	}
	if !called {
		b.stats.hits.Add(1)
	}
	return b.handle(o, t, blob), nil
}

// openFor returns the key of a blob, if the requester may Decrypt, and reports whether the provider was called.
// authorised reports whether the requester was authorised within the window.
func (b *Keys) openFor(ctx context.Context, caller keystore.Caller, t *target, id id, blob []byte, authorised bool) (o *opened, called bool, err error) {
	o, err = b.memory.key(t, id, maxOpened)
	switch {
	case o != nil && authorised:
		return o, false, nil
	case o != nil:
		if err = b.authorize(ctx, caller, keystore.Decrypt, t, t.underVersion(b.provider.Version(blob)), blob); err != nil {
			o.Release()
			return nil, true, err
		}
	case !authorised:
		// A single call authorises this requester and opens the key for all. A refusal of the service itself is no
		// reason not to ask.
		o, err = b.decrypt(ctx, caller, t, id, blob)
	case err == nil:
		o, err = b.decrypt(ctx, b.cfg.Service, t, id, blob)
	default:
		return nil, false, err // the service's refusal, from memory
	}
	return o, true, err
}

// Forget ends every use of a KMS key's bucket keys, after the KMS key was disabled or changed. It removes opened keys,
// authorisations and active blobs. A handle in use stays valid until its release. A call to the provider under way
// answers its waiters and no later request. Chains stay in the state: entering them takes a new authorisation.
func (b *Keys) Forget(keyARN string) {
	b.memory.forget(keyARN)
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.CallTimeout)
	defer cancel()
	// Should the state not answer now, the key stays marked, and no record of it is used before the records are gone.
	if err := b.dropRecords(ctx, keyARN); err != nil {
		b.stats.stateErrors.Add(1)
	}
}

// Close forgets and zeroes everything in memory. Handles in use stay valid until their release.
func (b *Keys) Close() { b.memory.close() }
