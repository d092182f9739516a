package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/proxy/proxytest"
)

// kit is a whole waxseal in front of a store in memory, and root's client of it.
type kit struct {
	t         *testing.T
	conf      Config
	app       *App
	core      *minio.Core
	transport *http.Transport
	store     *proxytest.Upstream
	with      Substitutes
}

const kitBucket = "photos"

func newKit(t *testing.T, change ...func(*Config)) *kit {
	t.Helper()
	return newKitWith(t, Substitutes{}, change...)
}

func newKitWith(t *testing.T, with Substitutes, change ...func(*Config)) *kit {
	t.Helper()
	store, url := proxytest.StartUpstream(t, proxytest.Options{}, kitBucket)
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	k := &kit{t: t, store: store, conf: Default(), with: with}
	k.conf.UpstreamEndpoint = url
	for _, c := range change {
		c(&k.conf)
	}
	k.start()
	return k
}

// start puts it together on a fresh data directory.
func (k *kit) start() {
	k.t.Helper()
	k.conf.DataDir, k.conf.AllowInsecureSSEC = k.t.TempDir(), true
	k.serve()
}

// serve assembles a waxseal on the existing data directory.
func (k *kit) serve() {
	t := k.t
	t.Helper()
	app, err := AssembleWith(context.Background(), &k.conf, slog.New(slog.DiscardHandler), k.with)
	if err != nil {
		t.Fatal(err)
	}
	k.app = app
	<-app.Probed // keys that look like paths are refused before the probe ends
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			t.Log(err)
		}
	})
	err = WithS3(context.Background(), &k.conf, "", Task{Name: "verify", URL: "s3://" + kitBucket}, io.Discard, func(a *S3Access) (err error) {
		if !a.Operator || a.Socket == "" {
			t.Fatalf("the job did not find the waxseal that serves: %+v", a)
		}
		k.transport = a.Transport
		k.core, err = minio.NewCore(a.URL.Host, &minio.Options{Creds: miniocreds.NewStaticV4(a.AccessKey, a.SecretKey, ""),
			Region: a.Region, BucketLookup: minio.BucketLookupPath, Transport: a.Transport})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.transport.CloseIdleConnections)
}

// end takes it apart.
func (k *kit) end() {
	k.t.Helper()
	k.transport.CloseIdleConnections()
	if err := k.app.Shutdown(context.Background()); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) put(key string, body []byte, side encrypt.ServerSide) {
	k.t.Helper()
	_, err := k.core.Client.PutObject(context.Background(), kitBucket, key, bytes.NewReader(body), int64(len(body)),
		minio.PutObjectOptions{ServerSideEncryption: side})
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) read(key string) []byte {
	k.t.Helper()
	body, _, _, err := k.core.GetObject(context.Background(), kitBucket, key, minio.GetObjectOptions{})
	if err != nil {
		k.t.Fatalf("%s: %v", key, err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		k.t.Fatalf("%s: %v", key, err)
	}
	return got
}

func (k *kit) newKey() string {
	k.t.Helper()
	out, err := k.app.KeyService.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{})
	if err != nil {
		k.t.Fatal(err)
	}
	return out.KeyMetadata.Arn
}

func rootCaller() keystore.Caller {
	return keystore.CallerOf(iam.RootOf("000000000000"))
}

func customer(t *testing.T) encrypt.ServerSide {
	t.Helper()
	c, err := encrypt.NewSSEC(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
