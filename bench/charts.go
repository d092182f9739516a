package main

import (
	"errors"
	"fmt"
	"slices"
)

// draw writes all charts with results.
func (r report) draw(base string) error {
	var failed error
	if r.kms != nil {
		for _, c := range r.kms.charts() {
			failed = errors.Join(failed, c.draw(base))
		}
	}
	if r.data != nil {
		for _, c := range r.data.charts() {
			failed = errors.Join(failed, c.draw(base))
		}
		for _, b := range r.data.bars() {
			failed = errors.Join(failed, b.draw(base))
		}
	}
	if r.scale != nil {
		for _, c := range r.scale.Curves {
			failed = errors.Join(failed, c.chart().draw(base))
		}
	}
	return failed
}

// find is the outcome of a table and a condition, nil when it was not run.
func (k *kmsSection) find(table string, want func(kmsOutcome) bool) *kmsOutcome {
	i := slices.IndexFunc(k.Outcomes, func(o kmsOutcome) bool { return o.Table == table && want(o) })
	if i < 0 {
		return nil
	}
	return &k.Outcomes[i]
}

// deck returns the outcome of the cost example's workload with or without Bucket Keys, the base of all further
// tables.
func (k *kmsSection) deck(bucketKeys bool) *kmsOutcome {
	return k.find(tableWorkloads, func(o kmsOutcome) bool {
		return o.Workload.Name == workloads[0].Name && o.Variant.BucketKeys == bucketKeys
	})
}

// varied returns the cost example's outcome with Bucket Keys and all of a table, in the order of the varied figure.
func (k *kmsSection) varied(table string, by func(variant) float64) []kmsOutcome {
	var all []kmsOutcome
	if o := k.deck(true); o != nil {
		all = append(all, *o)
	}
	for _, o := range k.Outcomes {
		if o.Table == table {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b kmsOutcome) int {
		return int(by(a.Variant)) - int(by(b.Variant))
	})
	return all
}

func lifetimeMinutes(v variant) float64 { return v.Lifetime.Minutes() }
func periodDays(v variant) float64      { return v.Period.Hours() / 24 }
func requestersOf(v variant) float64    { return float64(max(1, v.Requesters)) }
func replicasOf(v variant) float64      { return float64(v.Replicas) }
func historyDays(v variant) float64     { return float64(v.History) }

// charts returns the charts of the KMS's bill. The charts against requests show a whole month where it was run; else
// the part run, extrapolated and dashed. A part of a month opens the bucket keys of fewer days than the month, so its
// line starts too high and ends too low.
func (k *kmsSection) charts() []chart {
	calls := chart{file: "kms-calls-objects", title: "KMS calls against requests (the cost example)", x: "requests for objects in a month", y: "KMS calls in a month", logX: true, logY: true}
	dollars := chart{file: "kms-dollars-objects", title: "The KMS bill against requests (the cost example)", x: "requests for objects in a month", y: "dollars a month; the key alone is $1"}
	add := func(name string, o *kmsOutcome) {
		if o == nil {
			return
		}
		c, d := o.curves(name)
		calls.lines, dollars.lines = append(calls.lines, c), append(dollars.lines, d)
	}
	add("no Bucket Keys", k.deck(false))
	month := k.find(tableFullMonth, func(kmsOutcome) bool { return true })
	if month == nil {
		month = k.deck(true)
	}
	add("Bucket Keys", month)
	return append([]chart{calls, dollars},
		k.variation("kms-lifetime", "The KMS bill against the window (extrapolated)", "minutes that an opened bucket key stays in memory", tableLifetime, lifetimeMinutes),
		k.variation("kms-requesters", "The KMS bill against requesters (extrapolated)", "requesters", tableRequesters, requestersOf))
}

// curves are the calls and the dollars of an outcome. A part of a month is extrapolated by its scale.
func (o *kmsOutcome) curves(name string) (calls, dollars series) {
	scale := float64(o.Variant.Scale)
	if scale > 1 {
		name += fmt.Sprintf(",\n1/%.0f of a month", scale)
	}
	calls, dollars = series{name: name, extrapolated: scale > 1}, series{name: name, extrapolated: scale > 1}
	for _, p := range o.Curve {
		calls.points = append(calls.points, point{p.X * scale, p.Y * scale})
		bill := SymmetricMonth(int64(o.Workload.Tenants), int64(p.Y*scale)).Bill()
		dollars.points = append(dollars.points, point{p.X * scale, bill.Total.Dollars()})
	}
	return calls, dollars
}

// variation is a chart of a single varied figure, with the bill without Bucket Keys for comparison.
func (k *kmsSection) variation(file, title, x, table string, by func(variant) float64) chart {
	c := chart{file: file, title: title, x: x, y: "dollars a month", logX: true}
	without := k.deck(false)
	on, off := series{name: "Bucket Keys", extrapolated: true}, series{name: "no Bucket Keys", extrapolated: true}
	for _, o := range k.varied(table, by) {
		on.points = append(on.points, point{by(o.Variant), o.Bill.Total.Dollars()})
		if without != nil {
			off.points = append(off.points, point{by(o.Variant), without.Bill.Total.Dollars()})
		}
	}
	c.lines = []series{off, on}
	return c
}

// charts of the data path: throughput against size and against concurrency.
func (d *dataSection) charts() []chart {
	var all []chart
	for _, o := range []op{opGet, opPut} {
		size := chart{file: fmt.Sprintf("data-%s-size", o), title: fmt.Sprintf("%s at concurrency 8: throughput against size", o), x: "size of the objects", y: "MiB/s", logX: true, logY: true, bytes: true}
		conc := chart{file: fmt.Sprintf("data-%s-concurrency", o), title: fmt.Sprintf("%s of 4 KiB: requests a second against concurrency", o), x: "connections", y: "requests a second", logX: true}
		for _, way := range mainWays {
			bySize, byConc := series{name: way}, series{name: way}
			for i := range d.Cells {
				m := &d.Cells[i]
				if m.Cell.Op != o {
					continue
				}
				if v, ok := m.of(way, mibps); ok && m.Cell.Conc == 8 {
					bySize.points = append(bySize.points, point{float64(m.Cell.Size), v})
				}
				if v, ok := m.of(way, opsPerSec); ok && m.Cell.Size == 4*kib {
					byConc.points = append(byConc.points, point{float64(m.Cell.Conc), v})
				}
			}
			size.lines, conc.lines = append(size.lines, bySize), append(conc.lines, byConc)
		}
		all = append(all, size)
		if len(conc.lines[0].points) > 1 {
			all = append(all, conc)
		}
	}
	return all
}

// bars returns the bars of the cells with targets.
func (d *dataSection) bars() []bars {
	cpu := bars{file: "data-cpu-gib", title: "CPU of the proxy, 64 MiB objects, 8 connections", y: "CPU seconds per GiB"}
	small := bars{file: "data-cpu-1000", title: "CPU of the proxy, 4 KiB objects, 8 connections", y: "CPU seconds per 1,000 requests"}
	fill := func(b *bars, size int64, figure func(figures) float64) {
		for _, way := range allWays[1:] {
			var v []float64
			for _, o := range []op{opGet, opPut} {
				if m := d.find(o, size, 8); m != nil {
					if x, ok := m.of(way, figure); ok {
						v = append(v, x)
					}
				}
			}
			if len(v) == 2 {
				b.names, b.values = append(b.names, way), append(b.values, v)
				b.groups = []string{"GET", "PUT"}
			}
		}
	}
	fill(&cpu, 64*mib, cpuPerGiB)
	fill(&small, 4*kib, cpuPer1000)
	return []bars{cpu, small}
}
