package console

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of wrong sign-ins. They are of addresses, not of access keys: else anybody could lock an administrator out.
const (
	freeFailures   = 5 // of an address, before the first wait
	firstWait      = 2 * time.Second
	longestWait    = 15 * time.Minute
	rememberedFrom = 10_000 // addresses; the one that failed least recently is forgotten
	failuresAMin   = 120    // of all addresses together: an attacker with many of them
)

// attempts are the wrong sign-ins of an address since its last right one.
type attempts struct {
	failed int
	until  time.Time // the next is looked at
}

// throttle bounds guessing. A sign-in counts as failed before its secret is compared, so that guesses at the same time
// do not get past it together.
type throttle struct {
	now func() time.Time

	mu     sync.Mutex
	from   *lru.Cache[netip.Prefix, *attempts]
	minute time.Time
	failed int // in that minute
}

func newThrottle(now func() time.Time) *throttle {
	from, err := lru.New[netip.Prefix, *attempts](rememberedFrom)
	if err != nil {
		panic("console: internal error: " + err.Error())
	}
	return &throttle{now: now, from: from}
}

// network is the address, of IPv6 its /64: a host has as many of these as it likes.
func network(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	prefix, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// admit returns how long an address has to wait; 0 lets it try, which counts as a failure until succeeded says otherwise.
func (t *throttle) admit(address string) (wait time.Duration) {
	now, from := t.now(), network(address)
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.minute) >= time.Minute {
		t.minute, t.failed = now, 0
	}
	if t.failed >= failuresAMin {
		return t.minute.Add(time.Minute).Sub(now)
	}
	a, ok := t.from.Get(from)
	if !ok {
		a = new(attempts)
		t.from.Add(from, a)
	}
	if wait = a.until.Sub(now); wait > 0 {
		return wait
	}
	t.failed++
	if a.failed++; a.failed >= freeFailures {
		a.until = now.Add(min(longestWait, firstWait<<min(a.failed-freeFailures, 20)))
	}
	return 0
}

func (t *throttle) succeeded(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed--
	t.from.Remove(network(address))
}
