package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A second opinion: warp (https://github.com/minio/warp), the field's own load generator, signs every request and
// makes fresh data. It needs a store that keeps its data, so all of it runs on MinIO.

// warpCell is a load of warp's.
type warpCell struct {
	Op      op     `json:"op"`
	Size    int64  `json:"size"`
	Objects int    `json:"objects"` // written before a GET is measured
	Conc    int    `json:"concurrency"`
	Name    string `json:"name"`
}

var warpCells = []warpCell{
	{opPut, 4 * kib, 0, 8, "PUT 4 KiB c8"},
	{opGet, 4 * kib, 1000, 8, "GET 4 KiB c8"},
	{opPut, 8 * mib, 0, 8, "PUT 8 MiB c8"},
	{opGet, 8 * mib, 100, 8, "GET 8 MiB c8"},
}

// warpFigures are a run's figures along a single way.
type warpFigures struct {
	PerSecond float64 `json:"requests_per_s"`
	MiBps     float64 `json:"mib_per_s"`
	Errors    int64   `json:"errors"`
}

// warpMeasured is a cell with the figures of every way in every round.
type warpMeasured struct {
	Cell   warpCell                 `json:"cell"`
	Rounds map[string][]warpFigures `json:"rounds"` // by way
}

// warpSection is warp's part of the results.
type warpSection struct {
	section
	Window  float64        `json:"window_seconds"`
	Cells   []warpMeasured `json:"cells"`
	Skipped string         `json:"skipped,omitempty"`
}

// warpWays are MinIO with and without its own encryption, and waxseal in front of it.
var warpWays = []string{minioPlain, minioSSE, onMinIO}

const warpRounds = 3

func (o *options) warp(ctx context.Context, _ time.Time, stdout io.Writer) error {
	if o.quick {
		return nil // ten minutes, and two programs to install
	}
	s := &warpSection{section: o.section(ctx), Window: warpWindow.Seconds()}
	err := withWaxseal(ctx, func(bin string) (err error) {
		s.Cells, s.Skipped, err = runWarp(ctx, bin)
		return err
	})
	if err != nil {
		return err
	}
	s.end()
	if s.Skipped != "" {
		fmt.Fprintln(stdout, "warp: not measured:", s.Skipped)
		return nil
	}
	fmt.Fprintf(stdout, "warp: %.0f s\n", s.Seconds)
	return save(o.base, "warp", s)
}

const warpWindow = 10 * time.Second

// runWarp runs all cells, the ways in turn within each round. Without warp or MinIO it names the missing program.
func runWarp(ctx context.Context, waxseal string) (cells []warpMeasured, skipped string, err error) {
	bin, err := program("warp", "WAXSEAL_BENCH_WARP")
	if err != nil {
		return nil, err.Error(), nil
	}
	ways, err := startPaths(ctx, waxseal)
	if err != nil {
		return nil, "", err
	}
	defer ways.stop()
	present := make([]*target, 0, len(warpWays))
	for _, name := range warpWays {
		t := ways.find(name)
		if t == nil {
			return nil, strings.Join(ways.skipped, "; "), nil
		}
		present = append(present, t)
	}
	w := &warp{bin: bin, dir: ways.dir}
	if err := w.makeBuckets(present); err != nil {
		return nil, "", err
	}
	bar := newMeter("warp", int64(len(warpCells)*warpRounds*len(present)))
	defer bar.end()
	for _, c := range warpCells {
		m := warpMeasured{Cell: c, Rounds: make(map[string][]warpFigures)}
		for round := range warpRounds {
			for i := range present {
				t := present[(i+round)%len(present)]
				bar.describe("warp, " + c.Name + ", " + t.name)
				f, err := w.run(ctx, c, t)
				if err != nil {
					return nil, "", fmt.Errorf("warp, %s, %s: %w", c.Name, t.name, err)
				}
				m.Rounds[t.name] = append(m.Rounds[t.name], f)
				bar.add(1)
			}
		}
		cells = append(cells, m)
	}
	return cells, "", nil
}

// warp is the program, and where its files go.
type warp struct{ bin, dir string }

func (w *warp) bucket(t *target) string {
	return "warp-" + strings.ToLower(strings.ReplaceAll(t.name, " ", "-"))
}

// makeBuckets gives every way a bucket of its own; the default encryption of waxseal's is SSE-KMS with Bucket Keys.
func (w *warp) makeBuckets(ways []*target) error {
	for _, t := range ways {
		if _, _, err := once(&ask{method: http.MethodPut, host: t.addr, path: "/" + w.bucket(t)}); err != nil {
			return err
		}
		if t.name != onMinIO {
			continue
		}
		const conf = `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>` +
			`</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`
		sum := md5.Sum([]byte(conf))
		if _, _, err := once(&ask{method: http.MethodPut, host: t.addr, path: "/" + w.bucket(t), query: "encryption=", body: [][]byte{[]byte(conf)},
			header: map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])}}); err != nil {
			return err
		}
	}
	return nil
}

// run makes a measurement: warp clears the bucket, prepares its objects, measures and clears up.
func (w *warp) run(ctx context.Context, c warpCell, t *target) (warpFigures, error) {
	args := []string{strings.ToLower(string(c.Op)), "--json", "--no-color", "--host", t.addr, "--access-key", benchAccess, "--secret-key", benchSecret,
		"--region", benchRegion, "--lookup", "path", "--bucket", w.bucket(t), "--obj.size", fmt.Sprint(c.Size), "--concurrent", fmt.Sprint(c.Conc),
		"--duration", warpWindow.String(), "--benchdata", filepath.Join(w.dir, "warp")}
	if c.Objects > 0 {
		args = append(args, "--objects", fmt.Sprint(c.Objects))
	}
	if t.name == minioSSE {
		args = append(args, "--sse-s3-encrypt")
	}
	cmd := exec.CommandContext(ctx, w.bin, args...)
	var said, failed bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &said, &failed
	cmd.SysProcAttr = diesWithParent()
	if err := cmd.Run(); err != nil {
		return warpFigures{}, fmt.Errorf("%w: %.300s", err, failed.String())
	}
	return parseWarp(said.Bytes(), c.Op)
}

// parseWarp extracts an operation's figures from warp's --json output.
func parseWarp(text []byte, what op) (f warpFigures, err error) {
	var doc struct {
		ByOp map[op]struct {
			Errors     int64 `json:"total_errors"`
			Throughput struct {
				Millis  float64 `json:"measure_duration_millis"`
				Bytes   float64 `json:"bytes"`
				Objects float64 `json:"objects"`
			} `json:"throughput"`
		} `json:"by_op_type"`
	}
	if i := bytes.IndexByte(text, '{'); i >= 0 { // lines of progress come before it
		text = text[i:]
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return f, err
	}
	got, ok := doc.ByOp[what]
	if !ok || got.Throughput.Millis == 0 {
		return f, fmt.Errorf("warp measured no %s", what)
	}
	seconds := got.Throughput.Millis / 1000
	return warpFigures{PerSecond: got.Throughput.Objects / seconds, MiBps: got.Throughput.Bytes / mib / seconds, Errors: got.Errors}, nil
}

// median returns the median of a figure over a way's rounds.
func (m *warpMeasured) median(way string, figure func(warpFigures) float64) float64 {
	var all []float64
	for _, f := range m.Rounds[way] {
		all = append(all, figure(f))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// write writes the section of warp's figures.
func (s *warpSection) write(b *strings.Builder) {
	b.WriteString("\n## A second opinion: warp\n")
	s.section.write(b)
	fmt.Fprintf(b, "\nEvery request goes to MinIO on this machine: straight, sealed by MinIO itself (SSE-S3), or through waxseal (SSE-KMS with Bucket Key). "+
		"Medians of %d rounds of %.0f s, the ways in turn.\n", warpRounds, s.Window)
	t := table{head: []string{"load", "way", "requests/s", "MiB/s", "of MinIO", "of MinIO SSE-S3", "errors"}}
	perSecond := func(f warpFigures) float64 { return f.PerSecond }
	for i := range s.Cells {
		m := &s.Cells[i]
		for _, way := range warpWays {
			var errors int64
			for _, f := range m.Rounds[way] {
				errors += f.Errors
			}
			row := []string{m.Cell.Name, way, fmt.Sprintf("%.0f", m.median(way, perSecond)),
				fmt.Sprintf("%.1f", m.median(way, func(f warpFigures) float64 { return f.MiBps }))}
			for _, other := range warpWays[:2] {
				ratio := ""
				if way == onMinIO {
					ratio = fmt.Sprintf("%.2f", m.ratio(other))
				}
				row = append(row, ratio)
			}
			t.add(append(row, fmt.Sprint(errors))...)
		}
	}
	t.write(b)
}

// ratio is the median of the rounds' ratios of waxseal to another way.
func (m *warpMeasured) ratio(other string) float64 {
	var all []float64
	for i, f := range m.Rounds[onMinIO] {
		all = append(all, f.PerSecond/m.Rounds[other][i].PerSecond)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
