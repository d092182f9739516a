package audit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"waxseal/keystore/audit"
)

func open(t testing.TB, dir string, o audit.FileOptions) *audit.FileSink {
	t.Helper()
	s, err := audit.OpenFileSink(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func names(t testing.TB, dir string, f audit.Filter) []string {
	t.Helper()
	var out []string
	if err := audit.Read(dir, f, func(r audit.Record) bool { out = append(out, r.EventName); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t testing.TB, s audit.Sink, events ...string) {
	t.Helper()
	for _, e := range events {
		if err := s.Write(t.Context(), record(e)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopenAfterTornLine(t *testing.T) {
	for _, torn := range []string{"", `{"eventVersion"`, strings.Repeat("x", 200_000), "{}"} {
		dir := t.TempDir()
		s := open(t, dir, audit.FileOptions{})
		write(t, s, "A", "B")
		current := filepath.Join(dir, "current.jsonl")
		f, err := os.OpenFile(current, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir, audit.Filter{}); fmt.Sprint(got) != "[A B]" {
			t.Fatal("before the repair: ", got)
		}
		again := open(t, dir, audit.FileOptions{})
		write(t, again, "C")
		if got := names(t, dir, audit.Filter{}); fmt.Sprint(got) != "[A B C]" {
			t.Fatal(got)
		}
	}
}

func TestDamagedLineIsAnError(t *testing.T) {
	dir := t.TempDir()
	write(t, open(t, dir, audit.FileOptions{}), "A")
	if err := os.WriteFile(filepath.Join(dir, "000000000001-20250101T000000Z.jsonl"), []byte("{\"eventName\":\"X\"}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := audit.Read(dir, audit.Filter{}, func(audit.Record) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "000000000001") || !strings.Contains(err.Error(), "line 2") {
		t.Fatal(err)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	now := start
	s := open(t, dir, audit.FileOptions{MaxBytes: 3000, MaxAge: time.Minute, Now: func() time.Time { return now }})
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint("E", i))
		write(t, s, want[i])
	}
	closed, err := filepath.Glob(filepath.Join(dir, "0*.jsonl"))
	if err != nil || len(closed) < 2 || !strings.HasPrefix(filepath.Base(closed[0]), "000000000001-20250520T204616Z") {
		t.Fatal(closed, err)
	}
	for _, name := range closed {
		if info, err := os.Stat(name); err != nil || info.Size() > 3000 {
			t.Fatal(info.Size(), err)
		}
	}
	if err := s.Rotate(); err != nil {
		t.Fatal(err)
	}
	young, _ := filepath.Glob(filepath.Join(dir, "0*.jsonl"))
	if len(young) != len(closed) {
		t.Fatal("a young file was closed")
	}
	now = now.Add(time.Minute)
	for range 2 { // the second has nothing to close
		if err := s.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	old, _ := filepath.Glob(filepath.Join(dir, "0*.jsonl"))
	if len(old) != len(closed)+1 {
		t.Fatal("an old file was not closed once")
	}
	again := open(t, dir, audit.FileOptions{MaxBytes: 3000})
	write(t, again, "last")
	if got := names(t, dir, audit.Filter{}); fmt.Sprint(got) != fmt.Sprint(append(want, "last")) {
		t.Fatal(got)
	}
}

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{})
	for i, e := range []string{"Encrypt", "Decrypt", "Decrypt", "CreateKey"} {
		r := record(e)
		r.EventTime = audit.At(start.Add(time.Duration(i) * time.Hour))
		if i == 2 {
			r.ErrorCode = "AccessDenied"
			r.UserIdentity.UserName = "Bob"
		}
		if i == 3 {
			r.Resources = nil
			r.RequestParameters = map[string]any{"keyId": 5}
		}
		if err := s.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		f    audit.Filter
		want string
	}{
		{audit.Filter{}, "[Encrypt Decrypt Decrypt CreateKey]"},
		{audit.Filter{EventName: "decrypt"}, "[Decrypt Decrypt]"},
		{audit.Filter{ErrorOnly: true}, "[Decrypt]"},
		{audit.Filter{User: "Bob"}, "[Decrypt]"},
		{audit.Filter{User: "arn:aws:iam::111122223333:user/Alice", EventName: "Encrypt"}, "[Encrypt]"},
		{audit.Filter{User: "AKIAEXAMPLE", Since: start.Add(3 * time.Hour).Truncate(time.Second)}, "[CreateKey]"},
		{audit.Filter{Until: start.Add(time.Hour).Truncate(time.Second)}, "[Encrypt]"},
		{audit.Filter{Key: keyARN}, "[Encrypt Decrypt Decrypt]"},
		{audit.Filter{Key: "1234abcd-12ab-34cd-56ef-1234567890ab"}, "[Encrypt Decrypt Decrypt]"},
		{audit.Filter{Key: "4567890ab"}, "[]"},
		{audit.Filter{Bucket: "bucket"}, "[Encrypt Decrypt Decrypt]"},
		{audit.Filter{Bucket: "buck"}, "[]"},
	} {
		if got := names(t, dir, tc.f); fmt.Sprint(got) != tc.want {
			t.Errorf("%+v: %v", tc.f, got)
		}
	}
	n := 0
	if err := audit.Read(dir, audit.Filter{}, func(audit.Record) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if err := audit.Read(filepath.Join(dir, "nowhere"), audit.Filter{}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// faultyFile is a current file with faults.
type faultyFile struct {
	*os.File
	writes, syncs atomic.Int64
	delay         time.Duration
	room          atomic.Int64 // bytes of free room; negative: no limit
	syncErr       atomic.Bool
}

func (f *faultyFile) Write(p []byte) (int, error) {
	f.writes.Add(1)
	if room := f.room.Load(); room >= 0 && int64(len(p)) > room {
		n, err := f.File.Write(p[:room])
		f.room.Store(0)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	f.syncs.Add(1)
	time.Sleep(f.delay)
	if f.syncErr.Load() {
		return syscall.EIO
	}
	return nil
}

func wrap(s *audit.FileSink) *faultyFile {
	f := new(faultyFile)
	f.room.Store(-1)
	s.Wrap(func(file *os.File) interface {
		Write(p []byte) (int, error)
		Sync() error
		Truncate(size int64) error
		Seek(offset int64, whence int) (int64, error)
		Close() error
	} {
		f.File = file
		return f
	})
	return f
}

// TestGroupedSync lets many writers wait for few fsyncs.
func TestGroupedSync(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{})
	f := wrap(s)
	f.delay = 5 * time.Millisecond
	const writers, each = 32, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := s.Write(context.Background(), record(fmt.Sprintf("w%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if syncs := f.syncs.Load(); syncs > writers*each/4 || syncs < each {
		t.Errorf("%d records took %d fsyncs", writers*each, syncs)
	}
	got := names(t, dir, audit.Filter{})
	if len(got) != writers*each {
		t.Fatalf("%d records", len(got))
	}
	// Each writer's records are in its order.
	next := make(map[string]int)
	for _, name := range got {
		w, i, _ := strings.Cut(name, "-")
		if fmt.Sprint(next[w]) != i {
			t.Fatalf("%s after %d", name, next[w])
		}
		next[w]++
	}
}

// TestDiskFull wants an error for every record not on disk, and a sound file when there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{})
	write(t, s, "A")
	f := wrap(s)
	f.room.Store(100)
	for range 3 {
		if err := s.Write(t.Context(), record("lost")); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if got := names(t, dir, audit.Filter{}); fmt.Sprint(got) != "[A]" {
		t.Fatal(got)
	}
	f.room.Store(-1)
	write(t, s, "B")
	f.syncErr.Store(true)
	if err := s.Write(t.Context(), record("lost")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), record("lost too")); !errors.Is(err, syscall.EIO) {
		t.Fatal("the file was used although it could not be mended: ", err)
	}
	f.syncErr.Store(false)
	write(t, s, "C")
	if got := names(t, dir, audit.Filter{}); fmt.Sprint(got) != "[A B C]" {
		t.Fatal(got)
	}
}

// TestRealDiskFull fills a tmpfs.
func TestRealDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("cannot mount a tmpfs here: ", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	s, err := audit.OpenFileSink(filepath.Join(dir, "audit"), audit.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for ; kept < 10000; kept++ {
		if err = s.Write(t.Context(), record("E")); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || kept == 0 {
		t.Fatal(kept, err)
	}
	if got := names(t, filepath.Join(dir, "audit"), audit.Filter{}); len(got) != kept {
		t.Fatalf("%d records, %d were kept", len(got), kept)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWriteContextAndClose(t *testing.T) {
	s := open(t, t.TempDir(), audit.FileOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, record("A")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// A follower whose ctx ends while the leader's fsync runs gives up; the leader does not.
	f := wrap(s)
	f.delay = 100 * time.Millisecond
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- s.Write(context.Background(), record("B")) }()
	}
	time.Sleep(20 * time.Millisecond)
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, record("C")); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(t.Context(), record("D")); !errors.Is(err, audit.ErrClosed) {
		t.Fatal(err)
	}
	if err := s.Rotate(); !errors.Is(err, audit.ErrClosed) {
		t.Fatal(err)
	}
}

// TestKilled kills a writing process and wants every acknowledged record.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	if dir := os.Getenv("AUDIT_TEST_DIR"); dir != "" {
		writeForEver(dir)
	}
	dir := t.TempDir()
	said := make(map[string]bool)
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), "AUDIT_TEST_DIR="+dir, fmt.Sprint("AUDIT_TEST_ROUND=", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			said[lines.Text()] = true
			if n == 150 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
	}
	kept := make(map[string]int)
	for _, name := range names(t, dir, audit.Filter{}) {
		kept[name]++
	}
	for name := range said {
		if kept[name] != 1 {
			t.Fatalf("%s was said to be kept and is there %d times", name, kept[name])
		}
	}
	if len(said) < 5*150 {
		t.Fatal("too few records: ", len(said))
	}
}

// writeForEver is the process to kill. It prints a record's name after the record is kept.
func writeForEver(dir string) {
	s, err := audit.OpenFileSink(dir, audit.FileOptions{MaxBytes: 20000})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("r%s-w%d-%d", os.Getenv("AUDIT_TEST_ROUND"), w, i)
				if err := s.Write(context.Background(), record(name)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(name)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestReadWhileWriting reads a directory during writes and rotations. The writer stops after a fixed number of records:
// every read starts at the first record, so an endless writer would make each read longer than the last.
func TestReadWhileWriting(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	const records = 2000
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{MaxBytes: 5000})
	wrap(s)
	var kept atomic.Int64
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range records {
			if err := s.Write(context.Background(), record(fmt.Sprint(i))); err != nil {
				t.Error(err)
				return
			}
			kept.Add(1)
		}
	}()
	defer func() { <-written }()
	for before := int64(0); before < records && !t.Failed(); {
		before = kept.Load()
		seen := make(map[string]bool)
		for _, name := range names(t, dir, audit.Filter{}) {
			if seen[name] {
				t.Fatalf("%s twice", name)
			}
			seen[name] = true
		}
		for i := range before {
			if !seen[fmt.Sprint(i)] {
				t.Fatalf("%d of %d is missing", i, before)
			}
		}
	}
}

func FuzzReadLine(f *testing.F) {
	line, err := json.Marshal(record("A"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add([]byte("{\"eventTime\":\"x\"}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "current.jsonl"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		filter := audit.Filter{Key: "x", User: "y"}
		if err := audit.Read(dir, filter, func(audit.Record) bool { return true }); err != nil && !strings.HasPrefix(err.Error(), "audit: ") {
			t.Fatal(err)
		}
	})
}

func BenchmarkWriteParallel(b *testing.B) {
	s := open(b, b.TempDir(), audit.FileOptions{})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Write(context.Background(), record("Decrypt")); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
