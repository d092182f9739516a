package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// The store holds a bucket's policy but for the statements that waxseal evaluates alone. It may also have had the policy
// before waxseal came, or been given another one since. For the store, all users without credentials of their own there
// are one identity, often an administrator's whom no policy binds: waxseal reads what the store holds and evaluates every
// Deny in it for them.

// storePolicies are the policies that the store holds, each read again after configTTL.
type storePolicies struct {
	read func(ctx context.Context, bucket string) (*iam.Policy, error)

	mu    sync.Mutex
	known map[string]*storePolicy
}

// storePolicy is one reading of a policy. All requests that need it wait for the same one.
type storePolicy struct {
	done   chan struct{} // closed when there is a policy or an error
	begun  time.Time
	policy *iam.Policy // nil: the store holds none
	err    error
}

// stale reports whether a reading is to be made again: it is old, or the store gave no answer.
func (p *storePolicy) stale() bool {
	select {
	case <-p.done:
		return errors.Is(p.err, store.ErrUnreachable) || time.Since(p.begun) >= configTTL
	default:
		return false
	}
}

// get returns the policy that the store holds for a bucket, nil where it holds none. base bounds the reading, ctx the
// wait for it: a client that leaves does not end what others wait for.
func (s *storePolicies) get(base, ctx context.Context, bucket string) (*iam.Policy, error) {
	p := s.current(base, bucket)
	select {
	case <-p.done:
		return p.policy, p.err
	case <-ctx.Done():
		return nil, store.Unanswered(ctx, ctx.Err())
	}
}

func (s *storePolicies) current(base context.Context, bucket string) *storePolicy {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.known[bucket]; p != nil && !p.stale() {
		return p
	}
	if s.known == nil || len(s.known) >= maxCachedConfigs {
		s.known = make(map[string]*storePolicy)
	}
	p := &storePolicy{done: make(chan struct{}), begun: time.Now()}
	s.known[bucket] = p
	go func() {
		defer close(p.done)
		defer caught(&p.err)
		p.policy, p.err = s.read(base, bucket)
	}()
	return p
}

// forget has a bucket's policy read again. A reading that is under way is no answer to later requests.
func (s *storePolicies) forget(bucket string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, bucket)
}

// forgetAll has every policy read again.
func (s *storePolicies) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
}

// policyTime bounds the reading of a policy: a client that has sent a long body meanwhile cannot be seen to leave.
const policyTime = 10 * time.Second

// readStorePolicy asks the store, with waxseal's own credentials, for the policy that it holds for a bucket. What it
// cannot read or evaluate is an error, which refuses requests: the policy may deny them.
func (s *Server) readStorePolicy(ctx context.Context, bucket string) (*iam.Policy, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, policyTime, store.ErrStalled)
	defer cancel()
	resp, err := s.up.Send(ctx, &store.Request{Method: http.MethodGet, Bucket: bucket, Query: "policy="})
	switch {
	case err != nil && context.Cause(ctx) == store.ErrStalled:
		return nil, store.ErrStalled
	case err != nil:
		return nil, err
	case resp.StatusCode/100 == 3:
		return nil, store.Redirected(resp)
	case resp.StatusCode != http.StatusOK:
		return nil, s.noStorePolicy(bucket, store.Failure(resp))
	}
	document, err := store.ReadDocument(resp)
	if err != nil {
		return nil, err
	}
	policy, err := s.parseStorePolicy(document)
	if err != nil {
		return nil, s.closed(bucket, err.Error())
	}
	return policy, nil
}

// noStorePolicy tells a bucket or a store without policies from a policy that waxseal could not read.
func (s *Server) noStorePolicy(bucket string, err error) error {
	var e *s3.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.Code == s3.NoSuchBucketPolicy, e.Code == s3.NoSuchBucket,
		e.Status() == http.StatusNotImplemented, e.Status() == http.StatusMethodNotAllowed:
		return nil
	case e.Status() == http.StatusForbidden:
		return s.closed(bucket, "waxseal's own credentials at the store may not read it (s3:GetBucketPolicy)")
	}
	return fmt.Errorf("%w: it did not tell the policy of bucket %s: %s", store.ErrUnreachable, bucket, e.Code)
}

// closed refuses what a policy may deny that waxseal cannot evaluate, and tells the operator once.
func (s *Server) closed(bucket, why string) error {
	if _, told := s.warned.LoadOrStore(bucket+"/policy/"+why, true); !told {
		s.log.Warn("requests are refused: the bucket's policy at the store cannot be evaluated", "bucket", bucket, "reason", why)
	}
	return s3.Errorf(s3.AccessDenied, "Access Denied: waxseal cannot evaluate the policy that the store holds for the bucket %s: %s", bucket, why)
}

// parseStorePolicy reads a policy that the store holds. Of its statements those that deny count.
func (s *Server) parseStorePolicy(document []byte) (*iam.Policy, error) {
	policy, err := iam.ParsePolicy(document, iam.Options{Kind: iam.Resource, Foreign: s.whomStoreMeans})
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "iam: "))
	}
	denies, _ := policy.Split(func(st *iam.Statement) bool { return st.Effect == iam.EffectDeny })
	if denies == nil {
		return nil, nil
	}
	for _, st := range denies.Statements() {
		if key := st.VoidKey(tellsCondition); key != "" {
			return nil, errors.New("a Deny in it has the condition key " + key + ", which waxseal does not know")
		}
	}
	return denies, nil
}

// whomStoreMeans says whom a principal of the store's means among the users without credentials there. Of plain names,
// which are access keys (versitygw, MinIO), only waxseal's own means them, and then all of them. An ARN may be one of
// waxseal's users; any other may be the identity that waxseal has at the store.
func (s *Server) whomStoreMeans(kind, name string) string {
	switch {
	case kind == "Service":
		return ""
	case kind != "AWS" || name == "*" || name == s.cfg.Upstream.AccessKey:
		return "*"
	case strings.HasPrefix(name, "arn:"):
		if _, ok := s.cfg.Users.PrincipalID(name); ok && !strings.HasSuffix(name, ":root") {
			return name
		}
		return "*"
	case len(name) == 12 && strings.Trim(name, "0123456789") == "": // an account
		return "*"
	}
	return ""
}
