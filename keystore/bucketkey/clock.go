package bucketkey

import (
	"math"
	"time"
)

// stamp is a moment on two clocks, both as time since this process began to count. The monotonic clock cannot be set
// back, but may stand still while the machine sleeps; the wall clock goes on then, but can be set.
type stamp struct{ mono, wall time.Duration }

func newClock(now func() time.Time) func() stamp {
	start := now()
	startWall := start.Round(0)
	return func() stamp {
		t := now()
		return stamp{mono: t.Sub(start), wall: t.Round(0).Sub(startWall)}
	}
}

// age returns the time since an earlier moment, by the clock with the larger difference. So neither setting the clock
// back nor suspending the machine extends a window. A moment in the future is infinitely old.
func (now stamp) age(earlier stamp) time.Duration {
	if now.mono < earlier.mono {
		return math.MaxInt64
	}
	return max(now.mono-earlier.mono, now.wall-earlier.wall)
}
