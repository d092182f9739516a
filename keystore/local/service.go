package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"waxseal/keystore/audit"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// Config configures a Service. State, Secrets, Audit and Identities have no default.
type Config struct {
	State   state.Store
	Secrets *rootkey.Secret
	Audit   audit.Sink

	Region    string // "us-east-1"
	AccountID string // the service's own account, 12 digits

	// Identities finds the identity policies of principals. An unknown principal has none: only a key policy or a grant
	// with its name gives it rights.
	Identities Identities

	Now func() time.Time // time.Now
	Log *slog.Logger     // slog.Default()

	Limits Limits
	// RequestsPerSecond is the rate limit of a principal; 0 is no limit.
	RequestsPerSecond float64

	// Replicas are the processes that share State; nil: a process alone.
	Replicas *state.Replicas

	// Kept returns why a key must not be scheduled for deletion, or "". Nil allows every deletion.
	Kept func(ctx context.Context, keyARN string) (string, error)

	// NoSweep turns sweeps off, at the start and after: for reading a state out of service. There a deletion or a
	// rotation would happen without anybody's knowledge.
	NoSweep bool
}

// Limits are the resource quotas. Zero values mean AWS's.
type Limits struct {
	Keys             int // per account: 100,000
	AliasesPerKey    int // 50
	GrantsPerKey     int // 50,000
	OnDemandRotation int // per key: 25
	PolicyBytes      int // 32 KiB
	TagsPerKey       int // 50
}

func (l *Limits) setDefaults() {
	for field, preset := range map[*int]int{
		&l.Keys: 100_000, &l.AliasesPerKey: 50, &l.GrantsPerKey: 50_000,
		&l.OnDemandRotation: 25, &l.PolicyBytes: 32 << 10, &l.TagsPerKey: 50,
	} {
		if *field == 0 {
			*field = preset
		}
	}
}

// cachedKeys is how many parsed key records are kept. They hold no plaintext material.
const cachedKeys = 4096

// Service is the embedded key service. Its methods are the operations of the KMS API; Provider and Root serve the
// proxy. Safe for concurrent use.
type Service struct {
	state      state.Store
	secrets    *rootkey.Secret
	sealer     state.Sealer // of key material
	audit      audit.Sink
	region     string
	account    string
	identities Identities
	now        func() time.Time
	mono       func() time.Time // a clock that cannot be set, to confirm the wall clock
	log        *slog.Logger
	limits     Limits
	throttle   *throttle

	// sealing is held for reading from the sealing of a secret until it is in the state or given up: see Rekey.
	sealing sync.RWMutex

	kept func(ctx context.Context, keyARN string) (string, error) // nil: no key is kept from deletion

	keys  *lru.Cache[string, *key]
	root  rootCache
	usage usageLog
	watch clockWatch

	counters counters

	// counts has a lock for each account, held during a change of its number of keys. Without the lock, concurrent
	// changes would conflict more often than retry repeats them.
	counts sync.Map

	replicas *state.Replicas
	waiting  deletions // keys due for deletion, awaiting a second sweep

	hooksMu   sync.RWMutex
	hooks     []func(keyARN string)
	elsewhere []func(keyARN string) // hooks for changes by another replica
	atOpen    []string              // keys changed by Open, before any hook could be registered

	stop     context.CancelFunc
	unfollow func()
	done     sync.WaitGroup
	closed   sync.Once
}

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// Open starts the key service on a state. Work already due (deletions, expiries, rotations) is done before Open
// returns, unless the configuration turns it off; after that once a minute.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.State == nil || cfg.Secrets == nil || cfg.Audit == nil || cfg.Identities == nil {
		return nil, errors.New("keystore/local: State, Secrets, Audit and Identities are needed")
	}
	if !accountForm.MatchString(cfg.AccountID) {
		return nil, fmt.Errorf("keystore/local: account %q is not 12 digits", cfg.AccountID)
	}
	if cfg.Region == "" {
		return nil, errors.New("keystore/local: a Region is needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Limits.setDefaults()
	keys, err := lru.New[string, *key](cachedKeys)
	if err != nil {
		return nil, fmt.Errorf("keystore/local: %w", err)
	}
	s := &Service{
		state: cfg.State, secrets: cfg.Secrets, sealer: cfg.Secrets.Sealer("kms/material"), audit: cfg.Audit, region: cfg.Region, account: cfg.AccountID,
		identities: cfg.Identities, now: cfg.Now, log: cfg.Log, limits: cfg.Limits,
		throttle: newThrottle(cfg.RequestsPerSecond), keys: keys, replicas: cfg.Replicas, kept: cfg.Kept,
	}
	s.mono = time.Now
	s.watch.wall, s.watch.mono = s.now(), time.Now()
	if err := checkRestored(ctx, cfg.State); err != nil {
		return nil, fmt.Errorf("keystore/local: %w", err)
	}
	if err := s.openRoot(ctx); err != nil {
		return nil, fmt.Errorf("keystore/local: %w", err)
	}
	s.follow()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if cfg.NoSweep {
		return s, nil
	}
	if !s.replicas.Shared() { // with replicas, no work goes by a clock not yet compared with theirs
		s.sweepAtOpen(ctx)
	}
	s.done.Go(func() { s.reap(background) })
	return s, nil
}

func (s *Service) sweepAtOpen(ctx context.Context) {
	s.hooks = append(s.hooks, func(keyARN string) { s.atOpen = append(s.atOpen, keyARN) })
	if err := s.Sweep(ctx); err != nil {
		s.log.Error("key service: what was due could not be done; it is tried again", "err", err)
	}
	s.hooks = nil
}

// Close ends the background work and erases the keys in memory. The state stays open: it belongs to the caller.
func (s *Service) Close() error {
	var err error
	s.closed.Do(func() {
		s.stop()
		s.done.Wait()
		s.unfollow()
		err = s.flushUsage(context.Background())
		s.root.zero()
		s.keys.Purge()
	})
	return err
}

// OnKeyChange registers a function for changes of a key or its grants. Caches of data keys must then ask again before
// they go on. For each key changed during Open, because of work that was due, the function is called at once: a cache
// that outlives the process has not seen these changes.
func (s *Service) OnKeyChange(hook func(keyARN string)) {
	s.hooksMu.Lock()
	s.hooks = append(s.hooks, hook)
	s.hooksMu.Unlock()
	for _, keyARN := range s.atOpen {
		hook(keyARN)
	}
}

func (s *Service) changed(keyARN string) {
	s.hooksMu.RLock()
	defer s.hooksMu.RUnlock()
	for _, hook := range s.hooks {
		hook(keyARN)
	}
}

// sealAndStore runs do, a function that seals secrets and stores them. Calls must not be nested.
func (s *Service) sealAndStore(do func() error) error {
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	return do()
}

// awaitStored waits until every sealAndStore under way has ended.
func (s *Service) awaitStored() {
	s.sealing.Lock()
	defer s.sealing.Unlock()
}

// sealMaterial makes a material of a key, to be stored within sealAndStore.
func (s *Service) sealMaterial(r *record, secret []byte, m material) (material, error) {
	m.ID = materialID(r.Account, r.ID, secret)
	sealed, err := s.sealer.Seal(secret, materialAAD(r, m.ID))
	if err != nil {
		return material{}, fmt.Errorf("sealing key material: %w", err)
	}
	m.Sealed = sealed
	return m, nil
}

// openMaterial returns the plaintext of a material, for the caller to erase.
func (s *Service) openMaterial(r *record, m *material) ([]byte, error) {
	if m == nil || m.Sealed == nil {
		return nil, failf(codeInvalidState, "%s is pending import.", r.arn())
	}
	secret, err := s.sealer.Open(m.Sealed, materialAAD(r, m.ID))
	if errors.Is(err, rootkey.ErrNotSealed) {
		secret, err = s.openResealed(r, m)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the material of %s: %w", r.arn(), err)
	}
	return secret, nil
}

// openResealed opens material resealed since the record was read, after the earlier secret was removed.
func (s *Service) openResealed(r *record, m *material) ([]byte, error) {
	k, err := s.read(context.Background(), r.Account, r.ID)
	if err != nil {
		return nil, err
	}
	now := k.material(m.ID)
	if now == nil {
		return nil, rootkey.ErrNotSealed
	}
	return s.sealer.Open(now.Sealed, materialAAD(r, m.ID))
}

// materialAAD binds sealed material to its place: a key and a material id.
func materialAAD(r *record, id string) []byte {
	return []byte("waxseal/kms/at-rest/v1\x00" + r.Account + "\x00" + r.ID + "\x00" + r.Spec + "\x00" + id)
}
