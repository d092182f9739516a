package keyed

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestLockGivenUp: a caller that gives up waiting leaves nothing behind, and keeps nobody else from the name.
func TestLockGivenUp(t *testing.T) {
	m := NewMutex()
	unlock, err := m.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := m.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a name that is locked: %v", err)
	}
	unlock()
	if len(m.queues) != 0 {
		t.Errorf("%d names are left", len(m.queues))
	}
}
