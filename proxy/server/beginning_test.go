package server

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/state"
)

// servedDir returns the configuration of a waxseal that has served an external store, and a backup of its state.
func servedDir(t *testing.T) (conf Config, backup []byte) {
	t.Helper()
	b := newKit(t)
	b.end()
	s, err := dataDir(b.conf.DataDir).openExisting()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := errors.Join(writeBackup(&text, s), s.Close()); err != nil {
		t.Fatal(err)
	}
	return b.conf, text.Bytes()
}

func copyDir(t *testing.T, from string) dataDir {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, name := range everything {
		if info, err := os.Stat(filepath.Join(to, name)); err == nil && !info.IsDir() {
			if err := os.Chmod(filepath.Join(to, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dataDir(to)
}

// tryStart starts a waxseal on a directory and ends it again.
func tryStart(t *testing.T, conf Config, dir dataDir) error {
	t.Helper()
	conf.DataDir = string(dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := Assemble(ctx, &conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return p.Shutdown(ctx)
}

func remove(t *testing.T, dir dataDir, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(string(dir), name)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, dir dataDir, name, text string) {
	t.Helper()
	path := filepath.Join(string(dir), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

var everything = []string{"state.db", "root.key", "credentials", "root.fingerprint", "audit", "held", "store"}

// TestLostStateStopsAStart walks the possible remains of a data directory. If only a lost state explains them, a start
// is refused and changes nothing; then a backup can be restored, or a new state requested.
func TestLostStateStopsAStart(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	conf, backup := servedDir(t)
	secret, err := os.ReadFile(dataDir(conf.DataDir).rootKey())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(secret)), "\n")
	fromEnv := lines[len(lines)-1]
	only := func(t *testing.T, dir dataDir, keep ...string) {
		for _, name := range everything {
			if !strings.Contains(" "+strings.Join(keep, " ")+" ", " "+name+" ") {
				remove(t, dir, name)
			}
		}
	}
	for name, c := range map[string]struct {
		lose func(*testing.T, dataDir)
		env  bool // the root secret is in the environment
		says string
	}{
		"missing":           {lose: func(t *testing.T, d dataDir) { remove(t, d, "state.db") }, says: "is missing, but there is root.key"},
		"empty":             {lose: func(t *testing.T, d dataDir) { write(t, d, "state.db", "") }, says: "is empty, but there is root.key"},
		"without entries":   {lose: emptyState, says: "is empty, but there is root.key"},
		"only root.key":     {lose: func(t *testing.T, d dataDir) { only(t, d, "root.key") }, says: "there is root.key,"},
		"empty root.key":    {lose: func(t *testing.T, d dataDir) { only(t, d); write(t, d, "root.key", "") }, says: "there is root.key,"},
		"only credentials":  {lose: func(t *testing.T, d dataDir) { only(t, d, "credentials") }, says: "there is credentials,"},
		"only audit":        {lose: func(t *testing.T, d dataDir) { only(t, d); write(t, d, "audit/x.json", "{}") }, says: "there is audit,"},
		"only store":        {lose: func(t *testing.T, d dataDir) { only(t, d); write(t, d, "store/data/b/k", "x") }, says: "there is store,"},
		"only held":         {lose: func(t *testing.T, d dataDir) { only(t, d); write(t, d, "held/x", "x") }, says: "there is held,"},
		"known root secret": {lose: func(t *testing.T, d dataDir) { only(t, d, "root.fingerprint") }, env: true, says: "there is root.fingerprint,"},
		"empty beside it":   {lose: func(t *testing.T, d dataDir) { only(t, d, "root.fingerprint"); write(t, d, "state.db", "") }, env: true, says: "is empty, but there is root.fingerprint,"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.env {
				t.Setenv("WAXSEAL_ROOT_SECRET", fromEnv)
			}
			dir := copyDir(t, conf.DataDir)
			c.lose(t, dir)
			for range 2 { // a refusal does not pave the way for the next start
				err := tryStart(t, conf, dir)
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "waxseal restore") ||
					!strings.Contains(err.Error(), "--new-state") || strings.Contains(err.Error(), "\n") {
					t.Fatalf("start: %v", err)
				}
			}
			wantNewState(t, conf, copyDir(t, string(dir)))
			wantRestored(t, conf, dir, secret, backup)
		})
	}
}

// emptyState leaves a valid bbolt file without entries.
func emptyState(t *testing.T, dir dataDir) {
	t.Helper()
	remove(t, dir, "state.db")
	s, err := state.OpenBolt(dir.state())
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantNewState begins anew, once.
func wantNewState(t *testing.T, conf Config, dir dataDir) {
	t.Helper()
	if text, err := os.ReadFile(dir.rootKey()); err == nil && len(text) == 0 {
		return // it needs a root secret all the same
	}
	conf.NewState = true
	if err := tryStart(t, conf, dir); err != nil {
		t.Errorf("--new-state: %v", err)
	}
	if err := tryStart(t, conf, dir); err == nil || !strings.Contains(err.Error(), "take the flag away") {
		t.Errorf("--new-state again: %v", err)
	}
	conf.NewState = false
	if err := tryStart(t, conf, dir); err != nil {
		t.Errorf("the next start: %v", err)
	}
}

// wantRestored puts the root secret and a backup in place, and starts.
func wantRestored(t *testing.T, conf Config, dir dataDir, secret, backup []byte) {
	t.Helper()
	conf.DataDir = string(dir)
	write(t, dir, "root.key", string(secret))
	if err := Restore(t.Context(), &conf, bytes.NewReader(backup), ""); err != nil {
		t.Errorf("restore: %v", err)
	}
	if err := Restore(t.Context(), &conf, bytes.NewReader(backup), ""); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("restore again: %v", err)
	}
	if err := tryStart(t, conf, dir); err != nil {
		t.Errorf("start after restore: %v", err)
	}
}

// TestStateThatIsThere checks that a directory with its state starts, or that the error names the file in its way.
func TestStateThatIsThere(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	conf, _ := servedDir(t)
	another, _ := servedDir(t)
	for name, c := range map[string]struct {
		change func(*testing.T, dataDir)
		says   string // empty: it starts
	}{
		"as it was":                 {func(*testing.T, dataDir) {}, ""},
		"without credentials":       {func(t *testing.T, d dataDir) { remove(t, d, "credentials") }, ""},
		"without fingerprint":       {func(t *testing.T, d dataDir) { remove(t, d, "root.fingerprint") }, ""},
		"without audit and held":    {func(t *testing.T, d dataDir) { remove(t, d, "audit", "held") }, ""},
		"an unfinished first start": {func(t *testing.T, d dataDir) { write(t, d, "first-start", "") }, ""},
		"cut before root.key": {func(t *testing.T, d dataDir) {
			remove(t, d, everything...)
			write(t, d, "first-start", "")
		}, ""},
		"cut before the first entry": {func(t *testing.T, d dataDir) {
			emptyState(t, d)
			write(t, d, "first-start", "")
		}, ""},
		"nothing at all":      {func(t *testing.T, d dataDir) { remove(t, d, everything...) }, ""},
		"empty directories":   {func(t *testing.T, d dataDir) { remove(t, d, everything...); makeAll(t, d) }, ""},
		"without root.key":    {func(t *testing.T, d dataDir) { remove(t, d, "root.key") }, "root.key is missing"},
		"empty root.key":      {func(t *testing.T, d dataDir) { write(t, d, "root.key", "") }, "root.key is not a root secret file"},
		"empty credentials":   {func(t *testing.T, d dataDir) { write(t, d, "credentials", "") }, "credentials"},
		"another's root.key":  {func(t *testing.T, d dataDir) { take(t, d, another, "root.key") }, "sealed under another root secret"},
		"another's state":     {func(t *testing.T, d dataDir) { take(t, d, another, "state.db") }, "sealed under another root secret"},
		"garbage":             {func(t *testing.T, d dataDir) { write(t, d, "state.db", strings.Repeat("garbage", 5000)) }, "waxseal restore FILE"},
		"a truncated file":    {func(t *testing.T, d dataDir) { truncate(t, d) }, "waxseal restore FILE"},
		"a directory instead": {func(t *testing.T, d dataDir) { remove(t, d, "state.db"); write(t, d, "state.db/x", "") }, "waxseal restore FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, conf.DataDir)
			c.change(t, dir)
			err := tryStart(t, conf, dir)
			switch {
			case c.says == "" && err != nil:
				t.Fatal(err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n")):
				t.Fatalf("%v; want %q", err, c.says)
			}
			if _, err := os.Stat(dir.firstStart()); c.says == "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the first start has not ended: %v", err)
			}
		})
	}
}

func makeAll(t *testing.T, dir dataDir) {
	t.Helper()
	for _, name := range []string{"audit", "held", "store", "lost+found"} {
		if err := os.MkdirAll(filepath.Join(string(dir), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func take(t *testing.T, dir dataDir, from Config, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(from.DataDir, name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, name, string(text))
}

// truncate cuts a state within its used pages. bbolt doubles its file ahead of need, so half of the file can be a
// complete state.
func truncate(t *testing.T, dir dataDir) {
	t.Helper()
	size, err := fileSize(dir.state())
	if err == nil {
		err = os.Truncate(dir.state(), size/4)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEmptyStateIsNotBackedUp refuses a backup of an empty state: a rotation of backups would push out the good
// backups.
func TestEmptyStateIsNotBackedUp(t *testing.T) {
	conf, _ := servedDir(t)
	for name, lose := range map[string]func(*testing.T, dataDir){
		"empty": func(t *testing.T, d dataDir) { write(t, d, "state.db", "") }, "without entries": emptyState,
	} {
		dir := copyDir(t, conf.DataDir)
		lose(t, dir)
		own := conf
		own.DataDir = string(dir)
		if err := Backup(t.Context(), &own, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "no waxseal's state") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := state.NewMemory()
	var empty bytes.Buffer
	if err := errors.Join(writeBackup(&empty, s), s.Close()); err != nil {
		t.Fatal(err)
	}
	dir := copyDir(t, conf.DataDir)
	remove(t, dir, "state.db")
	own := conf
	own.DataDir = string(dir)
	if err := Restore(t.Context(), &own, &empty, ""); err == nil || !strings.Contains(err.Error(), "the backup does not open") {
		t.Errorf("restore: %v", err)
	}
}
