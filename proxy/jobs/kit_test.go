package jobs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/server"
)

// kit is a waxseal as a job finds it.
type kit struct {
	t     *testing.T
	conf  server.Config
	app   *server.App
	s3    *access
	store *proxytest.Upstream // nil: the embedded store
	out   bytes.Buffer
}

const jobBucket = "photos"

// newKit starts waxseal in front of a store in memory. Its bucket is in read_through.
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

// serve starts waxseal on the present data directory.
func (b *kit) serve() {
	t := b.t
	t.Helper()
	app, err := server.Assemble(context.Background(), &b.conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b.app = app
	<-app.Probed // before the probe ends, keys with dot segments are refused
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

// accessBy returns a job's access to an endpoint; without a URL, to the serving waxseal.
func (b *kit) accessBy(endpoint string) (a *access) {
	b.t.Helper()
	err := server.WithS3(context.Background(), &b.conf, endpoint, server.Task{Name: "verify"}, io.Discard, func(s *server.S3Access) (err error) {
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
	return (&rewrap{Job: j, RewrapOptions: f, keyUses: map[keyUse]int{}}).all(context.Background(), noBookmark())
}

// wantOut looks for lines in the job's output.
func (b *kit) wantOut(lines ...string) {
	b.t.Helper()
	for _, l := range lines {
		if !strings.Contains(b.out.String(), l) {
			b.t.Errorf("no %q in:\n%s", l, b.out.String())
		}
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
