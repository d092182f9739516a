package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// meddler is an attacker with write access to a directory of records, but not to the state and its key.
type meddler struct {
	t   testing.TB
	dir string
}

// path finds the only file of a pattern: "4-" is the closed file of number 4, "#9" digest 9.
func (m meddler) path(name string) string {
	m.t.Helper()
	switch {
	case strings.HasPrefix(name, "#"):
		name = fmt.Sprintf("*-%012s.digest", name[1:])
	case strings.HasSuffix(name, "-"):
		name = fmt.Sprintf("%012s-*.jsonl", name[:len(name)-1])
	}
	found, err := filepath.Glob(filepath.Join(m.dir, name))
	if err != nil || len(found) != 1 {
		m.t.Fatal(name, found, err)
	}
	return found[0]
}

func (m meddler) read(name string) []byte {
	m.t.Helper()
	content, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return content
}

func (m meddler) write(path string, content []byte) {
	m.t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m meddler) new(name string, content []byte) { m.write(filepath.Join(m.dir, name), content) }

func (m meddler) edit(name string, edit func([]byte) []byte) {
	m.t.Helper()
	m.write(m.path(name), edit(m.read(name)))
}

func (m meddler) lines(name string, edit func([][]byte) [][]byte) {
	m.edit(name, func(content []byte) []byte {
		return bytes.Join(edit(bytes.SplitAfter(content, []byte("\n"))), nil)
	})
}

func (m meddler) replace(name, old, new string) {
	m.edit(name, func(content []byte) []byte {
		if !bytes.Contains(content, []byte(old)) {
			m.t.Fatalf("%s has no %q: %s", name, old, content)
		}
		return bytes.Replace(content, []byte(old), []byte(new), 1)
	})
}

func (m meddler) remove(names ...string) {
	m.t.Helper()
	for _, name := range names {
		if err := os.Remove(m.path(name)); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m meddler) rename(name, to string) {
	m.t.Helper()
	if err := os.Rename(m.path(name), filepath.Join(m.dir, to)); err != nil {
		m.t.Fatal(err)
	}
}

func (m meddler) swap(a, b string) {
	m.t.Helper()
	contentA, contentB := m.read(a), m.read(b)
	m.write(m.path(a), contentB)
	m.write(m.path(b), contentA)
}

// forged signs a digest anew, with the meddler's own key under the id of the real key.
func (m meddler) forged(name string, edit func(d *audit.Digest)) {
	m.t.Helper()
	own := state.NewMemory()
	r, err := audit.OpenRegister(m.t.Context(), own)
	if err != nil {
		m.t.Fatal(err)
	}
	lines := bytes.SplitN(m.read(name), []byte("\n"), 2)
	var d audit.Digest
	if err := json.Unmarshal(lines[0], &d); err != nil {
		m.t.Fatal(err)
	}
	edit(&d)
	content, err := r.Sign(&d)
	if err != nil {
		m.t.Fatal(err)
	}
	var sig, real struct{ Key, Signature string }
	if err := json.Unmarshal(bytes.SplitN(content, []byte("\n"), 2)[1], &sig); err != nil {
		m.t.Fatal(err)
	}
	if err := json.Unmarshal(lines[1], &real); err != nil {
		m.t.Fatal(err)
	}
	m.write(m.path(name), bytes.Replace(content, []byte(sig.Key), []byte(real.Key), 1))
}

func (m meddler) signature(name string, edit func(sig string) string) {
	m.edit(name, func(content []byte) []byte {
		before, rest, _ := bytes.Cut(content, []byte(`"signature":"`))
		sig, end, _ := bytes.Cut(rest, []byte(`"`))
		return []byte(string(before) + `"signature":"` + edit(string(sig)) + `"` + string(end))
	})
}

func last(lines [][]byte) int { return len(lines) - 2 } // behind the last line end there is nothing

// madeGood are edits repaired by the next start: they add neither a record nor a digest. The start cuts the bytes off,
// or writes over them.
var madeGood = []string{"half a record after the close", "a digest twice"}

// edits are ways to tamper with the records of lived. Its digests: 1 to 3 files (1 and 2 pruned), 4 closed, 5 file 4,
// 6 file 5 (after a crash), 7 pruned, 8 closed, 9 restored, 10 to 12 files 6 to 8, 13 closed.
var edits = []struct {
	name string
	do   func(m meddler)
}{
	{"a byte of a record", func(m meddler) { m.edit("4-", func(c []byte) []byte { return flip(c, 40) }) }},
	{"a record's user", func(m meddler) { m.replace("4-", `"userName":"Alice"`, `"userName":"Mallo"`) }},
	{"a record's user, shorter", func(m meddler) { m.replace("4-", `"userName":"Alice"`, `"userName":"Al"`) }},
	{"a record's time", func(m meddler) { m.replace("4-", `"eventTime":"2025`, `"eventTime":"2024`) }},
	{"a record's error", func(m meddler) { m.replace("4-", `"readOnly":true`, `"errorCode":"AccessDenied","readOnly":true`) }},
	{"a space in a record", func(m meddler) { m.replace("4-", `{"eventVersion"`, `{ "eventVersion"`) }},
	{"the order of a record's fields", func(m meddler) {
		m.replace("4-", `{"eventVersion":"1.11","userIdentity"`, `{"userIdentity2":1,"eventVersion":"1.11","userIdentity"`)
	}},
	{"the first line", func(m meddler) { m.lines("4-", func(l [][]byte) [][]byte { return l[1:] }) }},
	{"a line in the middle", func(m meddler) { m.lines("4-", func(l [][]byte) [][]byte { return append(l[:1], l[2:]...) }) }},
	{"the last line", func(m meddler) { m.lines("4-", func(l [][]byte) [][]byte { return l[:last(l)] }) }},
	{"the last line end", func(m meddler) { m.edit("4-", func(c []byte) []byte { return c[:len(c)-1] }) }},
	{"two lines swapped", func(m meddler) {
		m.lines("4-", func(l [][]byte) [][]byte { l[0], l[1] = l[1], l[0]; return l })
	}},
	{"a line twice", func(m meddler) { m.lines("4-", func(l [][]byte) [][]byte { return append([][]byte{l[0]}, l...) }) }},
	{"a line more", func(m meddler) {
		m.edit("4-", func(c []byte) []byte { return append(c, "{\"eventName\":\"X\"}\n"...) })
	}},
	{"a half line more", func(m meddler) { m.edit("4-", func(c []byte) []byte { return append(c, "{"...) }) }},
	{"an empty line", func(m meddler) { m.edit("4-", func(c []byte) []byte { return append(c, '\n') }) }},
	{"a line of another file", func(m meddler) {
		line := m.read("5-")
		m.edit("4-", func(c []byte) []byte { return append(c, line...) })
	}},
	{"an emptied file", func(m meddler) { m.edit("4-", func([]byte) []byte { return nil }) }},
	{"CRLF", func(m meddler) {
		m.edit("4-", func(c []byte) []byte { return bytes.ReplaceAll(c, []byte("\n"), []byte("\r\n")) })
	}},
	{"a record of a file left by a crash", func(m meddler) { m.edit("5-", func(c []byte) []byte { return flip(c, 40) }) }},
	{"a record of the oldest file", func(m meddler) { m.edit("3-", func(c []byte) []byte { return flip(c, 40) }) }},
	{"a record of the newest file", func(m meddler) { m.edit("8-", func(c []byte) []byte { return flip(c, 40) }) }},

	{"the oldest file gone", func(m meddler) { m.remove("3-") }},
	{"a file in the middle gone", func(m meddler) { m.remove("6-") }},
	{"the newest file gone", func(m meddler) { m.remove("8-") }},
	{"the newest file and its digest gone", func(m meddler) { m.remove("8-", "#12") }},
	{"the newest file and all digests from its own on gone", func(m meddler) { m.remove("8-", "#12", "#13") }},
	{"the three newest files and their digests gone", func(m meddler) { m.remove("6-", "7-", "8-", "#10", "#11", "#12", "#13") }},
	{"the oldest file and its digest gone", func(m meddler) { m.remove("3-", "#3") }},
	{"a file in the middle and its digest gone", func(m meddler) { m.remove("6-", "#10") }},
	{"two files swapped", func(m meddler) { m.swap("6-", "7-") }},
	{"two files and their digests swapped", func(m meddler) { m.swap("6-", "7-"); m.swap("#10", "#11") }},
	{"a file under another number", func(m meddler) { m.rename("6-", "000000000016-20250520T204616Z.jsonl") }},
	{"a file under another time", func(m meddler) { m.rename("6-", "000000000006-20240520T204616Z.jsonl") }},
	{"a file under a name that nobody reads", func(m meddler) { m.rename("6-", "x.jsonl") }},
	{"a file twice", func(m meddler) { m.new("000000000009-20250520T204616Z.jsonl", m.read("8-")) }},
	{"a file more, with the next number", func(m meddler) { m.new("000000000009-20250520T204616Z.jsonl", []byte("{}\n")) }},
	{"a file more, with a number that is taken", func(m meddler) { m.new("000000000006-19990520T204616Z.jsonl", []byte("{}\n")) }},
	{"a file more, with the number of a pruned one", func(m meddler) { m.new("000000000001-20250520T204616Z.jsonl", []byte("{}\n")) }},
	{"a file more, far away", func(m meddler) { m.new("000000000999-20250520T204616Z.jsonl", []byte("{}\n")) }},
	{"a directory in the place of a file", func(m meddler) {
		path := m.path("6-")
		m.remove("6-")
		if err := os.Mkdir(path, 0o700); err != nil {
			m.t.Fatal(err)
		}
	}},
	{"records after the close", func(m meddler) { m.new("current.jsonl", []byte("{}\n")) }},
	{"half a record after the close", func(m meddler) { m.new("current.jsonl", []byte("{")) }},
	{"the newest file is the current one again", func(m meddler) { m.rename("8-", "current.jsonl") }},

	{"a digest's byte", func(m meddler) { m.edit("#10", func(c []byte) []byte { return flip(c, 30) }) }},
	{"a digest's hash of its file", func(m meddler) { m.replace("#10", `"sha256":"`, `"sha256":"0`) }},
	{"a digest's size", func(m meddler) { m.replace("#10", `"size":`, `"size":1`) }},
	{"a digest's time", func(m meddler) { m.replace("#10", `"time":"2025`, `"time":"2024`) }},
	{"a digest's kind", func(m meddler) { m.replace("#10", `"kind":"file"`, `"kind":"closed"`) }},
	{"a digest's link to the one before", func(m meddler) { m.replace("#10", `"previous":"`, `"previous":"0`) }},
	{"a space in a digest", func(m meddler) { m.replace("#10", `{"chain"`, `{ "chain"`) }},
	{"a line more in a digest", func(m meddler) { m.edit("#10", func(c []byte) []byte { return append(c, "{}\n"...) }) }},
	{"an emptied digest", func(m meddler) { m.edit("#10", func([]byte) []byte { return nil }) }},
	{"a digest cut short", func(m meddler) { m.edit("#10", func(c []byte) []byte { return c[:len(c)-1] }) }},
	{"the first digest here gone", func(m meddler) { m.remove("#3") }},
	{"a digest in the middle gone", func(m meddler) { m.remove("#10") }},
	{"the digest of a close gone", func(m meddler) { m.remove("#8") }},
	{"the digest of the last close gone", func(m meddler) { m.remove("#13") }},
	{"the mark of the prune gone", func(m meddler) { m.remove("#7") }},
	{"the mark of the restore gone", func(m meddler) { m.remove("#9") }},
	{"two digests swapped", func(m meddler) { m.swap("#10", "#11") }},
	{"a digest in the place of another", func(m meddler) { m.write(m.path("#10"), m.read("#11")) }},
	{"a digest twice", func(m meddler) {
		m.write(strings.Replace(m.path("#13"), "000000000013", "000000000014", 1), m.read("#13"))
	}},
	{"a digest under another chain's name", func(m meddler) { m.rename("#13", "0123456789abcdef-000000000013.digest") }},
	{"all digests gone", func(m meddler) { removeAll(m, "*.digest") }},
	{"all digests and chain.json gone", func(m meddler) { removeAll(m, "*.digest"); m.remove("chain.json") }},
	{"everything gone", func(m meddler) { removeAll(m, "*") }},

	{"a signature's byte", func(m meddler) {
		m.signature("#10", func(s string) string { return s[:8] + string(s[8]^1) + s[9:] })
	}},
	{"no signature", func(m meddler) { m.signature("#10", func(string) string { return "" }) }},
	{"a signature of zeros", func(m meddler) {
		m.signature("#10", func(s string) string { return strings.Repeat("A", 86) + "==" })
	}},
	{"the signature of another digest", func(m meddler) {
		_, other, _ := bytes.Cut(m.read("#11"), []byte(`"signature":"`))
		m.signature("#10", func(string) string { return string(other[:88]) })
	}},
	{"the key's id", func(m meddler) { m.replace("#10", `{"key":"`, `{"key":"0`) }},
	{"a digest signed by another key, and its file changed", func(m meddler) {
		m.lines("6-", func(l [][]byte) [][]byte { return l[1:] })
		m.forged("#10", func(d *audit.Digest) { d.File.Records-- })
	}},
	{"a mark of pruning signed by another key, and the files gone", func(m meddler) {
		m.remove("3-", "4-", "5-", "6-")
		m.forged("#11", func(d *audit.Digest) {
			d.Kind, d.File, d.Pruned = audit.KindPruned, nil, &audit.PruneMark{Through: 10, Hash: d.Previous, File: 6}
		})
	}},
	{"a digest of the meddler's own at the end", func(m meddler) {
		m.new("000000000009-20250520T204616Z.jsonl", []byte("{}\n"))
		m.write(strings.Replace(m.path("#13"), "000000000013", "000000000014", 1), m.read("#13"))
		m.forged("#14", func(d *audit.Digest) { d.Sequence, d.Kind = 14, audit.KindFile })
	}},
	{"chain.json gone", func(m meddler) { m.remove("chain.json") }},
	{"chain.json of another chain", func(m meddler) { m.write(m.path("chain.json"), []byte(`{"chain":"0123456789abcdef"}`)) }},
	{"chain.json damaged", func(m meddler) { m.write(m.path("chain.json"), []byte(`{`)) }},
}

func removeAll(m meddler, pattern string) {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, pattern))
	if err != nil || len(found) == 0 {
		m.t.Fatal(pattern, err)
	}
	for _, name := range found {
		if err := os.Remove(name); err != nil {
			m.t.Fatal(err)
		}
	}
}

// TestVerifyFindsEveryEdit makes each edit in a directory of its own. Verify finds it at once, and also after the next
// start, unless madeGood names it.
func TestVerifyFindsEveryEdit(t *testing.T) {
	if len(edits) < 60 {
		t.Fatalf("%d edits", len(edits))
	}
	untouched := lived(t)
	untouched.wantWhole(t, nil)
	for _, e := range edits {
		t.Run(e.name, func(t *testing.T) {
			y := untouched.copy(t)
			y.wantWhole(t, nil)
			e.do(meddler{t, y.dir})
			if report := y.verify(t, nil); !report.Tampered() {
				t.Fatalf("not found: %+v", report.Findings)
			}
			s := y.open(t)
			y.file(t, s, "Later")
			if report := y.verify(t, s); !report.Tampered() && !slices.Contains(madeGood, e.name) {
				t.Fatalf("not found after the next start: %+v", report.Findings)
			}
			closeSink(t, s)
		})
	}
}

// copy copies the directory and the state.
func (y *yard) copy(t testing.TB) *yard {
	t.Helper()
	c := &yard{dir: t.TempDir(), state: state.NewMemory(), now: y.now.Add(time.Hour)}
	if err := os.CopyFS(c.dir, os.DirFS(y.dir)); err != nil {
		t.Fatal(err)
	}
	entries, err := y.state.Range(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := c.state.Txn(t.Context(), nil, []state.Op{{Key: e.Key, Value: e.Value}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}
