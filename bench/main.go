// Command bench measures the cost of waxseal: the KMS's bill with and without Bucket Keys, the price of encryption in
// throughput, latency, CPU and memory, and the growth of cost. README.md beside it describes the measurements.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"waxseal/bench/nullstore"
)

// options are the command line.
type options struct {
	quick     bool
	fullMonth bool
	base      string
	only      string
	rounds    int
	window    time.Duration
	cell, way string // of profile
	line      string // the command line, to repeat the run
}

const usage = `usage: go run ./bench [flags] [command]

commands:
  all      everything below (the default)
  cost     the KMS price model, for its two published examples
  kms      workloads against the key service, calls counted
  data     the data path, along all ways
  memory   peak memory under many streams, and of one large object
  scale    how cost grows with objects, users, keys and parts
  warp     the field's own load generator, on MinIO (not part of a quick run)
  report   RESULTS.md and the plots anew, from the results there are
  profile  CPU and allocation profiles of waxseal under one cell (-cell, -way)

flags:
`

func main() {
	// Servers of the benchmark, each in a process of its own.
	if len(os.Args) == 3 && os.Args[1] == "null-store" {
		exit(serveNullStore(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "bare-proxy" {
		exit(serveBareProxy(os.Args[2], os.Args[3]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	exit(err)
}

func exit(err error) {
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveNullStore(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return nullstore.New(benchBucket).Serve(l)
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	f.BoolVar(&o.quick, "quick", false, "under five minutes: fewer cells, shorter windows, smaller parts of the workloads")
	f.BoolVar(&o.fullMonth, "full-month", false, "kms: also the deck's whole month, 2,010,000 requests (part of a full \"all\")")
	f.StringVar(&o.base, "out", "", "directory for RESULTS.md and results/ (default: bench in the module)")
	f.StringVar(&o.only, "only", "", "data: only the cells whose name matches this regular expression")
	f.IntVar(&o.rounds, "rounds", 5, "data: rounds of a full run")
	f.DurationVar(&o.window, "window", 2*time.Second, "data: how long each way is measured in a round")
	f.StringVar(&o.cell, "cell", "GET 64 MiB c8", "profile: the cell")
	f.StringVar(&o.way, "way", sseKMS, "profile: the way")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 1 {
		f.Usage()
		return flag.ErrHelp
	}
	o.line = "go run ./bench"
	f.Visit(func(given *flag.Flag) {
		if given.Name != "out" {
			o.line += fmt.Sprintf(" -%s=%s", given.Name, given.Value)
		}
	})
	o.line = strings.TrimSuffix(strings.ReplaceAll(o.line, "=true", "")+" "+f.Arg(0), " ")
	if o.base == "" {
		root, err := moduleRoot(ctx)
		if err != nil {
			return fmt.Errorf("finding the module: %w", err)
		}
		o.base = filepath.Join(root, "bench")
	}
	return o.dispatch(ctx, f.Arg(0), stdout)
}

func (o *options) dispatch(ctx context.Context, command string, stdout io.Writer) error {
	begun := time.Now()
	steps := map[string][]func(context.Context, time.Time, io.Writer) error{
		"":        {o.kms, o.scale, o.memory, o.data, o.warp, o.report},
		"all":     {o.kms, o.scale, o.memory, o.data, o.warp, o.report},
		"kms":     {o.kms, o.report},
		"data":    {o.data, o.report},
		"memory":  {o.memory, o.report},
		"scale":   {o.scale, o.report},
		"warp":    {o.warp, o.report},
		"report":  {o.report},
		"cost":    {o.cost},
		"profile": {o.profile},
	}
	todo, ok := steps[command]
	if !ok {
		return fmt.Errorf("no command %q: see -h", command)
	}
	if command == "" && !o.quick || command == "all" && !o.quick {
		o.fullMonth = true
	}
	for _, step := range todo {
		if err := step(ctx, begun, stdout); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) cost(_ context.Context, _ time.Time, stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, "EBS: 1 key, 250 volumes of 3 calls: %s\nS3: 1 key, 10,000 writes and 2,000,000 reads: %s\n",
		SymmetricMonth(1, 750).Bill().Total, SymmetricMonth(1, 2_010_000).Bill().Total)
	return err
}

// section begins a part of the results.
func (o *options) section(ctx context.Context) section {
	return section{Machine: describeMachine(ctx), Command: o.line, Quick: o.quick, Begun: time.Now()}
}

func (s *section) end() { s.Seconds = time.Since(s.Begun).Seconds() }

func (o *options) kms(ctx context.Context, begun time.Time, stdout io.Writer) error {
	s := &kmsSection{section: o.section(ctx)}
	runs := kmsRuns(o.quick)
	if o.fullMonth {
		runs = append(runs, fullMonth())
	}
	var deadline time.Time
	if o.quick {
		deadline = begun.Add(quickLoads)
	}
	bar := newMeter("KMS workloads", work(runs))
	var err error
	s.Outcomes, err = runKMS(ctx, runs, deadline, bar)
	bar.end()
	if err != nil {
		return err
	}
	s.LeftOut = len(runs) - len(s.Outcomes)
	window := 8 * time.Second
	if o.quick {
		window = 3 * time.Second
	}
	if s.Throttled, err = runThrottled(ctx, window); err != nil {
		return err
	}
	s.end()
	fmt.Fprintf(stdout, "KMS workloads: %.0f s\n", s.Seconds)
	return save(o.base, "kms", s)
}

// quickLoads is when a quick run begins no more workloads: on a machine of its own it is done long before.
const quickLoads = 90 * time.Second

// quickLimit is when a quick run has to be done, with time left for the report.
const quickLimit = 275 * time.Second

func (o *options) data(ctx context.Context, begun time.Time, stdout io.Writer) error {
	s := &dataSection{section: o.section(ctx)}
	p := plan{quick: o.quick, rounds: o.rounds, window: o.window}
	if o.quick {
		p.window = min(p.window, 1200*time.Millisecond)
		p.until = begun.Add(quickLimit)
	}
	if o.only != "" {
		want, err := regexp.Compile(o.only)
		if err != nil {
			return err
		}
		p.only = func(c cell) bool { return want.MatchString(c.String()) }
	}
	var d *dataResults
	err := withWaxseal(ctx, func(bin string) (err error) {
		d, err = runData(ctx, bin, p)
		return err
	})
	if err != nil {
		return err
	}
	s.dataResults, s.Checks = *d, d.checks(s.Machine.Processors)
	s.end()
	fmt.Fprintf(stdout, "data path: %.0f s\n", s.Seconds)
	for _, c := range s.Checks {
		fmt.Fprintf(stdout, "  %-75s %-10s %s; met: %s\n", c.Name, c.Figure, c.Target, c.Met)
	}
	return save(o.base, "data", s)
}

func (o *options) scale(ctx context.Context, _ time.Time, stdout io.Writer) error {
	s := &scaleSection{section: o.section(ctx)}
	err := withWaxseal(ctx, func(bin string) (err error) {
		s.Curves, s.Envelope, err = runScale(ctx, bin, o.quick)
		return err
	})
	if err != nil {
		return err
	}
	s.end()
	fmt.Fprintf(stdout, "scale: %.0f s\n", s.Seconds)
	return save(o.base, "scale", s)
}

func (o *options) memory(ctx context.Context, _ time.Time, stdout io.Writer) error {
	s := &memorySection{section: o.section(ctx)}
	err := withWaxseal(ctx, func(bin string) (err error) {
		s.Figures, err = runMemory(ctx, bin, o.quick)
		return err
	})
	if err != nil {
		return err
	}
	s.end()
	fmt.Fprintf(stdout, "memory: %.0f s\n", s.Seconds)
	return save(o.base, "memory", s)
}

func (o *options) report(_ context.Context, _ time.Time, stdout io.Writer) error {
	r, err := loadReport(o.base)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(resultsDir(o.base), 0o755); err != nil {
		return err
	}
	if err := errors.Join(r.draw(o.base), r.write(o.base)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "wrote", filepath.Join(o.base, "RESULTS.md"))
	return err
}
