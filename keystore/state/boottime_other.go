//go:build !linux

package state

import "time"

// boottime returns the later of the monotonic clock and the wall clock, both since now: either of them goes on while
// the machine sleeps.
func boottime() func() time.Duration {
	start := time.Now()
	return func() time.Duration {
		now := time.Now()
		return max(now.Sub(start), now.Round(0).Sub(start.Round(0)))
	}
}
