package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/local"
	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/server"
	"waxseal/sse"
)

// kit is a waxseal as a job finds it.
type kit struct {
	t     *testing.T
	conf  server.Config
	app   *server.App
	s3    *access
	store *proxytest.Upstream // nil: the embedded one
	out   bytes.Buffer
}

const jobBucket = "photos"

// newKit is one in front of a store in memory. The bucket is one whose plaintext is served.
func newKit(t *testing.T, options proxytest.Options, change ...func(*server.Config)) *kit {
	t.Helper()
	store, url := proxytest.StartUpstream(t, options, jobBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	b := &kit{t: t, store: store, conf: server.Default()}
	b.conf.UpstreamEndpoint = url
	for _, c := range change {
		c(&b.conf)
	}
	b.start()
	return b
}

// start puts a waxseal together on a fresh data directory, and finds it as a job does.
func (b *kit) start() {
	t := b.t
	t.Helper()
	b.conf.DataDir, b.conf.ReadThrough, b.conf.AllowInsecureSSEC = t.TempDir(), []string{jobBucket}, true
	b.serve()
}

// serve puts it together on the data directory that there is.
func (b *kit) serve() {
	t := b.t
	t.Helper()
	app, err := server.Assemble(context.Background(), &b.conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.app = app
	<-app.Probed // until then keys that look like paths are refused
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			t.Log(err)
		}
	})
	if b.s3 = b.accessBy(""); !b.s3.Operator {
		t.Fatalf("the job did not find the waxseal that serves: %+v", b.s3)
	}
}

// accessBy is how a job reaches an endpoint; none: the waxseal that serves.
func (b *kit) accessBy(endpoint string) (a *access) {
	b.t.Helper()
	err := server.WithS3(context.Background(), &b.conf, endpoint, io.Discard, func(s *server.S3Access) (err error) {
		b.t.Cleanup(s.Transport.CloseIdleConnections)
		a, err = newAccess(Endpoint{URL: s.URL, Transport: s.Transport, Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey,
			Store: s.Store, ReadThrough: s.ReadThrough, Operator: s.Operator})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *kit) job() *Job {
	b.out.Reset()
	return &Job{s3: b.s3, bucket: jobBucket, marks: b.conf.DataDir, workers: 4, out: &b.out, failures: &b.out, progress: io.Discard}
}

// put writes through waxseal.
func (b *kit) put(key string, body []byte, side encrypt.ServerSide) {
	b.t.Helper()
	_, err := b.s3.core.Client.PutObject(context.Background(), jobBucket, key, bytes.NewReader(body), int64(len(body)),
		minio.PutObjectOptions{ServerSideEncryption: side, ContentType: "text/plain", UserMetadata: map[string]string{"Colour": "red"}, UserTags: map[string]string{"a": "b"}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// read reads through waxseal.
func (b *kit) read(key string) []byte {
	b.t.Helper()
	body, _, _, err := b.s3.core.GetObject(context.Background(), jobBucket, key, minio.GetObjectOptions{})
	if err != nil {
		b.t.Fatalf("%s: %v", key, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		b.t.Fatalf("%s: %v", key, err)
	}
	return got
}

func (b *kit) head(key string) http.Header {
	b.t.Helper()
	h, err := b.s3.head(context.Background(), jobBucket, key, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

// plain puts an object at the store behind waxseal's back, as it was before.
func (b *kit) plain(key string, body []byte) {
	b.store.PutObject(jobBucket, key, body, http.Header{"X-Amz-Meta-Colour": {"red"}, "Content-Type": {"text/plain"}})
}

func (b *kit) newKey() string {
	b.t.Helper()
	out, err := b.app.KeyService.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.KeyMetadata.Arn
}

func rootCaller() keystore.Caller {
	return keystore.CallerOf(iam.RootOf("000000000000"))
}

func (b *kit) migrate(mark *bookmark) error {
	return b.job().migrateAll(context.Background(), mark)
}

func (b *kit) rewrap(f RewrapOptions) error {
	b.t.Helper()
	if err := f.check(true); err != nil {
		b.t.Fatal(err)
	}
	j := b.job()
	j.dryRun = f.DryRun
	return (&rewrap{Job: j, RewrapOptions: f, hang: map[hanging]int{}}).all(context.Background(), noBookmark())
}

// wantOut looks for lines in what the job printed.
func (b *kit) wantOut(lines ...string) {
	b.t.Helper()
	for _, l := range lines {
		if !strings.Contains(b.out.String(), l) {
			b.t.Errorf("no %q in:\n%s", l, b.out.String())
		}
	}
}

func TestMigrate(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	bodies := map[string][]byte{"a": []byte("secret one"), "dir/b": []byte("secret two"), "empty": {}, "odd +%ü//../x": []byte("secret three")}
	for key, body := range bodies {
		b.plain(key, body)
	}
	b.put("sealed", []byte("sealed before"), nil)
	b.put("c", []byte("a client's"), customer(t))
	tag := b.head("a").Get("Etag")

	j := b.job()
	j.dryRun = true
	if err := j.migrateAll(context.Background(), noBookmark()); err != nil {
		t.Fatal(err)
	}
	b.wantOut("6 objects: 4 to be encrypted, 2 encrypted already")
	if !b.store.Contains([]byte("secret one")) {
		t.Fatal("a dry run wrote")
	}
	for range 2 {
		if err := b.migrate(noBookmark()); err != nil {
			t.Fatal(err, b.out.String())
		}
	}
	b.wantOut("6 objects: 6 encrypted already", "Take photos out of read_through now.")
	for key, body := range bodies {
		if len(body) > 0 && b.store.Contains(body) {
			t.Errorf("%s is still at the store in the clear", key)
		}
		if got := b.read(key); !bytes.Equal(got, body) {
			t.Errorf("%s reads %q", key, got)
		}
		h := b.head(key)
		if h.Get(s3.HeaderPlaintext) != "" || h.Get(s3.HeaderSSE) != "AES256" || h.Get("X-Amz-Meta-Colour") != "red" || h.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %v", key, h)
		}
	}
	if got := b.head("a").Get("Etag"); got != tag {
		t.Errorf("the ETag was %s and is %s", tag, got)
	}
}

func customer(t *testing.T) encrypt.ServerSide {
	t.Helper()
	c, err := encrypt.NewSSEC(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMigrateTakesNothingThatWasStripped: where read_through does not name the bucket, an object whose envelope the
// store took away is refused and stays what it is. It is not sealed as if it were the client's.
func TestMigrateTakesNothingThatWasStripped(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	sealed := "sealed-only"
	b.store.CreateBucket(sealed)
	b.store.PutObject(sealed, "o", []byte("put there by the store"), nil)
	j := b.job()
	j.bucket = sealed
	if j.servesPlaintext() {
		t.Error("the job takes the bucket")
	}
	if err := j.migrateAll(context.Background(), noBookmark()); err == nil {
		t.Error("the job went through")
	}
	if o, _ := b.store.Object(sealed, "o"); o.Header.Get("X-Amz-Meta-Waxseal") != "" || string(o.Body) != "put there by the store" {
		t.Errorf("the object was sealed: %v", o.Header)
	}
}

// TestMigrateVersioned: an earlier version cannot be changed, and the job says that it is there.
func TestMigrateVersioned(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	if err := b.s3.core.EnableVersioning(context.Background(), jobBucket); err != nil {
		t.Fatal(err)
	}
	b.plain("a", []byte("secret"))
	if err := b.migrate(noBookmark()); err != nil {
		t.Fatal(err)
	}
	b.wantOut("1 encrypted, with an earlier version left in plaintext")
	if got := b.read("a"); string(got) != "secret" {
		t.Errorf("read %q", got)
	}
}

// race lets a client write while a job works on the same objects, and wants every acknowledged write to be there.
func (b *kit) race(rounds int, prepare func(key string), work func() error) {
	b.t.Helper()
	for round := range rounds {
		const n = 8
		var fresh [n][]byte
		for i := range n {
			prepare(fmt.Sprint("k", i))
			fresh[i] = []byte(fmt.Sprintf("NEW %d %d %s", round, i, strings.Repeat("x", i*5000)))
		}
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i*round) * 300 * time.Microsecond)
				b.put(fmt.Sprint("k", i), fresh[i], nil)
			})
		}
		if err := work(); err != nil {
			b.t.Errorf("round %d: %v\n%s", round, err, b.out.String())
		}
		wg.Wait()
		for i := range n {
			if got := b.read(fmt.Sprint("k", i)); !bytes.Equal(got, fresh[i]) {
				b.t.Fatalf("round %d: the acknowledged write of k%d is lost: %.20q", round, i, got)
			}
		}
	}
}

// TestMigrateRace: a self-copy at the store would lose writes or leave them under an old envelope; this must not.
func TestMigrateRace(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	b := newKit(t, proxytest.Options{})
	b.race(25, func(key string) { b.plain(key, []byte("OLD "+key+rand.Text())) }, func() error { return b.migrate(noBookmark()) })
}

func TestRewrapRace(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	b := newKit(t, proxytest.Options{})
	key, other := b.newKey(), b.newKey()
	for name, f := range map[string]RewrapOptions{
		"another key": {ToKey: key}, "another mode": {Mode: "dsse-kms", ToKey: other}, "a new data key": {Reencrypt: true},
	} {
		t.Run(name, func(t *testing.T) {
			b.race(10, func(key string) { b.put(key, []byte("OLD "+key), nil) }, func() error { return b.rewrap(f) })
		})
	}
}

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

func TestRewrapModes(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	key, other := b.newKey(), b.newKey()
	body := bytes.Repeat([]byte("0123456789"), 200_000)
	b.put("small", []byte("small"), nil)
	b.put("large", body, nil)
	b.put("c", []byte("a client's"), customer(t))
	for _, step := range []struct {
		name      string
		f         RewrapOptions
		algorithm string
		key       string
		bucketKey string
		keepsETag bool
	}{
		{"to a KMS key", RewrapOptions{ToKey: key}, "aws:kms", key, "", true},
		{"to another KMS key, with a Bucket Key", RewrapOptions{ToKey: other, BucketKey: "true"}, "aws:kms", other, "true", true},
		{"a new data key", RewrapOptions{Reencrypt: true}, "aws:kms", other, "true", false},
		{"without a Bucket Key", RewrapOptions{BucketKey: "false"}, "aws:kms", other, "", true},
		{"to DSSE-KMS", RewrapOptions{Mode: "dsse-kms"}, "aws:kms:dsse", other, "", false},
		{"DSSE-KMS under another key", RewrapOptions{ToKey: key}, "aws:kms:dsse", key, "", false},
		{"back to SSE-S3", RewrapOptions{Mode: "sse-s3"}, "AES256", "", "", false},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := b.head("small").Get("Etag")
			if err := b.rewrap(step.f); err != nil {
				t.Fatal(err, b.out.String())
			}
			b.wantOut("1 SSE-C, not opened", "3 objects: 2 ")
			h := b.head("small")
			if h.Get(s3.HeaderSSE) != step.algorithm || h.Get(s3.HeaderSSEKMSKeyID) != step.key || h.Get(s3.HeaderSSEBucketKey) != step.bucketKey {
				t.Errorf("it is %v", h)
			}
			if h.Get("X-Amz-Meta-Colour") != "red" || (h.Get("Etag") == before) != step.keepsETag {
				t.Errorf("ETag %s, was %s; %v", h.Get("Etag"), before, h)
			}
			if got := b.read("large"); !bytes.Equal(got, body) {
				t.Errorf("large: %d bytes", len(got))
			}
			if err := b.rewrap(RewrapOptions{DryRun: true}); err != nil {
				t.Fatal(err)
			}
			b.wantOut("3 objects: 2 as wanted already, 1 SSE-C, not opened")
		})
	}
}

// TestRewrapVersions: after a key's rotation, objects hang on its old version until they are rewrapped; the data does
// not move, and ETag, context and metadata stay.
func TestRewrapVersions(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	key := b.newKey()
	kms, err := encrypt.NewSSEKMS(key, map[string]string{"department": "7"})
	if err != nil {
		t.Fatal(err)
	}
	b.put("a", []byte("one"), kms)
	b.put("b", bytes.Repeat([]byte("two"), 500_000), kms)
	if _, err := b.app.KeyService.RotateKeyOnDemand(context.Background(), rootCaller(), &local.KeyRequest{KeyId: key}); err != nil {
		t.Fatal(err)
	}
	tag := b.head("a").Get("Etag")
	b.put("new", []byte("three"), kms)
	if err := b.rewrap(RewrapOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	b.wantOut("         2  aws:kms  "+key+"  version ", "(older)", "         1  aws:kms  "+key+"  version ", "(newest)", "2 to be rewrapped, 1 as wanted already")
	b.store.ClearRequests()
	if err := b.rewrap(RewrapOptions{}); err != nil {
		t.Fatal(err, b.out.String())
	}
	b.wantOut("         3  aws:kms  "+key+"  version ", "2 rewrapped, 1 as wanted already")
	if strings.Contains(b.out.String(), "(older)") {
		t.Errorf("something is left on the old version:\n%s", b.out.String())
	}
	for _, r := range b.store.Requests() {
		// The probe of the store writes, too, in a bucket of its own.
		if r.Bucket == jobBucket && (r.Operation == "PutObject" || r.Operation == "UploadPart") {
			t.Errorf("data moved: %s %s", r.Method, r.URI)
		}
	}
	if got := b.head("a").Get("Etag"); got != tag {
		t.Errorf("the ETag was %s and is %s", tag, got)
	}
	if got := b.read("a"); string(got) != "one" {
		t.Errorf("read %q", got)
	}
	o, _ := b.store.Object(jobBucket, "a")
	if env := envelopeOf(t, o.Header); env.Context["department"] != "7" {
		t.Errorf("the context is %v", env.Context)
	}
}

// TestRewrapVersioned: an earlier version cannot be changed, and the job says that it hangs on its key still.
func TestRewrapVersioned(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	old, next := b.newKey(), b.newKey()
	kms, err := encrypt.NewSSEKMS(old, nil)
	if err != nil {
		t.Fatal(err)
	}
	const note = "The bucket has versions"
	b.put("before", []byte("one"), kms)
	if err := b.rewrap(RewrapOptions{DryRun: true}); err != nil || strings.Contains(b.out.String(), note) {
		t.Errorf("without versions: %v\n%s", err, b.out.String())
	}
	if err := b.s3.core.EnableVersioning(context.Background(), jobBucket); err != nil {
		t.Fatal(err)
	}
	b.put("a", []byte("two"), kms)
	if err := b.rewrap(RewrapOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	b.wantOut("2 objects: 2 as wanted already", note)
	if err := b.rewrap(RewrapOptions{ToKey: next, FromKey: old}); err != nil {
		t.Fatal(err)
	}
	b.wantOut("2 objects: 2 rewrapped, with an earlier version left under the old key", note)
	if err := b.rewrap(RewrapOptions{Reencrypt: true}); err != nil {
		t.Fatal(err)
	}
	b.wantOut("2 objects: 2 encrypted anew, with an earlier version left under the old key", note)
}

// TestRewrapVersionsOfTransit: the engine rotates a key and tells nobody. An object under a Bucket Key cannot follow
// before that is renewed, and the job does not end well.
func TestRewrapVersionsOfTransit(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	engine := keystoretest.NewTransit("s.token", "root", "photos")
	transit := httptest.NewServer(engine)
	defer transit.Close()
	t.Setenv("WAXSEAL_KMS_TOKEN", "s.token")
	b := newKit(t, proxytest.Options{}, func(c *server.Config) {
		c.KMSProvider, c.KMSEndpoint, c.KMSRootKey = "transit", transit.URL, "root"
	})
	const key = "arn:aws:kms:us-east-1:000000000000:key/photos"
	kms, err := encrypt.NewSSEKMS(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.put("kms", []byte("one"), kms)
	b.put("root", []byte("two"), nil)
	if err := b.rewrap(RewrapOptions{}); err != nil {
		t.Fatal(err, b.out.String())
	}
	b.wantOut("1  aws:kms  "+key+"  version v1  (newest)", "2 objects: 2 as wanted already")
	engine.Rotate("photos")
	time.Sleep(1100 * time.Millisecond) // what the provider knows of a key's versions is a second old at most
	if err := b.rewrap(RewrapOptions{DryRun: true}); err != nil {
		t.Fatal(err, b.out.String())
	}
	b.wantOut("1  aws:kms  "+key+"  version v1  (older)", "2 objects: 1 to be rewrapped, 1 as wanted already")
	if err := b.rewrap(RewrapOptions{}); err != nil {
		t.Fatal(err, b.out.String())
	}
	b.wantOut("1  aws:kms  "+key+"  version v2  (newest)", "2 objects: 1 rewrapped, 1 as wanted already")
	if got := b.read("kms"); string(got) != "one" {
		t.Errorf("read %q", got)
	}

	if err := b.rewrap(RewrapOptions{BucketKey: "true", FromKey: key}); err != nil {
		t.Fatal(err, b.out.String())
	}
	engine.Rotate("photos")
	time.Sleep(1100 * time.Millisecond)
	if err := b.rewrap(RewrapOptions{}); err == nil || err.Error() != "1 of 2 objects failed" {
		t.Errorf("rewrap says %v", err)
	}
	b.wantOut("FAILED  kms: it is rewrapped, but under an older version of its key still")
}

// TestRewrapOfUnknownVersions: what hangs on a version that nobody tells is not "as wanted", unless a target is named.
func TestRewrapOfUnknownVersions(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:000000000000:key/photos"
	kms := hanging{sealedAs: sealedAs{"aws:kms", key, true}}
	older, newest := kms, kms
	older.version, older.current = "v1", "false"
	newest.version, newest.current = "v2", "true"
	for _, row := range []struct {
		f    RewrapOptions
		now  hanging
		what string
	}{
		{RewrapOptions{}, kms, unknown},
		{RewrapOptions{FromKey: key}, kms, unknown},
		{RewrapOptions{FromKey: key + "s"}, kms, otherKey},
		{RewrapOptions{}, older, rewrapped},
		{RewrapOptions{}, newest, asWanted},
		{RewrapOptions{ToKey: key}, kms, asWanted},
		{RewrapOptions{ToKey: key + "s"}, kms, rewrapped},
		{RewrapOptions{Mode: "sse-kms"}, kms, asWanted},
		{RewrapOptions{BucketKey: "true"}, kms, asWanted},
		{RewrapOptions{Reencrypt: true}, kms, reencrypted},
	} {
		r := &rewrap{RewrapOptions: row.f}
		if _, what := r.plan(row.now); what != row.what {
			t.Errorf("%+v, %v: %q, want %q", row.f, row.now, what, row.what)
		}
	}
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

// loseServiceKey starts it again on a state from before the newest key of what HEAD shows.
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

// TestReencrypt: the same object under a new data key.
func TestReencrypt(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	b.put("a", []byte("one"), nil)
	before, _ := b.store.Object(jobBucket, "a")
	if err := b.rewrap(RewrapOptions{}); err != nil {
		t.Fatal(err)
	}
	same, _ := b.store.Object(jobBucket, "a")
	if !bytes.Equal(before.Body, same.Body) {
		t.Error("a rewrap under the newest version wrote the data")
	}
	tag := b.head("a").Get("Etag")
	if err := b.rewrap(RewrapOptions{Reencrypt: true}); err != nil {
		t.Fatal(err)
	}
	after, _ := b.store.Object(jobBucket, "a")
	if bytes.Equal(before.Body, after.Body) || envelopeOf(t, before.Header).Commitment() == envelopeOf(t, after.Header).Commitment() {
		t.Error("it is under the same data key")
	}
	if got := b.read("a"); string(got) != "one" || b.head("a").Get("Etag") != tag || b.head("a").Get("X-Amz-Meta-Colour") != "red" {
		t.Errorf("read %q; %v", got, b.head("a"))
	}
}

func TestVerify(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	big := make([]byte, 3<<20)
	rand.Read(big)
	for i := range 5 {
		b.put(fmt.Sprint("good", i), big[:i*100_000], nil)
	}
	b.put("late", big, nil)
	b.put("early", []byte("small"), nil)
	b.put("lost", []byte("x"), nil)
	b.put("c", []byte("a client's"), customer(t))
	b.plain("old", []byte("in the clear"))
	if err := b.job().verifyAll(); err != nil {
		t.Fatal(err)
	}
	b.store.Mutate(jobBucket, "late", func(o *proxytest.Stored) { o.Body[2<<20] ^= 1 })
	b.store.Mutate(jobBucket, "early", func(o *proxytest.Stored) { o.Body[50] ^= 1 })
	b.store.Mutate(jobBucket, "lost", func(o *proxytest.Stored) { o.Header.Set("X-Amz-Meta-Waxseal", "AAAA") })
	err := b.job().verifyAll()
	if err == nil || err.Error() != "3 of 10 objects failed" {
		t.Errorf("verify says %v", err)
	}
	b.wantOut("FAILED  late: breaks off after ", "FAILED  early: The stored object failed authentication", "FAILED  lost: ",
		"10 objects: 5 opened, 1 not encrypted, 1 SSE-C, not opened")
}

func (j *Job) verifyAll() error {
	if err := j.each(context.Background(), noBookmark(), j.verify); err != nil {
		return err
	}
	return j.summary(opened, inTheClear, customerKey, gone)
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

// TestMisnamed: an object that is listed under another name than its own, or twice under one, is a failure of every job,
// and never "deleted meanwhile": whoever believed that would let its key go.
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

// TestFailuresAreCapped: a store that is away names a hundred objects, and says how many more there are.
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

// TestRewrapChecksItsKey: a key that nothing can be sealed under is refused before an object is touched.
func TestRewrapChecksItsKey(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	b.put("a", []byte("secret"), nil)
	disabled := b.newKey()
	if _, err := b.app.KeyService.DisableKey(context.Background(), rootCaller(), &local.KeyRequest{KeyId: disabled}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000": "NotFound", disabled: "disabled", b.newKey(): "", "": "",
	} {
		err := b.job().checkKey(t.Context(), key)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(minio.ToErrorResponse(err).Code+err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if uploads, err := b.s3.core.ListMultipartUploads(t.Context(), jobBucket, "", "", "", "", 10); err != nil || len(uploads.Uploads) > 0 {
		t.Errorf("%v, %v", uploads.Uploads, err)
	}
}

// TestListedAndNotThere: an object that the store lists and does not have is no deleted one.
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

// TestResume: a job that was interrupted goes on where it was, and one that failed goes on before the failure.
func TestResume(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	for i := range 40 {
		b.plain(fmt.Sprintf("k%02d", i), []byte("secret"))
	}
	open := func(anew bool) *bookmark {
		t.Helper()
		m, err := b.job().bookmark(anew, "migrate")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	b.store.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Method == http.MethodPut && op.Key == "k25" {
			return proxytest.Fault{Before: s3.NewError(s3.AccessDenied)}
		}
		return proxytest.Fault{}
	})
	if err := b.migrate(open(false)); err == nil || err.Error() != "1 of 40 objects failed" {
		t.Fatalf("migrate says %v\n%s", err, b.out.String())
	}
	b.store.SetHook(nil)
	m := open(false)
	if m.after() != "k24" {
		t.Fatalf("it goes on after %q", m.after())
	}
	if err := b.migrate(m); err != nil {
		t.Fatal(err)
	}
	b.wantOut("going on after k24", "15 objects: 1 encrypted, 14 encrypted already", "up to k24, was not looked at")
	if m := open(false); m.after() != "" {
		t.Errorf("the bookmark of a job that is through is still there: %q", m.after())
	}

	for i := range 40 {
		b.plain(fmt.Sprintf("k%02d", i), []byte("secret"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.store.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Method == http.MethodPut && op.Key == "k20" {
			cancel()
		}
		return proxytest.Fault{}
	})
	if err := b.job().migrateAll(ctx, open(false)); !errors.Is(err, context.Canceled) {
		t.Fatalf("migrate says %v", err)
	}
	b.store.SetHook(nil)
	m = open(false)
	if m.after() == "" || m.after() >= "k21" {
		t.Fatalf("it goes on after %q", m.after())
	}
	if err := b.migrate(m); err != nil {
		t.Fatalf("%v\n%s", err, b.out.String())
	}
	if b.store.Contains([]byte("secret")) {
		t.Error("something is still in the clear")
	}
	if names, _ := filepath.Glob(filepath.Join(b.conf.DataDir, "job-*")); len(names) != 0 {
		t.Errorf("left in the data directory: %v", names)
	}
}

// TestBookmarksAreOfOneStore: a job goes on where it was in the same store only. A bucket of the same name elsewhere is
// another one.
func TestBookmarksAreOfOneStore(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	other := newKit(t, proxytest.Options{})
	t.Setenv("WAXSEAL_ACCESS_KEY", "AKIAELSEWHERE")
	t.Setenv("WAXSEAL_SECRET_KEY", "elsewhere-secret")
	for name, s3 := range map[string]*access{
		"served": b.s3, "of another store": other.s3, "elsewhere": b.accessBy("https://a.example"), "elsewhere too": b.accessBy("https://b.example"),
	} {
		j := b.job()
		j.s3 = s3
		m, err := j.bookmark(false, "migrate")
		if err != nil {
			t.Fatal(err)
		}
		if m.after() != "" {
			t.Errorf("%s: it begins after %q", name, m.after())
		}
		if err := errors.Join(m.end(m.begin(name), true), m.close(false)); err != nil {
			t.Fatal(err)
		}
		if m, err = j.bookmark(false, "migrate"); err != nil || m.after() != name {
			t.Errorf("%s: it goes on after %q, %v", name, m.after(), err)
		}
	}
}

// TestOrdersAreTheOperators: what the jobs may order, no client may, whatever its rights.
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
	b.put("a", []byte("one"), nil)
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

// TestRetentionIsKept while it lasts: a store refuses to set one that is over.
func TestRetentionIsKept(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	b.store.SetObjectLock(jobBucket)
	b.store.SetHook(func(op proxytest.Op) proxytest.Fault {
		until, err := time.Parse(time.RFC3339, op.Header.Get(lockUntil))
		if err == nil && until.Before(time.Now()) {
			return proxytest.Fault{Before: s3.InvalidArgument(lockUntil, op.Header.Get(lockUntil), "The retain until date must be in the future!")}
		}
		return proxytest.Fault{}
	})
	const hold = "X-Amz-Object-Lock-Legal-Hold"
	past, future := "2020-01-01T00:00:00Z", time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	for key, until := range map[string]string{"past": past, "past-parts": past, "future": future, "future-parts": future} {
		b.store.PutObject(jobBucket, key, []byte("secret"), http.Header{lockMode: {"GOVERNANCE"}, lockUntil: {until}, hold: {"ON"}})
		if strings.HasSuffix(key, "-parts") {
			if err := b.job().copyInParts(context.Background(), key, b.head(key), nil, 6); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	if err := b.migrate(noBookmark()); err != nil {
		t.Fatal(err, b.out.String())
	}
	for key, until := range map[string]string{"past": "", "past-parts": "", "future": future, "future-parts": future} {
		h := b.head(key)
		if h.Get(lockUntil) != until || (h.Get(lockMode) != "") != (until != "") || h.Get(hold) != "ON" || h.Get(s3.HeaderPlaintext) != "" {
			t.Errorf("%s: %v", key, h)
		}
	}
}

// TestLargeCopies: what is too large for one copy is copied in parts, pinned like the rest.
func TestLargeCopies(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	body := bytes.Repeat([]byte("secret!!"), 1000)
	b.plain("a", body)
	h := b.head("a")
	if err := b.job().copyInParts(context.Background(), "a", h, nil, int64(len(body))); err != nil {
		t.Fatal(err)
	}
	if got := b.read("a"); !bytes.Equal(got, body) || b.store.Contains(body[:64]) {
		t.Errorf("%d bytes read back", len(got))
	}
	if after := b.head("a"); after.Get("X-Amz-Meta-Colour") != "red" || after.Get("Content-Type") != "text/plain" {
		t.Errorf("metadata %v", after)
	}
	b.plain("a", body)
	h = b.head("a")
	b.put("a", []byte("newer"), nil)
	if err := b.job().copyInParts(context.Background(), "a", h, nil, int64(len(body))); !changedMeanwhile(err) {
		t.Errorf("over a newer object: %v", err)
	}
	if got := b.read("a"); string(got) != "newer" {
		t.Errorf("read %q", got)
	}
	left, err := b.s3.core.ListMultipartUploads(context.Background(), jobBucket, "", "", "", "", 10)
	if err != nil || len(left.Uploads) != 0 {
		t.Errorf("uploads left: %v %v", left.Uploads, err)
	}
}

func envelopeOf(t *testing.T, h http.Header) *sse.Envelope {
	t.Helper()
	e, err := sse.ParseEnvelope(h.Get("X-Amz-Meta-Waxseal"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}
