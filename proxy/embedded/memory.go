package embedded

import (
	"bytes"
	"io"
	"io/fs"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// memory is the medium that ends with the process. It keeps apart what is durable from what is not, so that a test can
// pull the plug.
type memory struct {
	index   atomic.Pointer[memIndex]
	writing sync.Mutex // one update at a time

	mu      sync.Mutex
	bodies  map[uint64]*memFile
	durable map[uint64]*memFile // names that a crash leaves
}

// memIndex is one state of the index. It is never changed: an update makes a new one.
type memIndex [spaces][]memEntry

type memEntry struct{ key, value []byte }

type memFile struct {
	data   []byte
	synced int // bytes that a crash leaves
}

func newMemory() *memory {
	m := &memory{bodies: map[uint64]*memFile{}, durable: map[uint64]*memFile{}}
	m.index.Store(new(memIndex))
	return m
}

func (m *memory) view(fn func(tx) error) error {
	return fn(&memTx{index: *m.index.Load()})
}

func (m *memory) update(fn func(tx) error) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	t := &memTx{index: *m.index.Load()}
	if err := fn(t); err != nil {
		return err
	}
	m.index.Store(&t.index)
	return nil
}

// memTx is a transaction. Its first write to a space copies the space.
type memTx struct {
	index  memIndex
	copied [spaces]bool
}

func find(entries []memEntry, key []byte) (int, bool) {
	return slices.BinarySearchFunc(entries, key, func(e memEntry, key []byte) int { return bytes.Compare(e.key, key) })
}

func (t *memTx) get(s space, key []byte) []byte {
	if i, ok := find(t.index[s], key); ok {
		return t.index[s][i].value
	}
	return nil
}

func (t *memTx) own(s space) {
	if !t.copied[s] {
		t.index[s], t.copied[s] = slices.Clone(t.index[s]), true
	}
}

func (t *memTx) put(s space, key, value []byte) error {
	t.own(s)
	e := memEntry{bytes.Clone(key), append([]byte{}, value...)}
	i, ok := find(t.index[s], key)
	if ok {
		t.index[s][i] = e
	} else {
		t.index[s] = slices.Insert(t.index[s], i, e)
	}
	return nil
}

func (t *memTx) del(s space, key []byte) error {
	if i, ok := find(t.index[s], key); ok {
		t.own(s)
		t.index[s] = slices.Delete(t.index[s], i, i+1)
	}
	return nil
}

func (t *memTx) cursor(s space) cursor { return &memCursor{entries: t.index[s]} }

type memCursor struct {
	entries []memEntry
	at      int
}

func (c *memCursor) seek(key []byte) (k, v []byte) {
	c.at, _ = find(c.entries, key)
	return c.here()
}

func (c *memCursor) next() (k, v []byte) { c.at++; return c.here() }
func (c *memCursor) last() (k, v []byte) { c.at = len(c.entries) - 1; return c.here() }

func (c *memCursor) here() (k, v []byte) {
	if c.at < 0 || c.at >= len(c.entries) {
		return nil, nil
	}
	return c.entries[c.at].key, c.entries[c.at].value
}

func (m *memory) create(id uint64) (bodyFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bodies[id] != nil {
		return nil, fs.ErrExist
	}
	f := new(memFile)
	m.bodies[id] = f
	return &memWriter{m, f}, nil
}

type memWriter struct {
	m *memory
	f *memFile
}

func (w *memWriter) Write(p []byte) (int, error) {
	w.f.data = append(w.f.data, p...)
	return len(p), nil
}

func (w *memWriter) sync() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.f.synced = len(w.f.data)
	return nil
}

func (w *memWriter) Close() error { return nil }

func (m *memory) open(id uint64) (bodyReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.bodies[id]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return memReader{bytes.NewReader(f.data)}, nil
}

type memReader struct{ *bytes.Reader }

func (r memReader) size() (int64, error) { return r.Size(), nil }
func (r memReader) Close() error         { return nil }

var _ io.ReaderAt = memReader{}

func (m *memory) link(from, to uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.bodies[from]
	switch {
	case f == nil:
		return fs.ErrNotExist
	case m.bodies[to] != nil:
		return fs.ErrExist
	}
	m.bodies[to] = f
	return nil
}

func (m *memory) remove(id uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.bodies, id)
	return nil
}

func (m *memory) syncDir(dir uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.durable {
		if dirOf(id) == dir {
			delete(m.durable, id)
		}
	}
	for id, f := range m.bodies {
		if dirOf(id) == dir {
			m.durable[id] = f
		}
	}
	return nil
}

func (m *memory) files(from uint64) iter.Seq2[uint64, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []uint64
	for id := range m.bodies {
		if id >= from {
			ids = append(ids, id)
		}
	}
	return func(yield func(uint64, error) bool) {
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

func (m *memory) free() (int64, error) { return math.MaxInt64, nil }
func (m *memory) check() []string      { return nil }
func (m *memory) close() error         { return nil }
