package main

import (
	"fmt"
	"slices"
)

// check is a target, beside its figure.
type check struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Figure string `json:"figure"`
	Met    string `json:"met"` // yes, no, or why there is no verdict
}

const (
	notMeasured = "not measured"
	hadErrors   = "errors" // requests failed: the figure is not of the intended load
)

func verdict(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// verdict returns the verdict on a target for the rounds of these ways.
func (m *measured) verdict(ok bool, ways ...string) string {
	for _, way := range ways {
		if slices.ContainsFunc(m.Rounds[way], func(f figures) bool { return f.Errors > 0 }) {
			return hadErrors
		}
	}
	return verdict(ok)
}

// checks are all targets of the data path.
func (d *dataResults) checks(processors int) []check {
	var all []check
	for _, o := range []op{opGet, opPut} {
		all = append(all, d.bulkThroughput(o, processors), d.bulkCPU(o))
	}
	all = append(all, d.md5CPU())
	for _, o := range []op{opGet, opPut} {
		all = append(all, d.smallThroughput(o, processors))
	}
	for _, c := range []struct {
		o    op
		size int64
	}{{opGet, 64 * mib}, {opPut, 64 * mib}, {opGet, 4 * kib}, {opPut, 4 * kib}} {
		all = append(all, d.rival(c.o, c.size, sseKMS, rcloneWay), d.rival(c.o, c.size, onMinIO, minioSSE))
	}
	return append(all, d.listing(), d.listingOnMinIO(), d.segmentAllocs(opGet), d.segmentAllocs(opPut), d.rangeDelay())
}

// aes returns the cost of an operation's unavoidable pass of AES-256-GCM.
func (d *dataResults) aes(o op) float64 {
	if o == opGet {
		return d.Primitives.OpenPerGiB
	}
	return d.Primitives.SealPerGiB
}

// idealRatio is the median, over the rounds, of waxseal's rate divided by the ideal rate: nginx's rate with extra
// added to each unit's cost, 1 / (1/nginx + extra/processors). rate is in units a second, and the machine's
// processors share the work.
func idealRatio(m *measured, extra float64, processors int, rate func(figures) float64) (float64, bool) {
	a, b := m.Rounds[sseKMS], m.Rounds[nginxWay]
	var all []float64
	for i := range min(len(a), len(b)) {
		if r := rate(b[i]); r > 0 {
			ideal := 1 / (1/r + extra/float64(processors))
			all = append(all, rate(a[i])/ideal)
		}
	}
	return median(all), len(all) > 0
}

func (d *dataResults) bulkThroughput(o op, processors int) check {
	c := check{Name: fmt.Sprintf("%s 64 MiB c8, %s: throughput against the ideal", o, sseKMS), Target: "at least 0.80", Met: notMeasured}
	m := d.find(o, 64*mib, 8)
	if m == nil {
		return c
	}
	if r, ok := idealRatio(m, d.aes(o)/1024, processors, mibps); ok {
		c.Figure, c.Met = fmt.Sprintf("%.2f", r), m.verdict(r >= .80, sseKMS, nginxWay)
	}
	return c
}

func (d *dataResults) bulkCPU(o op) check {
	c := check{Name: fmt.Sprintf("%s 64 MiB c8, %s: CPU seconds per GiB", o, sseKMS), Met: notMeasured}
	m := d.find(o, 64*mib, 8)
	if m == nil {
		return c
	}
	w, ok := m.of(sseKMS, cpuPerGiB)
	n, ok2 := m.of(nginxWay, cpuPerGiB)
	limit := n + 1.5*d.aes(o)
	c.Target = fmt.Sprintf("at most %.2f (nginx %.2f + 1.5 x AES-GCM %.2f)", limit, n, d.aes(o))
	if ok && ok2 {
		c.Figure, c.Met = fmt.Sprintf("%.2f", w), m.verdict(w <= limit, sseKMS, nginxWay)
	}
	return c
}

func (d *dataResults) md5CPU() check {
	c := check{Name: "PUT 64 MiB c8, SSE-S3 with MD5 ETags: CPU seconds per GiB", Met: notMeasured}
	m := d.find(opPut, 64*mib, 8)
	if m == nil {
		return c
	}
	w, ok := m.of(sseS3, cpuPerGiB)
	n, ok2 := m.of(nginxWay, cpuPerGiB)
	limit := n + 1.5*d.Primitives.SealPerGiB + d.Primitives.MD5PerGiB
	c.Target = fmt.Sprintf("at most %.2f (the line above + one MD5 pass %.2f)", limit, d.Primitives.MD5PerGiB)
	if ok && ok2 {
		c.Figure, c.Met = fmt.Sprintf("%.2f", w), m.verdict(w <= limit, sseS3, nginxWay)
	}
	return c
}

func (d *dataResults) smallThroughput(o op, processors int) check {
	extra := (2*d.Primitives.Verify + d.Primitives.Derive) / 1e6
	c := check{Name: fmt.Sprintf("%s 4 KiB c8, %s: requests a second against the ideal", o, sseKMS), Target: "at least 0.80", Met: notMeasured}
	m := d.find(o, 4*kib, 8)
	if m == nil {
		return c
	}
	if r, ok := idealRatio(m, extra, processors, opsPerSec); ok {
		c.Figure, c.Met = fmt.Sprintf("%.2f", r), m.verdict(r >= .80, sseKMS, nginxWay)
	}
	return c
}

// rival compares requests a second (bytes, of large objects) with another encrypting server's.
func (d *dataResults) rival(o op, size int64, way, other string) check {
	c := check{Name: fmt.Sprintf("%s %s c8: %s against %s", o, sizeText(size), way, other), Target: "above 1", Met: notMeasured}
	figure := opsPerSec
	if size >= mib {
		figure = mibps
	}
	for i := range d.Cells {
		m := &d.Cells[i]
		if m.Cell.Op != o || m.Cell.Size != size || m.Cell.Conc != 8 {
			continue
		}
		if r, ok := m.ratio(way, other, figure); ok {
			c.Figure, c.Met = fmt.Sprintf("%.2f", r), m.verdict(r > 1, way, other)
		}
	}
	return c
}

func (d *dataResults) listing() check {
	c := check{Name: "LIST, warm: time of a page against straight", Target: "at most 1.3 times", Met: notMeasured}
	m := d.find(opList, 100_000, 1)
	if m == nil {
		m = d.find(opList, 1000, 1)
	}
	if m == nil {
		return c
	}
	if r, ok := m.ratio(sseKMS, straightWay, p50); ok {
		c.Figure, c.Met = fmt.Sprintf("%.2f times", r), m.verdict(r <= 1.3, sseKMS, straightWay)
	}
	return c
}

// listingOnMinIO is the same check in front of a store with a real search for the keys.
func (d *dataResults) listingOnMinIO() check {
	c := check{Name: "LIST, warm, MinIO behind: time of a page against straight", Target: "at most 1.3 times", Met: notMeasured}
	for i := range d.Cells {
		m := &d.Cells[i]
		if m.Cell.Op != opList {
			continue
		}
		if r, ok := m.ratio(onMinIO, minioPlain, p50); ok {
			c.Figure, c.Met = fmt.Sprintf("%.2f times", r), m.verdict(r <= 1.3, onMinIO, minioPlain)
		}
	}
	return c
}

// bothVerdicts is the verdict on two cells of waxseal's.
func bothVerdicts(small, large *measured, ok bool) string {
	if v := small.verdict(ok, sseKMS); v == hadErrors {
		return v
	}
	return large.verdict(ok, sseKMS)
}

// segmentAllocs divides the difference in allocations between requests of 64 MiB and 1 MiB by the segments between.
func (d *dataResults) segmentAllocs(o op) check {
	c := check{Name: fmt.Sprintf("%s: allocations per segment", o), Target: "none (below 0.5, as a request of seconds has some of its own)", Met: notMeasured}
	small, large := d.find(o, mib, 8), d.find(o, 64*mib, 8)
	if small == nil || large == nil {
		return c
	}
	a, ok := small.of(sseKMS, allocsOf)
	b, ok2 := large.of(sseKMS, allocsOf)
	if ok && ok2 && a >= 0 && b >= 0 {
		per := (b - a) / (63 * mib / segment)
		c.Figure, c.Met = fmt.Sprintf("%.2f", per), bothVerdicts(small, large, per < .5)
	}
	return c
}

func (d *dataResults) rangeDelay() check {
	c := check{Name: "range GET 4 KiB c1: time to first byte beyond straight", Target: "at most 1 ms", Met: notMeasured}
	m := d.find(opRange, 4*kib, 1)
	if m == nil {
		return c
	}
	a, ok := m.of(sseKMS, firstByte)
	b, ok2 := m.of(straightWay, firstByte)
	if ok && ok2 {
		c.Figure, c.Met = fmt.Sprintf("%.2f ms", a-b), m.verdict(a-b <= 1, sseKMS, straightWay)
	}
	return c
}
