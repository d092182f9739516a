package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// kmsRun is a workload in a set-up, and its table.
type kmsRun struct {
	table string
	w     workload
	v     variant
}

// Tables of the KMS experiments.
const (
	tableWorkloads  = "workloads"
	tableLifetime   = "lifetime"
	tablePeriod     = "period"
	tableHistory    = "history"
	tableReplicas   = "replicas"
	tableTenants    = "tenants"
	tableRequesters = "requesters"
	tableFullMonth  = "full month"
)

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// kmsRuns returns the experiments. Each varies a single parameter of the cost example's workload, with Bucket Keys at
// their defaults: opened for five minutes, a new bucket key each day, one replica, one requester, thirty days of
// history.
func kmsRuns(quick bool) []kmsRun {
	deck, scale, others := workloads[0], int64(100), int64(100)
	if quick {
		scale, others = 500, 2000
	}
	usual := variant{BucketKeys: true, Lifetime: minutes(5), Period: 24 * time.Hour, Replicas: 1, History: deck.History, Scale: scale}
	var all []kmsRun
	with := func(table string, change func(*variant)) {
		v := usual
		change(&v)
		all = append(all, kmsRun{table, deck, v})
	}
	for _, w := range workloads {
		v := usual
		v.History = w.History
		if w.Name != deck.Name {
			v.Scale = others
		}
		if quick {
			v.History = min(v.History, 30*30/w.Tenants, 30) // writing it takes longer than the part of the month
			v.History = max(v.History, 3)
		}
		all = append(all, kmsRun{tableWorkloads, w, v})
		v.BucketKeys = false
		all = append(all, kmsRun{tableWorkloads, w, v})
	}
	for _, m := range []int{1, 15, 60} {
		with(tableLifetime, func(v *variant) { v.Lifetime = minutes(m) })
	}
	for _, days := range []int{7, 30} {
		with(tablePeriod, func(v *variant) { v.Period = time.Duration(days) * 24 * time.Hour })
	}
	for _, days := range []int{1, 7} {
		with(tableHistory, func(v *variant) { v.History = days })
	}
	with(tableReplicas, func(v *variant) { v.Replicas = 4 })
	for _, n := range []int{10, 100} {
		with(tableRequesters, func(v *variant) { v.Requesters = n })
	}
	if quick {
		return all
	}
	for _, days := range []int{1, 30} {
		for _, m := range []int{5, 60} {
			w := workloads[len(workloads)-1]
			v := usual
			v.History, v.Lifetime, v.Period = w.History, minutes(m), time.Duration(days)*24*time.Hour
			all = append(all, kmsRun{tableTenants, w, v})
		}
	}
	return all
}

// fullMonth is every request of the deck's month.
func fullMonth() kmsRun {
	w := workloads[0]
	return kmsRun{tableFullMonth, w, variant{BucketKeys: true, Lifetime: minutes(5), Period: 24 * time.Hour, Replicas: 1, History: w.History, Scale: 1}}
}

// kmsOutcome is an outcome with its table.
type kmsOutcome struct {
	Table string `json:"table"`
	outcome
}

// runKMS runs experiments side by side: each is a sequence of requests, so that its counts do not depend on the speed
// or the load of the machine. None begins after the deadline, if there is a deadline.
func runKMS(ctx context.Context, runs []kmsRun, deadline time.Time, bar *meter) ([]kmsOutcome, error) {
	results := make([]kmsOutcome, len(runs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, r := range runs {
		g.Go(func() error {
			if !deadline.IsZero() && time.Now().After(deadline) {
				return nil
			}
			var last int64
			o, err := runWorkload(ctx, r.w, r.v, func(done, _ int64) { bar.add(done - last); last = done })
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.table, r.w.Name, err)
			}
			results[i] = kmsOutcome{r.table, *o}
			return nil
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(results, func(o kmsOutcome) bool { return o.Table == "" }), err
}

// work is how many requests a list of experiments makes, for the progress bar.
func work(runs []kmsRun) (n int64) {
	for _, r := range runs {
		n += (r.w.Writes + r.w.Reads) / r.v.Scale
	}
	return n
}
