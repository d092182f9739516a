package server

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// All files with secrets (credentials, configuration with users, tokens, the certificate's key) follow the rule of
// root.key: only their owner may read them. A file of another owner, mounted by Kubernetes or written by an agent, may
// also be readable by its group, because this process reads it as a member of that group.

// onlyMine refuses a file with secrets that others can read.
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

// onlyMineToChange refuses a directory in which others could replace a file with secrets.
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

// tooOpen returns the excess permissions. Group permissions are allowed if the file has another owner.
func tooOpen(info fs.FileInfo, bits, group fs.FileMode) fs.FileMode {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return bits &^ group
	}
	return bits
}
