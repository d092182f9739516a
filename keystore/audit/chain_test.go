package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

var begin = start.Truncate(time.Second)

// yard is a directory of records with the state of its chain.
type yard struct {
	dir   string
	state state.Store
	now   time.Time
	fault func(step string) error
}

func newYard(t testing.TB) *yard {
	return &yard{dir: t.TempDir(), state: state.NewMemory(), now: begin}
}

func (y *yard) register(t testing.TB) *audit.Register {
	t.Helper()
	r, err := audit.OpenRegister(t.Context(), y.state)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// open opens the sink. Only the test closes it: a sink left open stands for a crash.
func (y *yard) open(t testing.TB) *audit.FileSink {
	t.Helper()
	s, err := y.tryOpen(t)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (y *yard) tryOpen(t testing.TB) (*audit.FileSink, error) {
	o := audit.FileOptions{Register: y.register(t), MaxAge: time.Minute, Now: func() time.Time { return y.now }}
	if y.fault != nil {
		o = audit.WithFault(o, y.fault)
	}
	return audit.OpenFileSink(y.dir, o)
}

// file writes records and has their file closed.
func (y *yard) file(t testing.TB, s *audit.FileSink, events ...string) {
	t.Helper()
	y.records(t, s, events...)
	y.now = y.now.Add(time.Minute)
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
}

func (y *yard) records(t testing.TB, s *audit.FileSink, events ...string) {
	t.Helper()
	for _, e := range events {
		r := record(e)
		r.EventTime = audit.At(y.now)
		if err := s.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func (y *yard) trust(t testing.TB, s *audit.FileSink) audit.Trust {
	t.Helper()
	trust, err := y.register(t).Trust(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s != nil {
		tail := s.Tail()
		trust.Tail = &tail
	}
	return trust
}

func (y *yard) verify(t testing.TB, s *audit.FileSink) *audit.Report {
	t.Helper()
	report, err := audit.Verify(y.dir, y.trust(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wantWhole wants no alarm.
func (y *yard) wantWhole(t testing.TB, s *audit.FileSink) *audit.Report {
	t.Helper()
	report := y.verify(t, s)
	if report.Tampered() {
		t.Fatalf("nobody has touched the records: %+v", report.Findings)
	}
	return report
}

func has(report *audit.Report, want audit.Result) bool {
	return slices.ContainsFunc(report.Findings, func(f audit.Finding) bool { return f.Result == want })
}

func closeSink(t testing.TB, s *audit.FileSink) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// lived returns a closed yard with every event in the life of a directory: closed files, a start after a close, a
// crash, a prune, a restore.
func lived(t testing.TB) *yard {
	t.Helper()
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A1", "A2")
	y.file(t, s, "B1")
	y.file(t, s, "C1", "C2", "C3")
	closeSink(t, s)
	s = y.open(t)
	y.file(t, s, "D1", "D2", "D3", "D4")
	y.records(t, s, "E1") // and a crash
	s = y.open(t)
	y.file(t, s, "E2")
	if p, err := s.Prune(t.Context(), audit.PruneOptions{Before: begin.Add(90 * time.Second)}); err != nil || p.Files != 2 {
		t.Fatal(p, err)
	}
	closeSink(t, s)
	if err := audit.MarkRestored(t.Context(), y.state, y.now); err != nil {
		t.Fatal(err)
	}
	s = y.open(t)
	y.file(t, s, "F1", "F2")
	y.file(t, s, "G1", "G2")
	y.records(t, s, "H1", "H2", "H3")
	closeSink(t, s)
	return y
}

func TestChainOfALife(t *testing.T) {
	y := lived(t)
	report := y.wantWhole(t, nil)
	for _, want := range []audit.Result{audit.WasPruned, audit.Restored, audit.Unclosed} {
		if !has(report, want) {
			t.Errorf("no word of %q: %+v", want, report.Findings)
		}
	}
	if has(report, audit.OpenTail) || report.Files != 6 || report.Records != 16 || len(report.Heads) != 1 {
		t.Errorf("%+v", report)
	}
	if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != "[C1 C2 C3 D1 D2 D3 D4 E1 E2 F1 F2 G1 G2 H1 H2 H3]" {
		t.Error(got)
	}
	// An auditor has a copy, the public key and a head written down earlier, and no state.
	trust := y.trust(t, nil)
	outside := audit.Trust{Keys: trust.Keys, Anchors: report.Heads}
	if report, err := audit.Verify(y.dir, outside); err != nil || report.Tampered() {
		t.Error(report, err)
	}
}

// TestLiveTail compares the current file with its writer's tally.
func TestLiveTail(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	y.records(t, s, "B", "C")
	if report := y.wantWhole(t, s); report.Records != 3 {
		t.Errorf("%+v", report)
	}
	current := filepath.Join(y.dir, "current.jsonl")
	content, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func() error{
		"a byte":    func() error { return os.WriteFile(current, flip(content, 20), 0o600) },
		"cut":       func() error { return os.Truncate(current, int64(len(content))-1) },
		"no record": func() error { return os.Truncate(current, 0) },
		"removed":   func() error { return os.Remove(current) },
	} {
		if err := edit(); err != nil {
			t.Fatal(err)
		}
		if !y.verify(t, s).Tampered() {
			t.Errorf("%s: not found", name)
		}
		if err := os.WriteFile(current, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	y.wantWhole(t, s)
}

// TestEditedWhileWritten changes the current file under its writer: the digest covers the bytes of the writer.
func TestEditedWhileWritten(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.records(t, s, "Decrypt", "Encrypt")
	current := filepath.Join(y.dir, "current.jsonl")
	content, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(current, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(flip(content, 30), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	y.file(t, s, "Sign")
	if report := y.verify(t, s); !has(report, audit.Edited) {
		t.Errorf("%+v", report.Findings)
	}
}

func flip(content []byte, at int) []byte {
	out := slices.Clone(content)
	out[at] ^= 1
	return out
}

var errCrash = errors.New("the process ends here")

// crashes runs work with a crash at its first step, then at its second, and so on until it comes through.
func crashes(t *testing.T, prepare func(*yard) *audit.FileSink, work func(*yard, *audit.FileSink) error, after func(*yard)) (steps []string) {
	t.Helper()
	for at := 0; ; at++ {
		y, n, step := newYard(t), 0, ""
		armed := false
		y.fault = func(name string) error {
			if !armed {
				return nil
			}
			if n++; n > at {
				step = name
				return errCrash
			}
			return nil
		}
		s := prepare(y)
		armed = true
		err := work(y, s)
		if step == "" {
			if err != nil {
				t.Fatal(err)
			}
			return steps
		}
		y.fault = nil
		steps = append(steps, step)
		y.wantWhole(t, nil)
		after(y)
		y.wantWhole(t, nil)
	}
}

// TestCrashAtEachStepOfARotation crashes there, wants no alarm before and after the next start, and no record lost.
func TestCrashAtEachStepOfARotation(t *testing.T) {
	steps := crashes(t, func(y *yard) *audit.FileSink {
		s := y.open(t)
		y.file(t, s, "A")
		y.records(t, s, "B", "C")
		y.now = y.now.Add(time.Minute)
		return s
	}, func(_ *yard, s *audit.FileSink) error { return s.Rotate() }, func(y *yard) {
		s := y.open(t)
		y.file(t, s, "D")
		y.wantWhole(t, s)
		closeSink(t, s)
		if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != "[A B C D]" {
			t.Error(got)
		}
	})
	if got := fmt.Sprint(steps); got != "[rename sign place publish open]" {
		t.Error(got)
	}
}

func TestCrashAtEachStepOfAClose(t *testing.T) {
	steps := crashes(t, func(y *yard) *audit.FileSink {
		s := y.open(t)
		y.file(t, s, "A")
		y.records(t, s, "B")
		return s
	}, func(_ *yard, s *audit.FileSink) error { return s.Close() }, func(y *yard) {
		s := y.open(t)
		y.file(t, s, "C")
		closeSink(t, s)
		if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != "[A B C]" {
			t.Error(got)
		}
	})
	if got := fmt.Sprint(steps); got != "[rename sign place publish sign place publish]" {
		t.Error(got)
	}
}

func TestCrashAtEachStepOfAPrune(t *testing.T) {
	steps := crashes(t, func(y *yard) *audit.FileSink {
		s := y.open(t)
		for _, e := range []string{"A", "B", "C", "D"} {
			y.file(t, s, e)
		}
		return s
	}, func(y *yard, s *audit.FileSink) error {
		_, err := s.Prune(t.Context(), audit.PruneOptions{Before: begin.Add(90 * time.Second)})
		return err
	}, func(y *yard) {
		s := y.open(t)
		y.file(t, s, "E")
		if _, err := s.Prune(t.Context(), audit.PruneOptions{Before: begin.Add(150 * time.Second)}); err != nil {
			t.Error(err)
		}
		y.wantWhole(t, s)
		closeSink(t, s)
		if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != "[D E]" {
			t.Error(got)
		}
	})
	if got := fmt.Sprint(steps); got != "[sign place publish remove remove remove remove]" {
		t.Error(got)
	}
}

func TestCrashAtEachStepOfAStart(t *testing.T) {
	for at := range 20 {
		y := newYard(t)
		if err := os.WriteFile(filepath.Join(y.dir, "000000000003-20250101T000000Z.jsonl"), []byte("{\"eventName\":\"Old\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		n := 0
		y.fault = func(string) error {
			if n++; n > at {
				return errCrash
			}
			return nil
		}
		_, err := y.tryOpen(t)
		y.fault = nil
		y.wantWhole(t, nil)
		s := y.open(t)
		y.file(t, s, "A")
		y.wantWhole(t, s)
		if err == nil {
			return
		}
	}
	t.Fatal("a start has more than 20 steps")
}

// TestCrashAfterAStart crashes before the first file is closed since the chain was.
func TestCrashAfterAStart(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "A")
	closeSink(t, s)
	y.records(t, y.open(t), "B")
	if report := y.wantWhole(t, nil); !has(report, audit.OpenTail) || !has(report, audit.Unclosed) {
		t.Errorf("%+v", report.Findings)
	}
	s = y.open(t)
	y.file(t, s, "C")
	if report := y.wantWhole(t, s); !has(report, audit.Unclosed) || report.Records != 3 {
		t.Errorf("%+v", report)
	}
}

// TestPruneKeeps: Prune keeps files that are too young or not yet delivered.
func TestPruneKeeps(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	for _, e := range []string{"A", "B", "C"} {
		y.file(t, s, e)
	}
	for _, tc := range []struct {
		o    audit.PruneOptions
		want int
		left string
	}{
		{audit.PruneOptions{Before: begin}, 0, "[A B C]"},
		{audit.PruneOptions{Before: begin.Add(time.Hour), Below: 1}, 0, "[A B C]"},
		{audit.PruneOptions{Before: begin.Add(time.Hour), Below: 2}, 1, "[B C]"},
		{audit.PruneOptions{Before: begin.Add(time.Hour), Below: 2}, 0, "[B C]"},
		{audit.PruneOptions{Before: begin.Add(2 * time.Minute)}, 1, "[C]"},
		{audit.PruneOptions{Before: begin.Add(time.Hour)}, 1, "[]"},
	} {
		p, err := s.Prune(t.Context(), tc.o)
		if err != nil || p.Files != tc.want {
			t.Fatalf("%+v: %+v, %v", tc.o, p, err)
		}
		y.wantWhole(t, s)
		if got := fmt.Sprint(names(t, y.dir, audit.Filter{})); got != tc.left {
			t.Errorf("%+v: %s", tc.o, got)
		}
	}
	if _, err := open(t, t.TempDir(), audit.FileOptions{}).Prune(t.Context(), audit.PruneOptions{}); !errors.Is(err, audit.ErrNoChain) {
		t.Error(err)
	}
}

// TestPruneRefusesABrokenChain: Prune does not sign away files removed by somebody else.
func TestPruneRefusesABrokenChain(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	for _, e := range []string{"A", "B", "C", "D"} {
		y.file(t, s, e)
	}
	remove(t, y, "*-000000000002.digest")
	if p, err := s.Prune(t.Context(), audit.PruneOptions{Before: begin.Add(time.Hour)}); err == nil {
		t.Error(p)
	}
}

// TestStateAway rotates on while the state is away, and publishes the head when it is back.
func TestStateAway(t *testing.T) {
	y := newYard(t)
	flaky := &flakyStore{Store: y.state}
	y.state = flaky
	s := y.open(t)
	flaky.away = true
	y.records(t, s, "A")
	y.now = y.now.Add(time.Minute)
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	y.records(t, s, "B")
	flaky.away = false
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	remove(t, y, "*-000000000001.digest")
	if !has(y.verify(t, s), audit.Missing) {
		t.Error("the head was not published")
	}
}

type flakyStore struct {
	state.Store
	away bool
}

func (f *flakyStore) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	if f.away {
		return 0, errors.New("the state is away")
	}
	return f.Store.Txn(ctx, conds, ops)
}

func remove(t testing.TB, y *yard, pattern string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(y.dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatal(pattern, err)
	}
	for _, name := range found {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPruneWhileWriting prunes and verifies while records are written and files closed.
func TestPruneWhileWriting(t *testing.T) {
	y := newYard(t)
	s, err := audit.OpenFileSink(y.dir, audit.FileOptions{Register: y.register(t), MaxBytes: 3000})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		var failed error
		for range 200 {
			failed = errors.Join(failed, s.Write(context.Background(), record("Decrypt")))
		}
		written <- failed
	}()
	pruned := 0
	for pruned < 20 {
		p, err := s.Prune(t.Context(), audit.PruneOptions{Before: start.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		pruned += p.Files
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	y.wantWhole(t, s)
	closeSink(t, s)
	y.wantWhole(t, nil)
}
