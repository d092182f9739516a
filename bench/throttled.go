package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"waxseal/bench/nullstore"
	"waxseal/keystore"
)

// slowKMS is a key service at a distance and with a quota, as AWS KMS is from another place: calls take a while, and
// beyond so many a second they are refused. https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html
type slowKMS struct {
	keystore.Provider
	latency time.Duration
	quota   *rate.Limiter
}

const (
	slowLatency = 20 * time.Millisecond
	slowQuota   = 500 // calls a second
)

func newSlowKMS(p keystore.Provider) keystore.Provider {
	return &slowKMS{p, slowLatency, rate.NewLimiter(slowQuota, slowQuota)}
}

func (s *slowKMS) wait(ctx context.Context) error {
	if !pause(ctx, s.latency) {
		return ctx.Err()
	}
	if !s.quota.Allow() {
		return keystore.Errorf(keystore.Throttled, "", "You have exceeded the rate at which you may call KMS.")
	}
	return nil
}

// GenerateDataKey implements keystore.Provider.
func (s *slowKMS) GenerateDataKey(ctx context.Context, c keystore.Caller, id string, ec keystore.Context) (keystore.DataKey, error) {
	if err := s.wait(ctx); err != nil {
		return keystore.DataKey{}, err
	}
	return s.Provider.GenerateDataKey(ctx, c, id, ec)
}

// Decrypt implements keystore.Provider.
func (s *slowKMS) Decrypt(ctx context.Context, c keystore.Caller, blob []byte, arn string, ec keystore.Context) (keystore.DataKey, error) {
	if err := s.wait(ctx); err != nil {
		return keystore.DataKey{}, err
	}
	return s.Provider.Decrypt(ctx, c, blob, arn, ec)
}

// Authorize implements keystore.Provider.
func (s *slowKMS) Authorize(ctx context.Context, c keystore.Caller, a keystore.Action, arn string, blob []byte, ec keystore.Context) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Provider.Authorize(ctx, c, a, arn, blob, ec)
}

// throttled has the figures of a load in front of the slow KMS.
type throttled struct {
	Op         op      `json:"op"`
	BucketKeys bool    `json:"bucket_keys"`
	PerSecond  float64 `json:"ops_per_s"`
	Refused    float64 `json:"refused_per_s"` // 503 SlowDown
	Calls      float64 `json:"kms_calls_per_s"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
}

const throttledConc = 64

// runThrottled drives PUTs and GETs of 4 KiB at 64 connections, with and without Bucket Keys.
func runThrottled(ctx context.Context, window time.Duration) ([]throttled, error) {
	var all []throttled
	for _, on := range []bool{false, true} {
		for _, o := range []op{opPut, opGet} {
			t, err := runThrottledOp(ctx, o, on, window)
			if err != nil {
				return nil, fmt.Errorf("slow KMS, %s: %w", o, err)
			}
			all = append(all, *t)
		}
	}
	return all, nil
}

func runThrottledOp(ctx context.Context, o op, on bool, window time.Duration) (*throttled, error) {
	l, err := newLab(ctx, labConfig{wrap: newSlowKMS, real: true})
	if err != nil {
		return nil, err
	}
	defer l.close()
	arn, err := l.newKey(ctx)
	if err != nil {
		return nil, err
	}
	t := &target{name: "slow KMS", addr: l.replicas[0].addr, put: map[string]string{
		"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": arn}}
	if on {
		t.put["x-amz-server-side-encryption-bucket-key-enabled"] = "true"
	}
	d := &load{t: t, tolerant: true}
	for i := range throttledConc {
		key := fmt.Sprintf("%sslow-%d", nullstore.KeptPrefix, i)
		put := t.putAsk(key, 4*kib)
		put.user = l.users[0]
		if err := l.send(l.replicas[0], put); err != nil {
			return nil, err
		}
		send := put
		if o == opGet {
			send = t.ask(http.MethodGet, key, "", nil, nil)
			send.user = l.users[0]
		}
		d.workers = append(d.workers, &worker{wires: []*wire{sign(send)}, client: client{addr: t.addr, moved: &d.moved}})
	}
	l.log.reset()
	f, err := d.run(ctx, time.Second, window)
	if err != nil {
		return nil, err
	}
	whole := window + time.Second
	return &throttled{o, on, f.OpsPerSec, float64(f.Errors) / f.Seconds, float64(l.log.total()) / whole.Seconds(), f.P50, f.P99}, nil
}
