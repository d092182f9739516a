package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// defect makes answers wrong on their way to the checker, which must find them: a run with a defect is well when it does.
type defect struct {
	kind string

	mu  sync.Mutex
	old map[string][]byte // of each key, an earlier body
}

// defects are the kinds, and the violation that each must lead to.
var defects = map[string]string{
	"replay": "not linearizable", // an old body in place of the object's
	"flip":   "wrong bytes",      // one bit of a body
	"part":   "lost",             // a part that is not in a list
	"revoke": "stale",            // a read that goes on after its key was disabled
	"kill":   "failed",           // a rolling restart that kills
}

func newDefect(kind string) (*defect, error) {
	if _, ok := defects[kind]; !ok && kind != "" {
		return nil, fmt.Errorf("there is no defect %q", kind)
	}
	return &defect{kind: kind, old: map[string][]byte{}}, nil
}

// verdict prints the summary and reports whether the run is well: nothing was found, or the defect was.
func (n *nemesis) verdict() bool {
	well := n.report.summary()
	if n.defect.kind == "" {
		return well
	}
	seen := n.report.has(defects[n.defect.kind])
	fmt.Printf("the defect %s was seen: %v\n", n.defect.kind, seen)
	return seen
}

// spoil returns what a client gets to see of an object's body.
func (n *nemesis) spoil(key string, body []byte) []byte {
	d := n.defect
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.kind == "flip" && rand.IntN(50) == 0:
		body = append([]byte(nil), body...)
		body[len(body)-1] ^= 1
	case d.kind == "replay":
		old := d.old[key]
		if old == nil || rand.IntN(20) == 0 {
			d.old[key] = body
		}
		if old != nil && rand.IntN(10) == 0 {
			return old
		}
	}
	return body
}

func (d *defect) is(kind string, oneIn int) bool { return d.kind == kind && rand.IntN(oneIn) == 0 }
