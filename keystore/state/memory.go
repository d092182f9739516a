package state

import (
	"context"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
)

// memory is a Store for tests: nothing survives it but a backup.
type memory struct {
	hub Hub

	mu      sync.RWMutex
	closed  bool
	rev     int64
	entries map[string]Entry
}

// NewMemory returns an empty Store in memory, for tests.
func NewMemory() Store { return &memory{entries: make(map[string]Entry)} }

func (m *memory) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.closed {
		return ErrClosed
	}
	return nil
}

func (m *memory) Get(ctx context.Context, key string) (Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(ctx); err != nil {
		return Entry{}, err
	}
	e, ok := m.entries[key]
	if !ok {
		return Entry{}, ErrNotFound
	}
	e.Value = append([]byte(nil), e.Value...)
	return e, nil
}

func (m *memory) Range(ctx context.Context, prefix, after string, limit int) ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	var found []Entry
	for key, e := range m.entries {
		if strings.HasPrefix(key, prefix) && key > after {
			e.Value = append([]byte(nil), e.Value...)
			found = append(found, e)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Key < found[j].Key })
	if limit > 0 && len(found) > limit {
		found = found[:limit]
	}
	return found, nil
}

func (m *memory) Txn(ctx context.Context, conds []Cond, ops []Op) (int64, error) {
	if err := CheckTxn(conds, ops); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	for _, c := range conds {
		if m.entries[c.Key].Revision != c.Revision {
			return 0, ErrConflict
		}
	}
	if len(ops) == 0 {
		return m.rev, nil
	}
	m.rev++
	for _, op := range ops {
		if op.Delete {
			delete(m.entries, op.Key)
		} else {
			m.entries[op.Key] = Entry{Key: op.Key, Value: append([]byte(nil), op.Value...), Revision: m.rev}
		}
	}
	m.hub.Publish(events(ops, m.rev))
	return m.rev, nil
}

func (m *memory) Watch(ctx context.Context, prefix string) (<-chan Event, error) {
	return m.hub.Watch(ctx, prefix)
}

// Follow implements Store.
func (m *memory) Follow(prefix string, see func(string, int64)) func() {
	return m.hub.Follow(prefix, see)
}

// Backup implements Store.
func (m *memory) Backup(w io.Writer) error {
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return ErrClosed
	}
	rev, entries := m.rev, slices.Collect(maps.Values(m.entries))
	m.mu.RUnlock()
	return WriteBackup(w, rev, entries)
}

func (m *memory) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.hub.Close()
	return nil
}
