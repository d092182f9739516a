package proxy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/bucketkey"
	embedded "waxseal/keystore/local"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// The tests of S3 Bucket Keys count calls to the key service where they are counted for the bill: in the audit log.

// load is a number of requests by several users in several buckets under several KMS keys.
type load struct {
	k       *contractKit
	users   []string
	buckets []string
	keys    []string
	n       int
	header  hdr // besides the KMS key
}

func newLoad(k *contractKit, n int) *load {
	return &load{k: k, n: n, users: []string{"alice", "bob", "carol"}, buckets: []string{k.bucket, k.newBucket()},
		keys: []string{k.newKey(), k.newKey()}, header: bucketKeyOn()}
}

// run sends n requests, each by the next user, to the next bucket, under the next key.
func (l *load) run(method string) {
	l.k.t.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	for i := range l.n {
		g.Go(func() error {
			user, bucket, key := l.users[i%3], l.buckets[i/3%2], l.keys[i/6%2]
			h, body := hdr(nil), ""
			if method == http.MethodPut {
				h, body = with(sseKMS(key), l.header), fmt.Sprint("object ", i)
			}
			resp, got := l.k.doAs(l.k.t, "AKIA"+user, user+"-secret", method, fmt.Sprintf("/%s/%d", bucket, i), h, []byte(body))
			if resp.StatusCode != http.StatusOK || method == http.MethodGet && string(got) != fmt.Sprint("object ", i) {
				return fmt.Errorf("%s %d: %s %s", method, i, resp.Status, got)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		l.k.t.Fatal(err)
	}
}

// TestBucketKeyCalls: 3 users in 2 buckets under 2 KMS keys write and read within one window. Each user, action, bucket
// and key is one event, and each bucket key may be one more: 32 at most, whatever the number of objects. Without Bucket
// Keys it is one for each request. WAXSEAL_TEST_BUCKETKEYS=full makes it 100,000 of each.
func TestBucketKeyCalls(t *testing.T) {
	n := 360
	if os.Getenv("WAXSEAL_TEST_BUCKETKEYS") == "full" {
		n = 100_000
	}
	k := startContract(t, nil)
	k.restart(func(c *bucketkey.Config) { c.PlaintextTTL = time.Hour }) // one window, however slow the machine is
	l := newLoad(k, n)
	k.run(t, "with Bucket Keys", func(t *testing.T) {
		k.audit.Reset()
		l.run("PUT")
		l.run("GET")
		calls := len(k.audit.Records())
		t.Logf("%d PUTs and %d GETs: %d KMS calls; %+v", n, n, calls, k.keys.Stats())
		if calls > 32 || calls < 24 {
			t.Errorf("%d KMS calls, want 24 to 32: %q", calls, k.calls())
		}
		k.checkRecords(t, l)
	})
	l.n = min(n, 360) // the rest need not be many
	k.run(t, "warm, it makes none, so that a slow KMS is not felt", func(t *testing.T) {
		k.faulty.set(nil, 20*time.Millisecond)
		defer k.faulty.set(nil, 0)
		k.wantCalls(func() { l.run("GET") })
		k.wantCalls(func() { l.run("PUT") })
	})
	k.run(t, "HEAD and LIST make none", func(t *testing.T) {
		k.wantCalls(func() {
			l.run("HEAD")
			k.ask("GET", "/"+l.buckets[0]+"?list-type=2", nil, "").ok(t)
		})
	})
	k.run(t, "without Bucket Keys, one for each request", func(t *testing.T) {
		l.header, l.n = nil, n
		k.audit.Reset()
		l.run("PUT")
		l.run("GET")
		if calls := len(k.audit.Records()); calls != 2*n {
			t.Errorf("%d KMS calls, want %d", calls, 2*n)
		}
		if got := k.audit.Count("GenerateDataKey"); got != n {
			t.Errorf("%d GenerateDataKey, want %d", got, n)
		}
	})
}

// checkRecords: every requester was authorised and audited for each action; the context is the bucket's ARN.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
func (k *contractKit) checkRecords(t *testing.T, l *load) {
	type use struct{ arn, action, bucket, key string }
	seen := map[use]int{}
	for _, r := range k.audit.Records() {
		if r.ErrorCode != "" || r.UserIdentity.InvokedBy != audit.Internal || r.SourceIPAddress != audit.Internal || r.UserAgent != audit.Internal {
			t.Errorf("record %+v", r)
		}
		var bucket string
		switch ec := r.RequestParameters["encryptionContext"].(type) {
		case map[string]string:
			bucket = ec["aws:s3:arn"]
		case keystore.Context:
			bucket = ec["aws:s3:arn"]
		}
		seen[use{r.UserIdentity.ARN, r.EventName, bucket, r.Resources[0].ARN}]++
	}
	for _, user := range l.users {
		for _, action := range []string{"GenerateDataKey", "Decrypt"} {
			for _, bucket := range l.buckets {
				for _, key := range l.keys {
					u := use{"arn:aws:iam::" + testAccount + ":user/" + user, action, "arn:aws:s3:::" + bucket, key}
					if n := seen[u]; n != 1 {
						t.Errorf("%v was recorded %d times, want once", u, n)
					}
				}
			}
		}
	}
}

// TestBucketKeyRestart: a new process goes on with the bucket keys of the old one.
func TestBucketKeyRestart(t *testing.T) {
	k := startContract(t, nil)
	l := newLoad(k, 24)
	l.run("PUT")
	blobs := k.blobs(t, l)
	if len(blobs) != 4 {
		t.Fatalf("%d bucket keys for 2 buckets and 2 KMS keys", len(blobs))
	}
	for range 3 {
		k.restart(nil)
		l.run("PUT")
		l.run("GET")
		if after := k.blobs(t, l); fmt.Sprint(after) != fmt.Sprint(blobs) {
			t.Fatalf("after a restart there are %d bucket keys in use, other ones", len(after))
		}
	}
	if s := k.keys.Stats(); s.GenerateDataKey != 0 {
		t.Errorf("%d bucket keys were made after the restart", s.GenerateDataKey)
	}
}

// restart replaces the proxy by a new one on the same state, store and key service.
func (k *contractKit) restart(change func(*bucketkey.Config)) {
	k.t.Helper()
	cfg := k.kit.server.cfg
	bk := bucketkey.Config{}
	if change != nil {
		change(&bk)
	}
	k.useKeys(&cfg, bk)
	k.startAgain(cfg)
}

// startAgain puts a new proxy in the place of the kit's.
func (k *contractKit) startAgain(cfg Config) {
	k.t.Helper()
	cfg.Metrics, cfg.HeldDir = nil, k.t.TempDir()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	k.kit = start(k.t, cfg.Upstream, func(c *Config) { *c = cfg })
	k.t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections) // or the end waits for them
}

// blobs are the bucket keys that a load's objects lie under.
func (k *contractKit) blobs(t *testing.T, l *load) map[string]bool {
	t.Helper()
	blobs := map[string]bool{}
	for i := range l.n {
		o, ok := k.store.Object(l.buckets[i/3%2], fmt.Sprint(i))
		if !ok {
			t.Fatalf("object %d is not there", i)
		}
		env := envelopeOfStored(t, o.Header)
		if !env.BucketKey {
			t.Fatalf("object %d has no bucket key", i)
		}
		blobs[string(env.KeyBlob)] = true
	}
	return blobs
}

// TestBucketKeyRevocation: a key that is disabled ends every requester's use. In the process that manages the keys it
// ends at once; elsewhere, or where the change is not heard of, within the window.
func TestBucketKeyRevocation(t *testing.T) {
	ctx := context.Background()
	k := startContract(t, nil)
	key := k.newKey()
	h := with(sseKMS(key), bucketKeyOn())
	users := []string{"alice", "bob", "carol"}
	warm := func() {
		k.t.Helper()
		for _, u := range users {
			k.askAs(u, "PUT", k.object(u), h, "x").ok(k.t)
			k.askAs(u, "GET", k.object(u), nil, "").ok(k.t)
		}
	}
	refused := func() {
		k.t.Helper()
		for _, u := range users {
			k.askAs(u, "PUT", k.object("new"), h, "x").fails(k.t, 400, s3.KMSDisabledException, key+" is disabled.")
			k.askAs(u, "GET", k.object(u), nil, "").fails(k.t, 400, s3.KMSDisabledException, key+" is disabled.")
		}
	}
	set := func(enabled bool) {
		k.t.Helper()
		var err error
		if enabled {
			_, err = k.kms.EnableKey(ctx, k.rootCaller(), &embedded.KeyRequest{KeyId: key})
		} else {
			_, err = k.kms.DisableKey(ctx, k.rootCaller(), &embedded.KeyRequest{KeyId: key})
		}
		if err != nil {
			k.t.Fatal(err)
		}
	}
	k.run(t, "at once, where the change is heard of", func(t *testing.T) {
		warm()
		set(false)
		refused()
		set(true)
		warm()
	})
	k.run(t, "one user's right to the key, too", func(t *testing.T) {
		warm()
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::` + testAccount + `:user/bob"},"Action":"kms:Decrypt","Resource":"*"}]}`
		if _, err := k.kms.PutKeyPolicy(ctx, k.rootCaller(), &embedded.PutKeyPolicyRequest{KeyId: key, Policy: policy}); err != nil {
			t.Fatal(err)
		}
		k.askAs("bob", "GET", k.object("bob"), nil, "").fails(t, 403, s3.AccessDenied, "")
		k.askAs("alice", "GET", k.object("alice"), nil, "").ok(t)
	})
	k.run(t, "within the window, where it is not", func(t *testing.T) {
		clock := &testClock{now: time.Now()}
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}`
		if _, err := k.kms.PutKeyPolicy(ctx, k.rootCaller(), &embedded.PutKeyPolicyRequest{KeyId: key, Policy: policy}); err != nil {
			t.Fatal(err)
		}
		k.deafRestart(func(c *bucketkey.Config) { c.Now = clock.Now })
		warm()
		set(false)
		clock.advance(4 * time.Minute)
		warm() // "requests that use this bucket-level key do not validate access against the KMS key policy"
		clock.advance(time.Minute + time.Second)
		refused()
		set(true)
		clock.advance(time.Minute) // a refusal is remembered for seconds
		warm()
	})
}

// deafRestart is restart without the key service's notices.
func (k *contractKit) deafRestart(change func(*bucketkey.Config)) {
	k.t.Helper()
	bk := bucketkey.Config{Service: keystore.Caller{AccountID: testAccount}}
	change(&bk)
	cfg := k.kit.server.cfg
	k.keys = bucketkey.New(k.faulty, cfg.State, k.sealer, bk)
	k.t.Cleanup(k.keys.Close)
	cfg.Keys = k.keys
	k.startAgain(cfg)
}

type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestBucketKeyContexts: objects with client contexts of their own still work when there are more of them than bucket
// keys are kept for; they get a key each, as without a Bucket Key, and say so.
func TestBucketKeyContexts(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	shared, own := 0, 0
	for i := range 80 {
		h := with(sseKMS(key), bucketKeyOn(), contextHeader(fmt.Sprintf(`{"id":"%d"}`, i)))
		a := k.ask("PUT", k.object(fmt.Sprint(i)), h, "x").ok(t)
		switch a.Header.Get(hdrBucket) {
		case "true":
			shared++
		default:
			own++
		}
		k.ask("GET", k.object(fmt.Sprint(i)), nil, "").ok(t)
	}
	if shared != 64 || own != 16 {
		t.Errorf("%d with a shared key and %d with their own", shared, own)
	}
}

// TestBucketKeySharing: a bucket key is shared by objects of one bucket under one KMS key, and by nothing else.
func TestBucketKeySharing(t *testing.T) {
	k := startContract(t, nil)
	a, b, other := k.newKey(), k.newKey(), k.newBucket()
	blob := func(bucket, name string, h hdr) string {
		k.t.Helper()
		k.ask("PUT", "/"+bucket+"/"+name, h, "x").ok(k.t)
		o, _ := k.store.Object(bucket, name)
		return string(envelopeOfStored(k.t, o.Header).KeyBlob)
	}
	h := with(sseKMS(a), bucketKeyOn())
	first := blob(k.bucket, "1", h)
	for name, row := range map[string]struct {
		bucket string
		h      hdr
		same   bool
	}{
		"another object":          {k.bucket, h, true},
		"another bucket":          {other, h, false},
		"another KMS key":         {k.bucket, with(sseKMS(b), bucketKeyOn()), false},
		"without a Bucket Key":    {k.bucket, sseKMS(a), false},
		"DSSE-KMS":                {k.bucket, dsse(a), false},
		"another client context":  {k.bucket, with(h, contextHeader(`{"a":"b"}`)), false},
		"an empty client context": {k.bucket, with(h, contextHeader(`{}`)), true},
	} {
		k.run(t, name, func(t *testing.T) {
			if got := blob(row.bucket, "2", row.h); (got == first) != row.same {
				t.Errorf("the same key: %v, want %v", got == first, row.same)
			}
		})
	}
}

// envelopeOfStored parses the envelope of an object at the store.
func envelopeOfStored(t testing.TB, h http.Header) *sse.Envelope {
	t.Helper()
	env, err := sse.ParseEnvelope(h.Get(s3.HeaderEnvelope))
	if err != nil {
		t.Fatal(err)
	}
	return env
}
