package server

import "testing"

// TestSlackenCollector: the environment has the last word.
func TestSlackenCollector(t *testing.T) {
	for name, want := range map[string]int{"": collectorSlack, "GOMAXPROCS": collectorSlack, "GOGC": 0, "GOMEMLIMIT": 0} {
		slack := slackenCollector(func(asked string) (string, bool) { return "100", asked == name })
		if len(slack) != want {
			t.Errorf("with %q set: %d bytes, want %d", name, len(slack), want)
		}
	}
}
