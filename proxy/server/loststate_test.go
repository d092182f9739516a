package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/kmsapi"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
)

// TestLostState checks that objects need no state with an external key service, and SSE-C objects never. A waxseal on
// another data directory (the first was lost, or both are in use) reads the objects of the first: bytes, sizes and
// ETags, in every mode.
func TestLostState(t *testing.T) {
	for name, external := range map[string]func(*testing.T) (configure func(*Config), key string){
		"aws": awsBehind, "transit": transitBehind, "local": func(*testing.T) (func(*Config), string) { return func(*Config) {}, "" },
	} {
		t.Run(name, func(t *testing.T) {
			configure, key := external(t)
			b := newKit(t, configure)
			objects := lostObjects(t, key)
			for path, o := range objects {
				o.put(t, b, path)
			}
			first := *b
			b.end()
			b.start() // on another data directory
			for path, o := range objects {
				o.wants(t, b, path)
			}
			wantListed(t, b, objects)

			// Both in turn: the first reads the second's objects, too.
			for path, o := range objects {
				o.put(t, b, path)
			}
			b.end()
			b.conf.DataDir = first.conf.DataDir
			b.serve()
			for path, o := range objects {
				o.wants(t, b, path)
			}
		})
	}
}

// lostObject is an object written before the loss of the state.
type lostObject struct {
	body []byte
	side encrypt.ServerSide
	etag string // as the upload answered it
}

// lostObjects returns small objects, described by their envelopes, and multipart uploads, described by manifests.
func lostObjects(t *testing.T, key string) map[string]*lostObject {
	t.Helper()
	kms, err := encrypt.NewSSEKMS(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]encrypt.ServerSide{
		"sse-s3": nil, "sse-kms": kms, "bucket-key": bucketKey{kms}, "dsse-kms": dsse{kms}, "sse-c": customer(t),
	}
	if key == "" { // the embedded key service loses its keys with the state
		modes = map[string]encrypt.ServerSide{"sse-c": customer(t)}
	}
	objects := map[string]*lostObject{}
	for mode, side := range modes {
		for size, n := range map[string]int{"empty": 0, "small": 1000, "parts": 5<<20 + 1000} {
			o := &lostObject{body: make([]byte, n), side: side}
			rand.Read(o.body)
			objects[mode+"/"+size] = o
		}
	}
	return objects
}

func (o *lostObject) put(t *testing.T, b *kit, path string) {
	t.Helper()
	info, err := b.core.Client.PutObject(t.Context(), kitBucket, path, bytes.NewReader(o.body), int64(len(o.body)),
		minio.PutObjectOptions{ServerSideEncryption: o.side, PartSize: 5 << 20})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	o.etag = info.ETag
}

// get returns the options of reads.
func (o *lostObject) get() (opts minio.GetObjectOptions) {
	if o.side != nil && o.side.Type() == encrypt.SSEC {
		opts.ServerSideEncryption = o.side
	}
	return opts
}

func (o *lostObject) wants(t *testing.T, b *kit, path string) {
	t.Helper()
	info, err := b.core.StatObject(t.Context(), kitBucket, path, o.get())
	if err != nil || info.ETag != o.etag || info.Size != int64(len(o.body)) {
		t.Errorf("HEAD %s: %v; %d bytes, ETag %q, want %d, %q", path, err, info.Size, info.ETag, len(o.body), o.etag)
	}
	body, _, _, err := b.core.GetObject(t.Context(), kitBucket, path, o.get())
	if err != nil {
		t.Errorf("GET %s: %v", path, err)
		return
	}
	defer body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil || !bytes.Equal(got.Bytes(), o.body) {
		t.Errorf("GET %s: %d bytes, %v", path, got.Len(), err)
	}
}

// wantListed checks a listing. It has no customer key, so for SSE-C it cannot show the plaintext's properties.
func wantListed(t *testing.T, b *kit, objects map[string]*lostObject) {
	t.Helper()
	found := 0
	for info := range b.core.Client.ListObjects(t.Context(), kitBucket, minio.ListObjectsOptions{Recursive: true}) {
		o := objects[info.Key]
		switch {
		case info.Err != nil || o == nil:
			t.Errorf("%q is listed, %v", info.Key, info.Err)
			continue
		case o.side != nil && o.side.Type() == encrypt.SSEC:
		case info.Size != int64(len(o.body)) || info.ETag != o.etag:
			t.Errorf("%s is listed with %d bytes, ETag %q", info.Key, info.Size, info.ETag)
		}
		found++
	}
	if found != len(objects) {
		t.Errorf("%d objects are listed, not %d", found, len(objects))
	}
}

// bucketKey and dsse are kinds of SSE-KMS missing in minio-go.
type bucketKey struct{ encrypt.ServerSide }

func (s bucketKey) Marshal(h http.Header) {
	s.ServerSide.Marshal(h)
	h.Set("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
}

type dsse struct{ encrypt.ServerSide }

func (s dsse) Marshal(h http.Header) {
	s.ServerSide.Marshal(h)
	h.Set("X-Amz-Server-Side-Encryption", "aws:kms:dsse")
}

func transitBehind(t *testing.T) (func(*Config), string) {
	server := httptest.NewServer(keystoretest.NewTransit("s.token", "root", "photos"))
	t.Cleanup(server.Close)
	t.Setenv(envKMSToken, "s.token")
	return func(c *Config) {
		c.KMSProvider, c.KMSEndpoint, c.KMSRootKey = providerTransit, server.URL, "root"
	}, "arn:aws:kms:us-east-1:000000000000:key/photos"
}

// rootAlone is a directory with root, and further users without a policy.
func rootAlone(t *testing.T, others ...string) *iam.Directory {
	t.Helper()
	all := []iam.User{{
		Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", Root: true,
		AccessKey: "AKIABEHIND", Secret: iam.NewSecret("behind-secret"),
	}}
	for _, arn := range others {
		if arn != all[0].ARN {
			all = append(all, iam.User{Name: arn, ARN: arn, AccountID: "000000000000", AccessKey: arn, Secret: iam.NewSecret("s"), Everything: true})
		}
	}
	users, err := iam.NewDirectory(all)
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// awsBehind is the KMS endpoint of another waxseal.
func awsBehind(t *testing.T) (func(*Config), string) {
	t.Helper()
	users := rootAlone(t)
	service, err := local.Open(t.Context(), local.Config{
		State: state.NewMemory(), Secrets: rootkey.New(keystore.RandomSecret()), Audit: new(audit.Memory),
		Region: "us-east-1", AccountID: "000000000000", Identities: users, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	verifier := &sigv4.Verifier{Service: "kms", Region: "us-east-1", Lookup: users.Resolve, Now: time.Now}
	server := (&kmsapi.Handler{
		Service: service, Log: slog.New(slog.DiscardHandler), Authenticate: kmsapi.SigV4(verifier, nil),
	}).Server()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ended := server.Shutdown()
		l.Close() // Shutdown leaves a listener open whose Serve has not begun
		if err := errors.Join(ended, <-served, service.Close()); err != nil {
			t.Error(err)
		}
	})
	newKey := func() string {
		out, err := service.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.Arn
	}
	root, key := newKey(), newKey()
	t.Setenv(envKMSAccessKey, "AKIABEHIND")
	t.Setenv(envKMSSecretKey, "behind-secret")
	return func(c *Config) {
		c.KMSProvider, c.KMSEndpoint, c.KMSRootKey = providerAWS, "http://"+l.Addr().String(), root
	}, key
}
