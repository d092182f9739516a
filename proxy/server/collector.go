package server

// collectorSlack is the size of an allocation that counts as memory in use but takes none: no page of it is ever
// touched.
//
// The collector begins when the heap has doubled since the last collection. waxseal keeps little between requests, so a
// busy waxseal would collect more than ten times a second. With the slack, the heap may grow by this much more before
// each collection. A higher GOGC would instead multiply the memory in use by many concurrent streams. A fixed memory
// limit would make the collector run all the time if they need more than the limit.
const collectorSlack = 32 << 20

// slackenCollector allocates the slack, unless the environment tunes the collector itself.
// https://pkg.go.dev/runtime#hdr-Environment_Variables
func slackenCollector(lookup func(string) (string, bool)) (slack []byte) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if v, ok := lookup(name); ok && v != "" {
			return nil
		}
	}
	return make([]byte, collectorSlack)
}
