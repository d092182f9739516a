package proxy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

func heldFiles(t testing.TB, k *kit) []string {
	t.Helper()
	entries, err := os.ReadDir(k.server.cfg.HeldDir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMultipartAbort(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, nil)
		b := k.bucket(t)
		u := k.rawUpload(t, "/"+b+"/k", nil)
		u.mustPut(1, nil, noise(1, 5*mib))
		u.mustPut(2, nil, noise(2, 5))
		if len(heldFiles(t, k)) != 1 {
			t.Error("the short part is not held")
		}
		if resp, body := k.do(t, "DELETE", u.target, nil, nil); resp.StatusCode != 204 {
			t.Fatalf("%s\n%s", resp.Status, body)
		}
		nothingLeft(t, k)
		done := k.rawUpload(t, "/"+b+"/done", nil)
		done.mustPut(1, nil, noise(3, 70))
		for range 2 { // an Abort after the end changes nothing
			if resp, body := done.complete(nil); resp.StatusCode != 200 {
				t.Fatalf("%s\n%s", resp.Status, body)
			}
			k.do(t, "DELETE", done.target, nil, nil)
		}
		k.forgetUploads(t)
		resp, body := k.do(t, "DELETE", u.target, nil, nil)
		if resp.StatusCode != 204 { // MinIO
			wantError(t, resp, body, 404, s3.NoSuchUpload)
		}
		resp, body = u.put(1, nil, noise(1, 5))
		wantError(t, resp, body, 404, s3.NoSuchUpload)
		resp, body = u.complete(nil)
		wantError(t, resp, body, 404, s3.NoSuchUpload)
		nothingLeft(t, k)
	})
}

// forgetUploads removes what is kept of uploads that have ended.
func (k *kit) forgetUploads(t testing.TB) {
	t.Helper()
	entries, err := k.state.Range(context.Background(), uploads.UploadPrefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		u, err := uploads.DecodeUpload(e)
		if err != nil || u.Phase != uploads.Done {
			t.Fatalf("upload in phase %s, %v", u.Phase, err)
		}
		if err := k.server.uploads.Forget(context.Background(), u); err != nil {
			t.Fatal(err)
		}
	}
}

// nothingLeft checks that no upload's state, nor a held part, is left but for what was completed.
func nothingLeft(t testing.TB, k *kit) {
	t.Helper()
	for _, prefix := range []string{uploads.UploadPrefix, uploads.PartPrefix, uploads.CopyPrefix} {
		entries, err := k.server.cfg.State.Range(context.Background(), prefix, "", 0)
		if err != nil || len(entries) > 0 {
			t.Errorf("%d entries left below %s, %v", len(entries), prefix, err)
		}
	}
	if left := heldFiles(t, k); len(left) > 0 || k.server.uploads.Space.Used() != 0 {
		t.Errorf("held: %v, %d bytes", left, k.server.uploads.Space.Used())
	}
}

func TestMultipartSweep(t *testing.T) {
	store, up := memoryStore(t, proxytest.Options{})
	now := time.Now()
	k := start(t, up, func(c *Config) { c.Now = func() time.Time { return now } })
	b := k.bucket(t)
	live := k.rawUpload(t, "/"+b+"/live", nil)
	live.mustPut(1, nil, noise(1, 50))
	gone := k.rawUpload(t, "/"+b+"/gone", nil)
	gone.mustPut(1, nil, noise(2, 60))
	done := k.rawUpload(t, "/"+b+"/done", nil)
	done.mustPut(1, nil, noise(3, 70))
	if resp, body := done.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	// Behind waxseal's back.
	abort, _ := http.NewRequest("DELETE", up.Endpoint+gone.target, nil)
	if resp, _ := roundTrip(t, abort); resp.StatusCode != 204 {
		t.Fatal(resp.Status)
	}
	if err := os.WriteFile(k.server.cfg.HeldDir+"/"+strings.Repeat("ab", 32)+"-00001-x.tmp", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep := func() (records, parts, files int) {
		t.Helper()
		if err := k.server.sweepOnce(context.Background()); err != nil {
			t.Fatal(err)
		}
		u, _ := k.state.Range(context.Background(), uploads.UploadPrefix, "", 0)
		p, _ := k.state.Range(context.Background(), uploads.PartPrefix, "", 0)
		return len(u), len(p), len(heldFiles(t, k))
	}
	check := func(when string, u, p, f int) {
		t.Helper()
		if gu, gp, gf := sweep(); gu != u || gp != p || gf != f {
			t.Errorf("%s: %d uploads, %d parts, %d files; want %d, %d, %d", when, gu, gp, gf, u, p, f)
		}
	}
	check("at once", 3, 2, 3)
	now = now.Add(2 * time.Hour)
	store.SetHook(proxytest.FailNotPersist("ListParts", 0))
	check("while the store fails", 3, 2, 2)
	store.SetHook(nil)
	check("later", 2, 1, 1)
	now = now.Add(uploads.KeepDone)
	check("a day later", 1, 1, 1)
	now = time.Now() // signatures have dates
	if resp, body := live.complete(nil); resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	_, got := k.mustDo(t, "GET", "/"+b+"/live", nil, nil)
	if !bytes.Equal(got, noise(1, 50)) {
		t.Error("other bytes came back")
	}
	// Parts that outlived their upload's record.
	if _, err := k.state.Txn(context.Background(), nil, []state.Op{{Key: uploads.PartPrefix + "lost/00001/x", Value: []byte(`{"number":1}`)}}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	check("orphans", 1, 0, 0)
}

func TestHeldLimit(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, func(c *Config) { c.MaxHeld = 2000 })
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", nil)
	u.mustPut(1, nil, noise(1, 600))
	resp, body := u.put(2, nil, noise(1, 600))
	wantError(t, resp, body, 503, s3.SlowDown)
	k.mustDo(t, "DELETE", u.target, nil, nil)
	v := k.rawUpload(t, "/"+b+"/k", nil)
	v.mustPut(2, nil, noise(1, 600))
}

// A held part that the disk has damaged is not sent on.
func TestHeldDamaged(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	k := start(t, up, nil)
	b := k.bucket(t)
	u := k.rawUpload(t, "/"+b+"/k", nil)
	u.mustPut(1, nil, noise(1, 600))
	path := k.server.cfg.HeldDir + "/" + heldFiles(t, k)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{flipped(good, 300), good[:len(good)-1], append(slices.Clone(good), 1)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if resp, body := u.complete(nil); resp.StatusCode < 400 {
			t.Errorf("%s\n%s", resp.Status, body)
		}
	}
	if resp, _ := k.do(t, "GET", "/"+b+"/k", nil, nil); resp.StatusCode != 404 {
		t.Errorf("an object was made of it: %s", resp.Status)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	resp, body := u.complete(nil)
	wantError(t, resp, body, 400, s3.InvalidPart)
	u.mustPut(1, nil, noise(1, 600))
	if resp, body := u.complete(nil); resp.StatusCode != 200 {
		t.Errorf("%s\n%s", resp.Status, body)
	}
}

// TestSweepGoesOn: a record that cannot be read stops the sweeping of no other.
func TestSweepGoesOn(t *testing.T) {
	now := time.Now()
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.Now = func() time.Time { return now } })
	_, body := k.mustDo(t, "POST", "/bkt/mp?uploads", nil, nil)
	id := reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	_, err := k.state.Txn(context.Background(), nil, []state.Op{{Key: uploads.UploadPrefix + "!first", Value: []byte("not a record")}})
	if err != nil {
		t.Fatal(err)
	}
	u.SetHook(proxytest.Nth("ListParts", 0, proxytest.Fault{Before: s3.NewError(s3.NoSuchUpload)}))
	now = now.Add(2 * uploads.KeepDone)
	if err := k.server.sweepOnce(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.server.uploads.Get(context.Background(), "bkt", "mp", id); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the upload behind it is still there: %v", err)
	}
}
