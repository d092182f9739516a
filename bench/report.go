package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// write makes RESULTS.md out of the results.
func (r report) write(base string) error {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by `go run ./bench`; every figure is from results/*.json, which the same run wrote. " +
		"What is measured and how is in [README.md](README.md).\n")
	if r.kms != nil {
		r.kms.write(&b)
	}
	if r.data != nil {
		r.data.write(&b)
	}
	if r.warp != nil {
		r.warp.write(&b)
	}
	if r.memory != nil {
		r.memory.write(&b)
	}
	if r.scale != nil {
		r.scale.write(&b)
	}
	r.writeEstimate(&b)
	if notes, err := os.ReadFile(filepath.Join(base, "NOTES.md")); err == nil {
		b.WriteString("\n" + string(notes))
	}
	return os.WriteFile(filepath.Join(base, "RESULTS.md"), []byte(b.String()), 0o644)
}

// table is a Markdown table.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *strings.Builder) {
	b.WriteString("\n| " + strings.Join(t.head, " | ") + " |\n|" + strings.Repeat("---|", len(t.head)) + "\n")
	for _, r := range t.rows {
		b.WriteString("| " + strings.Join(r, " | ") + " |\n")
	}
}

// write writes the place, time and command of a part's run.
func (s section) write(b *strings.Builder) {
	m := s.Machine
	fmt.Fprintf(b, "\n`%s` on %s, %.0f s, commit %s.\n%s, %d processors, %.0f GiB, Linux %s, %s", s.Command, s.Begun.UTC().Format(time.DateOnly), s.Seconds,
		m.Commit, m.CPU, m.Processors, m.MemoryGiB, m.Kernel, m.Go)
	for _, v := range m.Versions {
		b.WriteString(", " + v)
	}
	fmt.Fprintf(b, ". Load average before the run: %s", m.LoadBefore)
	switch {
	case s.follows:
		b.WriteString(", of the part before it")
	case busy(m.LoadBefore):
		b.WriteString(", **so other work ran on the machine: ratios within a round mean something, single figures little**")
	}
	b.WriteString(".\n")
	if s.Quick {
		b.WriteString("This was a quick run: fewer cells, shorter, and smaller parts of each workload.\n")
	}
}

func busy(load string) bool {
	var v float64
	_, err := fmt.Sscan(load, &v)
	return err == nil && v > 1
}

func picture(b *strings.Builder, base, title string) {
	fmt.Fprintf(b, "\n![%s](results/%s.svg)\n", title, base)
}

// write is the part on the KMS's bill.
func (k *kmsSection) write(b *strings.Builder) {
	b.WriteString("\n## What the KMS costs\n")
	k.section.write(b)
	b.WriteString("\nPrices: $1 for a key and month, 20,000 requests free, then $0.03 for 10,000. The two examples of the published deck come out to the cent: " +
		fmt.Sprintf("250 volumes of 3 calls %s, 10,000 writes and 2,000,000 reads %s.\n", SymmetricMonth(1, 750).Bill().Total, SymmetricMonth(1, 2_010_000).Bill().Total))
	b.WriteString("\nEach workload is really run against a whole waxseal, one part of a month of it, and the calls are counted in the key service's audit log.\n")
	if k.LeftOut > 0 {
		fmt.Fprintf(b, "\nThe machine was too busy for %d of the experiments.\n", k.LeftOut)
	}
	k.writeWorkloads(b)
	for _, t := range []struct {
		table, title, column string
		by                   func(variant) float64
	}{
		{tableLifetime, "How long an authorisation lasts, and an opened bucket key that nobody uses", "minutes", lifetimeMinutes},
		{tablePeriod, "How long one bucket key wraps new objects", "days", periodDays},
		{tableHistory, "How old the objects are that are read", "days", historyDays},
		{tableReplicas, "Replicas", "replicas", replicasOf},
		{tableRequesters, "Requesters", "requesters", requestersOf},
	} {
		k.writeVaried(b, t.table, t.title, t.column, t.by)
	}
	k.writeTenants(b)
	for _, p := range [][2]string{{"kms-calls-objects", "Calls against objects"}, {"kms-dollars-objects", "Dollars against objects"},
		{"kms-lifetime", "Dollars against lifetime"}, {"kms-requesters", "Dollars against requesters"}} {
		picture(b, p[0], p[1])
	}
	k.writeThrottled(b)
}

func (k *kmsSection) writeWorkloads(b *strings.Builder) {
	t := table{head: []string{"workload", "writes a month", "reads a month", "part run", "KMS calls without Bucket Keys, extrapolated", "with", "fewer", "bill without", "with"}}
	for _, w := range workloads {
		var found [2]*kmsOutcome
		for i, on := range []bool{false, true} {
			found[i] = k.find(tableWorkloads, func(o kmsOutcome) bool { return o.Workload.Name == w.Name && o.Variant.BucketKeys == on })
		}
		off, on := found[0], found[1]
		if off == nil || on == nil {
			continue
		}
		t.add(w.Name, thousands(w.Writes), thousands(w.Reads), fmt.Sprintf("1:%d", on.Variant.Scale), thousands(off.Monthly), thousands(on.Monthly),
			percentLess(on.Monthly, off.Monthly), off.Bill.Total.String(), on.Bill.Total.String())
	}
	t.write(b)
	if o := k.find(tableFullMonth, func(kmsOutcome) bool { return true }); o != nil {
		fmt.Fprintf(b, "\nThe deck's whole month, all %s requests, with Bucket Keys: %s calls (%s GenerateDataKey, %s Decrypt), %s, in %.0f s.\n",
			thousands(o.Requests), thousands(o.Calls), thousands(o.Generate), thousands(o.Decrypt), o.Bill.Total, o.Seconds)
	}
}

func (k *kmsSection) writeVaried(b *strings.Builder, name, title, column string, by func(variant) float64) {
	all := k.varied(name, by)
	if len(all) < 2 {
		return
	}
	fmt.Fprintf(b, "\n%s (the deck's workload, Bucket Keys on):\n", title)
	t := table{head: []string{column, "calls run", "calls a month, extrapolated", "of these GenerateDataKey", "bill"}}
	for _, o := range all {
		t.add(fmt.Sprintf("%.0f", by(o.Variant)), thousands(o.Calls), thousands(o.Monthly), thousands(o.Generate*o.Variant.Scale), o.Bill.Total.String())
	}
	t.write(b)
}

// writeTenants shows the remedies for seldom used bucket keys.
func (k *kmsSection) writeTenants(b *strings.Builder) {
	t := table{head: []string{"a new bucket key every", "window", "KMS calls a month", "bill"}}
	for _, o := range k.Outcomes {
		if o.Table == tableTenants {
			t.add(fmt.Sprintf("%.0f days", periodDays(o.Variant)), fmt.Sprintf("%.0f minutes", lifetimeMinutes(o.Variant)), thousands(o.Monthly), o.Bill.Total.String())
		}
	}
	if len(t.rows) > 0 {
		b.WriteString("\nMany tenants, each with a bucket and a KMS key, who read every two minutes and write every nine: most calls are authorisations, and a longer window saves these.\n")
		t.write(b)
	}
}

func (k *kmsSection) writeThrottled(b *strings.Builder) {
	if len(k.Throttled) == 0 {
		return
	}
	fmt.Fprintf(b, "\nAgainst a KMS that takes %d ms for a call and refuses more than %d a second, %d connections, objects of 4 KiB:\n",
		slowLatency.Milliseconds(), slowQuota, throttledConc)
	t := table{head: []string{"", "Bucket Keys", "requests a second", "refused a second (SlowDown)", "KMS calls a second", "p50 ms", "p99 ms"}}
	for _, x := range k.Throttled {
		t.add(string(x.Op), onOff(x.BucketKeys), thousands(int64(x.PerSecond)), thousands(int64(x.Refused)), thousands(int64(x.Calls)),
			fmt.Sprintf("%.1f", x.P50), fmt.Sprintf("%.1f", x.P99))
	}
	t.write(b)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func percentLess(a, b int64) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*(1-float64(a)/float64(b)))
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
