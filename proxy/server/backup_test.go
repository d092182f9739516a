package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

func TestBackupIsWholeOrRefused(t *testing.T) {
	s := state.NewMemory()
	defer s.Close()
	if _, err := s.Txn(context.Background(), nil, []state.Op{{Key: "k", Value: make([]byte, 100000)}}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeBackup(&b, s); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	want := whole[len(backupMagic) : len(whole)-32]
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(whole), "by bytes": iotest.OneByteReader(bytes.NewReader(whole)),
		"by halves": iotest.HalfReader(bytes.NewReader(whole)), "end with data": iotest.DataErrReader(bytes.NewReader(whole)),
	} {
		for _, step := range []int{1, 31, 32, 33, 4096, len(whole) + 100} {
			if step == 1 && name != "at once" {
				continue
			}
			got, err := readBy(newBackupReader(r), step)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %d: %d bytes, %v", name, step, len(got), err)
			}
			r = bytes.NewReader(whole)
		}
	}
	for _, n := range []int{0, 5, len(backupMagic), len(backupMagic) + 31, len(whole) - 33, len(whole) - 1} {
		if _, err := io.ReadAll(newBackupReader(bytes.NewReader(whole[:n]))); !errors.Is(err, errNoBackup) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	for _, at := range []int{0, len(backupMagic), len(whole) / 2, len(whole) - 1} {
		changed := bytes.Clone(whole)
		changed[at] ^= 1
		if _, err := io.ReadAll(newBackupReader(bytes.NewReader(changed))); !errors.Is(err, errNoBackup) {
			t.Errorf("changed at %d: %v", at, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := io.ReadAll(newBackupReader(broken)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken: %v", err)
	}
}

func readBy(r io.Reader, step int) ([]byte, error) {
	var all []byte
	buf := make([]byte, step)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// TestStandingBackupHoldsNobodyUp: a client of the control socket asks for a backup and reads nothing of it. The key
// service goes on.
func TestStandingBackupHoldsNobodyUp(t *testing.T) {
	b := newKit(t)
	create := func(n int) (err error) {
		for range n {
			_, failed := b.app.KeyService.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{Description: strings.Repeat("d", 8192)})
			err = errors.Join(err, failed)
		}
		return err
	}
	if err := create(40); err != nil { // more than the socket's buffers hold
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", dataDir(b.conf.DataDir).control())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /backup HTTP/1.1\r\nHost: control\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil { // it is under way
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- create(300) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the key service stands while the reader of a backup does")
	}
}

// TestPacedWriterCutsAReaderThatStands checks that a stalled reader is cut, and a slow reader is not.
func TestPacedWriterCutsAReaderThatStands(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	const patience = 500 * time.Millisecond
	written := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(pacedWriter{w, patience}, io.LimitReader(rand.Reader, 64<<20))
		written <- err
	}))
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for range 3 * patience / (100 * time.Millisecond) {
		time.Sleep(100 * time.Millisecond)
		if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
			t.Fatalf("while it reads: %v", err)
		}
	}
	select {
	case err := <-written:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("once it stands: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a reader that stands is waited for")
	}
}

// TestRestoreLeavesWhatIsDue restores a backup with a due deletion of a key. Restore requires a decision about the key,
// and deletes nothing itself.
func TestRestoreLeavesWhatIsDue(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	const day = 24 * time.Hour
	for _, row := range []struct {
		ago                    time.Duration
		deletions, refused, is string
	}{
		{100 * day, "", "deleted for ever", ""},
		{29*day + time.Hour, "", "deleted for ever", ""},
		{28 * day, "", "", keystore.StatePendingDeletion},
		{28 * day, "cancel", "", keystore.StatePendingDeletion},
		{100 * day, "keep", "", keystore.StatePendingDeletion},
		{100 * day, "cancel", "", keystore.StateDisabled},
	} {
		ctx, c := context.Background(), Default()
		c.DataDir = t.TempDir()
		dir := dataDir(c.DataDir)
		backup, doomed := backupWithDeletion(t, dir, time.Now().Add(-row.ago), rootCaller(), "")
		err := Restore(ctx, &c, backup, row.deletions)
		if row.refused != "" {
			if err == nil || !strings.Contains(err.Error(), row.refused) || !strings.Contains(err.Error(), doomed) {
				t.Errorf("%v %q: %v", row.ago, row.deletions, err)
			}
			if _, err := os.Stat(dir.state()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v %q: it was put in place: %v", row.ago, row.deletions, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v %q: %v", row.ago, row.deletions, err)
			continue
		}
		if got := stateOfKey(t, dir, c.Account, doomed); got != row.is {
			t.Errorf("%v %q: the key is %q, want %q", row.ago, row.deletions, got, row.is)
		}
		if got := recorded(t, dir, "CancelKeyDeletion"); got != (row.is == keystore.StateDisabled) {
			t.Errorf("%v %q: recorded: %v", row.ago, row.deletions, got)
		}
	}
}

// stateOfKey is the state of a key at rest.
func stateOfKey(t *testing.T, dir dataDir, account, id string) string {
	t.Helper()
	file, err := state.OpenBolt(dir.state())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	secret, err := rootkey.Load("", dir.rootKey(), false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := dir.sealState(t.Context(), file, secret)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Get(context.Background(), embeddedKeys+account+"/"+id)
	if err != nil {
		t.Errorf("key %s: %v", id, err)
		return ""
	}
	var k struct{ State string }
	if err := json.Unmarshal(e.Value, &k); err != nil {
		t.Fatal(err)
	}
	return k.State
}

// recorded says whether there is a record of an event in a data directory.
func recorded(t *testing.T, dir dataDir, event string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir.audit(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(event)) {
			return true
		}
	}
	return false
}

// TestRestoreKeepsAKeyThatShutsRootOut checks that the operator gets back a key whose policy excludes root.
func TestRestoreKeepsAKeyThatShutsRootOut(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	ctx, c := context.Background(), Default()
	c.DataDir = t.TempDir()
	dir := dataDir(c.DataDir)
	user := iam.User{Name: "keyadmin", ARN: iam.UserARN(c.Account, "keyadmin"), AccountID: c.Account, Everything: true}
	admin := keystore.CallerOf(user.Requester())
	backup, doomed := backupWithDeletion(t, dir, time.Now().Add(-100*24*time.Hour), admin, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"`+admin.ARN+`"},"Action":"kms:*","Resource":"*"}]}`)
	if err := Restore(ctx, &c, backup, cancelDeletions); err != nil {
		t.Fatal(err)
	}
	if got := stateOfKey(t, dir, c.Account, doomed); got != keystore.StateDisabled {
		t.Errorf("the key is %q", got)
	}
	for _, text := range []string{`"CancelKeyDeletion"`, `"type":"AWSService"`, doomed} {
		if !recorded(t, dir, text) {
			t.Errorf("no record has %s", text)
		}
	}
}

// backupWithDeletion returns a backup of a key service in which a key's deletion was scheduled at the time then. Its
// root secret is in dir.
func backupWithDeletion(t *testing.T, dir dataDir, then time.Time, by keystore.Caller, policy string) (backup io.Reader, keyID string) {
	t.Helper()
	ctx, store := context.Background(), state.NewMemory()
	defer store.Close()
	secret, err := rootkey.Load("", dir.rootKey(), true)
	if err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(ctx, local.Config{State: store, Secrets: secret, Audit: new(audit.Memory), Region: "us-east-1",
		AccountID: "000000000000", Identities: rootAlone(t, by.ARN), Now: func() time.Time { return then }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.CreateKey(ctx, by, &local.CreateKeyRequest{Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	keyID = k.KeyMetadata.KeyId
	_, err = s.ScheduleKeyDeletion(ctx, by, &local.ScheduleKeyDeletionRequest{KeyId: keyID})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeBackup(&b, store); err != nil {
		t.Fatal(err)
	}
	return &b, keyID
}
