package main

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// A setting is a regular register: a read finds the value of the last change that was acknowledged before it, or that of
// a change that is under way. While a change waits for all replicas to follow, two of them may differ; after its
// acknowledgement none may have the old value. A change without an answer is under way for ever.

// writes returns the changes of a setting, with the one that made it. mu is held.
func (h *history) writes() []porcupine.Operation {
	all := []porcupine.Operation{{Input: input{kind: write, value: h.initial.value}, Output: output{}, Call: -1, Return: -1}}
	for _, op := range h.ops {
		if op.Input.(input).kind == write {
			all = append(all, op)
		}
	}
	return all
}

// stale returns the reads of a setting's history that found neither, and how late the latest of the reads was that may be.
func (h *history) stale() (wrong []porcupine.Operation, latest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	writes := h.writes()
	for _, op := range h.ops {
		in := op.Input.(input)
		if in.kind != read {
			continue
		}
		late := lateness(writes, op)
		if late > 0 && (!in.late || late > window) {
			wrong = append(wrong, op)
		} else {
			latest = max(latest, late)
		}
	}
	return wrong, latest
}

// lateness is how long before a read the value that it found was replaced for certain; zero for a value that was in force.
func lateness(writes []porcupine.Operation, r porcupine.Operation) time.Duration {
	least := time.Duration(math.MaxInt64)
	for _, w := range writes {
		if w.Input.(input).value != r.Output.(output).found.value || w.Call > r.Return {
			continue
		}
		replaced := int64(math.MaxInt64)
		for _, x := range writes {
			if x.Call > w.Return {
				replaced = min(replaced, x.Return)
			}
		}
		least = min(least, max(0, time.Duration(r.Call-replaced)))
	}
	return least
}

// judgeSetting checks the history of a setting.
func (n *nemesis) judgeSetting(h *history) {
	wrong, latest := h.stale()
	n.report.latest(latest)
	if len(wrong) == 0 {
		return
	}
	_, info := h.check(time.Second)
	first := wrong[0]
	in, kind := first.Input.(input), "stale"
	if in.late {
		kind = "window"
	}
	h.mu.Lock()
	late := lateness(h.writes(), first)
	h.mu.Unlock()
	n.report.violation(kind, "%s: %d reads; the first, at %.4f s at %s, found %s, %v after another value was acknowledged; see %s", h.name, len(wrong),
		float64(first.Call)/1e9, in.at, first.Output.(output).found.value, late, n.show(h, info))
}
