package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// awayState is a state store that can be away.
type awayState struct {
	state.Store
	mu   sync.Mutex
	away bool
	gets int
}

func (a *awayState) set(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func (a *awayState) check() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gets++
	if a.away {
		return fmt.Errorf("%w: away", state.ErrUnavailable)
	}
	return nil
}

func (a *awayState) Get(ctx context.Context, key string) (state.Entry, error) {
	if err := a.check(); err != nil {
		return state.Entry{}, err
	}
	return a.Store.Get(ctx, key)
}

func (a *awayState) Range(ctx context.Context, prefix, after string, limit int) ([]state.Entry, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return a.Store.Range(ctx, prefix, after, limit)
}

func (a *awayState) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if err := a.check(); err != nil {
		return 0, err
	}
	return a.Store.Txn(ctx, conds, ops)
}

// replicaOver starts a proxy that is one of several over a state.
func replicaOver(t *testing.T, up store.Config, s state.Store, name string, window time.Duration) *kit {
	t.Helper()
	r, err := state.Join(t.Context(), s, name, slog.New(slog.DiscardHandler), time.Hour, bucketPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Leave(context.Background()) }) // the state may be away
	return start(t, up, func(c *Config) { c.State, c.Replicas, c.Window = s, r, window })
}

// old is a replica that does not follow the state any more.
type old struct{}

func (old) Age() time.Duration            { return state.FreshFor }
func (old) Settle(context.Context, int64) {}

const denyPuts = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/*"}]}`

// TestReplicasFollowBucketConfiguration (attack R11): default encryption and policy that one replica has acknowledged are
// in force on the other at the next request, in both directions, also after it has cached another answer.
func TestReplicasFollowBucketConfiguration(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	s := state.NewMemory()
	a, b := replicaOver(t, up, s, "a", time.Minute), replicaOver(t, up, s, "b", time.Minute)
	a.mustDo(t, "PUT", "/bkt", nil, nil)
	for i, pair := range [][2]*kit{{a, b}, {b, a}} {
		first, second := pair[0], pair[1]
		algorithm := func(when, want string) {
			t.Helper()
			if resp, _ := second.mustDo(t, "PUT", "/bkt/o", nil, []byte("x")); resp.Header.Get(hdrSSE) != want {
				t.Errorf("round %d, %s: sealed with %q, want %q", i, when, resp.Header.Get(hdrSSE), want)
			}
		}
		algorithm("before", algAES256)
		first.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
		algorithm("by default", algKMS)
		first.mustDo(t, "DELETE", "/bkt?encryption", nil, nil)
		algorithm("after its removal", algAES256)
		first.mustDo(t, "PUT", "/bkt?policy", nil, []byte(denyPuts))
		resp, body := second.do(t, "PUT", "/bkt/o", nil, []byte("x"))
		wantError(t, resp, body, http.StatusForbidden, s3.AccessDenied)
		first.mustDo(t, "DELETE", "/bkt?policy", nil, nil)
		algorithm("after the policy's removal", algAES256)
	}
}

// TestStateAway: while the state does not answer, objects are read within the window, by what is known of the bucket.
// Whatever needs the state is 503 with Retry-After; beyond the window so is everything. After it all is as before.
func TestStateAway(t *testing.T) {
	for _, window := range []time.Duration{time.Hour, time.Nanosecond} {
		_, up := memoryStore(t, proxytest.Options{})
		away := &awayState{Store: state.NewMemory()}
		k := replicaOver(t, up, away, "a", window)
		k.mustDo(t, "PUT", "/bkt", nil, nil)
		k.mustDo(t, "PUT", "/bkt/o", nil, []byte("x"))
		away.set(true)
		unavailable := func(what string, resp *http.Response, body []byte) {
			t.Helper()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "state store") {
				t.Errorf("%s: %s %s", what, resp.Status, body)
			}
		}
		resp, body := k.do(t, "POST", "/bkt/m?uploads", nil, nil)
		unavailable("CreateMultipartUpload", resp, body)
		resp, body = k.do(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
		unavailable("PutBucketEncryption", resp, body)
		resp, body = k.do(t, "GET", "/unknown/o", nil, nil)
		unavailable("a bucket that is not known", resp, body)
		// Out of date, as after FreshFor without a beat.
		k.server.buckets.replicas = old{}
		resp, body = k.do(t, "GET", "/bkt/o", nil, nil)
		if window == time.Hour {
			if resp.StatusCode != http.StatusOK || string(body) != "x" {
				t.Errorf("GET within the window: %s %s", resp.Status, body)
			}
		} else {
			unavailable("GET beyond the window", resp, body)
		}
		away.set(false)
		k.mustDo(t, "GET", "/bkt/o", nil, nil)
		k.mustDo(t, "PUT", "/bkt?encryption", withMD5(kmsByDefault), []byte(kmsByDefault))
	}
}
