package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/keystore/local"
	"waxseal/proxy/ledger"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// walked counts the bucket's objects as clients see them.
func (k *kit) walked() map[ledger.Holding]ledger.Sum {
	k.t.Helper()
	found := make(map[ledger.Holding]ledger.Sum)
	for o := range k.core.Client.ListObjects(context.Background(), kitBucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			k.t.Fatal(o.Err)
		}
		at := ledger.Holding{Bucket: kitBucket, Mode: ledger.CustomerKey}
		if info, err := k.core.StatObject(context.Background(), kitBucket, o.Key, minio.StatObjectOptions{}); err == nil {
			at.Mode, at.Key = info.Metadata.Get("X-Amz-Server-Side-Encryption"), info.Metadata.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		} else if o.Key != "sse-c" {
			k.t.Fatalf("%s: %v", o.Key, err)
		}
		found[at] = found[at].Plus(ledger.Sum{Objects: 1, Bytes: o.Size})
	}
	return found
}

func (k *kit) reading() *ledger.Reading {
	k.t.Helper()
	r, err := k.app.ledger.Read(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

func (k *kit) ledger() map[ledger.Holding]ledger.Sum {
	rows := make(map[ledger.Holding]ledger.Sum)
	for _, r := range k.reading().Rows {
		rows[r.Holding] = r.Sum
	}
	return rows
}

func (k *kit) commitWalk() {
	k.t.Helper()
	k.walkWith(k.walked())
}

func (k *kit) walkWith(found map[ledger.Holding]ledger.Sum) {
	k.t.Helper()
	walk, err := k.app.beginWalk(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	var rows []ledger.Row
	for h, sum := range found {
		rows = append(rows, ledger.Row{Holding: h, Sum: sum})
	}
	if err := walk.Commit(context.Background(), rows); err != nil {
		k.t.Fatal(err)
	}
}

func kmsSide(t *testing.T, arn string) encrypt.ServerSide {
	t.Helper()
	s, err := encrypt.NewSSEKMS(arn, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLedgerNeverBelowAnyWrite does every kind of write. After each, the ledger is not below the objects at the store;
// after a walk it is equal.
func TestLedgerNeverBelowAnyWrite(t *testing.T) {
	k := newKit(t)
	a, b := k.newKey(), k.newKey()
	ctx, c := context.Background(), k.core
	copyTo := func(name string, side encrypt.ServerSide) func() error {
		return func() error {
			_, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: kitBucket, Object: name, Encryption: side},
				minio.CopySrcOptions{Bucket: kitBucket, Object: "small"})
			return err
		}
	}
	put := func(name string, size int, side encrypt.ServerSide) func() error {
		return func() error {
			_, err := c.Client.PutObject(ctx, kitBucket, name, bytes.NewReader(make([]byte, size)), int64(size), minio.PutObjectOptions{ServerSideEncryption: side, DisableMultipart: true})
			return err
		}
	}
	for _, w := range []struct {
		name  string
		write func() error
	}{
		{"PutObject", put("small", 1000, kmsSide(t, a))},
		{"PutObject, streamed", put("large", 3<<20, kmsSide(t, a))},
		{"PutObject, a folder", put("folder/", 0, encrypt.NewSSE())},
		{"PutObject, SSE-S3", put("s3", 10, encrypt.NewSSE())},
		{"PutObject, SSE-C", put("sse-c", 10, customer(t))},
		{"PutObject over another key", put("large", 10, kmsSide(t, b))},
		{"CopyObject, other key", copyTo("copy", kmsSide(t, b))},
		{"CopyObject, SSE-S3", copyTo("copy-s3", encrypt.NewSSE())},
		{"UpdateObjectEncryption", func() error {
			_, err := c.Client.UpdateObjectEncryption(ctx, kitBucket, "s3", minio.UpdateObjectEncryptionOptions{KMSKeyArn: b})
			return err
		}},
		{"multipart upload", func() error { return k.multipart("parts", kmsSide(t, b)) }},
		{"DeleteObject", func() error { return c.RemoveObject(ctx, kitBucket, "small", minio.RemoveObjectOptions{}) }},
	} {
		if err := w.write(); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		has := k.ledger()
		for h, sum := range k.walked() {
			if has[h].Objects < sum.Objects || has[h].Bytes < sum.Bytes {
				t.Errorf("after %s the ledger has %+v of %+v, and there are %+v", w.name, has[h], h, sum)
			}
		}
	}
	k.commitWalk()
	k.wantLedgerExact()
	k.end()
	k.serve()
	k.wantLedgerExact()
}

func (k *kit) wantLedgerExact() {
	k.t.Helper()
	found, has := k.walked(), k.ledger()
	if len(found) != len(has) || len(found) == 0 {
		k.t.Errorf("the ledger has %+v, the walk found %+v", has, found)
	}
	for h, sum := range found {
		if has[h] != sum {
			k.t.Errorf("%+v: the ledger has %+v, the walk found %+v", h, has[h], sum)
		}
	}
}

func (k *kit) multipart(name string, side encrypt.ServerSide) error {
	ctx := context.Background()
	id, err := k.core.NewMultipartUpload(ctx, kitBucket, name, minio.PutObjectOptions{ServerSideEncryption: side})
	if err != nil {
		return err
	}
	part, err := k.core.PutObjectPart(ctx, kitBucket, name, id, 1, bytes.NewReader(make([]byte, 6<<20)), 6<<20, minio.PutObjectPartOptions{})
	if err != nil {
		return err
	}
	_, err = k.core.CompleteMultipartUpload(ctx, kitBucket, name, id, []minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, minio.PutObjectOptions{})
	return err
}

// TestGuardKeyDeletion keeps a key while anything may hang on it.
func TestGuardKeyDeletion(t *testing.T) {
	k := newKit(t, func(c *Config) { c.GuardKeyDeletion = true })
	key := k.newKey()
	schedule := func() string {
		_, err := k.app.KeyService.ScheduleKeyDeletion(context.Background(), rootCaller(), &local.ScheduleKeyDeletionRequest{KeyId: key})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	want := func(when, text string) {
		t.Helper()
		if got := schedule(); !strings.Contains(got, text) || !strings.HasPrefix(got, "KMSInvalidStateException") {
			t.Errorf("%s: %q, want %q in a KMSInvalidStateException", when, got, text)
		}
	}
	want("without a walk", "run waxseal inventory first")
	k.put("kept", []byte("x"), kmsSide(t, key))
	want("with an object", "up to 1 object (1 bytes) in photos, may be encrypted under it")
	k.commitWalk()
	want("with an object that was walked", "up to 1 object")
	ctx := context.Background()
	if err := k.core.RemoveObject(ctx, kitBucket, "kept", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	want("deleted since the walk", "up to 1 object")
	id, err := k.core.NewMultipartUpload(ctx, kitBucket, "upload", minio.PutObjectOptions{ServerSideEncryption: kmsSide(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	k.commitWalk()
	want("with an upload under way", "up to 1 object (0 bytes)")
	if err := k.core.AbortMultipartUpload(ctx, kitBucket, "upload", id); err != nil {
		t.Fatal(err)
	}
	k.commitWalk()
	if why := whyKept(k.reading(), key, time.Now().Add(2*guardWalkAge)); !strings.Contains(why, "run waxseal inventory again") {
		t.Errorf("with an old walk: %q", why)
	}
	if got := schedule(); got != "" {
		t.Errorf("an unused key is kept: %s", got)
	}
}

// TestWithoutGuard: the guard is off unless asked for, as on AWS.
func TestWithoutGuard(t *testing.T) {
	k := newKit(t)
	key := k.newKey()
	k.put("kept", []byte("x"), kmsSide(t, key))
	if _, err := k.app.KeyService.ScheduleKeyDeletion(context.Background(), rootCaller(), &local.ScheduleKeyDeletionRequest{KeyId: key}); err != nil {
		t.Error(err)
	}
}

// TestRestoreForgetsTheWalk checks that a restored state has no walk: objects written since its backup are unknown to
// it.
func TestRestoreForgetsTheWalk(t *testing.T) {
	k := newKit(t)
	k.put("one", []byte("x"), encrypt.NewSSE())
	k.commitWalk()
	k.end()
	var backup bytes.Buffer
	ctx := context.Background()
	if err := Backup(ctx, &k.conf, &backup); err != nil {
		t.Fatal(err)
	}
	if report, err := Ledger(ctx, &k.conf); err != nil || report.Walk == nil || len(report.Rows) != 1 {
		t.Fatalf("before: %+v, %v", report, err)
	}
	restored := k.conf
	restored.DataDir = t.TempDir()
	secret, err := os.ReadFile(dataDir(k.conf.DataDir).rootKey())
	if err == nil {
		err = os.WriteFile(dataDir(restored.DataDir).rootKey(), secret, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(ctx, &restored, io.Reader(&backup), ""); err != nil {
		t.Fatal(err)
	}
	report, err := Ledger(ctx, &restored)
	if err != nil || report.Walk != nil {
		t.Errorf("the restored ledger has a walk: %+v, %v", report, err)
	}
}

// TestWritesInDoubt checks a write without a response: it stays in the ledger after the next walk, because the walk may
// have passed its name before the store committed it. A refused write does not stay.
func TestWritesInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		fault proxytest.Fault
		kept  int64
	}{
		"done, and answered 500":      {proxytest.Fault{After: &s3.Error{Code: s3.InternalError, HTTPStatus: http.StatusInternalServerError}}, 1},
		"done, and the answer is cut": {proxytest.Fault{CutAfter: true}, 1},
		"answered 503 without doing":  {proxytest.Fault{Before: &s3.Error{Code: s3.SlowDown, HTTPStatus: http.StatusServiceUnavailable}}, 1},
		"refused":                     {proxytest.Fault{Before: &s3.Error{Code: "InvalidArgument", HTTPStatus: http.StatusBadRequest}}, 0},
	} {
		k := newKit(t)
		k.store.SetHook(func(op proxytest.Op) proxytest.Fault {
			if op.Name == "PutObject" && op.Key == "doubt" {
				return c.fault
			}
			return proxytest.Fault{}
		})
		req, err := http.NewRequest(http.MethodPut, "http://operator/"+kitBucket+"/doubt", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		resp, err := k.transport.RoundTrip(signer.SignV4(*req, k.app.root.AccessKey, k.app.root.SecretKey, "", "us-east-1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode < 400 {
			t.Fatalf("%s: %d, %v", name, resp.StatusCode, err)
		}
		at := ledger.Holding{Bucket: kitBucket, Mode: "AES256"}
		if got := k.ledger()[at]; got.Objects != 1 {
			t.Errorf("%s: the write was charged as %+v", name, got)
		}
		k.walkWith(nil)
		if got := k.ledger()[at]; got.Objects != c.kept {
			t.Errorf("%s: after a walk that found nothing the ledger has %+v, want %d objects", name, got, c.kept)
		}
		k.walkWith(nil)
		if got := k.ledger()[at]; got.Objects != 0 {
			t.Errorf("%s: after the next walk the ledger has %+v", name, got)
		}
	}
}
