package server

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestRootOf checks that a job for a waxseal elsewhere finds root's credentials or an error that names them. The job
// generates none: nobody would know them.
func TestRootOf(t *testing.T) {
	for _, c := range []struct{ access, secret, want string }{
		{"", "", "--endpoint needs WAXSEAL_ACCESS_KEY"},
		{"AKIAROOT", "", "one is missing"},
		{"", "longenough", "one is missing"},
		{"AKIAROOT", "short", "secret_key must have 8"},
		{"AKIAROOT", "longenough", ""},
	} {
		t.Setenv("WAXSEAL_ACCESS_KEY", c.access)
		t.Setenv("WAXSEAL_SECRET_KEY", c.secret)
		dir := dataDir(t.TempDir())
		got, err := rootOf(dir)
		switch {
		case c.want == "" && (err != nil || got != Credentials{c.access, c.secret}):
			t.Errorf("%v: %v, %v", c, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%v: %v; want %q", c, err, c.want)
		}
		if _, err := os.Stat(dir.credentials()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: credentials were made: %v", c, err)
		}
	}
	t.Setenv("WAXSEAL_ACCESS_KEY", "")
	t.Setenv("WAXSEAL_SECRET_KEY", "")
	dir := dataDir(t.TempDir())
	made, _, err := dir.rootCredentials(os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rootOf(dir); err != nil || got != made {
		t.Errorf("%v, %v; want %v", got, err, made)
	}
}

// TestStoreName checks that a job's bookmarks belong to a single store.
func TestStoreName(t *testing.T) {
	c := Default()
	if got := c.storeName(); got != "embedded" {
		t.Errorf("the embedded store is %q", got)
	}
	c.UpstreamEndpoint = "https://store.example"
	if got := c.storeName(); got != c.UpstreamEndpoint {
		t.Errorf("another is %q", got)
	}
}
