package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

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
