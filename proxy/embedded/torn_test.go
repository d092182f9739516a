package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tornVariable names the store's directory to the process that opens it.
const tornVariable = "WAXSEAL_TORN_INDEX"

// tears are ways in which a page of an index can be lost. at is where the page begins.
var tears = map[string]func(b []byte, at int) []byte{
	"zeros":       func(b []byte, at int) []byte { clear(b[at : at+pageSize]); return b },
	"ones":        func(b []byte, at int) []byte { copy(b[at:], bytes.Repeat([]byte{0xff}, pageSize)); return b },
	"second half": func(b []byte, at int) []byte { clear(b[at+pageSize/2 : at+pageSize]); return b },
	"first page":  func(b []byte, at int) []byte { copy(b[at:at+pageSize], b[:pageSize]); return b },
	"count":       func(b []byte, at int) []byte { binary.LittleEndian.PutUint16(b[at+10:], 0xffff); return b },
	"far away":    func(b []byte, at int) []byte { binary.LittleEndian.PutUint32(b[at+20:], 0x7fffffff); return b },
	"cut":         func(b []byte, at int) []byte { return b[:at] },
	"cut within":  func(b []byte, at int) []byte { return b[:at+pageSize/2] },
}

var pageSize = os.Getpagesize()

// TestTornIndex tears every page in use of an index, after a crash and after a good end. The store opens and is checked,
// or the error names the damage: there is no panic, fault or hang. bbolt has goroutines of its own, where a fault ends the
// process, and so a process of its own opens each index.
func TestTornIndex(t *testing.T) {
	if dir := os.Getenv(tornVariable); dir != "" {
		openTorn(t, dir)
		return
	}
	for _, end := range []string{"crash", "good end"} {
		whole, pages := indexAfter(t, end)
		for name, tear := range tears {
			t.Run(end+"/"+name, func(t *testing.T) {
				t.Parallel()
				for page := range pages {
					index := tear(bytes.Clone(whole[:pages*pageSize]), page*pageSize)
					if out, err := runTorn(t, end, index); err != nil {
						t.Fatalf("page %d of %d: %v: %.1000s", page, pages, err, out)
					}
				}
			})
		}
	}
}

// indexAfter makes an index of some depth, with the number of its pages.
func indexAfter(t *testing.T, end string) (index []byte, pages int) {
	t.Helper()
	dir := t.TempDir()
	m, err := openDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, m, Config{})
	k.want("200", "PUT", "bkt", "")
	for i := range 30 {
		k.want("200", "PUT", fmt.Sprintf("bkt/key%d", i), small)
	}
	for i := range 10 {
		k.want("204", "DELETE", fmt.Sprintf("bkt/key%d", i), "")
	}
	if err := m.view(func(t tx) error { pages = int(t.(boltTx).Size()) / pageSize; return nil }); err != nil {
		t.Fatal(err)
	}
	if end == "good end" {
		if err := k.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if index, err = os.ReadFile(filepath.Join(dir, "index.db")); err != nil {
		t.Fatal(err)
	}
	return index, pages
}

// runTorn opens an index in a process of its own.
func runTorn(t *testing.T, end string, index []byte) (out []byte, err error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "waxseal-torn.")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if end == "crash" {
		err = os.WriteFile((&disk{dir: dir}).runningPath(), nil, 0o600)
	}
	if err = errors.Join(err, os.WriteFile(IndexPath(dir), index, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTornIndex$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), tornVariable+"="+dir)
	return cmd.CombinedOutput()
}

// openTorn is the other process: it checks, reads and writes what it can.
func openTorn(t *testing.T, dir string) {
	s, err := Open(dir, Config{})
	if err != nil {
		t.Log(err)
		return
	}
	report, err := s.Check(t.Context(), true, false)
	t.Logf("%+v, %v", report, err)
	k := &kit{t: t, store: s}
	for i := range 30 {
		key := fmt.Sprintf("key%d", i)
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			_, err := k.try(AsOwner(t.Context()), method, "bkt", key, "", "")
			t.Log(err)
		}
	}
	t.Log(s.Close())
}

// TestCutIndexIsRefused: an index that lacks its last page is refused at the start, after a good end, too, where nothing
// would read that page before a request does.
func TestCutIndexIsRefused(t *testing.T) {
	for _, end := range []string{"crash", "good end"} {
		whole, pages := indexAfter(t, end)
		dir := t.TempDir()
		if err := os.WriteFile(IndexPath(dir), whole[:(pages-1)*pageSize], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Config{}); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "it is cut off") {
			t.Errorf("after a %s: %v", end, err)
		}
	}
}
