package main

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"
)

// startNullStore gives a way to a store of the test's own.
func startNullStore(t *testing.T) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go newNullStore().serve(l) //nolint:errcheck // it ends with the listener
	return &target{name: straightWay, addr: l.Addr().String(), keep: keptPrefix}
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
