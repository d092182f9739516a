package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// TestNoSecretInConfigErrors checks that configuration errors contain no secret.
func TestNoSecretInConfigErrors(t *testing.T) {
	const secret = "TOPSECRETPASSWORD"
	for _, flag := range []string{"--upstream-endpoint", "--kms-endpoint"} {
		for _, value := range []string{
			"http://user:" + secret + "@host", "http://user:" + secret + "@host:port", "http://user:" + secret + "%zz@host", "user:" + secret + "@host",
			"http://user:" + secret + "#@host", "http://user:" + secret + " x@host/", "ftp://user:" + secret + "@host", "http://user:" + secret + "/@host",
		} {
			args := []string{"serve", "--data-dir", t.TempDir(), flag, value}
			if flag == "--kms-endpoint" {
				args = append(args, "--kms-provider", "aws", "--kms-root-key", "x")
			}
			wantQuietError(t, secret, args...)
		}
	}
	for _, value := range []string{secret, secret + "," + secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
		t.Setenv("WAXSEAL_ROOT_SECRET", value)
		wantQuietError(t, value, "serve", "--data-dir", t.TempDir())
	}
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	for _, text := range []string{
		"users: [{name: a, access_key: b, secret_key: {x: " + secret + "}}]", "users: [{name: a, access_key: b, secret_key: [" + secret + "]}]",
		"users: [{name: a, access_key: b, secret_key: " + secret + "\n", "users: [{name: a, secret_key: " + secret + "}]", "users: " + secret,
		"users: [{name: a, access_key: b, secret_key: c, upstream: " + secret + "}]",
	} {
		file := t.TempDir() + "/waxseal.yaml"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		wantQuietError(t, secret, "serve", "--data-dir", t.TempDir(), "--config", file)
	}
}

func wantQuietError(t *testing.T, secret string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	if err == nil {
		t.Fatalf("%v: no error", args[1:])
	}
	if text := out.String() + err.Error(); strings.Contains(text, secret[:6]) {
		t.Errorf("%v: %s", args[3:], text)
	}
}
