package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
	"waxseal/proxy/s3"
)

// bucketConfig is what waxseal keeps of a bucket: its default encryption and its policy. The store knows neither the
// first nor the second's encryption conditions.
type bucketConfig struct {
	Encryption *s3.EncryptionRule `json:"encryption,omitempty"` // nil: never configured, SSE-S3
	Blocked    []string           `json:"blocked,omitempty"`    // encryption types that writes may not name
	Policy     json.RawMessage    `json:"policy,omitempty"`     // the whole document, as it was put

	policy   *iam.Policy // its statements that waxseal evaluates alone
	whole    *iam.Policy // all of it
	revision int64       // of the state entry; 0 when there is none
}

func (b *bucketConfig) blocksSSEC() bool { return slices.Contains(b.Blocked, "SSE-C") }

// bucketKeyEnabled is the bucket's setting, which a request for aws:kms inherits too.
func (b *bucketConfig) bucketKeyEnabled() bool {
	return b.Encryption != nil && b.Encryption.BucketKeyEnabled != nil && *b.Encryption.BucketKeyEnabled
}

// defaultEncryption is what a write without encryption headers gets.
func (b *bucketConfig) defaultEncryption() (algorithm, keyID string, bucketKey bool) {
	if b.Encryption == nil || b.Encryption.Default == nil {
		return algAES256, "", false
	}
	d := b.Encryption.Default
	return d.SSEAlgorithm, d.KMSMasterKeyID, b.bucketKeyEnabled()
}

// bucketConfigs reads bucket configuration from the state store, through a cache. A change drops the bucket from the
// cache, also a change by another replica.
type bucketConfigs struct {
	state    state.Store
	replicas replicas
	window   time.Duration // how long the cache serves while the state does not answer
	atStore  storePolicies

	mu      sync.RWMutex
	cached  map[string]*bucketConfig
	forgets int64     // how often an entry was forgotten
	failed  time.Time // when the state was last found not to answer
}

// replicas is what the cache asks of state.Replicas.
type replicas interface {
	Age() time.Duration
	Settle(ctx context.Context, rev int64)
}

const (
	bucketPrefix = "proxy/bucket/"
	// configTTL bounds how long what the store holds of a bucket's policy is believed: others may change it there.
	configTTL = 10 * time.Second
	// failedPause is how long the state is not asked again after it did not answer, where the cache may serve.
	failedPause      = time.Second
	maxCachedConfigs = 10000
)

func newBucketConfigs(s state.Store, replicas *state.Replicas, window time.Duration) *bucketConfigs {
	b := &bucketConfigs{state: s, replicas: replicas, window: window, cached: make(map[string]*bucketConfig)}
	s.Follow(bucketPrefix, func(key string, _ int64) {
		if key == "" {
			b.forgetAll()
			return
		}
		b.forget(strings.TrimPrefix(key, bucketPrefix))
	})
	return b
}

// get returns a bucket's configuration; a bucket without one has the zero configuration. Not to be changed.
func (b *bucketConfigs) get(ctx context.Context, bucket string) (*bucketConfig, error) {
	b.mu.RLock()
	c, ok := b.cached[bucket]
	forgets, failed := b.forgets, time.Since(b.failed) < failedPause
	b.mu.RUnlock()
	// A replica that does not follow the state, because its watch stands still, asks; when it cannot, it goes on with what
	// it knows within the window.
	age := b.replicas.Age()
	within := ok && age < b.window
	if ok && age < state.FreshFor || within && failed {
		return c, nil
	}
	conf, err := b.read(ctx, bucket)
	if errors.Is(err, state.ErrUnavailable) && within {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.failed = time.Now()
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	b.remember(bucket, conf, forgets)
	return conf, nil
}

// remember keeps what was read, unless something was forgotten since forgets were counted: it may be older than that.
func (b *bucketConfigs) remember(bucket string, conf *bucketConfig, forgets int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.forgets != forgets {
		return
	}
	if len(b.cached) >= maxCachedConfigs {
		clear(b.cached)
	}
	b.cached[bucket] = conf
}

func (b *bucketConfigs) read(ctx context.Context, bucket string) (*bucketConfig, error) {
	e, err := b.state.Get(ctx, bucketPrefix+bucket)
	if errors.Is(err, state.ErrNotFound) {
		return &bucketConfig{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration of bucket %s: %w", bucket, err)
	}
	conf := &bucketConfig{revision: e.Revision}
	if err := json.Unmarshal(e.Value, conf); err != nil {
		return nil, fmt.Errorf("configuration of bucket %s: %w", bucket, err)
	}
	if len(conf.Policy) > 0 {
		whole, err := iam.ParsePolicy(conf.Policy, bucketPolicyOptions)
		if err != nil {
			return nil, fmt.Errorf("policy of bucket %s: %w", bucket, err)
		}
		conf.policy, _ = whole.Split(evaluatedHere)
		conf.whole = whole
	}
	return conf, nil
}

// update changes a bucket's configuration, again when another request was faster. change gets a copy to change.
func (b *bucketConfigs) update(ctx context.Context, bucket string, change func(*bucketConfig) error) error {
	for {
		conf, err := b.read(ctx, bucket)
		if err != nil {
			return err
		}
		if err := change(conf); err != nil {
			return err
		}
		if err := b.write(ctx, bucket, conf); !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
}

// write writes a configuration that nobody else has changed since it was read; else it is state.ErrConflict.
func (b *bucketConfigs) write(ctx context.Context, bucket string, conf *bucketConfig) error {
	value, err := json.Marshal(conf)
	if err != nil {
		return fmt.Errorf("configuration of bucket %s: %w", bucket, err)
	}
	return b.txn(ctx, bucket, []state.Cond{{Key: bucketPrefix + bucket, Revision: conf.revision}}, state.Op{Value: value})
}

// removeRead forgets the configuration of a bucket that was deleted, as it was read before: a newer one belongs to the
// bucket that another request has made and configured since.
func (b *bucketConfigs) removeRead(ctx context.Context, bucket string, conf *bucketConfig) error {
	if conf.revision == 0 {
		b.forget(bucket)
		return nil
	}
	err := b.txn(ctx, bucket, []state.Cond{{Key: bucketPrefix + bucket, Revision: conf.revision}}, state.Op{Delete: true})
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	return err
}

func (b *bucketConfigs) txn(ctx context.Context, bucket string, conds []state.Cond, op state.Op) error {
	defer b.forget(bucket)
	op.Key = bucketPrefix + bucket
	rev, err := b.state.Txn(ctx, conds, []state.Op{op})
	if err != nil {
		return fmt.Errorf("configuration of bucket %s: %w", bucket, err)
	}
	b.replicas.Settle(ctx, rev) // a Deny is in force on all replicas when the client hears of it
	return nil
}

func (b *bucketConfigs) forgetAll() {
	b.atStore.forgetAll()
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.cached)
	b.forgets++
}

func (b *bucketConfigs) forget(bucket string) {
	b.atStore.forget(bucket)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.cached, bucket)
	b.forgets++
}

// bucketPolicyOptions are what a bucket policy must be: 20 KB at most, of S3 actions, with a principal.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html
var bucketPolicyOptions = iam.Options{Kind: iam.Resource, MaxBytes: 20 << 10, ActionPrefixes: []string{"s3"}}
