package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// memoryFigure is the peak resident memory of a waxseal, started for a single load.
type memoryFigure struct {
	Name    string  `json:"name"`
	Streams int     `json:"streams"`
	Size    int64   `json:"size"` // of each object
	PeakMiB float64 `json:"peak_mib"`
	MiBps   float64 `json:"mib_per_s"`
	Seconds float64 `json:"seconds"`
}

// memoryTarget is the limit for a waxseal, in MiB, whatever the size and the (64) streams.
const memoryTarget = 256

// memorySizes are the sizes of the loads: concurrent streams of objects of a size, and a single large object.
type memorySizes struct {
	streams     int
	each, large int64
	flat        int64 // bytes of each of eight streams, as objects of 1 MiB or as a single object
}

func sizesFor(quick bool) memorySizes {
	if quick {
		return memorySizes{streams: 64, each: 16 * mib, large: 512 * mib, flat: 64 * mib}
	}
	return memorySizes{streams: 64, each: 256 * mib, large: 5 * gib, flat: 1 * gib}
}

// memoryRun measures loads in turn, each on a waxseal of its own: the peak is of a process's whole life.
type memoryRun struct {
	t     *target
	sizes memorySizes
	prep  *prepared
}

func runMemory(ctx context.Context, bin string, quick bool) ([]memoryFigure, error) {
	ways, err := startPaths(ctx, bin)
	if err != nil {
		return nil, err
	}
	defer ways.stop()
	m := &memoryRun{t: ways.find(sseKMS), sizes: sizesFor(quick), prep: &prepared{done: make(map[string]bool)}}
	large := m.t.keep + "large"
	loads := []memoryLoad{
		m.put(m.sizes.streams, m.sizes.each, m.sizes.each),
		m.get(m.sizes.streams, m.sizes.each, m.sizes.each),
		{"multipart upload", 1, m.sizes.large, m.sizes.large, nil, func(int) error { return m.upload(large, m.sizes.large) }},
		{"GET", 1, m.sizes.large, m.sizes.large, nil, func(int) error { return m.read(large, m.sizes.large) }},
	}
	for _, size := range []int64{mib, m.sizes.flat} {
		loads = append(loads, m.put(flatStreams, size, m.sizes.flat), m.get(flatStreams, size, m.sizes.flat))
	}
	bar := newMeter("memory", int64(len(loads)))
	defer bar.end()
	var out []memoryFigure
	for _, l := range loads {
		bar.describe(fmt.Sprintf("%d x %s of %s", l.streams, l.name, sizeText(l.size)))
		if l.prepare != nil {
			if err := l.prepare(); err != nil {
				return nil, err
			}
		}
		if err := m.t.restart(ctx); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := together(l.streams, l.stream); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", l.name, sizeText(l.size), err)
		}
		took := time.Since(begin).Seconds()
		out = append(out, memoryFigure{Name: l.name, Streams: l.streams, Size: l.size, Seconds: took,
			PeakMiB: float64(m.t.proc.peakRSS()) / mib, MiBps: float64(int64(l.streams)*l.each) / mib / took})
		bar.add(1)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// flatStreams is the number of streams with the same bytes in small objects and in large objects.
const flatStreams = 8

// memoryLoad is the load of a single waxseal.
type memoryLoad struct {
	name    string
	streams int
	size    int64
	each    int64 // bytes of each stream
	prepare func() error
	stream  func(worker int) error
}

// put writes objects of a size, in sequence in each stream, until the stream has moved each bytes.
func (m *memoryRun) put(streams int, size, each int64) memoryLoad {
	return memoryLoad{"PUT", streams, size, each, nil, func(worker int) error {
		return times(each/size, func() error {
			_, _, err := once(m.t.putAsk(fmt.Sprintf("drop/memory-%d", worker), size))
			return err
		})
	}}
}

func (m *memoryRun) get(streams int, size, each int64) memoryLoad {
	return memoryLoad{"GET", streams, size, each, func() error { return m.prep.ensure(m.t, size) }, func(int) error {
		return times(each/size, func() error { return m.read(m.t.keepKey(size), size) })
	}}
}

func times(n int64, do func() error) error {
	for range n {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// together runs n streams at once.
func together(n int, stream func(worker int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = stream(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// read gets an object and throws it away; its length must be right.
func (m *memoryRun) read(key string, size int64) error {
	c := &client{addr: m.t.addr}
	defer c.close()
	a, err := c.do(sign(m.t.getAsk(key)), nil)
	if err == nil && (a.status != 200 || a.length != size) {
		err = fmt.Errorf("GET %s: status %d, %d bytes", key, a.status, a.length)
	}
	return err
}

func (m *memoryRun) upload(key string, size int64) error {
	const part = 64 * mib
	c := &client{addr: m.t.addr}
	defer c.close()
	u, err := beginUpload(c, m.t, key)
	if err != nil {
		return err
	}
	for i := range size / part {
		if err := u.part(int(i)+1, part); err != nil {
			return err
		}
	}
	_, err = u.complete()
	return err
}

// write is the part on memory.
func (s *memorySection) write(b *strings.Builder) {
	b.WriteString("\n## Memory\n")
	s.section.write(b)
	fmt.Fprintf(b, "\nThe most memory that was resident in a waxseal (SSE-KMS with Bucket Key, null store) started for each line. Target: under %d MiB for 64 streams of 256 MiB each way, and for one object of 5 GiB.\n", memoryTarget)
	t := table{head: []string{"load", "streams", "object", "MiB/s in all", "peak MiB", "met"}}
	for _, f := range s.Figures {
		t.add(f.Name, fmt.Sprint(f.Streams), sizeText(f.Size), fmt.Sprintf("%.0f", f.MiBps), fmt.Sprintf("%.0f", f.PeakMiB), verdict(f.PeakMiB < memoryTarget))
	}
	t.write(b)
	s.flat(b)
}

// flat compares the peaks of streams of large objects with the peaks of as many bytes in small objects. A tenth and 8
// MiB are allowed for the garbage collector's work at different speeds.
func (s *memorySection) flat(b *strings.Builder) {
	t := table{head: []string{"memory is flat in object size", "target", "figure", "met"}}
	for _, name := range []string{"GET", "PUT"} {
		var small, large *memoryFigure
		for i := range s.Figures {
			switch f := &s.Figures[i]; {
			case f.Name != name || f.Streams != flatStreams:
			case f.Size == mib:
				small = f
			default:
				large = f
			}
		}
		if small == nil || large == nil {
			continue
		}
		limit := 1.1*small.PeakMiB + 8
		t.add(fmt.Sprintf("%s, %d streams", name, flatStreams), fmt.Sprintf("objects of %s: at most %.0f MiB (of 1 MiB: %.0f)", sizeText(large.Size), limit, small.PeakMiB),
			fmt.Sprintf("%.0f MiB", large.PeakMiB), verdict(large.PeakMiB <= limit))
	}
	if len(t.rows) > 0 {
		t.write(b)
	}
}
