package server

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// One rule holds for all files with secrets (credentials, configuration with users, tokens, the key of the certificate),
// as it does for root.key: nobody but their owner may read them. A file that belongs to somebody else, as those that
// Kubernetes mounts or an agent writes, may be read by its group, too: this process is in that.

// onlyMine refuses a secret's file that others can read.
func onlyMine(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&tooOpen(info, 0o077, 0o040) != 0 {
		return fmt.Errorf("%s: others can read it (mode %04o): chmod 600 it", name, mode)
	}
	return nil
}

// onlyMineToChange refuses a directory in which others can put a file in a secret's place.
func onlyMineToChange(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&tooOpen(info, 0o022, 0o020) != 0 {
		return fmt.Errorf("--data-dir: %s: others can write to it (mode %04o): chmod 700 it, or name a directory in it, which waxseal makes", name, mode)
	}
	return nil
}

// tooOpen are the rights that must not be there: without those of the group where the file is somebody else's.
func tooOpen(info fs.FileInfo, bits, group fs.FileMode) fs.FileMode {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return bits &^ group
	}
	return bits
}
