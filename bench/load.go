package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// figures are the figures of a way in a cell's round.
type figures struct {
	Seconds   float64 `json:"seconds"`
	Ops       float64 `json:"ops"` // for large objects, with the fractions of operations under way
	Bytes     int64   `json:"bytes"`
	Errors    int64   `json:"errors"`
	MiBps     float64 `json:"mib_per_s"`
	OpsPerSec float64 `json:"ops_per_s"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p99_9_ms"`
	FirstByte float64 `json:"first_byte_p50_ms"`
	// Of the proxy process; -1 where there is none.
	CPUPerGiB   float64 `json:"cpu_s_per_gib"`
	CPUPer1000  float64 `json:"cpu_s_per_1000"`
	PeakMiB     float64 `json:"peak_mib"`
	AllocsPerOp float64 `json:"allocs_per_op"` // -1 where they are not known
}

// worker is a connection of a load with its latencies.
type worker struct {
	client client
	wires  []*wire                         // sent in turn
	act    func(c *client) (answer, error) // or this, where an operation is several requests
	took   []time.Duration
	first  []time.Duration
	err    error
}

// load is a way under a cell's load.
type load struct {
	t       *target
	workers []*worker
	moved   atomic.Int64
	ops     atomic.Int64
	errors  atomic.Int64
	record  atomic.Bool // latencies count
	stop    atomic.Bool
	opSize  int64 // bytes of a request, where all move the same
	// tolerant goes on after refusals, with a rest, as clients do.
	tolerant bool
}

// run drives a load for a while after a warm-up, and measures in between: bytes moved and CPU used from the first
// snapshot to the second, whatever requests are under way then.
func (l *load) run(ctx context.Context, warm, window time.Duration) (figures, error) {
	var wg sync.WaitGroup
	for _, w := range l.workers {
		wg.Go(func() { l.work(w) })
	}
	f, err := l.measure(ctx, warm, window)
	l.stop.Store(true)
	wg.Wait()
	for _, w := range l.workers {
		w.client.close()
		if err == nil {
			err = w.err
		}
	}
	l.latencies(&f)
	return f, err
}

// work sends requests until the end. A failed request is counted; many failures in a row end the worker.
func (l *load) work(w *worker) {
	failed := 0
	for i := 0; !l.stop.Load(); i++ {
		w.client.last = 0
		a, err := w.next(i)
		if err == nil && a.status/100 != 2 {
			err = fmt.Errorf("status %d", a.status)
		}
		if err != nil {
			w.client.uncount()
			l.errors.Add(1)
			if l.tolerant {
				time.Sleep(refusedRest)
				continue
			}
			if failed++; failed == 20 {
				w.err = fmt.Errorf("%s: %w", l.t.name, err)
				return
			}
			continue
		}
		failed = 0
		l.ops.Add(1)
		if l.record.Load() {
			w.took = append(w.took, a.took)
			w.first = append(w.first, a.firstByte)
		}
	}
}

func (w *worker) next(i int) (answer, error) {
	if w.act != nil {
		return w.act(&w.client)
	}
	return w.client.do(w.wires[i%len(w.wires)], nil)
}

// refusedRest is how long a client waits after a refusal.
const refusedRest = 20 * time.Millisecond

// look is a snapshot of the counters.
type look struct {
	at                 time.Time
	ops, moved, errors int64
	cpu                time.Duration
	allocs             float64
}

func (l *load) look() (look, error) {
	s := look{ops: l.ops.Load(), moved: l.moved.Load(), errors: l.errors.Load(), allocs: -1}
	if l.t.admin != "" {
		s.allocs = mallocs(l.t.admin)
	}
	s.at = time.Now()
	var err error
	if l.t.proc != nil {
		s.cpu, err = l.t.proc.cpu()
	}
	return s, err
}

func (l *load) measure(ctx context.Context, warm, window time.Duration) (figures, error) {
	if !pause(ctx, warm) {
		return figures{}, ctx.Err()
	}
	if l.t.proc != nil {
		l.t.proc.resetPeak()
	}
	l.record.Store(true)
	a, err := l.look()
	if err != nil {
		return figures{}, err
	}
	if !pause(ctx, window) {
		return figures{}, ctx.Err()
	}
	b, err := l.look()
	if err != nil {
		return figures{}, err
	}
	return l.between(a, b), nil
}

func (l *load) between(a, b look) figures {
	f := figures{Seconds: b.at.Sub(a.at).Seconds(), Ops: float64(b.ops - a.ops), Bytes: max(0, b.moved-a.moved), Errors: b.errors - a.errors,
		CPUPerGiB: -1, CPUPer1000: -1, AllocsPerOp: -1}
	f.MiBps = float64(f.Bytes) / (1 << 20) / f.Seconds
	if l.opSize >= mib {
		f.Ops = float64(f.Bytes) / float64(l.opSize)
	}
	f.OpsPerSec = f.Ops / f.Seconds
	if l.t.proc == nil {
		return f
	}
	cpu := (b.cpu - a.cpu).Seconds()
	if f.Bytes > 0 {
		f.CPUPerGiB = cpu / (float64(f.Bytes) / (1 << 30))
	}
	if f.Ops > 0 {
		f.CPUPer1000 = cpu / f.Ops * 1000
	}
	if f.Ops > 0 && a.allocs >= 0 && b.allocs >= 0 {
		f.AllocsPerOp = max(0, b.allocs-a.allocs-l.t.scrape) / f.Ops
	}
	f.PeakMiB = float64(l.t.proc.peakRSS()) / (1 << 20)
	return f
}

func (l *load) latencies(f *figures) {
	var took, first []time.Duration
	for _, w := range l.workers {
		took = append(took, w.took...)
		first = append(first, w.first...)
	}
	f.P50, f.P99, f.P999 = quantile(took, .5), quantile(took, .99), quantile(took, .999)
	f.FirstByte = quantile(first, .5)
}

// quantile is in milliseconds. It sorts d.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	i := min(len(d)-1, int(q*float64(len(d))))
	return float64(d[i]) / float64(time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// plaintext is the data of all bodies: random, so that nothing compresses it.
var plaintext = sync.OnceValue(func() []byte {
	b := make([]byte, 64<<20)
	rand.Read(b)
	return b
})

// bodyOf is a body of a size, in pieces of plaintext.
func bodyOf(size int64) [][]byte {
	var all [][]byte
	for size > 0 {
		n := min(size, int64(len(plaintext())))
		all = append(all, plaintext()[:n])
		size -= n
	}
	return all
}

// object is the path of a key.
func object(key string) string { return "/" + benchBucket + "/" + key }

func (t *target) ask(method, key, query string, header map[string]string, body [][]byte) *ask {
	return &ask{method: method, host: t.addr, path: object(key), query: query, header: header, body: body}
}

func (t *target) putAsk(key string, size int64) *ask {
	return t.ask(http.MethodPut, key, "", t.put, bodyOf(size))
}

func (t *target) getAsk(key string) *ask { return t.ask(http.MethodGet, key, "", t.get, nil) }
