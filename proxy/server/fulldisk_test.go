package server

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"waxseal/keystore/local"
)

// TestPruneOnAFullDisk fills the disk until no key can be used, removes old records, and uses keys again.
func TestPruneOnAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		t.Skip("cannot mount a tmpfs here: ", err)
	}
	t.Cleanup(func() { // after the kit's own
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := newKit(t)
	b.end()
	b.conf.DataDir, b.conf.AuditInterval = disk, 10*time.Millisecond
	b.serve()
	createKey := func() error {
		_, err := b.app.KeyService.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{})
		return err
	}
	for range 20 {
		if err := createKey(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Millisecond)
	}
	if err := fill(filepath.Join(disk, "ballast")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	failed := false
	for range 100 {
		failed = failed || createKey() != nil
	}
	if !failed {
		t.Fatal("keys are used on a full disk")
	}
	time.Sleep(1100 * time.Millisecond) // records have whole seconds
	pruned, err := PruneAudit(t.Context(), &b.conf, time.Now())
	if err != nil || pruned.Files == 0 {
		t.Fatal(pruned, err)
	}
	if size, err := fileSize(b.conf.reserve()); err != nil || size != reserveSize {
		t.Errorf("the reserve is %d bytes, %v", size, err)
	}
	if report, err := VerifyAudit(t.Context(), &b.conf, AuditCheck{}); err != nil || report.Tampered() {
		t.Errorf("%+v, %v", report, err)
	}
}

// fill writes until the disk is full.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	zeros := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(zeros)
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	return err
}
