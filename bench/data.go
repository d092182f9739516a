package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// measured is a cell with the figures of every way in every round.
type measured struct {
	Cell   cell                 `json:"cell"`
	Rounds map[string][]figures `json:"rounds"` // by way
}

// dataResults is the data path's part of a run.
type dataResults struct {
	Primitives primitives `json:"primitives"`
	Cells      []measured `json:"cells"`
	Skipped    []string   `json:"skipped"`
}

// plan is how thoroughly the cells are measured.
type plan struct {
	quick  bool
	rounds int
	window time.Duration
	until  time.Time // the windows are shortened to be done by then; zero: never
	only   func(cell) bool
}

const (
	warmUp    = 250 * time.Millisecond
	minWindow = 400 * time.Millisecond
)

// chosen are the cells of a plan, with the ways and rounds of each.
func (p plan) chosen() []cell {
	var all []cell
	for _, c := range cells {
		if p.quick && c.Quick == 0 || p.only != nil && !p.only(c) {
			continue
		}
		if p.quick {
			c.Ways = c.quickWays()
		}
		all = append(all, c)
	}
	return all
}

func (p plan) roundsOf(c cell) int {
	switch {
	case c.Op == opListCold:
		return min(3, p.rounds) // each starts waxseal anew
	case p.quick:
		return c.Quick
	}
	return p.rounds
}

// runData measures the cells. In every round all ways take their turn, so that a disturbance of the machine hits all
// of them; each round begins with a different way.
func runData(ctx context.Context, bin string, p plan) (*dataResults, error) {
	prim, err := measurePrimitives(100 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	out := &dataResults{Primitives: *prim}
	ways, err := startPaths(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer ways.stop()
	all := p.chosen()
	left := 0
	for _, c := range all {
		left += len(c.Ways) * p.roundsOf(c)
	}
	bar := newMeter("data path", int64(left))
	defer bar.end()
	prep := &prepared{done: make(map[string]bool)}
	for _, c := range all {
		bar.describe(c.String())
		m, err := p.cell(ctx, c, ways, prep, func() time.Duration { return p.windowFor(left) }, func() { left--; bar.add(1) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		out.Cells = append(out.Cells, *m)
	}
	out.Skipped = ways.skipped
	again, err := measurePrimitives(100 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	out.Primitives.least(again)
	return out, nil
}

// windowFor divides the time left among the measurements left.
func (p plan) windowFor(left int) time.Duration {
	if p.until.IsZero() || left == 0 {
		return p.window
	}
	each := time.Until(p.until)/time.Duration(left) - warmUp - 50*time.Millisecond
	return min(p.window, max(minWindow, each))
}

func (p plan) cell(ctx context.Context, c cell, ways *paths, prep *prepared, window func() time.Duration, step func()) (*measured, error) {
	m := &measured{Cell: c, Rounds: make(map[string][]figures)}
	var present []*target
	for _, name := range c.Ways {
		t := ways.find(name)
		if t == nil {
			step() // it was named among the skipped
			continue
		}
		if err := c.prepare(prep, t); err != nil {
			if t.rival {
				ways.skip(c, t, err)
				continue
			}
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		present = append(present, t)
	}
	prep.settle(ctx)
	for round := range p.roundsOf(c) {
		for i := range present {
			t := present[(i+round)%len(present)]
			f, err := c.measure(ctx, t, warmUp, window())
			if err != nil && t.rival && ctx.Err() == nil {
				ways.skip(c, t, err)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			m.Rounds[t.name] = append(m.Rounds[t.name], f)
			step()
		}
	}
	return m, nil
}

// skip names a baseline's missing ability, once.
func (p *paths) skip(c cell, t *target, err error) {
	text := fmt.Sprintf("%s, %s: %v", t.name, c, err)
	if !slices.Contains(p.skipped, text) {
		p.skipped = append(p.skipped, text)
	}
}

// of returns the median of a way's figure, and reports whether it was measured: a figure below zero was not.
func (m *measured) of(way string, figure func(figures) float64) (float64, bool) {
	var all []float64
	for _, f := range m.Rounds[way] {
		if v := figure(f); v >= 0 {
			all = append(all, v)
		}
	}
	return median(all), len(all) > 0
}

// ratio is the median of a way's figure over another's, round by round.
func (m *measured) ratio(way, other string, figure func(figures) float64) (float64, bool) {
	a, b := m.Rounds[way], m.Rounds[other]
	var all []float64
	for i := range min(len(a), len(b)) {
		if d := figure(b[i]); d > 0 {
			all = append(all, figure(a[i])/d)
		}
	}
	return median(all), len(all) > 0
}

// find is a cell of the results.
func (d *dataResults) find(o op, size int64, conc int) *measured {
	i := slices.IndexFunc(d.Cells, func(m measured) bool { return m.Cell.Op == o && m.Cell.Size == size && m.Cell.Conc == conc })
	if i < 0 {
		return nil
	}
	return &d.Cells[i]
}

// Figures of a round, by name.
func mibps(f figures) float64      { return f.MiBps }
func opsPerSec(f figures) float64  { return f.OpsPerSec }
func cpuPerGiB(f figures) float64  { return f.CPUPerGiB }
func cpuPer1000(f figures) float64 { return f.CPUPer1000 }
func peakMiB(f figures) float64    { return f.PeakMiB }
func allocsOf(f figures) float64   { return f.AllocsPerOp }
func firstByte(f figures) float64  { return f.FirstByte }
func p50(f figures) float64        { return f.P50 }
func p99(f figures) float64        { return f.P99 }
func p999(f figures) float64       { return f.P999 }
