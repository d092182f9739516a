package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	mc "github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// memoryStore is a store in memory with faults to order.
func memoryStore(t testing.TB, o proxytest.Options) (*proxytest.Upstream, store.Config) {
	t.Helper()
	u := proxytest.NewUpstream()
	u.Options = o
	srv := httptest.NewServer(u)
	t.Cleanup(srv.Close)
	return u, store.Config{Endpoint: srv.URL, AccessKey: "memory", SecretKey: "memory-secret"}
}

// faultyState fails one transaction, before or after it was made durable, and all after it: a crash.
type faultyState struct {
	state.Store
	mu    sync.Mutex
	left  int
	after bool
	dead  bool
}

var errCrashed = errors.New("crashed")

func (f *faultyState) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return 0, errCrashed
	}
	f.left--
	if f.left != 0 {
		return f.Store.Txn(ctx, conds, ops)
	}
	f.dead = true
	if f.after {
		if _, err := f.Store.Txn(ctx, conds, ops); err != nil {
			return 0, err
		}
	}
	return 0, errCrashed
}

// replica is another server over the same state, disk and keys.
func (k *kit) replica(t testing.TB, up store.Config, s state.Store, heldDir string) *kit {
	t.Helper()
	return start(t, up, func(c *Config) {
		c.State, c.HeldDir, c.Root, c.Provider, c.AllowInsecureSSEC = s, heldDir, k.root, k.kms, true
	})
}

// impatient is a client that does not repeat requests by itself.
func (k *kit) impatient(t testing.TB) minio.Core {
	t.Helper()
	c, err := minio.New(k.endpoint, &minio.Options{Creds: mc.NewStaticV4(testAccess, testSecret, ""), Region: "us-east-1", MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return minio.Core{Client: c}
}

// drive makes an object of three parts, one of them sent twice, and turns to the second server for whatever the first
// one fails at.
func drive(t *testing.T, first, second *kit, bucket, key string) {
	t.Helper()
	u := &mpu{t: t, core: first.impatient(t), bucket: bucket, key: key, parts: map[int]minio.CompletePart{}, data: map[int][]byte{}}
	again := func(what string, f func() error) {
		err := f()
		for range 3 {
			if err == nil {
				return
			}
			u.core = second.impatient(t)
			err = f()
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	again("create", func() (err error) {
		u.id, err = u.core.NewMultipartUpload(context.Background(), bucket, key, minio.PutObjectOptions{UserMetadata: map[string]string{"Colour": "blue"}, ContentType: "text/x-noise"})
		return err
	})
	again("part 1", func() error { return u.put(1, noise(1, 5*mib+3)) })
	again("part 2, first", func() error { return u.put(2, noise(9, 200)) })
	again("part 2", func() error { return u.put(2, noise(2, 1000)) })
	again("complete", func() error {
		info, err := u.complete()
		if err == nil && info.ETag != u.wantETag() {
			t.Errorf("ETag %s, want %s", info.ETag, u.wantETag())
		}
		return err
	})
	u.core = second.impatient(t)
	u.check()
	again("complete again", func() error { _, err := u.complete(); return err })
}

func TestMultipartCrashAtEveryStateWrite(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for _, after := range []bool{false, true} {
		for n := 1; n <= 8; n++ {
			t.Run(fmt.Sprintf("write %d, durable %t", n, after), func(t *testing.T) {
				_, up := memoryStore(t, proxytest.Options{ForgetCompleted: n%2 == 0})
				dir, mem := t.TempDir(), state.NewMemory()
				second := start(t, up, func(c *Config) { c.State, c.HeldDir = mem, dir })
				b := second.bucket(t)
				first := second.replica(t, up, &faultyState{Store: mem, left: n, after: after}, dir)
				drive(t, first, second, b, "k")
			})
		}
	}
}

func TestMultipartStoreFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	hooks := map[string]func(op string, n int) proxytest.Hook{
		"fails": proxytest.FailNotPersist, "fails, done": proxytest.FailButPersist,
		"cut": proxytest.LoseNotPersist, "cut, done": proxytest.LoseButPersist,
		"late error": func(op string, n int) proxytest.Hook {
			return proxytest.Nth(op, n, proxytest.Fault{Late: s3.NewError(s3.InternalError)})
		},
	}
	for name, hook := range hooks {
		for _, forget := range []bool{false, true} {
			for _, at := range []struct {
				op string
				n  int
			}{{"CreateMultipartUpload", 1}, {"UploadPart", 1}, {"UploadPart", 2}, {"CompleteMultipartUpload", 1}} {
				if forget && at.op != "CompleteMultipartUpload" {
					continue // it is about nothing else
				}
				if at.op == "UploadPart" && (name == "fails" || name == "late error") {
					continue // as when it is cut
				}
				t.Run(fmt.Sprintf("%s %s %d, forgets %t", name, at.op, at.n, forget), func(t *testing.T) {
					store, up := memoryStore(t, proxytest.Options{ForgetCompleted: forget})
					k := start(t, up, nil)
					b := k.bucket(t)
					store.SetHook(hook(at.op, at.n))
					drive(t, k, k, b, "k")
				})
			}
		}
	}
}

// A Complete whose answer was lost is recognised at once: the client need not even ask again.
func TestMultipartLostAnswer(t *testing.T) {
	for _, mode := range []string{"S3", "C with its key", "C without"} {
		t.Run(mode, func(t *testing.T) {
			store, up := memoryStore(t, proxytest.Options{ForgetCompleted: true})
			k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
			b := k.bucket(t)
			var u *mpu
			if mode == "S3" {
				u = k.upload(t, b, "k", nil)
			} else {
				u = k.upload(t, b, "k", ssec(t, 3))
			}
			u.mustPut(1, noise(1, 5*mib))
			u.mustPut(2, noise(2, 10))
			store.SetHook(proxytest.LoseButPersist("CompleteMultipartUpload", 1))
			opts := minio.PutObjectOptions{ServerSideEncryption: u.partSSE()}
			if mode == "C without" {
				opts = minio.PutObjectOptions{}
			}
			info, err := k.impatient(t).CompleteMultipartUpload(context.Background(), b, "k", u.id, u.list(), opts)
			if err != nil || info.ETag != u.wantETag() {
				t.Errorf("%v, ETag %s, want %s", err, info.ETag, u.wantETag())
			}
			u.check()
		})
	}
}

// An SSE-C upload may be completed without its key, as on S3, also by another replica, and more than once.
func TestMultipartBlind(t *testing.T) {
	store, up := memoryStore(t, proxytest.Options{})
	dir, mem := t.TempDir(), state.NewMemory()
	k := start(t, up, func(c *Config) { c.State, c.HeldDir, c.AllowInsecureSSEC = mem, dir, true })
	other := k.replica(t, up, mem, dir)
	b := k.bucket(t)
	u := k.upload(t, b, "k", ssec(t, 3))
	u.mustPut(1, noise(1, 5*mib))
	u.mustPut(2, noise(2, 10))
	complete := func(k *kit, parts []minio.CompletePart) error {
		_, err := k.impatient(t).CompleteMultipartUpload(context.Background(), b, "k", u.id, parts, minio.PutObjectOptions{})
		return err
	}
	store.SetHook(proxytest.FailNotPersist("CompleteMultipartUpload", 0))
	for _, list := range [][]minio.CompletePart{u.list(), u.list()[:1], u.list()} {
		wantCode(t, complete(k, list), s3.InternalError)
	}
	store.SetHook(nil)
	if err := complete(other, u.list()); err != nil {
		t.Fatal(err)
	}
	u.check()
	if err := complete(other, u.list()); err != nil {
		t.Errorf("Complete again: %v", err)
	}
}

// Two Completes at once make one object, whole, and both are told so.
func TestMultipartCompleteTwiceAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for _, servers := range []int{1, 2} {
		for _, forget := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d servers, forgets %t", servers, forget), func(t *testing.T) {
				_, up := memoryStore(t, proxytest.Options{ForgetCompleted: forget})
				dir, mem := t.TempDir(), state.NewMemory()
				k := start(t, up, func(c *Config) { c.State, c.HeldDir = mem, dir })
				kits := []*kit{k, k}
				if servers == 2 {
					kits[1] = k.replica(t, up, mem, dir)
				}
				b := k.bucket(t)
				for round := range 3 {
					u := k.upload(t, b, fmt.Sprint("k", round), nil)
					u.mustPut(1, noise(1, 5*mib))
					u.mustPut(2, noise(uint64(round), 100))
					var wg sync.WaitGroup
					errs := make([]error, 4)
					for i := range errs {
						wg.Go(func() {
							core := minio.Core{Client: kits[i%2].client(t)}
							_, errs[i] = core.CompleteMultipartUpload(context.Background(), b, u.key, u.id, u.list(), minio.PutObjectOptions{})
						})
					}
					wg.Wait()
					for _, err := range errs {
						if err != nil {
							t.Errorf("round %d: %v", round, err)
						}
					}
					u.check()
				}
			})
		}
	}
}

// TestCompleteOfAnotherList: when the answer to a Complete was lost, only the list that made the object is told that it did,
// whatever was asked in between, with the upload's key and without.
func TestCompleteOfAnotherList(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	for name, header := range map[string]map[string]string{"SSE-S3": nil, "SSE-C, completed without the key": sseC(1)} {
		t.Run(name, func(t *testing.T) {
			k, u := overMemory(t, proxytest.Options{ForgetCompleted: true}, func(c *Config) { c.AllowInsecureSSEC = true })
			m := k.rawUpload(t, "/bkt/a", header)
			m.mustPut(1, header, noise(1, 5*mib))
			m.mustPut(2, header, noise(2, 100))
			var completed atomic.Bool
			u.SetHook(func(op proxytest.Op) proxytest.Fault {
				if op.Name == "CompleteMultipartUpload" {
					completed.Store(true)
					return proxytest.Fault{CutAfter: true}
				}
				return proxytest.Fault{CutBefore: completed.Load()} // the store is away
			})
			if resp, body := m.complete(nil); resp.StatusCode != 503 {
				t.Fatalf("the lost answer: %s %s", resp.Status, body)
			}
			second := m.etags[2]
			delete(m.etags, 2)
			if resp, body := m.complete(nil); resp.StatusCode != 503 {
				t.Errorf("list [1] while the store is away: %s %s", resp.Status, body)
			}
			u.SetHook(nil)
			if resp, body := m.complete(nil); resp.StatusCode != 404 {
				t.Errorf("list [1], of which the object is not: %s %s", resp.Status, body)
			}
			m.etags[2] = second
			if resp, body := m.complete(nil); resp.StatusCode != 200 {
				t.Errorf("list [1 2], of which the object is: %s %s", resp.Status, body)
			}
		})
	}
}
