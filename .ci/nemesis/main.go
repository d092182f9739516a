// Nemesis proves that several waxseals over one etcd and one store behave as one. It starts them all on loopback, without
// containers, puts a load on them through links that it can cut, and makes faults: processes are killed, stopped and
// restarted, replicas are cut off from etcd, from the store and from clients, members of etcd are killed and stopped. What
// clients saw is then checked:
//
//   - Every object and every setting (default encryption, bucket policy, user policy, key state, alias, grant) is a register:
//     porcupine looks for an order of the operations that explains all answers. A request without an answer may have
//     happened at any later time, or never.
//   - A replica that is cut off from the state may be late by the revocation window, and not more.
//   - Parts that were acknowledged are in the lists of all replicas; a completed object has their bytes; an aborted upload
//     is gone; nothing that was acknowledged is lost at the end.
//
// A run prints its seed, one line for each kind of fault, and each violation; a history that cannot be explained is written as
// a page that shows it. The exit code is 1 where there is a violation.
//
//	cd .ci/nemesis && go run . short              75 s, three replicas, three members of etcd
//	cd .ci/nemesis && go run . long               30 minutes
//	cd .ci/nemesis && go run . alone              20 s, one replica with a state file and the embedded store
//	cd .ci/nemesis && go run . rolling            restarts three replicas behind haproxy, one after the other, under load
//	cd .ci/nemesis && go run . with COMMAND...    runs a command with the replicas' endpoints in S3S and KMSS
//	cd .ci/nemesis && go run . -defect replay alone   whether the checker sees a defect that is put into the answers
//
// The programs minio or versitygw, and etcd, are looked for on the PATH; waxseal and etcd are built where they are missing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// plan is a kind of run.
type plan struct {
	replicas, members              int
	duration, every, outage, kills time.Duration
}

var plans = map[string]plan{
	"short":   {3, 3, 75 * time.Second, time.Second, 12 * time.Second, 0},
	"long":    {3, 3, 30 * time.Minute, 4 * time.Second, time.Minute, 10 * time.Second},
	"alone":   {1, 0, 20 * time.Second, time.Second, 0, 0},
	"with":    {3, 3, 0, 0, 0, 0},
	"rolling": {3, 1, 60 * time.Second, 0, 0, 0},
}

type options struct {
	plan
	name       string
	command    []string
	seed       uint64
	defect     string
	only       string
	repository string
	results    string
	keep       bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		var well bool
		if well, err = o.run(); err == nil && !well {
			os.Exit(1)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		os.Exit(2)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("nemesis", flag.ContinueOnError)
	duration := f.Duration("for", 0, "how long the load lasts; 0: as the plan says")
	every := f.Duration("every", 0, "pause between two faults; 0: as the plan says")
	members := f.Int("members", 0, "members of etcd; 0: as the plan says")
	f.Uint64Var(&o.seed, "seed", 0, "of the faults; 0: a random one")
	f.StringVar(&o.defect, "defect", "", "make answers wrong: replay, flip, part or revoke; with rolling: kill")
	f.StringVar(&o.only, "only", "", "kinds of faults, separated by commas; none: all")
	f.StringVar(&o.repository, "repository", "../..", "directory of waxseal's module")
	f.StringVar(&o.results, "results", filepath.Join(os.TempDir(), "nemesis"), "directory for histories that fail")
	f.BoolVar(&o.keep, "keep", false, "keep the directory with data and logs")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var ok bool
	o.name, o.command = f.Arg(0), f.Args()[min(1, f.NArg()):]
	if o.plan, ok = plans[o.name]; !ok || (o.name == "with") != (len(o.command) > 0) {
		return nil, errors.New("want one of: short, long, alone, rolling, with COMMAND...")
	}
	if *duration > 0 {
		o.duration = *duration
	}
	if *every > 0 {
		o.every = *every
	}
	if *members > 0 {
		o.members = *members
	}
	if o.seed == 0 {
		o.seed = uint64(rand.IntN(1_000_000)) + 1
	}
	return o, nil
}

// find returns the first program that is on the PATH.
func find(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("there is no %s on the PATH", strings.Join(names, " or "))
}

// programs finds or builds what runs.
func (o *options) programs(dir string) (p programs, err error) {
	if p.waxseal = os.Getenv("WAXSEAL"); p.waxseal == "" {
		p.waxseal = filepath.Join(dir, "waxseal")
		if err := build(o.repository, p.waxseal, "./cmd/waxseal"); err != nil {
			return p, err
		}
	}
	if o.replicas == 1 {
		return p, nil
	}
	if p.store, err = find("minio", "versitygw"); err != nil {
		return p, err
	}
	if p.etcd, err = find("etcd"); err != nil {
		p.etcd = filepath.Join(dir, "etcd")
		err = build(o.repository, p.etcd, "go.etcd.io/etcd/server/v3")
	}
	return p, err
}

func (o *options) run() (well bool, err error) {
	defect, err := newDefect(o.defect)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "nemesis.")
	if err != nil {
		return false, err
	}
	if o.keep {
		fmt.Println("data and logs in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	programs, err := o.programs(dir)
	if err == nil {
		err = makeResults(o.results)
	}
	if err != nil {
		return false, err
	}
	fmt.Printf("%s: seed %d, %d replicas, %d members of etcd, %v\n", o.name, o.seed, o.replicas, o.members, o.duration)
	cluster, err := begin(dir, programs, o.replicas, o.members)
	defer cluster.end()
	if err != nil {
		return false, errors.Join(err, cluster.logs())
	}
	var only []string
	if o.only != "" {
		only = strings.Split(o.only, ",")
	}
	report := newReport(os.Stdout)
	n := &nemesis{cluster: cluster, report: report, defect: defect, results: o.results, end: time.Now().Add(o.duration),
		faults: newFaults(cluster, report, o.seed, o.plan, only)}
	switch o.name {
	case "rolling":
		return n.rolling(dir)
	case "with":
		return cluster.with(o.command)
	}
	if err := n.run(); err != nil {
		return false, errors.Join(err, cluster.logs())
	}
	return n.verdict(), nil
}
