package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

func processors() int { return runtime.NumCPU() }

// moduleRoot is the directory of go.mod.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// buildWaxseal builds the measured program, unless the environment names a binary.
func buildWaxseal(ctx context.Context, dir string) (string, error) {
	if bin := os.Getenv("WAXSEAL_BENCH_BINARY"); bin != "" {
		return filepath.Abs(bin)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "waxseal")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/waxseal")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	return bin, cmd.Run()
}

// withWaxseal builds waxseal for as long as f runs.
func withWaxseal(ctx context.Context, f func(bin string) error) error {
	dir, err := os.MkdirTemp("", "waxseal-bench-bin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := buildWaxseal(ctx, dir)
	if err != nil {
		return fmt.Errorf("building waxseal: %w", err)
	}
	return f(bin)
}

// machine describes the place of a run.
type machine struct {
	CPU        string   `json:"cpu"`
	Processors int      `json:"processors"`
	MemoryGiB  float64  `json:"memory_gib"`
	Kernel     string   `json:"kernel"`
	Go         string   `json:"go"`
	Versions   []string `json:"versions"` // of the baselines' programs
	Commit     string   `json:"commit"`
	LoadBefore string   `json:"load_before"` // the load average when the run began: above 1 the machine was busy
}

func describeMachine(ctx context.Context) machine {
	m := machine{Processors: processors(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		CPU: lineValue("/proc/cpuinfo", "model name"), Kernel: firstLine(os.ReadFile("/proc/sys/kernel/osrelease"))}
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(lineValue("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGiB = kib / (1 << 20)
	}
	m.LoadBefore, _, _ = strings.Cut(firstLine(os.ReadFile("/proc/loadavg")), " ")
	m.Commit = commit(ctx)
	for _, v := range [][]string{{"nginx", "-v"}, {"minio", "--version"}, {"rclone", "version"}, {"warp", "--version"}} {
		if out, err := exec.CommandContext(ctx, v[0], v[1:]...).CombinedOutput(); err == nil {
			m.Versions = append(m.Versions, firstLine(out, nil))
		}
	}
	return m
}

func firstLine(b []byte, err error) string {
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

// lineValue returns the value after "name:" in a file of such lines.
func lineValue(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// commit names the measured commit. Uncommitted results do not make the program different.
func commit(ctx context.Context) string {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "unknown"
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	id, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "unknown"
	}
	if changed, err := git("status", "--porcelain", "--", ".", ":!bench/results", ":!bench/RESULTS.md"); err != nil || changed != "" {
		id += ", with changes that are not committed"
	}
	return id
}
