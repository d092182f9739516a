package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore/local"
	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/server"
)

// TestRacesAtTheEmbeddedStore: the same at a real store, where a copy onto itself has left new data under an old
// envelope.
func TestRacesAtTheEmbeddedStore(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	b := &kit{t: t, conf: server.Default()}
	b.start()
	ctx := context.Background()
	if err := b.s3.core.MakeBucket(ctx, jobBucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	plain := func(key string) {
		err := server.WithStore(ctx, &b.conf, func(store *minio.Core) error {
			body := strings.NewReader("OLD " + key + rand.Text())
			_, err := store.Client.PutObject(ctx, jobBucket, key, body, body.Size(), minio.PutObjectOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.race(4, plain, func() error { return b.migrate(noBookmark()) })
	sealed := func(key string) { b.put(key, []byte("OLD "+key), nil) }
	b.race(4, sealed, func() error { return b.rewrap(RewrapOptions{ToKey: b.newKey()}) })
	b.race(4, sealed, func() error { return b.rewrap(RewrapOptions{Reencrypt: true}) })
}

// TestJobsRefuseAnUnsafeStore: where the store compares nothing, a change in place could lose a write.
func TestJobsRefuseAnUnsafeStore(t *testing.T) {
	b := newKit(t, proxytest.Options{IgnoreWriteConditions: true})
	b.app.S3.Probe(context.Background())
	b.plain("a", []byte("secret"))
	b.put("b", []byte("sealed"), nil)
	if err := b.migrate(noBookmark()); err == nil {
		t.Error("migrate went through")
	}
	b.wantOut("does not honour If-Match on PutObject")
	if err := b.rewrap(RewrapOptions{ToKey: b.newKey()}); err == nil {
		t.Error("rewrap went through")
	}
	b.wantOut("does not honour If-Match on CompleteMultipartUpload")
}

// TestJobsTellKMSErrorsFromSSEC: where HEAD has to ask the KMS, and the key is disabled or waits for its deletion, it
// answers 400, as it does for SSE-C. Such an object hangs on its key, and the job must not end as if nothing did.
func TestJobsTellKMSErrorsFromSSEC(t *testing.T) {
	ctx := context.Background()
	b := newKit(t, proxytest.Options{})
	if _, err := b.app.ServiceKeys.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	disabled, doomed := b.newKey(), b.newKey()
	for name, key := range map[string]string{"a": disabled, "b": doomed} {
		kms, err := encrypt.NewSSEKMS(key, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.put(name, []byte(name), kms)
	}
	b.put("c", []byte("a client's"), customer(t))
	b.put("d", nil, customer(t))
	b.put("e", []byte("another's"), nil)
	_, err := b.app.KeyService.DisableKey(ctx, rootCaller(), &local.KeyRequest{KeyId: disabled})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.app.KeyService.ScheduleKeyDeletion(ctx, rootCaller(), &local.ScheduleKeyDeletionRequest{KeyId: doomed}); err != nil {
		t.Fatal(err)
	}
	b.loseServiceKey()

	for name, run := range map[string]func() error{
		"rewrap":         func() error { return b.rewrap(RewrapOptions{}) },
		"rewrap dry run": func() error { return b.rewrap(RewrapOptions{DryRun: true}) },
		"migrate":        func() error { return b.migrate(noBookmark()) },
		"verify":         func() error { return b.job().verifyAll() },
	} {
		t.Run(name, func(t *testing.T) {
			err := run()
			if err == nil || err.Error() != "2 of 5 objects failed" {
				t.Errorf("%v\n%s", err, b.out.String())
			}
		})
	}
}

// loseServiceKey restarts waxseal on a state without the newest service key.
func (b *kit) loseServiceKey() {
	b.t.Helper()
	ctx := context.Background()
	newest, _ := b.app.ServiceKeys.Current()
	b.s3.client.CloseIdleConnections()
	if err := b.app.Shutdown(ctx); err != nil {
		b.t.Fatal(err)
	}
	s, err := state.OpenBolt(filepath.Join(b.conf.DataDir, "state.db"))
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = s.Txn(ctx, nil, []state.Op{{Key: fmt.Sprintf("servicekey/%08x", newest), Delete: true}})
	if err = errors.Join(err, s.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.serve()
}

// jobsOver runs each job over everything.
func (b *kit) jobsOver() map[string]func() error {
	return map[string]func() error{
		"verify":  func() error { return b.job().verifyAll() },
		"rewrap":  func() error { return b.rewrap(RewrapOptions{Mode: "sse-s3"}) },
		"count":   func() error { return b.rewrap(RewrapOptions{DryRun: true}) },
		"migrate": func() error { return b.migrate(noBookmark()) },
	}
}

// TestMisnamed: an object listed under a wrong name, or listed twice, is a failure of every job, and never "deleted
// meanwhile": an operator would let its key go.
func TestMisnamed(t *testing.T) {
	for name, keys := range map[string][]string{
		"U+FFFD":         {"a", "q\uFFFD"},
		"U+FFFD, inside": {"a", "b/\uFFFD/c"},
		"twice":          {"a", "b", "b"},
		"another prefix": {"a", "../a"},
	} {
		for Job := range new(kit).jobsOver() {
			t.Run(name+"/"+Job, func(t *testing.T) {
				b := newKit(t, proxytest.Options{})
				b.put("a", []byte("secret"), nil)
				b.put("b", []byte("secret"), nil)
				b.s3.core, b.s3.client = listing(t, b.s3, keys)
				err := b.jobsOver()[Job]()
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("1 of %d objects failed", len(keys))) {
					t.Errorf("%v: %s", err, b.out.String())
				}
				if out := b.out.String(); !strings.Contains(out, "under another name") || strings.Contains(out, gone) {
					t.Errorf("%s", out)
				}
			})
		}
	}
}

// listing is the access of a with a list of its own.
func listing(t *testing.T, a *access, keys []string) (*minio.Core, *http.Client) {
	t.Helper()
	var doc strings.Builder
	doc.WriteString("<ListBucketResult><IsTruncated>false</IsTruncated>")
	for _, key := range keys {
		fmt.Fprintf(&doc, "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;a&quot;</ETag><Size>6</Size></Contents>", key)
	}
	doc.WriteString("</ListBucketResult>")
	through := a.client.Transport
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Get("list-type") == "" {
			return through.RoundTrip(r)
		}
		return &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{"Content-Type": {"application/xml"}},
			Body: io.NopCloser(strings.NewReader(doc.String())), ContentLength: int64(doc.Len())}, nil
	})
	core, err := minio.NewCore(a.URL.Host, &minio.Options{Creds: miniocreds.NewStaticV4(a.AccessKey, a.SecretKey, ""), Region: a.Region,
		BucketLookup: minio.BucketLookupPath, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return core, &http.Client{Transport: transport}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestFailuresAreCapped: the report names some failed objects, and the number of the rest.
func TestFailuresAreCapped(t *testing.T) {
	var out, failures bytes.Buffer
	j := &Job{out: &out, failures: &failures, shown: 2, counts: map[string]int{}}
	for i := range 5 {
		j.note(minio.ObjectInfo{Key: fmt.Sprint("key", i)}, "", errors.New("away"))
	}
	if err := j.summary(opened); err == nil || strings.Contains(out.String(), "FAILED") {
		t.Errorf("%v: %s", err, out.String())
	}
	if want := "FAILED  key0: away\nFAILED  key1: away\n3 more objects failed: --show-failures 0 names all\n"; failures.String() != want {
		t.Errorf("%q", failures.String())
	}
}

// TestListedAndNotThere: a listed object without data is not counted as deleted.
func TestListedAndNotThere(t *testing.T) {
	b := newKit(t, proxytest.Options{ListMetadata: true}) // else the listing itself looks for it, and leaves it out
	jobs := map[string]func() error{
		"verify": func() error { return b.job().verifyAll() },
		"rewrap": func() error { return b.rewrap(RewrapOptions{Mode: "sse-s3"}) },
	}
	for name, Job := range jobs {
		for _, key := range []string{"a", "ab", "b"} {
			b.put(key, []byte("secret"), nil)
		}
		b.store.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Key == "a" && (op.Method == http.MethodGet || op.Method == http.MethodHead) {
				return proxytest.Fault{Before: s3.NewError(s3.NoSuchKey)}
			}
			return proxytest.Fault{}
		})
		b.out.Reset()
		if err := Job(); err == nil || !strings.Contains(b.out.String(), "FAILED  a: is listed, and not there") {
			t.Errorf("%s: %v\n%s", name, err, b.out.String())
		}
		var deleted atomic.Bool
		b.store.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Key == "a" && !deleted.Swap(true) {
				b.store.Delete(jobBucket, "a")
			}
			return proxytest.Fault{}
		})
		b.out.Reset()
		if err := Job(); err != nil || !strings.Contains(b.out.String(), "1 deleted meanwhile") {
			t.Errorf("%s of a deleted one: %v\n%s", name, err, b.out.String())
		}
		b.store.SetHook(nil)
	}
}

// TestOrdersAreTheOperators: no client may give the orders of a job, whatever its rights.
func TestOrdersAreTheOperators(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.app.S3.Serve(l, nil) }() // ends with the app
	t.Setenv("WAXSEAL_ACCESS_KEY", b.s3.AccessKey)
	t.Setenv("WAXSEAL_SECRET_KEY", b.s3.SecretKey)
	client := b.accessBy("http://" + l.Addr().String())
	b.put("a", make([]byte, 6<<20), nil) // a copy of less seals it anew in any case
	before, _ := b.store.Object(jobBucket, "a")
	h, err := client.head(context.Background(), jobBucket, "a", "")
	if err != nil || h.Get(s3.HeaderKeyVersion) != "" {
		t.Errorf("a client is told the version: %v %v", h, err)
	}
	_, err = client.core.CopyObject(context.Background(), jobBucket, "a", jobBucket, "a", map[string]string{s3.HeaderOrder: s3.OrderReencrypt}, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if code := codeOf(err); code != "InvalidRequest" {
		t.Errorf("a copy onto itself that changes nothing: %v", err)
	}
	_, err = client.core.CopyObject(context.Background(), jobBucket, "a", jobBucket, "a", map[string]string{s3.HeaderOrder: s3.OrderReencrypt, s3.HeaderSSE: "AES256"}, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	if after, _ := b.store.Object(jobBucket, "a"); err != nil || !bytes.Equal(before.Body, after.Body) {
		t.Errorf("the client's order was followed: %v", err)
	}
	if b.store.Saw(s3.OrderReencrypt) {
		t.Error("the store was shown the order")
	}
	if info, err := os.Stat(filepath.Join(b.conf.DataDir, "jobs.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the operator's socket: %v %v", info, err)
	}
}
