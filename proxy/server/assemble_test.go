package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// TestRootSecretIsReadWithTheState checks that a process waiting for the state of a rekey reads the new root secret.
func TestRootSecretIsReadWithTheState(t *testing.T) {
	t.Setenv("WAXSEAL_ROOT_SECRET", "")
	dir := dataDir(t.TempDir())
	secret, err := rootkey.Load("", dir.rootKey(), true)
	if err != nil {
		t.Fatal(err)
	}
	held, err := state.OpenBolt(dir.state())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Txn(t.Context(), nil, []state.Op{{Key: "x"}}); err != nil {
		t.Fatal(err)
	}
	p := &App{}
	opened := make(chan error, 1)
	go func() { opened <- p.openState(t.Context(), dir, false) }()
	time.Sleep(200 * time.Millisecond) // it waits by now; should it not, the test finds nothing
	if err := secret.Rotate(); err != nil {
		t.Fatal(err)
	}
	sealed, err := secret.Sealer("x").Seal([]byte("material"), nil)
	if err = errors.Join(err, held.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if _, err := p.secret.Sealer("x").Open(sealed, nil); err != nil {
		t.Error(err)
	}
	if err := p.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
