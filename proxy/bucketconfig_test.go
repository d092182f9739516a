package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

const kmsByDefault = `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`

// slowState is a state store that holds the first of what it is asked for back.
type slowState struct {
	state.Store
	get, txn atomic.Bool // armed
	at       chan struct{}
	release  chan struct{}
}

func newSlowState(c *Config) *slowState {
	s := &slowState{Store: c.State, at: make(chan struct{}), release: make(chan struct{})}
	c.State = s
	return s
}

func (s *slowState) hold(key string, armed *atomic.Bool) {
	if strings.HasPrefix(key, bucketPrefix) && armed.CompareAndSwap(true, false) {
		close(s.at)
		<-s.release
	}
}

// Get answers late what was read early.
func (s *slowState) Get(ctx context.Context, key string) (state.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	s.hold(key, &s.get)
	return e, err
}

func (s *slowState) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	s.hold(ops[0].Key, &s.txn)
	return s.Store.Txn(ctx, conds, ops)
}

// TestOldConfigurationIsNotKept: a configuration that was read before a change is not kept after it.
func TestOldConfigurationIsNotKept(t *testing.T) {
	var slow *slowState
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { slow = newSlowState(c) })
	slow.get.Store(true)
	done := k.asyncDo(t, "HEAD", "/bkt/nosuch", nil, nil)
	<-slow.at
	k.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
	close(slow.release)
	<-done
	if resp, _ := k.mustDo(t, "PUT", "/bkt/a", nil, []byte("x")); resp.Header.Get(hdrSSE) != algKMS {
		t.Errorf("after an acknowledged default of %s a PUT is sealed with %q", algKMS, resp.Header.Get(hdrSSE))
	}
}

// TestPoliciesAtOnce: of two policies that are put at once, store and waxseal end with the same.
func TestPoliciesAtOnce(t *testing.T) {
	policy := func(who string) []byte {
		return []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"` + who + `","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/` + who + `/*"}]}`)
	}
	for _, second := range []string{"PUT", "DELETE"} {
		var slow *slowState
		k, _ := overMemory(t, proxytest.Options{}, func(c *Config) { slow = newSlowState(c) })
		slow.txn.Store(true)
		first := k.asyncDo(t, "PUT", "/bkt?policy", nil, policy("first"))
		<-slow.at
		k.mustDo(t, second, "/bkt?policy", nil, policy("second"))
		close(slow.release)
		if answer := <-first; !strings.HasPrefix(answer, "204") {
			t.Error(answer)
		}
		conf, err := k.server.buckets.read(t.Context(), "bkt")
		if err != nil {
			t.Fatal(err)
		}
		resp, err := k.server.up.Send(t.Context(), &store.Request{Method: "GET", Bucket: "bkt", Query: "policy="})
		if err != nil {
			t.Fatal(err)
		}
		atStore, err := store.ReadDocument(resp)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(conf.Policy), "first") != strings.Contains(string(atStore), "first") {
			t.Errorf("%s second: waxseal has %s\nthe store has %s", second, conf.Policy, atStore)
		}
	}
}

// TestDeletedBucketLeavesNothing: a bucket has nothing of an earlier one of its name, even if the answer to that one's
// DeleteBucket was lost. Who makes a bucket that is there changes nothing about it.
func TestDeletedBucketLeavesNothing(t *testing.T) {
	for _, again := range []string{"DELETE", ""} {
		k, u := overMemory(t, proxytest.Options{}, nil)
		k.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
		deny := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/*"}]}`
		k.mustDo(t, "PUT", "/bkt?policy", nil, []byte(deny))
		k.do(t, "PUT", "/bkt", nil, nil)
		if resp, _ := k.do(t, "PUT", "/bkt/a", nil, []byte("x")); resp.StatusCode != http.StatusForbidden {
			t.Errorf("making the bucket again lifted its policy: %s", resp.Status)
		}
		u.SetHook(proxytest.LoseButPersist("DeleteBucket", 1))
		k.do(t, "DELETE", "/bkt", nil, nil)
		if again != "" {
			resp, body := k.do(t, "DELETE", "/bkt", nil, nil)
			wantError(t, resp, body, http.StatusNotFound, s3.NoSuchBucket)
		}
		k.mustDo(t, "PUT", "/bkt", nil, nil)
		if _, body := k.mustDo(t, "GET", "/bkt?encryption", nil, nil); strings.Contains(string(body), algKMS) {
			t.Errorf("again %q: the new bucket has the old one's encryption: %s", again, body)
		}
		if resp, body := k.do(t, "PUT", "/bkt/a", nil, []byte("x")); resp.StatusCode != http.StatusOK {
			t.Errorf("again %q: the new bucket has the old one's policy: %s %s", again, resp.Status, body)
		}
	}
}

// TestDeleteBucketThatPauses: a DeleteBucket that is slow to forget what it deleted leaves the configuration of a bucket
// that was made anew meanwhile as it is.
func TestDeleteBucketThatPauses(t *testing.T) {
	const deny = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/*"}]}`
	for _, configured := range []bool{false, true} {
		k, u := overMemory(t, proxytest.Options{}, nil)
		if configured {
			k.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
		}
		answered, release := make(chan struct{}), make(chan struct{})
		u.SetHook(proxytest.Nth("DeleteBucket", 1, proxytest.Fault{Header: func(http.Header) {
			close(answered) // the bucket is gone, its deleter does not know yet
			<-release
		}}))
		gone := k.asyncDo(t, "DELETE", "/bkt", nil, nil)
		<-answered
		k.mustDo(t, "PUT", "/bkt", nil, nil)
		k.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
		k.mustDo(t, "PUT", "/bkt?policy", nil, []byte(deny))
		close(release)
		if answer := <-gone; !strings.HasPrefix(answer, "204") {
			t.Error(answer)
		}
		resp, body := k.do(t, "PUT", "/bkt/a", nil, []byte("x"))
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
		if _, body := k.mustDo(t, "GET", "/bkt?encryption", nil, nil); !strings.Contains(string(body), algKMS) {
			t.Errorf("the new bucket's default is gone: %s", body)
		}
	}
}
