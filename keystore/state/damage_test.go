package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filledState returns a state file with many pages.
func filledState(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func fill(t *testing.T, s Store) {
	t.Helper()
	for i := range 20 {
		var ops []Op
		for k := range 20 {
			ops = append(ops, Op{Key: fmt.Sprintf("%d/%d", i, k), Value: bytes.Repeat([]byte{1}, 500)})
		}
		if _, err := s.Txn(context.Background(), nil, ops); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedFile: a damaged file is refused at open with an error of a single line, without a panic, and nothing is
// written to it. Damage of a page not in use may pass.
func TestDamagedFile(t *testing.T) {
	whole := filledState(t)
	page := os.Getpagesize()
	damages := map[string][]byte{
		"garbage":    bytes.Repeat([]byte("garbage\n"), 4096),
		"short":      []byte("x"),
		"all zero":   make([]byte, len(whole)),
		"one page":   whole[:page],
		"two pages":  whole[:2*page],
		"half":       whole[:len(whole)/2],
		"odd length": whole[:len(whole)/2+100],
		"no magic":   append(make([]byte, 2*page), whole[2*page:]...),
		"all ones":   append(bytes.Clone(whole[:2*page]), bytes.Repeat([]byte{0xff}, len(whole)-2*page)...),
	}
	for name, text := range damages {
		if err := openDamaged(t, name, text); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused := 0
	for at := 0; at < len(whole); at += page {
		for name, value := range map[string]byte{"zeroed": 0, "ones": 0xff} {
			text := bytes.Clone(whole)
			copy(text[at:at+page], bytes.Repeat([]byte{value}, page))
			if err := openDamaged(t, fmt.Sprintf("page %d %s", at/page, name), text); err != nil {
				refused++
			}
		}
	}
	if refused < 20 {
		t.Errorf("%d of %d damaged pages were noticed", refused, 2*len(whole)/page)
	}
}

func openDamaged(t *testing.T, name string, text []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenBolt(path)
	if err == nil {
		return s.Close()
	}
	after, readErr := os.ReadFile(path)
	switch {
	case !errors.Is(err, ErrDamaged):
		t.Errorf("%s: %v", name, err)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("%s: %q is not one line", name, err)
	case readErr != nil || !bytes.Equal(after, text):
		t.Errorf("%s: the file was changed: %v", name, readErr)
	}
	// It is not locked: an operator can put a backup in its place.
	if _, err := OpenBolt(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("%s, again: %v", name, err)
	}
	return err
}

// TestNoFile: a directory or an unreadable file gives an error of a single line, too.
func TestNoFile(t *testing.T) {
	if _, err := OpenBolt(t.TempDir()); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a directory: %v", err)
	}
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, filledState(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBolt(path); !errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "\n") {
		t.Errorf("without rights: %v", err)
	}
}

// TestDamageWhileOpen: pages lost after the open are errors of their readers and writers; the store still closes.
func TestDamageWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Range(t.Context(), "", "", 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("Range: %v", err)
	}
	for range 2 {
		if _, err := s.Txn(t.Context(), nil, []Op{{Key: "a", Value: []byte("b")}}); !errors.Is(err, ErrDamaged) {
			t.Errorf("Txn: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "a"); err == nil {
		t.Error("Get of a closed, damaged store")
	}
}
