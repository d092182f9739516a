package transit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"
)

// tokens keeps a token fresh: renewed when two thirds of its time are over, read again from its file when refused.
type tokens struct {
	client *client
	file   string
	warn   func(string, error)
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	token string
}

const (
	// renewRetry is the pause after a failed renewal, unless the token ends earlier.
	renewRetry = 10 * time.Second
	// renewIdle is the pause between look-ups of a token that needs no renewal: the token may have been replaced.
	renewIdle = time.Hour
)

func newTokens(cfg Config, c *client) (*tokens, error) {
	t := &tokens{client: c, file: cfg.TokenFile, warn: cfg.Warn, token: cfg.Token, done: make(chan struct{})}
	if t.file == "" {
		if t.token == "" {
			return nil, errors.New("transit: no token is configured")
		}
		return t, nil
	}
	return t, t.read()
}

func (t *tokens) read() error {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return fmt.Errorf("transit: token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return fmt.Errorf("transit: token: %s is empty", t.file)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = token
	return nil
}

// current returns the token. After a refusal of this token it reads the token file again.
func (t *tokens) current(refused string) (string, error) {
	t.mu.Lock()
	token := t.token
	t.mu.Unlock()
	if refused == "" || refused != token || t.file == "" {
		return token, nil
	}
	if err := t.read(); err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, nil
}

func (t *tokens) start() {
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	go func() {
		defer close(t.done)
		for wait := time.Duration(0); t.sleep(ctx, wait); {
			wait = t.renew(ctx)
		}
	}()
}

func (t *tokens) stop() {
	t.cancel()
	<-t.done
}

func (t *tokens) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// renew renews the token if it can be, and says when to come again.
func (t *tokens) renew(ctx context.Context) time.Duration {
	var info struct {
		TTL       int64 `json:"ttl"`
		Renewable bool  `json:"renewable"`
	}
	if err := t.client.call(ctx, "GET", "auth/token/lookup-self", nil, &info); err != nil {
		return t.failed(ctx, "the token cannot be looked up", err, renewRetry)
	}
	left := time.Duration(info.TTL) * time.Second
	switch {
	case left == 0: // does not end
		return renewIdle
	case !info.Renewable:
		t.warn("the token ends in "+left.String()+" and cannot be renewed", nil)
		return min(renewIdle, max(left/2, time.Second))
	}
	var renewed struct {
		LeaseDuration int64 `json:"lease_duration"`
	}
	if err := t.client.call(ctx, "POST", "auth/token/renew-self", struct{}{}, &renewed); err != nil {
		return t.failed(ctx, "the token cannot be renewed", err, min(renewRetry, left/4))
	}
	return nextRenewal(time.Duration(renewed.LeaseDuration) * time.Second)
}

func (t *tokens) failed(ctx context.Context, what string, err error, again time.Duration) time.Duration {
	if ctx.Err() == nil {
		t.warn(what, err)
	}
	return max(again, time.Second)
}

// nextRenewal returns about two thirds of a token's time, less up to a tenth at random, so that replicas do not all
// renew at once.
func nextRenewal(ttl time.Duration) time.Duration {
	d := ttl * 2 / 3
	return max(d-rand.N(ttl/10+1), time.Second)
}
