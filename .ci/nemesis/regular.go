package main

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// A setting is a regular register: a read finds the value of the last change that was acknowledged before it, or that of
// a change that is under way. While a change waits for all replicas to follow, two of them may differ; after its
// acknowledgement none may have the old value. A change without an answer is under way for ever.

// stale returns the reads of a setting's history that found neither.
func (h *history) stale() (wrong []porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	writes := []porcupine.Operation{{Input: input{kind: write, value: h.initial.value}, Output: output{}, Call: -1, Return: -1}}
	for _, op := range h.ops {
		if op.Input.(input).kind == write {
			writes = append(writes, op)
		}
	}
	for _, op := range h.ops {
		if in := op.Input.(input); in.kind == read && !isCurrent(writes, op, in.late) {
			wrong = append(wrong, op)
		}
	}
	return wrong
}

// isCurrent reports whether the value that a read found was in force at a time during the read. A replica that is cut off
// from the state may show a value that was in force a window earlier.
func isCurrent(writes []porcupine.Operation, r porcupine.Operation, late bool) bool {
	from := r.Call
	if late {
		from -= int64(window)
	}
	for _, w := range writes {
		if w.Input.(input).value == r.Output.(output).found.value && w.Call <= r.Return && !replaced(writes, w, from) {
			return true
		}
	}
	return false
}

// replaced reports whether a change came after w for certain, and was acknowledged before a time.
func replaced(writes []porcupine.Operation, w porcupine.Operation, before int64) bool {
	for _, x := range writes {
		if x.Call > w.Return && x.Return < before {
			return true
		}
	}
	return false
}

// age is how long before a read its value was replaced.
func (h *history) age(r porcupine.Operation) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := int64(math.MaxInt64)
	for _, op := range h.ops {
		if op.Input.(input).kind == write && op.Input.(input).value != r.Output.(output).found.value && op.Return < r.Call {
			first = r.Call - op.Return
		}
	}
	return time.Duration(first)
}

// judgeSetting checks the history of a setting.
func (n *nemesis) judgeSetting(h *history) {
	wrong := h.stale()
	if len(wrong) == 0 {
		return
	}
	_, info := h.check(time.Second)
	path := n.show(h, info)
	first := wrong[0]
	in := first.Input.(input)
	kind := "stale"
	if in.late {
		kind = "window"
	}
	n.report.violation(kind, "%s: %d reads; the first, at %.4f s at %s, found %s, %v after another value was acknowledged; see %s", h.name, len(wrong),
		float64(first.Call)/1e9, in.at, first.Output.(output).found.value, h.age(first), path)
}
