package server

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestSecretFilesAreOnlyMine walks the files with secrets and their modes: a file that others could read or replace is
// refused by name.
func TestSecretFilesAreOnlyMine(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, mode os.FileMode) error{
		"configuration": func(t *testing.T, mode os.FileMode) error {
			file := secretFile(t, "users: [{name: alice, access_key: AKIAALICE, secret_key: alice-secret}]", mode)
			c := Default()
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			c.Flags(f)
			if err := f.Set("config", file); err != nil {
				t.Fatal(err)
			}
			return c.load(f, func(string) (string, bool) { return "", false })
		},
		"token": func(t *testing.T, mode os.FileMode) error {
			t.Setenv(envKMSToken, "")
			c := Default()
			c.KMSEndpoint, c.kmsTokenFile = "http://127.0.0.1:1", secretFile(t, "s.token", mode)
			c.KMSProvider = providerTransit
			p, err := c.externalProvider(t.Context(), slog.New(slog.DiscardHandler))
			if err == nil {
				err = p.Close()
			}
			return err
		},
		"key of the certificate": func(t *testing.T, mode os.FileMode) error {
			c := Default()
			dir := dataDir(t.TempDir())
			c.TLSSelfSigned, c.Listen, c.KMSListen = true, "127.0.0.1:1", "127.0.0.1:1"
			log := slog.New(slog.DiscardHandler)
			if _, _, err := c.tlsConfig(dir, log); err != nil {
				t.Fatal(err)
			}
			c.TLSSelfSigned, c.TLSCert, c.TLSKey = false, dir.tlsCert(), dir.tlsKey()
			if err := os.Chmod(c.TLSKey, mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.tlsConfig(dir, log)
			return err
		},
		"credentials": func(t *testing.T, mode os.FileMode) error {
			dir := dataDir(t.TempDir())
			if _, _, err := dir.rootCredentials(func(string) (string, bool) { return "", false }); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir.credentials(), mode); err != nil {
				t.Fatal(err)
			}
			_, err := dir.readCredentials()
			return err
		},
		"root.key": func(t *testing.T, mode os.FileMode) error {
			t.Setenv("WAXSEAL_ROOT_SECRET", "")
			dir := dataDir(t.TempDir())
			for range 2 {
				p := &App{}
				if err := p.openState(context.Background(), dir, false); err != nil {
					return err
				}
				if err := p.Shutdown(context.Background()); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(dir.rootKey(), mode); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		},
	} {
		for mode, taken := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o644: false, 0o604: false, 0o660: false, 0o666: false} {
			err := use(t, mode)
			if taken && err != nil || !taken && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
				t.Errorf("%s, %04o: %v", name, mode, err)
			}
		}
	}
}

func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestDataDirectoryIsOnlyMine refuses a directory writable by others: they could put another root.key there.
func TestDataDirectoryIsOnlyMine(t *testing.T) {
	for mode, taken := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o770: false, 0o777: false, 0o702: false} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := dataDir(dir).make(); (err == nil) != taken {
			t.Errorf("%04o: %v", mode, err)
		}
	}
}
