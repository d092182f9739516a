package keystore_test

import (
	"context"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
)

var alice = keystore.Caller{ARN: "arn:aws:iam::000000000000:user/alice"}

// breakerRig is a breaker over a fake. The fake returns err.
type breakerRig struct {
	keystore.Provider
	t     *testing.T
	kms   *keystoretest.Fake
	clock keystoretest.Clock
	key   string
	err   error
}

func newBreaker(t *testing.T) *breakerRig {
	r := &breakerRig{t: t, kms: keystoretest.NewFake()}
	r.key = r.kms.AddKey()
	r.kms.Hook = func(context.Context, keystoretest.Call) error { return r.err }
	r.Provider = keystore.WithBreaker(r.kms, keystore.BreakerConfig{Failures: 3, Cooldown: 4 * time.Second, Now: r.clock.Now})
	return r
}

// calls makes n calls and says how many came through.
func (r *breakerRig) calls(n int) int {
	r.t.Helper()
	r.kms.Reset()
	for range n {
		dk, err := r.GenerateDataKey(r.t.Context(), alice, r.key, nil)
		if want := keystore.KindOf(r.err); keystore.KindOf(err) != want && keystore.KindOf(err) != keystore.Unavailable {
			r.t.Errorf("got %v, want %s", err, want)
		}
		if err == nil && dk.Plaintext.IsZero() {
			r.t.Error("no key and no error")
		}
	}
	return r.kms.Count()
}

func TestBreaker(t *testing.T) {
	down := keystore.Errorf(keystore.Unavailable, "", "down")
	r := newBreaker(t)
	steps := []struct {
		name    string
		err     error
		pass    time.Duration
		n, want int
	}{
		{"all is well", nil, 0, 10, 10},
		{"refusals are answers", keystore.Errorf(keystore.AccessDenied, "", "no"), 0, 10, 10},
		{"and so is throttling", keystore.Errorf(keystore.Throttled, "", "slowly"), 0, 10, 10},
		{"a key that is not available says nothing of others", &keystore.Error{Kind: keystore.Unavailable, OneKey: true}, 0, 10, 10},
		{"two failures", down, 0, 2, 2},
		{"and a success in between", nil, 0, 1, 1},
		{"down: three find out", down, 0, 10, 3},
		{"not before the cooldown", nil, 3 * time.Second, 10, 0},
		{"after it one tries, in vain", down, 2 * time.Second, 10, 1},
		{"and the cooldown begins anew", nil, 3 * time.Second, 10, 0},
		{"one tries and the others follow", nil, 2 * time.Second, 10, 10},
	}
	for _, s := range steps {
		r.err = s.err
		r.clock.Advance(s.pass)
		if got := r.calls(s.n); got != s.want {
			t.Errorf("%s: %d calls came through, want %d", s.name, got, s.want)
		}
	}
}

// TestBreakerProbe: during a probe, further calls fail at once; a client's cancellation is no failure of the key service.
func TestBreakerProbe(t *testing.T) {
	r := newBreaker(t)
	r.err = keystore.Errorf(keystore.Unavailable, "", "down")
	r.calls(3)
	r.err = nil
	r.clock.Advance(6 * time.Second)
	entered := make(chan struct{})
	r.kms.Hook = func(ctx context.Context, c keystoretest.Call) error {
		if c.Op == keystoretest.OpDecrypt {
			close(entered)
			<-ctx.Done()
		}
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := r.Decrypt(ctx, alice, []byte("x"), r.key, nil)
		done <- err
	}()
	<-entered
	if err := r.Authorize(t.Context(), alice, keystore.GenerateDataKey, r.key, nil, nil); keystore.KindOf(err) != keystore.Unavailable {
		t.Errorf("while one tries: got %v", err)
	}
	if _, err := r.Resolve(t.Context(), alice, r.key); keystore.KindOf(err) != keystore.Unavailable {
		t.Errorf("while one tries: got %v", err)
	}
	if err := r.Health(t.Context()); err != nil {
		t.Errorf("Health does not pass: %v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	if _, err := r.Resolve(t.Context(), alice, r.key); err != nil {
		t.Errorf("the next one that tries: got %v", err)
	}
	for range 10 { // cancellations do not open it
		if _, err := r.GenerateDataKey(ctx, alice, r.key, nil); err == nil {
			t.Error("no error")
		}
	}
	if err := r.Authorize(t.Context(), alice, keystore.GenerateDataKey, r.key, nil, nil); err != nil {
		t.Errorf("after clients gave up: got %v", err)
	}
}
