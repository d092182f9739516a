package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// op is a cell's operation.
type op string

// The operations.
const (
	opGet       op = "GET"
	opPut       op = "PUT"
	opRange     op = "range GET"
	opHead      op = "HEAD"
	opList      op = "LIST"
	opListCold  op = "LIST cold"
	opCopy      op = "COPY"
	opMultipart op = "multipart"
)

// cell is a point of the matrix, measured along several ways.
type cell struct {
	Op    op       `json:"op"`
	Size  int64    `json:"size"` // of the object; of the range; keys of a LIST
	Conc  int      `json:"concurrency"`
	Ways  []string `json:"ways"`
	Quick int      `json:"-"` // rounds of it in a quick run; 0: it is left out
}

func (c cell) String() string {
	size := sizeText(c.Size)
	if c.Op == opList || c.Op == opListCold {
		size = fmt.Sprintf("%d keys", c.Size)
	}
	name := fmt.Sprintf("%s %s c%d", c.Op, size, c.Conc)
	if slices.Contains(c.Ways, minioPlain) {
		name += " on MinIO"
	}
	return name
}

func sizeText(n int64) string {
	switch {
	case n == 0:
		return ""
	case n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

var (
	plainWays = []string{straightWay, nginxWay}
	mainWays  = append(plainWays[:2:2], sseKMS, sseS3)
	allWays   = append(mainWays[:4:4], sseS3Opaque, sseC, dsse, rcloneWay)
	// The bare proxy copies whole bodies: it is in the cells of small objects only.
	smallWays    = slices.Insert(slices.Clone(mainWays), 2, bareWay)
	allSmallWays = slices.Insert(slices.Clone(allWays), 2, bareWay)
	minioWays    = []string{minioPlain, minioSSE, onMinIO}
)

// cells is the measured part of the matrix: sizes at one concurrency, concurrencies at three sizes, and every
// operation.
var cells = []cell{
	{opGet, kib, 8, smallWays, 0},
	{opGet, 4 * kib, 1, smallWays, 0},
	{opGet, 4 * kib, 8, allSmallWays, 5},
	{opGet, 4 * kib, 64, smallWays, 0},
	{opGet, 64 * kib, 8, mainWays, 0},
	{opGet, mib, 1, mainWays, 0},
	{opGet, mib, 8, allWays, 3},
	{opGet, mib, 64, mainWays, 0},
	{opGet, 16 * mib, 8, mainWays, 0},
	{opGet, 64 * mib, 1, mainWays, 0},
	{opGet, 64 * mib, 8, allWays, 5},
	{opGet, 64 * mib, 64, mainWays, 0},
	{opGet, gib, 1, mainWays, 0},
	{opPut, kib, 8, smallWays, 0},
	{opPut, 4 * kib, 1, smallWays, 0},
	{opPut, 4 * kib, 8, allSmallWays, 5},
	{opPut, 4 * kib, 64, smallWays, 0},
	{opPut, 64 * kib, 8, mainWays, 0},
	{opPut, mib, 1, mainWays, 0},
	{opPut, mib, 8, allWays, 3},
	{opPut, mib, 64, mainWays, 0},
	{opPut, 16 * mib, 8, mainWays, 0},
	{opPut, 64 * mib, 1, mainWays, 0},
	{opPut, 64 * mib, 8, allWays, 5},
	{opPut, 64 * mib, 64, mainWays, 0},
	{opPut, gib, 1, mainWays, 0},
	{opRange, 4 * kib, 1, mainWays, 3},
	{opRange, 4 * kib, 8, allWays, 0},
	{opRange, mib, 8, mainWays, 0},
	{opHead, 4 * kib, 8, mainWays, 3},
	{opHead, 64 * mib, 8, mainWays, 0},
	{opListCold, 1000, 1, []string{straightWay, sseKMS}, 3},
	{opList, 1000, 1, []string{straightWay, nginxWay, sseKMS}, 3},
	{opListCold, 100_000, 1, []string{straightWay, sseKMS}, 0},
	{opList, 100_000, 1, []string{straightWay, nginxWay, sseKMS}, 0},
	{opCopy, 4 * kib, 8, []string{straightWay, nginxWay, sseKMS}, 3},
	{opCopy, 64 * mib, 8, []string{straightWay, nginxWay, sseKMS}, 0},
	{opMultipart, 8 * mib, 1, []string{straightWay, nginxWay, sseKMS}, 0},
	{opMultipart, 8 * mib, 8, mainWays, 3},
	{opMultipart, 64 * mib, 8, []string{straightWay, nginxWay, sseKMS}, 0},
	{opList, 1000, 1, minioWays, 0},
	{opGet, 4 * kib, 8, minioWays, 0},
	{opPut, 4 * kib, 8, minioWays, 0},
	{opGet, 64 * mib, 8, minioWays, 0},
	{opPut, 64 * mib, 8, minioWays, 0},
}

// quickWays returns the main ways, used by the targets; all of its ways in a cell of fewer than five rounds.
func (c cell) quickWays() []string {
	switch {
	case c.Quick < 5 || len(c.Ways) < len(allWays):
		return c.Ways
	case slices.Contains(c.Ways, bareWay):
		return smallWays
	}
	return mainWays
}

// rangeOf is the size of the object for range reads.
const rangeOf = 64 * mib

// keepKey is where a way's kept object of a size lies.
func (t *target) keepKey(size int64) string { return fmt.Sprintf("%sobject-%d", t.keep, size) }

// prepared are the objects already stored.
type prepared struct {
	mu    sync.Mutex
	done  map[string]bool
	fresh bool // some were stored just now
}

// ensure stores an object along a way and reads it back: later measurements are of correct data.
func (p *prepared) ensure(t *target, size int64) error {
	key := t.keepKey(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done[key] {
		return nil
	}
	if _, _, err := once(t.putAsk(key, size)); err != nil {
		return err
	}
	c := &client{addr: t.addr}
	defer c.close()
	var got bytes.Buffer
	if size <= 64*mib {
		got.Grow(int(size) + bytes.MinRead)
		if _, err := c.do(sign(t.getAsk(key)), &got); err != nil {
			return err
		}
		if !bytes.Equal(got.Bytes(), plaintext()[:size]) {
			return fmt.Errorf("%s: GET %s gave other bytes than were PUT", t.name, key)
		}
	}
	p.done[key] = true
	return nil
}

// wiresOf returns the requests of a cell's worker, to be sent in turn.
func (c cell) wiresOf(t *target, worker int) []*wire {
	switch c.Op {
	case opGet:
		return []*wire{sign(t.getAsk(t.keepKey(c.Size)))}
	case opPut:
		return []*wire{sign(t.putAsk(fmt.Sprintf("drop/%d", worker), c.Size))}
	case opHead:
		return []*wire{sign(t.ask(http.MethodHead, t.keepKey(c.Size), "", t.get, nil))}
	case opRange:
		return c.rangeWires(t)
	case opCopy:
		h := maps.Clone(t.put)
		if h == nil {
			h = map[string]string{}
		}
		h["x-amz-copy-source"] = object(t.keepKey(c.Size))
		return []*wire{sign(t.ask(http.MethodPut, fmt.Sprintf("%scopy-%d", t.keep, worker), "", h, nil))}
	}
	return nil
}

// rangeWires read at some places of the object, at no segment's edge.
func (c cell) rangeWires(t *target) []*wire {
	var all []*wire
	for i := range int64(8) {
		first := (rangeOf-c.Size)/8*i + 12_345
		h := maps.Clone(t.get)
		if h == nil {
			h = map[string]string{}
		}
		h["Range"] = fmt.Sprintf("bytes=%d-%d", first, first+c.Size-1)
		all = append(all, sign(t.ask(http.MethodGet, t.keepKey(rangeOf), "", h, nil)))
	}
	return all
}

// prepare stores the objects read by the cell.
func (c cell) prepare(p *prepared, t *target) error {
	switch c.Op {
	case opGet, opHead, opCopy:
		return p.ensure(t, c.Size)
	case opRange:
		return p.ensure(t, rangeOf)
	case opList, opListCold:
		return p.ensureKeys(t, int(c.Size))
	}
	return nil
}

// moves returns the body bytes of an operation.
func (c cell) moves() int64 {
	switch c.Op {
	case opGet, opPut, opRange:
		return c.Size
	case opMultipart:
		return c.Size * multipartParts
	}
	return 0
}

// measure runs a cell along a way once.
func (c cell) measure(ctx context.Context, t *target, warm, window time.Duration) (figures, error) {
	if c.Op == opList || c.Op == opListCold {
		return c.list(ctx, t, window)
	}
	l := &load{t: t, opSize: c.moves()}
	for i := range c.Conc {
		w := &worker{}
		if c.Op == opMultipart {
			w.act = c.multipart(t, i)
		} else {
			w.wires = c.wiresOf(t, i)
		}
		w.client = client{addr: t.addr, moved: &l.moved}
		l.workers = append(l.workers, w)
	}
	return l.run(ctx, warm, window)
}
