package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// crash gives what a loss of power leaves of the memory: durable names, synced bytes, committed transactions.
func (m *memory) crash() *memory {
	after := newMemory()
	after.index.Store(m.index.Load())
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, f := range m.durable {
		kept := &memFile{data: f.data[:f.synced:f.synced], synced: f.synced}
		after.bodies[id], after.durable[id] = kept, kept
	}
	return after
}

// fallible is a medium that stops at a step, as a process that is killed does: before the step, or after it.
type fallible struct {
	medium
	mu      sync.Mutex
	steps   []string
	at      int // the step to stop at, from 1; 0 is none
	after   bool
	err     error // of the step; nil is errKilled
	stopped bool
	only    bool // the steps behind the failing one succeed
}

var errKilled = fmt.Errorf("%w: killed", errUncertain)

// step counts a step and does it, unless the process is dead.
func (f *fallible) step(name string, do func() error) error {
	f.mu.Lock()
	f.steps = append(f.steps, name)
	here := f.at == len(f.steps)
	if f.stopped && !f.only || here && !f.after {
		f.stopped = true
		f.mu.Unlock()
		if here && f.err != nil {
			return f.err
		}
		return errKilled
	}
	f.mu.Unlock()
	err := do()
	if here {
		f.mu.Lock()
		f.stopped = true
		f.mu.Unlock()
		return errKilled
	}
	return err
}

func (f *fallible) update(fn func(tx) error) error {
	return f.step("commit", func() error { return f.medium.update(fn) })
}

func (f *fallible) create(id uint64) (file bodyFile, err error) {
	err = f.step("create", func() error { file, err = f.medium.create(id); return err })
	return &fallibleFile{file, f}, err
}

type fallibleFile struct {
	bodyFile
	f *fallible
}

func (w *fallibleFile) Write(p []byte) (n int, err error) {
	err = w.f.step("write", func() error { n, err = w.bodyFile.Write(p); return err })
	return n, err
}

func (w *fallibleFile) sync() error { return w.f.step("sync", w.bodyFile.sync) }
func (w *fallibleFile) Close() error {
	if w.bodyFile == nil {
		return nil
	}
	return w.bodyFile.Close()
}

func (f *fallible) link(from, to uint64) error {
	return f.step("link", func() error { return f.medium.link(from, to) })
}

func (f *fallible) remove(id uint64) error {
	return f.step("remove", func() error { return f.medium.remove(id) })
}

func (f *fallible) syncDir(dir uint64) error {
	return f.step("syncDir", func() error { return f.medium.syncDir(dir) })
}

func (f *fallible) files(from uint64) iter.Seq2[uint64, error] { return f.medium.files(from) }

// facts are what can be read of a store: objects, versions, tags, locks, uploads and their parts.
type facts map[string]string

// script is a list of requests of all kinds, with bodies on both sides of inlineMax.
type script struct {
	k    *kit
	vars map[string]string
}

var small, large = strings.Repeat("s", 100), strings.Repeat("L", 300_000)

var scriptSteps = []struct {
	name string
	do   func(*script) (reply, error)
}{
	{"create bucket", func(s *script) (reply, error) { return s.ask("PUT", "bkt", "", "") }},
	{"put small", func(s *script) (reply, error) { return s.ask("PUT", "bkt/small", "", small) }},
	{"put large", func(s *script) (reply, error) { return s.ask("PUT", "bkt/large", "", large) }},
	{"overwrite small by large", func(s *script) (reply, error) { return s.ask("PUT", "bkt/small", "", large+"2") }},
	{"overwrite large by small", func(s *script) (reply, error) { return s.ask("PUT", "bkt/large", "", small+"2") }},
	{"copy", func(s *script) (reply, error) {
		return s.ask("PUT", "bkt/copy", "", "", "X-Amz-Copy-Source: /bkt/small")
	}},
	{"copy in place", func(s *script) (reply, error) {
		return s.ask("PUT", "bkt/copy", "", "", "X-Amz-Copy-Source: /bkt/copy", "X-Amz-Metadata-Directive: REPLACE", "X-Amz-Meta-A: b")
	}},
	{"tags", func(s *script) (reply, error) {
		return s.ask("PUT", "bkt/copy", "tagging", "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>")
	}},
	{"versioning", func(s *script) (reply, error) {
		return s.ask("PUT", "bkt", "versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
	}},
	{"second version", func(s *script) (reply, error) { return s.ask("PUT", "bkt/small", "", large+"3") }},
	{"delete marker", func(s *script) (reply, error) { return s.ask("DELETE", "bkt/small", "", "") }},
	{"delete of a version", func(s *script) (reply, error) { return s.ask("DELETE", "bkt/small", "versionId=null", "") }},
	{"create upload", func(s *script) (reply, error) {
		r, err := s.ask("POST", "bkt/parts", "uploads", "")
		s.vars["id"] = between(r.body, "<UploadId>", "</UploadId>")
		return r, err
	}},
	{"part", func(s *script) (reply, error) { return s.part(1, large+"p1") }},
	{"part again", func(s *script) (reply, error) { return s.part(1, large+"p1 again") }},
	{"part copy", func(s *script) (reply, error) {
		r, err := s.ask("PUT", "bkt/parts", "partNumber=2&uploadId="+s.vars["id"], "", "X-Amz-Copy-Source: /bkt/copy")
		s.vars["2"] = between(r.body, "&quot;", "&quot;")
		return r, err
	}},
	{"unused part", func(s *script) (reply, error) { return s.part(3, small) }},
	{"complete", func(s *script) (reply, error) {
		list := "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + s.vars["1"] + "</ETag></Part><Part><PartNumber>2</PartNumber><ETag>" + s.vars["2"] + "</ETag></Part></CompleteMultipartUpload>"
		return s.ask("POST", "bkt/parts", "uploadId="+s.vars["id"], list)
	}},
	{"copy of parts", func(s *script) (reply, error) {
		return s.ask("PUT", "bkt/parts2", "", "", "X-Amz-Copy-Source: /bkt/parts")
	}},
	{"create second upload", func(s *script) (reply, error) {
		r, err := s.ask("POST", "bkt/parts", "uploads", "")
		s.vars["id"] = between(r.body, "<UploadId>", "</UploadId>")
		return r, err
	}},
	{"its part", func(s *script) (reply, error) { return s.part(1, large) }},
	{"abort", func(s *script) (reply, error) { return s.ask("DELETE", "bkt/parts", "uploadId="+s.vars["id"], "") }},
	{"delete of many", func(s *script) (reply, error) {
		return s.ask("POST", "bkt", "delete", "<Delete><Object><Key>parts</Key></Object><Object><Key>copy</Key><VersionId>null</VersionId></Object></Delete>")
	}},
}

func between(s, from, to string) string {
	_, rest, _ := strings.Cut(s, from)
	found, _, _ := strings.Cut(rest, to)
	return found
}

func (s *script) ask(method, path, query, body string, headers ...string) (reply, error) {
	bucket, key, _ := strings.Cut(path, "/")
	r, err := s.k.try(AsOwner(context.Background()), method, bucket, key, query, body, headers...)
	if err == nil && r.status >= 300 {
		err = errors.New(r.body)
	}
	return r, err
}

func (s *script) part(n int, body string) (reply, error) {
	r, err := s.ask("PUT", "bkt/parts", fmt.Sprintf("partNumber=%d&uploadId=%s", n, s.vars["id"]), body)
	s.vars[fmt.Sprint(n)] = r.header.Get("ETag")
	return r, err
}

// facts reads everything, except for ids and times, which are others each time.
func (k *kit) facts() facts {
	k.t.Helper()
	f := facts{}
	err := k.store.view(func(t *txn) error {
		c := t.cursor(bucketSpace)
		for name, v := c.seek(nil); name != nil; name, v = c.next() {
			b, err := k.store.buckets.decode(string(name), v)
			if err != nil {
				return err
			}
			f["bucket "+b.Name] = b.Versioning
			w := &versionWalk{current: t.cursor(currentSpace), older: t.cursor(versionSpace)}
			for index, ok := w.seek(idKey(b.ID)); ok; index, ok = w.next() {
				key, _ := keyOf(index)
				n := 0
				err := w.each(func(o *object) bool {
					f[fmt.Sprintf("object %s %d", key, n)] = k.content(b, key, o)
					n++
					return true
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	for _, s := range []space{uploadSpace, partSpace} {
		err := k.store.view(func(t *txn) error {
			n := 0
			c := t.cursor(s)
			for key, v := c.seek(nil); key != nil; key, v = c.next() {
				n++
				text := ""
				if p, err := decodePart(v); s == partSpace && err == nil {
					text = fmt.Sprint(p.number, p.size, p.etag)
				}
				f[fmt.Sprintf("%v %d", s, n)] = text
			}
			return nil
		})
		if err != nil {
			k.t.Fatal(err)
		}
	}
	return f
}

func (k *kit) content(b *bucket, key string, o *object) string {
	text := fmt.Sprint(o.null, o.marker, o.size, o.etag, o.header, o.tags, o.mode, o.hold)
	if !o.marker {
		query := ""
		if b.Versioning != "" {
			query = "versionId=" + o.versionID()
		}
		r := k.send(AsOwner(context.Background()), "GET", b.Name, key, query, "")
		text += fmt.Sprint(r.status, len(r.body), strings.Count(r.body, "L"), r.body[max(0, len(r.body)-10):])
	}
	return text
}

// run runs the script up to a step that fails, and gives its index and the facts before each step.
func runScript(k *kit, record bool) (done int, before []facts) {
	s := &script{k: k, vars: map[string]string{}}
	for i, step := range scriptSteps {
		if record {
			before = append(before, k.facts())
		}
		if _, err := step.do(s); err != nil {
			if record {
				k.t.Fatalf("%s: %v", step.name, err)
			}
			return i, nil
		}
		// What the janitor does belongs to the step, so that steps are the same in each run.
		if err := k.store.emptyTrash(context.Background()); err != nil && record {
			k.t.Fatal(err)
		}
	}
	if record {
		before = append(before, k.facts())
	}
	return len(scriptSteps), before
}

// quiet starts a store whose janitor is only called.
func quietKit(t testing.TB, m medium) *kit {
	k := newKit(t, m, Config{MinPartSize: -1})
	return k
}

// TestKilledAtEveryStep ends the process before and after every step of every write: what was acknowledged is there, and
// what was not is whole or absent.
func TestKilledAtEveryStep(t *testing.T) {
	_, states := runScript(quietKit(t, newMemory()), true)
	for name, open := range map[string]func(*testing.T) (medium, func(*testing.T) medium){
		"power": func(*testing.T) (medium, func(*testing.T) medium) {
			m := newMemory()
			return m, func(*testing.T) medium { return m.crash() }
		},
		"kill": func(t *testing.T) (medium, func(*testing.T) medium) {
			dir := filepath.Join(t.TempDir(), "store")
			m, err := openDisk(dir)
			if err != nil {
				t.Fatal(err)
			}
			return m, func(t *testing.T) medium {
				if err := m.db.Close(); err != nil {
					t.Fatal(err)
				}
				again, err := openDisk(dir)
				if err != nil {
					t.Fatal(err)
				}
				return again
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for at := 1; ; at++ {
				for _, after := range []bool{false, true} {
					m, again := open(t)
					f := &fallible{medium: m, at: at + 1, after: after} // the first step is the start's own
					if !killedAt(t, f, again, states, at, after) {
						return
					}
				}
				if testing.Short() && name == "kill" {
					at += 6
				}
			}
		})
	}
}

// killedAt runs the script into a dead process and looks at what is left. It reports whether the script got to the step.
func killedAt(t *testing.T, f *fallible, again func(*testing.T) medium, states []facts, at int, after bool) bool {
	store, err := start(f, Config{MinPartSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{t: t, store: store}
	done, _ := runScript(k, false)
	close(store.stop)
	store.workers.Wait()
	if !f.stopped {
		return false
	}
	now := quietKit(t, again(t))
	got := now.facts()
	step := "the end"
	if done < len(scriptSteps) {
		step = scriptSteps[done].name
	}
	if !maps.Equal(got, states[done]) && (done == len(scriptSteps) || !maps.Equal(got, states[done+1])) {
		t.Fatalf("killed at %s %d (after: %v), in %q:\n got %v\nwant %v", f.steps[at], at, after, step, got, states[done])
	}
	report, err := now.store.Check(context.Background(), true, false)
	if err != nil || len(report.Damage) > 0 || len(report.Waste) > 0 {
		t.Fatalf("killed at step %d (after: %v), in %q: %v, %+v", at, after, step, err, report)
	}
	return true
}
