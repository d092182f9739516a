package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

const crashEnv = "WAXSEAL_STATE_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		crashWriter(path)
		return
	}
	os.Exit(m.Run())
}

// crashWriter writes from several goroutines, so that groups are committed, and prints each acknowledged transaction,
// until it is killed.
func crashWriter(path string) {
	s, err := OpenBolt(path)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	var out sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				a, b := fmt.Sprintf("%d/%06d/a", w, i), fmt.Sprintf("%d/%06d/b", w, i)
				_, err := s.Txn(context.Background(), []Cond{{a, 0}}, []Op{{Key: a}, {Key: b}})
				out.Lock()
				if err != nil {
					fmt.Println("error:", err)
				} else {
					fmt.Println(a)
				}
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestKilled kills a writing process: acknowledged transactions are there, and every transaction is there whole or
// not at all. (A kill leaves the page cache alone; a disk's broken promise of fsync cannot be tested this way.)
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	path := filepath.Join(t.TempDir(), "state.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := make(map[string]bool)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "error:") {
			t.Error(lines.Text())
			break
		}
		if acked[lines.Text()] = true; len(acked) == 200 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // output from before its death
		acked[lines.Text()] = true
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}

	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries, err := s.Range(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	present := make(map[string]int64, len(entries))
	for _, e := range entries {
		present[e.Key] = e.Revision
	}
	for a := range acked {
		if _, ok := present[a]; !ok && strings.HasSuffix(a, "/a") {
			t.Errorf("%s was acknowledged and is lost", a)
		}
	}
	for k, rev := range present {
		if other, ok := strings.CutSuffix(k, "/a"); ok && present[other+"/b"] != rev {
			t.Errorf("%s has half a transaction", other)
		}
	}
	t.Logf("%d acknowledged, %d present", len(acked), len(present)/2)
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "1")
	put(t, s, "b", "1")
	if _, err := s.Txn(t.Context(), nil, []Op{{Key: "b", Delete: true}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenBolt(path); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s, "", "", 0); got != "a=1@1" {
		t.Errorf("got %s", got)
	}
	// A deleted key's revision is not given out again: a paused replica may still hold it.
	if rev := put(t, s, "b", "2"); rev != 4 {
		t.Errorf("got revision %d, want 4", rev)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"locked":  {path, "is in use by another process"},
		"garbage": {garbage, "is not a state file, or is damaged"},
		"absent":  {filepath.Join(dir, "no", "such", "dir"), "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenBolt(c.path)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
		})
	}
}

// TestGroupCommit: concurrent transactions share commits, so that many cost far less than an fsync each.
func TestGroupCommit(t *testing.T) {
	s, err := openBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const writers, each = 64, 10
	before := lastCommit(t, s)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := s.Txn(t.Context(), nil, []Op{{Key: fmt.Sprint(w, "/", i)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	commits := lastCommit(t, s) - before
	if commits > writers*each/4 {
		t.Errorf("%d concurrent transactions took %d commits", writers*each, commits)
	}
	t.Logf("%d transactions, %d commits", writers*each, commits)
}

// standing is a reader of a backup, stopped until free is closed.
type standing struct {
	began, free chan struct{}
	once        sync.Once
}

func (s *standing) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.began) })
	<-s.free
	return len(p), nil
}

// beginBackup begins a backup of a filled state. Its reader takes nothing yet.
func beginBackup(t *testing.T, s Store) (reader *standing, ended chan error) {
	t.Helper()
	for i := range 20 {
		if _, err := s.Txn(t.Context(), nil, []Op{{Key: fmt.Sprint("old/", i), Value: make([]byte, 2000)}}); err != nil {
			t.Fatal(err)
		}
	}
	reader, ended = &standing{began: make(chan struct{}), free: make(chan struct{})}, make(chan error, 1)
	go func() { ended <- s.Backup(reader) }()
	<-reader.began
	return reader, ended
}

// TestBackupHoldsNobodyUp: while the reader of a backup stands, the file grows, and the store can be closed.
func TestBackupHoldsNobodyUp(t *testing.T) {
	s, err := OpenBolt(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	reader, ended := beginBackup(t, s)
	done := make(chan error, 1)
	go func() {
		var failed []error
		for i := range 60 {
			_, err := s.Txn(context.Background(), nil, []Op{{Key: fmt.Sprint("new/", i), Value: make([]byte, 100_000)}})
			failed = append(failed, err)
		}
		_, err := s.Get(context.Background(), "old/1")
		done <- errors.Join(append(failed, err, s.Close())...)
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the store stands while the reader of its backup does")
	}
	close(reader.free)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Backup(io.Discard); !errors.Is(err, ErrClosed) {
		t.Errorf("a backup of a closed store: %v", err)
	}
}

// TestBackupLeavesNoCopy: a backup's temporary copy is private and ends with the backup; the copy of a killed process
// ends with the next start.
func TestBackupLeavesNoCopy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [brackets]")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state.db")
	s, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	reader, ended := beginBackup(t, s)
	copies := copiesIn(t, dir)
	if len(copies) != 1 || copies[0].Mode() != 0o600 {
		t.Errorf("while it is read there are %v", copies)
	}
	close(reader.free)
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Fatal(err)
	}
	if copies := copiesIn(t, dir); len(copies) != 0 {
		t.Errorf("left after it: %v", copies)
	}
	if err := os.WriteFile(path+".backup-123", []byte("half a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenBolt(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if copies := copiesIn(t, dir); len(copies) != 0 {
		t.Errorf("left after the next start: %v", copies)
	}
}

// copiesIn returns the files in a directory besides the state.
func copiesIn(t *testing.T, dir string) (found []os.FileInfo) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() != "state.db" {
			found = append(found, info)
		}
	}
	return found
}

// lastCommit returns the number of the file's last commit.
func lastCommit(t *testing.T, s *boltStore) (id int) {
	t.Helper()
	if err := s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func BenchmarkTxn(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, err := OpenBolt(filepath.Join(b.TempDir(), "state.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			value := make([]byte, 400)
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Txn(b.Context(), nil, []Op{{Key: "k", Value: value}}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func put(t *testing.T, s Store, key, value string) int64 {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, []Op{{Key: key, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	panic("unreachable")
}

func dump(t *testing.T, s Store, prefix, after string, limit int) string {
	t.Helper()
	entries, err := s.Range(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s@%d", e.Key, e.Value, e.Revision)
	}
	return b.String()
}
