package state

import (
	"time"

	"golang.org/x/sys/unix"
)

// boottime returns a clock that cannot be set and goes on while the machine sleeps. Go's own monotonic clock stands
// still then: a suspended replica would take its caches for fresh.
func boottime() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			panic("clock_gettime(CLOCK_BOOTTIME): " + err.Error()) // every supported Linux has it
		}
		return time.Duration(t.Nano())
	}
}
