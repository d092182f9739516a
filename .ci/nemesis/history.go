package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// A register is an object, or a setting: it has a value, and an ETag where it is an object. A value of "" is none.
type register struct{ value, etag string }

// kind is what an operation does to a register.
type kind string

const (
	read   kind = "read"
	write  kind = "write"
	swap   kind = "swap"   // a write If-Match
	create kind = "create" // a write If-None-Match: *
	remove kind = "delete"
	touch  kind = "touch" // a copy in place: the value stays, the ETag may change
)

// input is an operation as it was sent.
type input struct {
	kind   kind
	value  string   // written
	expect register // of swap
	at     string   // name of the replica
	late   bool     // a read that may be late, by the window
}

// output is what is known of an operation's effect. Of a read it is what was found; a failed read is in no history.
type output struct {
	outcome outcome
	found   register // read: what is there; write and touch: the new ETag
	absent  bool     // the answer to swap or touch was that there is nothing
	why     string   // the code of a refusal
}

// history is all operations on one register.
type history struct {
	name    string
	initial register

	mu   sync.Mutex
	ops  []porcupine.Operation
	lost int // operations of unknown outcome

	dropped []porcupine.Operation // those that tell nothing, for the text
}

var started = time.Now()

// clock is the time of histories: monotonic, in nanoseconds.
func clock() int64 { return int64(time.Since(started)) }

// record runs an operation and puts it into the history. An operation with an unknown outcome may have its effect at any
// later time.
func (h *history) record(client int, in input, run func() (out output, ok bool)) {
	call := clock()
	out, ok := run()
	if !ok {
		h.mu.Lock()
		h.dropped = append(h.dropped, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: clock()})
		h.mu.Unlock()
		return
	}
	op := porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: clock()}
	if out.outcome == unknown {
		op.Return = math.MaxInt64
	}
	h.add(op)
}

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	if op.Output.(output).outcome == unknown {
		h.lost++
	}
}

// size returns the number of operations, and how many of them have an unknown outcome.
func (h *history) size() (all, lost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops), h.lost
}

// full reports whether a history is as long as a search can be expected to manage: each operation of unknown outcome can
// double what there is to search.
func (h *history) full() bool {
	all, lost := h.size()
	return all >= fullSize || lost >= fullLost
}

const (
	fullSize = 120
	fullLost = 6
)

// model is the register as porcupine takes it. An ETag of "?" is not known: the answer to its write was lost. The first
// read that finds it determines it.
func model(initial register) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, in, out any) (bool, any) { return step(state.(register), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			i, o := in.(input), out.(output)
			return fmt.Sprintf("%s %s %s%s at %s: %s", i.kind, i.value, i.expect.value, i.expect.etag, i.at, o)
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

func (o output) String() string {
	switch o.outcome {
	case done:
		return fmt.Sprintf("%s %s", o.found.value, o.found.etag)
	case refused:
		return "refused"
	}
	return "unknown"
}

const anyETag = "?"

// step reports whether an operation can have had its answer in a state, and returns the state after it.
func step(s register, in input, out output) (bool, register) {
	if out.outcome == unknown {
		return true, stepUnknown(s, in)
	}
	after := register{in.value, out.found.etag}
	switch in.kind {
	case read:
		if s.value != out.found.value || s.etag != anyETag && s.etag != out.found.etag {
			return false, s
		}
		return true, out.found
	case write:
		return true, after
	case create:
		if out.outcome == refused {
			return s.value != "", s
		}
		return s.value == "", after
	case swap:
		holds, may := s == in.expect, s.value == in.expect.value && s.etag == anyETag
		if out.outcome == refused {
			return !holds && (!out.absent || s.value == ""), s
		}
		return holds || may, after
	case remove:
		return true, register{}
	case touch:
		if out.outcome == refused {
			return !out.absent || s.value == "", s
		}
		return s.value != "", register{s.value, out.found.etag}
	}
	return false, s
}

// stepUnknown is the effect of an operation whose answer was lost. That it may have had none needs no state of its own:
// it may as well come after everything that was seen.
func stepUnknown(s register, in input) register {
	switch {
	case in.kind == write, in.kind == create && s.value == "", in.kind == swap && s.value == in.expect.value:
		return register{in.value, anyETag}
	case in.kind == remove:
		return register{}
	case in.kind == touch && s.value != "":
		return register{s.value, anyETag}
	}
	return s
}

// checkTime bounds the search of one history.
const checkTime = 30 * time.Second

// check looks for an order of the operations that explains all answers.
func (h *history) check(limit time.Duration) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	h.mu.Lock()
	ops := append([]porcupine.Operation(nil), h.ops...)
	h.mu.Unlock()
	return porcupine.CheckOperationsVerbose(model(h.initial), ops, limit)
}

// text lists the operations in the order of their calls. The operations that the longest order found can explain have a '+'.
func (h *history) text(info porcupine.LinearizationInfo) []byte {
	explained := map[int]bool{}
	for _, partition := range info.PartialLinearizations() {
		longest := slices.MaxFunc(partition, func(a, b []int) int { return len(a) - len(b) })
		for _, id := range longest {
			explained[id] = true
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	describe := model(h.initial).DescribeOperation
	for id, op := range h.ops {
		mark, end := "+", fmt.Sprintf("%.4f", float64(op.Return)/1e9)
		if !explained[id] {
			mark = " "
		}
		if op.Return == math.MaxInt64 {
			end = "?"
		}
		if op.Input.(input).late {
			end += " late"
		}
		fmt.Fprintf(&b, "%s %9.4f %9s client %d  %s\n", mark, float64(op.Call)/1e9, end, op.ClientId, describe(op.Input, op.Output))
	}
	for _, op := range h.dropped {
		fmt.Fprintf(&b, "- %9.4f %9.4f client %d  %s %s\n", float64(op.Call)/1e9, float64(op.Return)/1e9, op.ClientId, describe(op.Input, op.Output), op.Output.(output).why)
	}
	lines := strings.Split(b.String(), "\n")
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[min(2, len(a)):], b[min(2, len(b)):]) })
	return []byte(strings.Join(lines, "\n") + "\n")
}
