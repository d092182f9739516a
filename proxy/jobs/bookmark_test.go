package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestResume: an interrupted job resumes at its bookmark, and a failed job before its failure.
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

// TestBookmarksAreOfOneStore: a job resumes in the same store only, not in a bucket of the same name elsewhere.
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
