package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// TestA2NewestFileRemoved removes the newest closed file, unknown to any digest outside, and starts again: its number
// is not given to another file, and Verify reports it missing, then and later.
func TestA2NewestFileRemoved(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	y.file(t, s, "B")
	closeSink(t, s)
	remove(t, y, "000000000002-*")
	s = y.open(t)
	y.file(t, s, "C")
	if again, _ := filepath.Glob(filepath.Join(y.dir, "000000000002-*")); len(again) > 0 {
		t.Errorf("the number of the removed file came again: %v", again)
	}
	if report := y.verify(t, s); !has(report, audit.Missing) {
		t.Errorf("%+v", report.Findings)
	}
}

// TestA2PrunedIsNoAlarm: files pruned as documented raise no alarm; files removed by hand do.
func TestA2PrunedIsNoAlarm(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	for _, e := range []string{"A", "B", "C"} {
		y.file(t, s, e)
	}
	if p, err := s.Prune(t.Context(), audit.PruneOptions{Before: begin.Add(time.Second)}); err != nil || p.Files != 1 {
		t.Fatal(p, err)
	}
	y.wantWhole(t, s)
	remove(t, y, "000000000002-*")
	if report := y.verify(t, s); !has(report, audit.Missing) {
		t.Errorf("%+v", report.Findings)
	}
}

// TestA2DirectoryRemoved removes a whole directory, its chain's name too, and starts anew.
func TestA2DirectoryRemoved(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	removeAll(meddler{t, y.dir}, "*")
	s = y.open(t)
	y.file(t, s, "B")
	if report := y.verify(t, s); !has(report, audit.Missing) {
		t.Errorf("%+v", report.Findings)
	}
}

// TestRestoreIsNoAlarm restores an older state, into the directory of records and into a new one.
func TestRestoreIsNoAlarm(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	backup := y.copy(t)
	y.file(t, s, "B")
	closeSink(t, s)
	for name, dir := range map[string]string{"the same directory": y.dir, "a new directory": t.TempDir()} {
		restored := backup.copy(t)
		restored.dir = dir
		if err := audit.MarkRestored(t.Context(), restored.state, restored.now); err != nil {
			t.Fatal(err)
		}
		s := restored.open(t)
		restored.file(t, s, "C")
		if report := restored.wantWhole(t, s); !has(report, audit.Restored) {
			t.Errorf("%s: %+v", name, report.Findings)
		}
		closeSink(t, s)
		restored.wantWhole(t, nil)
	}
}

// TestStateTakenBack restores an older state without a mark of the restore, as an attacker with write access to the
// state can: the digests in the directory still hold, and go on.
func TestStateTakenBack(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	old := y.copy(t)
	y.file(t, s, "B")
	y.file(t, s, "C")
	closeSink(t, s)
	old.dir = y.dir
	s = old.open(t)
	old.file(t, s, "D")
	old.wantWhole(t, s)
	if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != "[A B C D]" {
		t.Error(got)
	}
	// An anchor written down outside shows what such a state could hide.
	head := old.verify(t, s).Heads[0]
	trust := old.trust(t, s)
	trust.Anchors = []audit.Head{{Chain: head.Chain, Sequence: head.Sequence + 5, Hash: head.Hash}}
	if report, err := audit.Verify(y.dir, trust); err != nil || !has(report, audit.Missing) {
		t.Error(report, err)
	}
}

// TestA3SignerIsNoKMSKey closes files and counts records: signing makes no record. The signing key stays the same over
// starts, and digests cover the files' own bytes, so that a compressor cannot change them.
func TestA3SignerIsNoKMSKey(t *testing.T) {
	y := newYard(t)
	_, before := y.register(t).PublicKeys()
	s := y.open(t)
	for range 3 {
		y.file(t, s, "Decrypt")
	}
	closeSink(t, s)
	if n := len(names(t, y.dir, audit.Filter{})); n != 3 {
		t.Errorf("3 records and their digests are %d records", n)
	}
	keys, after := y.register(t).PublicKeys()
	if before == "" || before != after || len(keys) != 1 {
		t.Errorf("signed by %q and then by %q, of %d keys", before, after, len(keys))
	}
	for _, h := range y.verify(t, nil).Heads {
		text, err := os.ReadFile(filepath.Join(y.dir, h.Chain+"-000000000001.digest"))
		if err != nil || strings.Contains(string(text), "gzip") {
			t.Errorf("%s %v", text, err)
		}
	}
}

// TestRegisterRefuses refuses register records with content that does not belong to their name.
func TestRegisterRefuses(t *testing.T) {
	for key, value := range map[string]string{
		"audit/signer/0123456789abcdef": `{"seed":"AAAA"}`,
		"audit/signer/0123456789abcde0": `{"seed":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`,
		"audit/signer/x":                `x`,
	} {
		s := state.NewMemory()
		if _, err := s.Txn(t.Context(), nil, []state.Op{{Key: key, Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.OpenRegister(t.Context(), s); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	y := newYard(t)
	closeSink(t, y.open(t))
	heads, err := y.register(t).Heads(t.Context())
	if err != nil || len(heads) != 1 {
		t.Fatal(heads, err)
	}
	e, err := y.state.Get(t.Context(), "audit/chain/"+heads[0].Chain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := y.state.Txn(t.Context(), nil, []state.Op{{Key: "audit/chain/other", Value: e.Value}}); err != nil {
		t.Fatal(err)
	}
	if _, err := y.tryOpen(t); err == nil || !strings.Contains(err.Error(), "audit/chain/other") {
		t.Error(err)
	}
}

// TestOneWriter refuses to take a chain back after another process has extended it.
func TestOneWriter(t *testing.T) {
	y := newYard(t)
	first, second := y.open(t), y.open(t)
	y.file(t, second, "A")
	y.file(t, second, "B")
	y.records(t, first, "C")
	if err := first.Close(); err == nil {
		t.Error("the first writer published its head over the second's")
	}
}

// TestBranch replaces digests by digests of a branch: the same key signed them for the same chain, in a copy of the
// data directory that went its own way.
func TestBranch(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	closeSink(t, s)
	other := y.copy(t)
	for _, yard := range []*yard{y, other} {
		s := yard.open(t)
		for _, e := range []string{"B", "C", "D"} {
			yard.file(t, s, e)
		}
		closeSink(t, s)
		yard.wantWhole(t, nil)
	}
	for _, names := range [][]string{
		{"#3", "2-"}, {"#4", "3-"}, {"#5", "4-"}, {"#6"}, {"#3", "2-", "#4", "3-", "#5", "4-", "#6"}, {"#5", "4-", "#6"},
	} {
		victim := y.copy(t)
		m := meddler{t, victim.dir}
		for _, name := range names {
			from := meddler{t, other.dir}
			content := from.read(name)
			to := filepath.Join(victim.dir, filepath.Base(from.path(name)))
			m.remove(name)
			m.write(to, content)
		}
		if !victim.verify(t, nil).Tampered() {
			t.Errorf("%v: not found", names)
		}
	}
}

// TestFilesAddedAfterACrash adds closed files at the numbers of interrupted rotations.
func TestFilesAddedAfterACrash(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	y.records(t, s, "B") // and a crash
	for _, n := range []int{2, 3} {
		meddler{t, y.dir}.new(fmt.Sprintf("%012d-20250520T204616Z.jsonl", n), []byte("{}\n"))
	}
	if report := y.verify(t, nil); !has(report, audit.Added) {
		t.Errorf("%+v", report.Findings)
	}
	s = y.open(t)
	if report := y.verify(t, s); !has(report, audit.Added) {
		t.Errorf("%+v", report.Findings)
	}
}

// TestSharedState has two processes keep chains in one state, each in its own directory. For each process the second
// chain is elsewhere; a chain kept in this directory and now gone is missing all the same.
func TestSharedState(t *testing.T) {
	one := newYard(t)
	two := &yard{dir: t.TempDir(), state: one.state, now: begin}
	sinkOne, sinkTwo := one.open(t), two.open(t)
	one.file(t, sinkOne, "A")
	two.file(t, sinkTwo, "B")
	trust := two.trust(t, sinkTwo)
	if report, err := audit.Verify(two.dir, trust); err != nil || !has(report, audit.Missing) {
		t.Errorf("the other's chain, where the state is not shared: %+v, %v", report, err)
	}
	trust.Shared = true
	if report, err := audit.Verify(two.dir, trust); err != nil || report.Tampered() || !has(report, audit.Elsewhere) {
		t.Errorf("the other's chain: %+v, %v", report, err)
	}
	removeAll(meddler{t, two.dir}, "*")
	two.file(t, two.open(t), "C")
	trust = two.trust(t, nil)
	trust.Shared = true
	if report, err := audit.Verify(two.dir, trust); err != nil || !has(report, audit.Missing) {
		t.Errorf("the chain of a directory that was emptied: %+v, %v", report, err)
	}
}
