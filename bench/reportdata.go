package main

import (
	"fmt"
	"strings"
)

// write is the part on the data path.
func (d *dataSection) write(b *strings.Builder) {
	b.WriteString("\n## The data path\n")
	d.section.write(b)
	p := d.Primitives
	fmt.Fprintf(b, "\nOn one core, in the same run: AES-256-GCM seals a GiB in %.2f s and opens it in %.2f s, MD5 takes %.2f s, "+
		"a SigV4 verification %.1f us, a key derivation %.1f us.\n", p.SealPerGiB, p.OpenPerGiB, p.MD5PerGiB, p.Verify, p.Derive)
	if len(d.Skipped) > 0 {
		b.WriteString("\nNot measured here:\n\n")
		for _, s := range d.Skipped {
			b.WriteString("- " + s + "\n")
		}
	}
	b.WriteString("\n### Targets\n\nThe ideal is what nginx did in the same round, had each GiB also cost one pass of AES-256-GCM " +
		"(a small request: one SigV4 verification, one signature, one key derivation), shared among the processors.\n")
	t := table{head: []string{"", "target", "figure", "met"}}
	for _, c := range d.Checks {
		t.add(c.Name, c.Target, c.Figure, c.Met)
	}
	t.write(b)
	for _, p := range [][2]string{{"data-cpu-gib", "CPU per GiB"}, {"data-cpu-1000", "CPU per 1,000 requests"}, {"data-GET-size", "GET against size"}, {"data-PUT-size", "PUT against size"}} {
		picture(b, p[0], p[1])
	}
	b.WriteString("\n### Cells\n\nMedians of the rounds; CPU, memory and allocations are of the proxy process. \"of straight\" is the median of the rounds' ratios.\n")
	for i := range d.Cells {
		d.Cells[i].write(b)
	}
}

// write is a cell's table: a row for every way.
func (m *measured) write(b *strings.Builder) {
	n := 0
	for _, r := range m.Rounds {
		n = max(n, len(r))
	}
	fmt.Fprintf(b, "\n**%s** (%d rounds)\n", m.Cell, n)
	t := table{head: []string{"way", "MiB/s", "requests/s", "of straight", "p50 ms", "p99 ms", "p99.9 ms", "first byte ms", "CPU s/GiB", "CPU s/1,000", "peak MiB", "allocs/request", "errors"}}
	for _, way := range m.Cell.Ways {
		if len(m.Rounds[way]) > 0 {
			t.add(m.row(way)...)
		}
	}
	t.write(b)
	m.writeMultiples(b)
}

func (m *measured) row(way string) []string {
	value := func(format string, figure func(figures) float64) string {
		v, ok := m.of(way, figure)
		if !ok {
			return ""
		}
		return fmt.Sprintf(format, v)
	}
	row := []string{way, value("%.1f", mibps), value("%.0f", opsPerSec)}
	ratio, straightWay := "", m.Cell.Ways[0]
	if r, ok := m.ratio(way, straightWay, opsPerSec); ok && way != straightWay {
		ratio = fmt.Sprintf("%.2f", r)
	}
	if r, ok := m.ratio(way, straightWay, mibps); ok && way != straightWay && m.Cell.Size >= mib && m.Cell.Op != opCopy && m.Cell.Op != opHead {
		ratio = fmt.Sprintf("%.2f", r)
	}
	row = append(row, ratio, value("%.2f", p50), value("%.2f", p99), value("%.2f", p999), value("%.2f", firstByte))
	if _, ok := m.of(way, cpuPer1000); !ok {
		row = append(row, "", "", "", "")
	} else {
		row = append(row, value("%.2f", cpuPerGiB), value("%.3f", cpuPer1000), value("%.0f", peakMiB), value("%.0f", allocsOf))
	}
	var errors int64
	for _, f := range m.Rounds[way] {
		errors += f.Errors
	}
	return append(row, fmt.Sprint(errors))
}

// write is the part on growth.
func (s *scaleSection) write(b *strings.Builder) {
	b.WriteString("\n## Scale\n")
	s.section.write(b)
	for _, c := range s.Curves {
		fmt.Fprintf(b, "\n### %s\n\n%s %s:\n", c.Name, c.Note, c.Y)
		picture(b, c.File, c.Name)
		c.table().write(b)
	}
}

// table has a row for every number and a column for every line.
func (s scaleCurve) table() *table {
	t := &table{head: []string{s.X}}
	if len(s.Lines) == 0 {
		return t
	}
	for _, l := range s.Lines {
		t.head = append(t.head, l.Name)
	}
	for i, p := range s.Lines[0].Points {
		row := []string{thousands(int64(p.X))}
		for _, l := range s.Lines {
			row = append(row, fmt.Sprintf("%.3g", l.Points[i].Y))
		}
		t.add(row...)
	}
	return t
}
