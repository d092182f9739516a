package state

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestCopy: a copy has the entries of its original, without the records of replicas, and opens under the same secret.
func TestCopy(t *testing.T) {
	ctx, from, to, sealer := t.Context(), NewMemory(), NewMemory(), new(tagSealer)
	sealed := seal(t, from, sealer)
	for i := range 300 {
		put(t, sealed, fmt.Sprintf("kms/key/%03d", i), fmt.Sprint(i))
	}
	put(t, sealed, "replicas/a", "{}")
	put(t, sealed, "deployment", "{}")
	entries, err := from.Range(ctx, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := Copy(ctx, to, entries, func(key string) bool { return key == "deployment" })
	if err != nil || n != 300 {
		t.Fatalf("%d entries, %v", n, err)
	}
	again := seal(t, to, sealer)
	for i := range 300 {
		e, err := again.Get(ctx, fmt.Sprintf("kms/key/%03d", i))
		if err != nil || string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("%d: %q, %v", i, e.Value, err)
		}
	}
	for _, key := range []string{"replicas/a", "deployment"} {
		if _, err := again.Get(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is in the copy: %v", key, err)
		}
	}
	if _, err := Copy(ctx, to, entries, func(string) bool { return false }); err == nil {
		t.Error("a copy went over a state that is there")
	}
}

// TestCopyCutShort: after a copy interrupted at any transaction, the store does not open as a sealed state.
func TestCopyCutShort(t *testing.T) {
	from, sealer := NewMemory(), new(tagSealer)
	sealed := seal(t, from, sealer)
	for i := range 300 {
		put(t, sealed, fmt.Sprintf("kms/key/%03d", i), fmt.Sprint(i))
	}
	entries, err := from.Range(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for after := 1; ; after++ {
		to := &cutStore{NewMemory(), after}
		if _, err := Copy(t.Context(), to, entries, func(string) bool { return false }); err == nil {
			if after < 3 {
				t.Fatalf("the copy took %d transactions", after)
			}
			return
		}
		refuse := func(context.Context) error { return errors.New("no plain state belongs here") }
		if _, err := Seal(t.Context(), to.Store, sealer, refuse); err == nil {
			t.Fatalf("a copy of %d transactions opens", after)
		}
	}
}

// TestCopyOfPlainState: an earlier version's state is no state to copy.
func TestCopyOfPlainState(t *testing.T) {
	if _, err := Copy(t.Context(), NewMemory(), []Entry{{Key: "a", Value: []byte("plain")}}, func(string) bool { return false }); !errors.Is(err, ErrNotSealed) {
		t.Error(err)
	}
}
