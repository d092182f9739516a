package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profile writes CPU and allocation profiles of waxseal under a cell's load to the working directory's results.
func (o *options) profile(ctx context.Context, _ time.Time, stdout io.Writer) error {
	return withWaxseal(ctx, func(bin string) error {
		ways, err := startPaths(ctx, bin)
		if err != nil {
			return err
		}
		defer ways.stop()
		for _, c := range cells {
			if c.String() == o.cell {
				return o.profileCell(ctx, c, ways, stdout)
			}
		}
		return fmt.Errorf("no cell %q", o.cell)
	})
}

func (o *options) profileCell(ctx context.Context, c cell, ways *paths, stdout io.Writer) error {
	t := ways.find(o.way)
	if t == nil || t.pprof == "" {
		return fmt.Errorf("%q is not a mode of waxseal", o.way)
	}
	if err := c.prepare(&prepared{done: make(map[string]bool)}, t); err != nil {
		return err
	}
	window := max(o.window, 5*time.Second)
	failed := make(chan error, 1)
	go func() {
		time.Sleep(warmUp)
		failed <- o.grab(t, c, "cpu", fmt.Sprintf("profile?seconds=%d", int(window.Seconds())-1), stdout)
	}()
	f, err := c.measure(ctx, t, warmUp, window)
	if err != nil {
		return err
	}
	if err := <-failed; err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s, %s: %.0f MiB/s, %.0f requests/s, %.3f CPU s per 1,000, %.0f allocations a request\n", c, o.way, f.MiBps, f.OpsPerSec, f.CPUPer1000, f.AllocsPerOp)
	return o.grab(t, c, "allocs", "allocs", stdout)
}

func (o *options) grab(t *target, c cell, kind, what string, stdout io.Writer) error {
	resp, err := http.Get("http://" + t.pprof + "/debug/pprof/" + what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	name := strings.NewReplacer(" ", "-", "+", "-").Replace(c.String()+"-"+o.way) + "." + kind + ".prof"
	if err := os.MkdirAll(resultsDir(o.base), 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(resultsDir(o.base), name))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, resp.Body); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "wrote", f.Name())
	return f.Close()
}
