package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

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

// TestMigrateTakesNothingThatWasStripped: outside read_through, an object without an envelope is refused and stays as
// it is. It is not sealed like a client's plaintext: the store may have stripped it.
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

// TestMigrateVersioned: an earlier version stays in plaintext, and the job reports it.
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

// TestMigrateRace: a self-copy at the store would lose writes or leave them under an old envelope; this must not.
func TestMigrateRace(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	b := newKit(t, proxytest.Options{})
	b.race(25, func(key string) { b.plain(key, []byte("OLD "+key+rand.Text())) }, func() error { return b.migrate(noBookmark()) })
}

// TestRetentionIsKept while it lasts: a store refuses to set an expired retention.
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

// TestLargeCopies: an object above the limit of a copy is copied in parts, on condition of its ETag like the rest.
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
