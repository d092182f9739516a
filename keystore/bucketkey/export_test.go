package bucketkey

import (
	"reflect"
	"testing"
	"time"

	"waxseal/keystore"
)

// SetClock gives a Keys two clocks for its windows: a monotonic clock, and a clock that can be set back.
func (b *Keys) SetClock(clock func() (mono, wall time.Duration)) {
	b.now = func() stamp {
		mono, wall := clock()
		return stamp{mono, wall}
	}
	b.memory.clock = b.now
}

// Sweep runs the timer's work.
func (b *Keys) Sweep() { b.memory.swept() }

// CachedKeys returns the number of opened keys in memory.
func (b *Keys) CachedKeys() int { return b.memory.main.keys.Len() + b.memory.contexts.keys.Len() }

// Peek returns the bytes behind a handle, also after its release.
func Peek(h *keystore.Handle) []byte {
	key := reflect.ValueOf(h).Elem().FieldByName("key").Elem()
	if h.Indirect() {
		return (*keystore.Secret)(key.UnsafePointer()).Bytes()
	}
	return (*opened)(key.UnsafePointer()).key.Bytes()
}

// References returns the number of holders of the handle's key in memory.
func References(h *keystore.Handle) int64 {
	if h.Indirect() {
		return 0
	}
	return (*opened)(reflect.ValueOf(h).Elem().FieldByName("key").Elem().UnsafePointer()).refs.Load()
}

// TestAge: the later of the two clocks counts.
func TestAge(t *testing.T) {
	at := func(mono, wall time.Duration) stamp { return stamp{mono * time.Minute, wall * time.Minute} }
	for name, c := range map[string]struct {
		now, earlier stamp
		want         time.Duration
	}{
		"both agree":          {at(7, 7), at(3, 3), 4 * time.Minute},
		"the clock set back":  {at(7, -50), at(3, 3), 4 * time.Minute},
		"the clock set ahead": {at(7, 90), at(3, 3), 87 * time.Minute},
		"a suspended machine": {at(3, 63), at(3, 3), 60 * time.Minute},
		"the same moment":     {at(3, 3), at(3, 3), 0},
	} {
		if got := c.now.age(c.earlier); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if got := at(2, 9).age(at(3, 3)); got < 1000*time.Hour {
		t.Errorf("a moment in the future: got %v", got)
	}
}
