package jobs

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore/keystoretest"
	"waxseal/keystore/local"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/server"
	"waxseal/sse"
)

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

// TestRewrapVersioned: an earlier version stays under its key, and the job reports it.
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

// TestRewrapVersionsOfTransit: the engine rotates a key without notice. An object under a Bucket Key cannot follow
// before the Bucket Key's renewal, and the job fails.
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
	time.Sleep(1100 * time.Millisecond) // the provider caches a key's versions for a second
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

// TestRewrapOfUnknownVersions: an object under an unknown version is not "as wanted", unless a target is named.
func TestRewrapOfUnknownVersions(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:000000000000:key/photos"
	kms := keyUse{sealedAs: sealedAs{"aws:kms", key, true}}
	older, newest := kms, kms
	older.version, older.current = "v1", "false"
	newest.version, newest.current = "v2", "true"
	for _, row := range []struct {
		f    RewrapOptions
		now  keyUse
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

// TestRewrapChecksItsKey: an unusable key is refused before an object is touched.
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

func envelopeOf(t *testing.T, h http.Header) *sse.Envelope {
	t.Helper()
	e, err := sse.ParseEnvelope(h.Get("X-Amz-Meta-Waxseal"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}
