package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestWriteMultiples: each line has the medians of the rounds' ratios. A way that was not measured has no line, and a cell
// without the bare proxy has none.
func TestWriteMultiples(t *testing.T) {
	of := func(cpu, rate float64) figures { return figures{CPUPer1000: cpu, OpsPerSec: rate} }
	rounds := map[string][]figures{
		nginxWay: {of(1, 1000), of(2, 500), of(1, 1000)},
		bareWay:  {of(2, 800), of(4, 400), of(2, 800)},
		sseKMS:   {of(8, 400), of(8, 100), of(8, 400)},
	}
	const (
		toNginx = "\nSSE-KMS+BK against nginx: 8.0 times the CPU of a request, 0.40 of the requests a second.\n"
		toBare  = "\nSSE-KMS+BK against bare fasthttp: 4.0 times the CPU of a request, 0.50 of the requests a second.\n"
	)
	for without, want := range map[string]string{"": toNginx + toBare, nginxWay: toBare, bareWay: "", sseKMS: ""} {
		m := &measured{Rounds: maps.Clone(rounds)}
		delete(m.Rounds, without)
		var b strings.Builder
		if m.writeMultiples(&b); b.String() != want {
			t.Errorf("without %q: got %q", without, b.String())
		}
	}
}

// TestBareWayHasSmallObjects: every GET and PUT of at most 4 KiB is measured along the bare proxy, and nothing is that it
// would have to hold whole.
func TestBareWayHasSmallObjects(t *testing.T) {
	for _, c := range cells {
		onNull := !slices.Contains(c.Ways, minioPlain)
		want := onNull && (c.Op == opGet || c.Op == opPut) && c.Size <= 4*kib
		if slices.Contains(c.Ways, bareWay) != want || slices.Contains(c.quickWays(), bareWay) != want {
			t.Errorf("%s: ways %q", c, c.Ways)
		}
	}
}
