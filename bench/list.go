package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// listPrefix is where the keys of a listing of n lie.
func (t *target) listPrefix(n int) string { return fmt.Sprintf("%slist-%d/", t.keep, n) }

const listPage = 1000

// ensureKeys stores small objects for listings.
func (p *prepared) ensureKeys(t *target, n int) error {
	prefix := t.listPrefix(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done[prefix] {
		return nil
	}
	const workers = 16
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			c := &client{addr: t.addr}
			defer c.close()
			for i := w; i < n; i += workers {
				a, err := c.do(sign(t.putAsk(fmt.Sprintf("%s%07d", prefix, i), 64)), nil)
				if err != nil {
					return err
				}
				if a.status != http.StatusOK {
					return fmt.Errorf("%s: PUT for a listing: status %d", t.name, a.status)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.done[prefix] = true
	p.fresh = true // waxseal's entry cache trusts only objects some seconds old
	return nil
}

// settle waits until new objects are old enough for waxseal's entry cache.
func (p *prepared) settle(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh {
		pause(ctx, 3*time.Second)
		p.fresh = false
	}
}

// listPass requests every page once and returns the time of each. With check set it checks the pages.
func (c cell) listPass(t *target, keys int, check bool) (took []time.Duration, bytesIn int64, err error) {
	conn := &client{addr: t.addr}
	defer conn.close()
	prefix := t.listPrefix(keys)
	for i := 0; i < int(c.Size); i += listPage {
		q := url.Values{"list-type": {"2"}, "prefix": {prefix}}
		if i > 0 {
			q.Set("start-after", fmt.Sprintf("%s%07d", prefix, i-1))
		}
		var doc bytes.Buffer
		a, err := conn.do(sign(&ask{method: http.MethodGet, host: t.addr, path: "/" + benchBucket, query: q.Encode()}), &doc)
		if err != nil {
			return nil, 0, err
		}
		if a.status != http.StatusOK {
			return nil, 0, fmt.Errorf("%s: LIST: status %d: %.200s", t.name, a.status, doc.String())
		}
		took = append(took, a.took)
		bytesIn += int64(doc.Len())
		if check && strings.Count(doc.String(), "<Size>64</Size>") != min(listPage, int(c.Size)-i) {
			return nil, 0, fmt.Errorf("%s: a page of the listing does not have the right sizes", t.name)
		}
	}
	return took, bytesIn, nil
}

// list measures a listing: cold, a single pass right after waxseal's start; warm, passes for a while after a first
// pass.
func (c cell) list(ctx context.Context, t *target, window time.Duration) (figures, error) {
	return c.listIn(ctx, t, int(c.Size), window)
}

// listIn lists the cell's number of keys from the begin of a prefix with so many keys.
func (c cell) listIn(ctx context.Context, t *target, keys int, window time.Duration) (figures, error) {
	if c.Op == opListCold {
		if t.restart != nil {
			if err := t.restart(ctx); err != nil {
				return figures{}, err
			}
		}
	} else if _, _, err := c.listPass(t, keys, true); err != nil {
		return figures{}, err
	}
	l := &load{t: t}
	a, err := l.look()
	if err != nil {
		return figures{}, err
	}
	w := &worker{}
	for {
		took, n, err := c.listPass(t, keys, false)
		if err != nil {
			return figures{}, err
		}
		w.took = append(w.took, took...)
		l.moved.Add(n)
		l.ops.Add(int64(len(took)))
		if c.Op == opListCold || time.Since(a.at) > window || ctx.Err() != nil {
			break
		}
	}
	b, err := l.look()
	if err != nil {
		return figures{}, err
	}
	f := l.between(a, b)
	l.workers = []*worker{w}
	l.latencies(&f)
	return f, nil
}
