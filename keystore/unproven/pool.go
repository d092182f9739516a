// Package unproven bounds the resources of clients without proof of their identity: connections, and the bytes of
// bodies read before their signature can be checked.
//
// A full pool evicts its oldest member; of connections, the oldest that has kept the server waiting. The silent
// connections of a flood are older than a client with a valid signature, because that client needs a few milliseconds
// only. So the client finds room in the middle of the flood.
package unproven

import (
	"container/list"
	"sync"
	"time"
)

// Pool has room for a number of units, held by its members: connections, or bytes.
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
	due   func(now time.Time) bool // reports whether a newcomer may take the member's room already; nil: always

	units int64
	at    *list.Element // nil after Leave or eviction
}

// Enter adds a member. When the pool needs the member's room it calls evict. evict must end the member's work without
// waiting, and must not call the pool.
func (p *Pool) Enter(units int64, evict func()) *Member { return p.enter(units, evict, nil) }

// enter is Enter with due: a member that is due loses its room first.
func (p *Pool) enter(units int64, evict func(), due func(now time.Time) bool) *Member {
	m := &Member{pool: p, evict: evict, due: due}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.at = p.members.PushBack(m)
	m.grow(units)
	return m
}

// Grow gives a member more units, and reports whether the member is still in the pool.
func (m *Member) Grow(units int64) bool {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if m.at == nil {
		return false
	}
	m.grow(units)
	return m.at != nil
}

// grow evicts members until there is room, the growing member last.
func (m *Member) grow(units int64) {
	p := m.pool
	m.units += units
	p.used += units
	for p.used > p.limit && p.members.Len() > 0 {
		out := p.firstDue(m)
		if out == nil {
			out = p.oldest(m)
		}
		out.remove()
		out.evict()
	}
}

// firstDue returns the oldest due member other than the growing one, or nil.
func (p *Pool) firstDue(growing *Member) *Member {
	now := time.Now()
	for e := p.members.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*Member); m != growing && (m.due == nil || m.due(now)) {
			return m
		}
	}
	return nil
}

// oldest returns the oldest member; the growing member only if it is alone.
func (p *Pool) oldest(growing *Member) *Member {
	e := p.members.Front()
	if e.Value.(*Member) == growing && p.members.Len() > 1 {
		e = e.Next()
	}
	return e.Value.(*Member)
}

// Leave gives a member's units back. Further calls, and calls after an eviction, do nothing.
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

// Used returns the number of units in use.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// takes reports whether a newcomer finds room: free units, or a member that is due.
func (p *Pool) takes(units int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used+units <= p.limit || p.firstDue(nil) != nil
}

// scarce reports whether at least half of the room is taken.
func (p *Pool) scarce() bool { return 2*p.Used() >= p.limit }
