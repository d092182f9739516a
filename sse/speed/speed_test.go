package speed

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPrint checks that every line behind the header ends with two positive speeds.
func TestPrint(t *testing.T) {
	var out strings.Builder
	if err := Print(&out, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")[2:]
	if len(lines) != 10 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(line)
		for _, word := range words[len(words)-2:] {
			if mbs, err := strconv.ParseFloat(word, 64); err != nil || mbs <= 0 {
				t.Errorf("%q in %q", word, line)
			}
		}
	}
}
