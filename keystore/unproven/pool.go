// Package unproven bounds what a process gives to clients that have not shown who they are: connections, and the bytes
// of bodies that must be read before their signature can be checked.
//
// A full pool takes from the member that came first. A flood that sends nothing to the point is what has waited
// longest, so that a client with a signature, which needs milliseconds, finds room in the middle of one.
package unproven

import (
	"container/list"
	"sync"
	"time"
)

// Pool has room for a number of units, which its members hold: connections, or bytes.
type Pool struct {
	limit int64

	mu      sync.Mutex
	used    int64
	members list.List // of *Member, the oldest first
}

// NewPool makes a pool of limit units.
func NewPool(limit int64) *Pool { return &Pool{limit: limit} }

// Member holds units of a pool.
type Member struct {
	pool  *Pool
	evict func()
	since time.Time

	units int64
	at    *list.Element // nil once it has left, or was evicted
}

// Enter lets a member in. When the pool needs its room for a younger one, it calls evict, which must end what the
// member does without waiting, and must not call the pool.
func (p *Pool) Enter(units int64, evict func()) *Member {
	m := &Member{pool: p, evict: evict, since: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.at = p.members.PushBack(m)
	m.grow(units)
	return m
}

// Grow gives a member more units, and reports whether it is still in the pool.
func (m *Member) Grow(units int64) bool {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if m.at == nil {
		return false
	}
	m.grow(units)
	return m.at != nil
}

// grow evicts the oldest members until there is room, the growing one last.
func (m *Member) grow(units int64) {
	p := m.pool
	m.units += units
	p.used += units
	for e := p.members.Front(); e != nil && p.used > p.limit; e = p.members.Front() {
		oldest := e.Value.(*Member)
		if oldest == m && p.members.Len() > 1 {
			oldest = e.Next().Value.(*Member)
		}
		oldest.remove()
		oldest.evict()
	}
}

// Leave gives a member's units back. It may be called again, and after an eviction.
func (m *Member) Leave() {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.remove()
}

func (m *Member) remove() {
	if m.at != nil {
		m.pool.members.Remove(m.at)
		m.at, m.pool.used, m.units = nil, m.pool.used-m.units, 0
	}
}

// Used is the number of units that members hold.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// wait is how long a newcomer should wait for its unit: not at all where there is room, or a member older than grace.
func (p *Pool) wait(grace time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used < p.limit {
		return 0
	}
	return grace - time.Since(p.members.Front().Value.(*Member).since)
}
