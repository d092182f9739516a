package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestSyncsBeforeAcknowledgement names the steps of every kind of write, in their order: bytes, their sync, the sync of
// the directory, the commit; then what was dropped is unlinked.
func TestSyncsBeforeAcknowledgement(t *testing.T) {
	want := map[string]string{
		"create bucket":            "commit",
		"put small":                "commit",
		"put large":                "create write write write sync syncDir commit",
		"overwrite small by large": "create write write write sync syncDir commit",
		"overwrite large by small": "commit remove commit",
		"copy":                     "link syncDir commit",
		"copy in place":            "link syncDir commit remove commit",
		"tags":                     "commit",
		"versioning":               "commit",
		"second version":           "create write write write sync syncDir commit",
		"delete marker":            "commit",
		"delete of a version":      "commit remove commit",
		"create upload":            "commit",
		"part":                     "create write write write sync syncDir commit",
		"part again":               "create write write write sync syncDir commit remove commit",
		"part copy":                "create write write write sync syncDir commit",
		"unused part":              "commit",
		"complete":                 "commit",
		"copy of parts":            "link link syncDir commit",
		"create second upload":     "commit",
		"its part":                 "create write write write sync syncDir commit",
		"abort":                    "commit remove commit",
		"delete of many":           "commit remove commit",
	}
	f := &fallible{medium: newMemory()}
	k := newKit(t, f, Config{MinPartSize: -1})
	k.store.emptyTrash(t.Context()) // the janitor's first round
	s := &script{k: k, vars: map[string]string{}}
	for _, step := range scriptSteps {
		f.mu.Lock()
		f.steps = nil
		f.mu.Unlock()
		if _, err := step.do(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := k.store.emptyTrash(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		got := strings.Join(f.steps, " ")
		f.mu.Unlock()
		// The janitor may have been quicker, and have committed an empty round of its own.
		if got = strings.ReplaceAll(got, "remove commit commit", "remove commit"); strings.ReplaceAll(got, "remove remove", "remove") != want[step.name] {
			t.Errorf("%s: %s\nwant %s", step.name, got, want[step.name])
		}
	}
}

// TestFullDisk refuses writes at every step that can meet a full disk, keeps what was there, and goes on when there is
// room again.
func TestFullDisk(t *testing.T) {
	for at := 2; at < 12; at++ {
		f := &fallible{medium: newMemory(), err: &os.PathError{Op: "write", Err: syscall.ENOSPC}, only: true}
		k := newKit(t, f, Config{})
		k.want("200", "PUT", "bkt", "")
		k.want("200", "PUT", "bkt/old", large)
		f.mu.Lock()
		f.at = len(f.steps) + at - 1
		before := len(f.steps)
		f.mu.Unlock()
		r := k.ask("PUT", "bkt/new", large)
		f.mu.Lock()
		step := ""
		if f.stopped {
			step = f.steps[f.at-1]
		}
		f.at = 0
		f.mu.Unlock()
		switch {
		case step == "":
			if r.status != 200 {
				t.Errorf("%d: %d %s", before, r.status, r.body)
			}
			continue
		case step == "sync" || step == "syncDir":
			// Of a sync that failed nobody knows anything.
		case r.status != 507:
			t.Errorf("a full disk at %s: %d %s", step, r.status, r.body)
		}
		if k.store.failed() != nil {
			continue
		}
		if r := k.want("200", "GET", "bkt/old", ""); r.body != large {
			t.Error("the old object has changed")
		}
		k.want("404", "GET", "bkt/new", "")
		k.want("200", "PUT", "bkt/new", large)
		if report, err := k.store.Check(t.Context(), true, false); err != nil || len(report.Damage)+len(report.Waste) > 0 {
			t.Errorf("a full disk at %s: %v %+v", step, err, report)
		}
	}
}

// TestReserve refuses writes below the reserve, and deletes.
func TestReserve(t *testing.T) {
	m := &small64{memory: newMemory()}
	k := newKit(t, m, Config{Reserve: 1 << 20})
	k.want("200", "PUT", "bkt", "")
	k.want("200", "PUT", "bkt/a", large)
	m.left = 1 << 20
	k.store.freeSpace.at = k.store.freeSpace.at.Add(-10 * 1e9)
	k.want("507", "PUT", "bkt/b", large)
	k.want("507", "PUT", "bkt/b", small)
	k.want("204", "DELETE", "bkt/a", "")
}

type small64 struct {
	*memory
	left int64
}

func (s *small64) free() (int64, error) {
	if s.left == 0 {
		return 1 << 40, nil
	}
	return s.left, nil
}

// TestSyncThatFailsStopsTheStore: nothing is believed after it, not even reads.
func TestSyncThatFailsStopsTheStore(t *testing.T) {
	for _, name := range []string{"sync", "syncDir", "commit"} {
		f := &fallible{medium: newMemory(), err: fmt.Errorf("%w: %w", errUncertain, syscall.EIO)}
		k := newKit(t, f, Config{})
		k.want("200", "PUT", "bkt", "")
		f.mu.Lock()
		f.at = len(f.steps) + map[string]int{"sync": 5, "syncDir": 6, "commit": 7}[name]
		f.mu.Unlock()
		k.want("500", "PUT", "bkt/a", large)
		if got := f.steps[f.at-1]; got != name {
			t.Fatalf("it failed at %s, not %s", got, name)
		}
		k.want("500", "GET", "bkt/a", "")
		k.want("500", "PUT", "bkt/b", small)
		select {
		case <-k.store.Ended():
		default:
			t.Errorf("%s: the store goes on", name)
		}
	}
}

// TestConcurrentWriters overwrites, reads, copies and deletes the same keys at once: every read gives one whole body,
// and nothing is left over.
func TestConcurrentWriters(t *testing.T) {
	m, err := openDisk(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, m, Config{})
	k.want("200", "PUT", "bkt", "")
	body := func(n int) string { return strings.Repeat(fmt.Sprintf("%08d", n), 1+(n%2)*20_000) }
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				key := fmt.Sprintf("bkt/k%d", (w+i)%3)
				switch i % 4 {
				case 0, 1:
					k.ask("PUT", key, body(w*1000+i))
				case 2:
					k.ask("PUT", key+"c", "", "X-Amz-Copy-Source: "+key)
				default:
					k.ask("DELETE", key+"c", "")
				}
				for _, read := range []string{key, key + "c"} {
					r := k.ask("GET", read, "")
					if r.status == 200 && strings.ReplaceAll(r.body, r.body[:8], "") != "" {
						t.Errorf("%s: two bodies in one", read)
					}
					if r.status != 200 && r.status != 404 {
						t.Errorf("%s: %d %s", read, r.status, r.body)
					}
				}
			}
		})
	}
	wg.Wait()
	report, err := k.store.Check(t.Context(), true, false)
	if err != nil || len(report.Damage)+len(report.Waste) > 0 {
		t.Errorf("%v %+v", err, report)
	}
}

// TestReaderOutlivesOverwrite reads an object of parts slowly while it is overwritten and its files are unlinked.
func TestReaderOutlivesOverwrite(t *testing.T) {
	onBoth(t, Config{MinPartSize: -1}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		id, list := k.upload("bkt/parts", large+"1", large+"2", large+"3", small)
		k.want("200", "POST", "bkt/parts?uploadId="+id, list)
		req := (&http.Request{Method: "GET", URL: &url.URL{Path: "/bkt/parts"}, Header: http.Header{}}).WithContext(AsOwner(context.Background()))
		resp, err := k.store.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 10)
		if _, err := io.ReadFull(resp.Body, first); err != nil {
			t.Fatal(err)
		}
		k.want("200", "PUT", "bkt/parts", "new")
		if err := k.store.emptyTrash(t.Context()); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(resp.Body)
		if err != nil || string(first)+string(rest) != large+"1"+large+"2"+large+"3"+small {
			t.Errorf("%v, %d bytes", err, len(rest))
		}
		resp.Body.Close()
		if err := k.store.emptyTrash(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, err := range k.store.medium.files(0) {
			t.Errorf("file %x is left (%v)", id, err)
		}
	})
}

// TestSweepAtStart removes files that a crash has left without an entry, and gives no id twice.
func TestSweepAtStart(t *testing.T) {
	m := newMemory()
	k := newKit(t, m, Config{})
	k.want("200", "PUT", "bkt", "")
	k.want("200", "PUT", "bkt/a", large)
	f, err := m.create(5000)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := newKit(t, m, Config{})
	if m.bodies[5000] != nil {
		t.Error("the file is left")
	}
	if next := again.store.ids.Load(); next <= 5000 {
		t.Errorf("the next id is %d", next)
	}
	if r := again.want("200", "GET", "bkt/a", ""); r.body != large {
		t.Error("the object has changed")
	}
}

// TestCheckSeesDamage takes bytes away and puts some there.
func TestCheckSeesDamage(t *testing.T) {
	m := newMemory()
	k := newKit(t, m, Config{})
	k.want("200", "PUT", "bkt", "")
	k.want("200", "PUT", "bkt/a", large)
	k.want("200", "PUT", "bkt/b", small)
	check := func(damage, waste int, repair bool) *Report {
		t.Helper()
		r, err := k.store.Check(t.Context(), true, repair)
		if err != nil || len(r.Damage) != damage || len(r.Waste) != waste {
			t.Fatalf("%v, %+v", err, r)
		}
		return r
	}
	check(0, 0, true)
	if _, err := m.create(77); err != nil {
		t.Fatal(err)
	}
	err := m.update(func(t tx) error {
		if err := t.put(inlineSpace, idKey(78), []byte("x")); err != nil {
			return err
		}
		return t.put(fileSpace, idKey(79), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	check(0, 3, false)
	if r := check(0, 3, true); r.Repaired != 3 {
		t.Errorf("%+v", r)
	}
	check(0, 0, false)
	for id := range m.bodies {
		m.bodies[id].data[1000] ^= 1
	}
	check(1, 0, true)
	for id := range m.bodies {
		delete(m.bodies, id)
	}
	if r := check(1, 0, true); !strings.Contains(r.Damage[0], `bkt, key "a"`) {
		t.Errorf("%+v", r)
	}
	k.want("500", "GET", "bkt/a", "")
}

// TestDamageFailsAlone: a change that meets a damaged entry does not take those with it that share its commit.
func TestDamageFailsAlone(t *testing.T) {
	m := newMemory()
	k := newKit(t, m, Config{})
	k.want("200", "PUT", "bkt", "")
	k.want("200", "PUT", "bkt/bad", small)
	err := m.update(func(t tx) error {
		key, _ := t.cursor(currentSpace).seek(nil)
		return t.put(currentSpace, key, []byte("no entry"))
	})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string) *change {
		return &change{done: make(chan struct{}), apply: func(t *txn) error {
			b, err := t.bucket("bkt")
			if err != nil {
				return err
			}
			return t.put(b, key, &object{})
		}}
	}
	group := []*change{put("a"), put("bad"), put("b")}
	k.store.commitGroup(group)
	if group[0].err != nil || !errors.Is(group[1].err, errDamaged) || group[2].err != nil {
		t.Errorf("%v, %v, %v", group[0].err, group[1].err, group[2].err)
	}
	k.want("200", "GET", "bkt/b", "")
	k.want("500", "GET", "bkt/bad", "")
}
