package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"waxseal/keystore/state"
)

// CopyState copies a whole state between a file and etcd. from and to are file names or addresses as for --state. No
// waxseal may serve from the state meanwhile, and to must be empty. It returns the number of entries.
func CopyState(ctx context.Context, c *Config, from, to string) (n int, err error) {
	source, err := c.openCopied(ctx, from)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	entries, err := source.Range(ctx, "", "", 0)
	if err != nil {
		return 0, err
	}
	if len(entries) == 0 {
		return 0, fmt.Errorf("%s is empty: there is no waxseal's state in it", from)
	}
	if alive, err := anyAlive(ctx, source); err != nil || alive {
		return 0, errors.Join(err, fmt.Errorf("replicas serve from %s: stop them first", from))
	}
	if isAddress(to) {
		target, err := c.openCopied(ctx, to)
		if err != nil {
			return 0, err
		}
		n, err := state.Copy(ctx, target, entries, ofReplicas)
		return n, errors.Join(err, target.Close())
	}
	return len(entries), writeStateFile(ctx, to, entries)
}

// ofReplicas reports whether a record concerns the replicas of a shared state.
func ofReplicas(key string) bool { return key == deploymentKey }

func isAddress(name string) bool { return strings.HasPrefix(name, stateScheme+"://") }

// openCopied opens an existing state file, or the state at an address.
func (c *Config) openCopied(ctx context.Context, name string) (state.Store, error) {
	if !isAddress(name) {
		if size, err := fileSize(name); err != nil || size == 0 {
			return nil, errors.Join(err, fmt.Errorf("%s: there is no state in it", name))
		}
		return state.OpenBolt(name)
	}
	own := *c
	own.State = name
	if _, _, err := stateAddress(name); err != nil {
		return nil, err
	}
	return own.reachState(ctx, slog.Default())
}

// writeStateFile writes a new state file.
func writeStateFile(ctx context.Context, name string, entries []state.Entry) error {
	copied := state.NewMemory()
	if _, err := state.Copy(ctx, copied, entries, ofReplicas); err != nil {
		return err
	}
	return writeNew(name, func(w io.Writer) error { return copied.Backup(w) })
}
