package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/keystore/iam"
)

// follows is what resolving asks of state.Replicas.
type follows interface {
	Fresh() bool
	Check() error
}

const (
	readAgainTime  = time.Second // for a read of the state on behalf of a request
	readAgainPause = time.Second // after a read that failed
)

// reading is a read of the state on behalf of a request.
type reading struct {
	began, ended time.Time
	err          error
}

// readings are such reads, one at a time.
type readings struct {
	mu   sync.Mutex
	last atomic.Pointer[reading]
}

// Resolve implements iam.Resolver. Changes of rights do not wait for a replica that does not follow the state, so such a
// replica reads the state in place of its memory. Where the state does not answer, the replica goes on with the rights
// that it knows until Replicas.Check refuses; whether an access key exists that it does not know, it cannot tell.
func (d *Directory) Resolve(accessKey, token string) (iam.Credential, error) {
	if d.follows.Fresh() {
		return d.cfg.People.Resolve(accessKey, token)
	}
	failed := d.readAgain()
	c, err := d.cfg.People.Resolve(accessKey, token)
	switch {
	case failed == nil, d.isOfFile(accessKey), errors.Is(err, iam.ErrExpiredToken):
		return c, err
	case err == nil && d.follows.Check() == nil:
		return c, nil
	}
	return iam.Credential{}, fmt.Errorf("%w: %w", iam.ErrUnavailable, failed)
}

// isOfFile reports whether an access key is in the configuration file, on which the state has no influence.
func (d *Directory) isOfFile(accessKey string) bool {
	return slices.ContainsFunc(d.File(), func(u iam.User) bool { return u.AccessKey == accessKey })
}

// readAgain reads the state, or waits for a read that begins after the call. After a failure, requests do not wait for the
// next try.
func (d *Directory) readAgain() error {
	asked := time.Now()
	if last := d.readings.last.Load(); last == nil || last.err == nil {
		d.readings.mu.Lock()
	} else if asked.Sub(last.ended) < readAgainPause || !d.readings.mu.TryLock() {
		return last.err
	}
	defer d.readings.mu.Unlock()
	if last := d.readings.last.Load(); last != nil && (last.began.After(asked) || last.err != nil && asked.Sub(last.ended) < readAgainPause) {
		return last.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readAgainTime)
	defer cancel()
	now := &reading{began: time.Now()}
	now.err = d.Reload(ctx)
	now.ended = time.Now()
	d.readings.last.Store(now)
	return now.err
}
