package keystore

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// BreakerConfig is the configuration of a circuit breaker. Zero fields have defaults.
type BreakerConfig struct {
	// Failures is how many calls in a row must find the key service away before it opens. Default 5.
	Failures int
	// Cooldown is how long it stays open before a call may try, up to a quarter longer at random, so that replicas do
	// not all try at once. Default 5 s.
	Cooldown time.Duration
	// Probes is how many calls may try at the same time after it. Default 1.
	Probes int
	// Now is time.Now outside of tests.
	Now func() time.Time
}

// WithBreaker returns a provider with a circuit breaker: while the key service does not answer, calls fail at once as
// Unavailable, instead of waiting for their time limits. Only Unavailable counts: a refusal is an answer, and so is
// Throttled, and stopping altogether would be the wrong reply to it.
func WithBreaker(p Provider, cfg BreakerConfig) Provider {
	set(&cfg.Failures, 5)
	set(&cfg.Cooldown, 5*time.Second)
	set(&cfg.Probes, 1)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &breaker{Provider: p, cfg: cfg}
}

func set[T time.Duration | int](v *T, or T) {
	if *v <= 0 {
		*v = or
	}
}

// breaker passes Health and Close through: Health must see the key service as it is.
type breaker struct {
	Provider
	cfg BreakerConfig

	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // open until; zero: closed
	probing  int       // calls that try, when until has passed
}

func (b *breaker) Resolve(ctx context.Context, caller Caller, keyID string) (KeyInfo, error) {
	return through(ctx, b, func() (KeyInfo, error) { return b.Provider.Resolve(ctx, caller, keyID) })
}

func (b *breaker) GenerateDataKey(ctx context.Context, caller Caller, keyID string, ec Context) (DataKey, error) {
	return through(ctx, b, func() (DataKey, error) { return b.Provider.GenerateDataKey(ctx, caller, keyID, ec) })
}

func (b *breaker) Decrypt(ctx context.Context, caller Caller, blob []byte, keyARN string, ec Context) (DataKey, error) {
	return through(ctx, b, func() (DataKey, error) { return b.Provider.Decrypt(ctx, caller, blob, keyARN, ec) })
}

func (b *breaker) Authorize(ctx context.Context, caller Caller, action Action, keyARN string, blob []byte, ec Context) error {
	_, err := through(ctx, b, func() (struct{}, error) {
		return struct{}{}, b.Provider.Authorize(ctx, caller, action, keyARN, blob, ec)
	})
	return err
}

// KeyVersion implements KeyVersions, if the key service does.
func (b *breaker) KeyVersion(ctx context.Context, keyARN string, blob []byte) (version, newest string, err error) {
	_, err = through(ctx, b, func() (_ struct{}, err error) {
		version, newest, err = KeyVersion(ctx, b.Provider, keyARN, blob)
		return struct{}{}, err
	})
	return version, newest, err
}

func through[T any](ctx context.Context, b *breaker, call func() (T, error)) (T, error) {
	probe, ok := b.enter()
	if !ok {
		var none T
		return none, Errorf(Unavailable, "", "The key service is not available.")
	}
	outcome := noAnswer // also of a panic in call
	defer func() { b.leave(probe, outcome) }()
	v, err := call()
	switch {
	case KindOf(err) != Unavailable, concernsOneKey(err):
		outcome = answered
	case ctx.Err() == context.Canceled:
		outcome = abandoned
	}
	return v, err
}

type outcome int

const (
	noAnswer  outcome = iota
	answered          // with success or a refusal
	abandoned         // the caller gave up: no news of the key service
)

// enter reports whether a call may go through, and whether it is a probe.
func (b *breaker) enter() (probe, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return false, true
	case b.cfg.Now().Before(b.until) || b.probing >= b.cfg.Probes:
		return false, false
	}
	b.probing++
	return true, true
}

func (b *breaker) leave(probe bool, o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing--
	}
	open := !b.until.IsZero()
	switch {
	case o == abandoned:
	case o == answered && (probe || !open):
		b.failures, b.until = 0, time.Time{}
	case o == answered: // a call from before it opened; the next probe will tell
	case probe || !open && b.failures+1 >= b.cfg.Failures:
		b.until = b.cfg.Now().Add(b.cfg.Cooldown + rand.N(b.cfg.Cooldown/4+1))
	case !open:
		b.failures++
	}
}
