package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/server"
)

// TestVerifyOfPlaintext checks verify's exit codes: plaintext has a code of its own unless --allow-plaintext is given,
// and damage has the general code.
func TestVerifyOfPlaintext(t *testing.T) {
	store, url := proxytest.StartUpstream(t, proxytest.Options{}, "photos")
	t.Setenv("WAXSEAL_UPSTREAM_ACCESS_KEY", "memory")
	t.Setenv("WAXSEAL_UPSTREAM_SECRET_KEY", "memory-secret")
	conf := server.Default()
	conf.UpstreamEndpoint, conf.DataDir, conf.ReadThrough = url, t.TempDir(), []string{"photos"}
	app, err := server.Assemble(t.Context(), &conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := app.Shutdown(ctx); err != nil {
			t.Log(err)
		}
	})
	store.PutObject("photos", "old", []byte("in the clear"), nil)
	var out, errs bytes.Buffer
	args := []string{"verify", "--data-dir", conf.DataDir, "s3://photos"}
	if code := run(args, &out, &errs); code != exitPlaintext || !strings.Contains(errs.String(), "1 of 1 objects are not encrypted") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if code := run(append(args, "--allow-plaintext"), &out, &errs); code != 0 {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	store.PutObject("photos", "spoiled", []byte("secret"), map[string][]string{"X-Amz-Meta-Waxseal": {"AAAA"}})
	if code := run(args, &out, &errs); code != 1 {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
}
