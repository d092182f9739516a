package embedded

import "sync"

// locks are read-write locks by name, which exist only while someone holds or awaits them.
type locks struct {
	mu   sync.Mutex
	held map[string]*nameLock
}

type nameLock struct {
	sync.RWMutex
	users int
}

func newLocks() *locks { return &locks{held: make(map[string]*nameLock)} }

// lock waits for name's exclusive lock and returns what gives it back.
func (l *locks) lock(name string) (unlock func()) {
	n := l.join(name)
	n.Lock()
	return func() { n.Unlock(); l.leave(name, n) }
}

// share waits for name's shared lock and returns what gives it back.
func (l *locks) share(name string) (unlock func()) {
	n := l.join(name)
	n.RLock()
	return func() { n.RUnlock(); l.leave(name, n) }
}

// try takes name's exclusive lock if nobody holds it.
func (l *locks) try(name string) (unlock func(), ok bool) {
	n := l.join(name)
	if !n.TryLock() {
		l.leave(name, n)
		return nil, false
	}
	return func() { n.Unlock(); l.leave(name, n) }, true
}

func (l *locks) join(name string) *nameLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.held[name]
	if n == nil {
		n = new(nameLock)
		l.held[name] = n
	}
	n.users++
	return n
}

func (l *locks) leave(name string, n *nameLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.users--
	if n.users == 0 {
		delete(l.held, name)
	}
}
