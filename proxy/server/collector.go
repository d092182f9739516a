package server

// collectorSlack is counted by the garbage collector as memory in use, and is none: not one page of it is ever touched.
//
// The collector begins when the heap is twice what it was after the last time. waxseal keeps little between requests, so
// that a busy one would collect ten times a second and more. With the slack it takes that much more garbage each time,
// and no more: a higher GOGC would multiply what many streams at once have in use, and a fixed memory limit would have
// the collector run all the time where they need more than that.
const collectorSlack = 32 << 20

// slackenCollector sets the slack aside, unless the environment tunes the collector itself.
// https://pkg.go.dev/runtime#hdr-Environment_Variables
func slackenCollector(lookup func(string) (string, bool)) (slack []byte) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if v, ok := lookup(name); ok && v != "" {
			return nil
		}
	}
	return make([]byte, collectorSlack)
}
