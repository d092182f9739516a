package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/iotest"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/local"
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

// TestRestoreLeavesWhatIsDue: a backup is put in place as it was made. What has fallen due in it since is done when it is
// served, with records of it.
func TestRestoreLeavesWhatIsDue(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	ctx, c := context.Background(), defaults()
	c.DataDir = t.TempDir()
	dir := dataDir(c.DataDir)
	backup, doomed := backupWithDeletion(t, dir, time.Now().Add(-100*24*time.Hour))
	if err := restore(ctx, &c, backup); err != nil {
		t.Fatal(err)
	}
	restored, err := state.OpenBolt(dir.state())
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if _, err := restored.Get(ctx, "kms/key/"+c.Account+"/"+doomed); err != nil {
		t.Errorf("the key that waits for its deletion: %v", err)
	}
}

// backupWithDeletion is a backup of a key service in which the deletion of a key was scheduled then. Its root secret is
// in dir.
func backupWithDeletion(t *testing.T, dir dataDir, then time.Time) (backup io.Reader, keyID string) {
	t.Helper()
	ctx, store := context.Background(), state.NewMemory()
	defer store.Close()
	secret, err := keystore.LoadRootSecret("", dir.rootKey(), true)
	if err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(ctx, local.Config{State: store, Secrets: secret, Audit: new(audit.Memory), Region: "us-east-1",
		AccountID: "000000000000", Now: func() time.Time { return then }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.CreateKey(ctx, rootCaller(), &local.CreateKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keyID = k.KeyMetadata.KeyId
	_, err = s.ScheduleKeyDeletion(ctx, rootCaller(), &local.ScheduleKeyDeletionRequest{KeyId: keyID})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeBackup(&b, store); err != nil {
		t.Fatal(err)
	}
	return &b, keyID
}
