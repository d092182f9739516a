package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChartsMarkWhatIsExtrapolatedAndTickWhatWasMeasured(t *testing.T) {
	base := t.TempDir()
	if err := os.MkdirAll(resultsDir(base), 0o755); err != nil {
		t.Fatal(err)
	}
	points := []point{{1, 5}, {5, 4}, {60, 3}}
	c := chart{file: "sample", title: "A title", x: "minutes", y: "dollars", logX: true, lines: []series{{name: "run", points: points}}}
	solid := drawn(t, c, base)
	c.lines[0].extrapolated = true
	dashed := drawn(t, c, base)
	if strings.Contains(solid, "stroke-dasharray:5") || !strings.Contains(dashed, "stroke-dasharray:5") {
		t.Error("an extrapolated line is to be dashed, a measured one solid")
	}
	for _, text := range []string{">1<", ">5<", ">60<", ">A title<", ">run<"} {
		if !strings.Contains(solid, text) {
			t.Errorf("the chart does not show %q", text)
		}
	}
}

func TestKMSChartsPreferTheWholeMonth(t *testing.T) {
	part := kmsOutcome{Table: tableWorkloads}
	part.Workload, part.Variant = workloads[0], variant{BucketKeys: true, Scale: 100}
	part.Curve = []point{{1, 1}, {20, 2}}
	without := part
	without.Variant.BucketKeys = false
	month := part
	month.Table, month.Variant.Scale = tableFullMonth, 1
	for _, c := range []struct {
		outcomes     []kmsOutcome
		extrapolated bool
	}{
		{[]kmsOutcome{part, without}, true},
		{[]kmsOutcome{part, without, month}, false},
	} {
		charts := (&kmsSection{Outcomes: c.outcomes}).charts()
		lines := charts[0].lines
		if len(lines) != 2 || lines[1].extrapolated != c.extrapolated || !lines[0].extrapolated {
			t.Errorf("%d outcomes: lines %+v, the second is to be extrapolated: %v", len(c.outcomes), lines, c.extrapolated)
		}
	}
}

func drawn(t *testing.T, c chart, base string) string {
	t.Helper()
	if err := c.draw(base); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(resultsDir(base), c.file+".svg"))
	if err != nil {
		t.Fatal(err)
	}
	return string(svg)
}
