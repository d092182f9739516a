package main

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"

	"waxseal/bench/nullstore"
)

// startNullStore gives a way to a store of the test's own.
func startNullStore(t *testing.T) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go nullstore.New(benchBucket).Serve(l) //nolint:errcheck // it ends with the listener
	return &target{name: straightWay, addr: l.Addr().String(), keep: nullstore.KeptPrefix}
}

// TestNullStoreKeeps writes and reads along the same code as the benchmark, with sizes at the buffers' edges.
func TestNullStoreKeeps(t *testing.T) {
	w := startNullStore(t)
	p := &prepared{done: make(map[string]bool)}
	for _, size := range []int64{1, 4 * kib, 32 << 10, 32<<10 + 1, mib + 7} {
		if err := p.ensure(w, size); err != nil {
			t.Error(size, err)
		}
	}
	c := &client{addr: w.addr}
	defer c.close()
	var got bytes.Buffer
	a, err := c.do(sign(w.ask(http.MethodGet, w.keepKey(mib+7), "", map[string]string{"Range": "bytes=1000-1099"}, nil)), &got)
	if err != nil || a.status != http.StatusPartialContent || !bytes.Equal(got.Bytes(), plaintext()[1000:1100]) {
		t.Errorf("range: %+v, %v, %d bytes", a, err, got.Len())
	}
	for key, want := range map[string]int{"drop/x": 404, w.keepKey(1): 200} {
		if a, err = c.do(sign(w.ask(http.MethodHead, key, "", nil, nil)), nil); err != nil || a.status != want {
			t.Errorf("HEAD %s: %+v, %v", key, a, err)
		}
	}
}

func TestNullStoreLists(t *testing.T) {
	w := startNullStore(t)
	p := &prepared{done: make(map[string]bool)}
	const n = 2500
	if err := p.ensureKeys(w, n); err != nil {
		t.Fatal(err)
	}
	took, _, err := cell{Op: opList, Size: n, Conc: 1}.listPass(w, n, true)
	if err != nil || len(took) != 3 {
		t.Errorf("%d pages, %v", len(took), err)
	}
	_, doc, err := once(&ask{method: http.MethodGet, host: w.addr, path: "/" + benchBucket, query: "delimiter=%2F&list-type=2&prefix="})
	if err != nil || strings.Count(string(doc), "<CommonPrefixes>") != 1 || strings.Contains(string(doc), "<Contents>") {
		t.Errorf("with a delimiter: %s, %v", doc, err)
	}
}

func TestNullStoreUploads(t *testing.T) {
	w := startNullStore(t)
	c := &client{addr: w.addr}
	defer c.close()
	a, err := cell{Op: opMultipart, Size: 100 * kib}.multipart(w, 0)(c)
	if err != nil || !strings.HasSuffix(a.etag, "") || a.took == 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestFailuresAreNotMeasured: the bytes of failed operations are not counted, and a round with errors has no verdict.
func TestFailuresAreNotMeasured(t *testing.T) {
	l := &load{t: startNullStore(t), opSize: mib}
	put := sign(l.t.putAsk("drop/x", mib))
	w := &worker{client: client{addr: l.t.addr, moved: &l.moved}}
	n := 0
	w.act = func(c *client) (answer, error) {
		n++
		l.stop.Store(n == 6)
		a, err := c.do(put, nil)
		if n%2 == 0 {
			a.status = http.StatusServiceUnavailable
		}
		return a, err
	}
	l.work(w)
	if moved, ops, failed := l.moved.Load(), l.ops.Load(), l.errors.Load(); moved != 3*mib || ops != 3 || failed != 3 {
		t.Errorf("%d bytes, %d operations, %d errors", moved, ops, failed)
	}
	w.client.close()

	m := measured{Cell: cell{Op: opGet, Size: 4 * kib, Conc: 8}, Rounds: map[string][]figures{
		sseKMS: {{OpsPerSec: 100}, {OpsPerSec: 100}}, nginxWay: {{OpsPerSec: 1}, {OpsPerSec: 1}}, sseC: {{Errors: 1}}}}
	d := dataResults{Cells: []measured{m}}
	if c := d.smallThroughput(opGet, processors()); c.Met != "yes" {
		t.Errorf("%+v", c)
	}
	m.Rounds[nginxWay][1].Errors = 1
	if c := d.smallThroughput(opGet, processors()); c.Met != hadErrors {
		t.Errorf("%+v", c)
	}
}
