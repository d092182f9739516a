// Package unproven bounds what a process gives to clients that have not shown who they are: connections, and the bytes
// of bodies that must be read before their signature can be checked.
//
// A full pool takes from the member that came first, of connections from the first one that has kept the server waiting.
// A flood that sends nothing to the point has come first, so that a client with a signature, which needs milliseconds,
// finds room in the middle of a flood.
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
	due   func(now time.Time) bool // whether another may take the member's room already; nil: always

	units int64
	at    *list.Element // nil once it has left, or was evicted
}

// Enter lets a member in. When the pool needs its room for a younger one, it calls evict, which must end what the
// member does without waiting, and must not call the pool.
func (p *Pool) Enter(units int64, evict func()) *Member { return p.enter(units, evict, nil) }

// enter is Enter of a member whose room is taken first once it is due.
func (p *Pool) enter(units int64, evict func(), due func(now time.Time) bool) *Member {
	m := &Member{pool: p, evict: evict, due: due}
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

// grow evicts members until there is room, the growing one last.
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

// firstDue is the oldest member that is due, but for the growing one; nil where there is none.
func (p *Pool) firstDue(growing *Member) *Member {
	now := time.Now()
	for e := p.members.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*Member); m != growing && (m.due == nil || m.due(now)) {
			return m
		}
	}
	return nil
}

// oldest is the oldest member, but for the growing one where there is another.
func (p *Pool) oldest(growing *Member) *Member {
	e := p.members.Front()
	if e.Value.(*Member) == growing && p.members.Len() > 1 {
		e = e.Next()
	}
	return e.Value.(*Member)
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

// takes reports whether there is room for a newcomer's units, or a member that is due.
func (p *Pool) takes(units int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used+units <= p.limit || p.firstDue(nil) != nil
}

// scarce reports whether half of the room is taken.
func (p *Pool) scarce() bool { return 2*p.Used() >= p.limit }
