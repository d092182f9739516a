package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// report is what a run has found.
type report struct {
	out io.Writer

	mu         sync.Mutex
	kinds      map[string]*tally // by kind of fault
	histories  histories
	found      []string
	foundKinds map[string]int // number of violations by kind
	unfinished int
	uploads    uploadTally
	final      bool
}

// tally counts the requests that were sent while a fault was on.
type tally struct {
	faults                 int
	done, refused, unknown int
	elsewhere, lost        int // requests at replicas without a fault, and those of them without an answer that says
	longest                time.Duration
	unanswered             map[string]int // answers that do not say, by their code
}

// histories counts what porcupine was given.
type histories struct {
	sync.Mutex
	number, operations, unknown int
	late                        int // reads of replicas that were cut off, held to the window
	latest                      time.Duration
}

func (h *histories) add(x *history) {
	all, lost := x.size()
	h.Lock()
	defer h.Unlock()
	h.number++
	h.operations += all
	h.unknown += lost
}

type uploadTally struct{ completed, aborted, parts, open, lists, doubtful, destroyed int }

const noFault = "none"

func newReport(out io.Writer) *report {
	return &report{out: out, kinds: map[string]*tally{}, foundKinds: map[string]int{}}
}

func (r *report) tally(kind string) *tally {
	t := r.kinds[kind]
	if t == nil {
		t = &tally{unanswered: map[string]int{}}
		r.kinds[kind] = t
	}
	return t
}

func (r *report) count(kind string, suspect bool, a answer, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final {
		kind = "end"
	}
	t := r.tally(kind)
	t.longest = max(t.longest, took)
	switch a.outcome {
	case done:
		t.done++
	case refused:
		t.refused++
	default:
		t.unknown++
		why := a.code
		if a.err != nil {
			why = "no answer"
		}
		t.unanswered[fmt.Sprintf("%d %s", a.status, why)]++
	}
	if !suspect {
		t.elsewhere++
		if a.outcome == unknown {
			t.lost++
		}
	}
}

func (r *report) fault(kind, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally(kind).faults++
	fmt.Fprintf(r.out, "%6.1f s  %s\n", time.Since(started).Seconds(), what)
}

func (r *report) upload(change func(*uploadTally)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.uploads)
}

func (r *report) finishing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.final = true
}

// late counts a read at a replica that is cut off from the state.
func (r *report) late() {
	r.histories.Lock()
	defer r.histories.Unlock()
	r.histories.late++
}

// latest notes how late a read was that may be.
func (r *report) latest(d time.Duration) {
	r.histories.Lock()
	defer r.histories.Unlock()
	r.histories.latest = max(r.histories.latest, d)
}

func (r *report) note(format string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%6.1f s  "+format+"\n", append([]any{time.Since(started).Seconds()}, a...)...)
}

func (r *report) violation(kind, format string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf("%6.1f s  VIOLATION %s: ", time.Since(started).Seconds(), kind) + fmt.Sprintf(format, a...)
	r.found = append(r.found, text)
	r.foundKinds[kind]++
	fmt.Fprintln(r.out, text)
}

// unchecked counts a history whose search did not end in time.
func (r *report) unchecked(h *history) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unfinished++
	fmt.Fprintf(r.out, "not checked in %v: %s\n", checkTime, h.name)
}

// has reports whether a kind of violation was found.
func (r *report) has(kind string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.foundKinds[kind] > 0
}

// summary prints a line for each kind of fault, and what was checked. It reports whether nothing was found.
func (r *report) summary() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(r.kinds)) {
		t := r.kinds[kind]
		fmt.Fprintf(r.out, "%-14s %3d faults; requests: %6d done, %5d refused, %4d without a clear answer; at replicas without the fault %6d, %d of them without; longest %.1f s\n",
			kind, t.faults, t.done, t.refused, t.unknown, t.elsewhere, t.lost, t.longest.Seconds())
		for _, why := range slices.Sorted(maps.Keys(t.unanswered)) {
			fmt.Fprintf(r.out, "%-18s %d x %s\n", "", t.unanswered[why], why)
		}
	}
	h, u := &r.histories, r.uploads
	fmt.Fprintf(r.out, "histories: %d, with %d operations (%d of unknown outcome), and %d reads held to the window of %v, the latest %.1f s late; %d not checked in time\n",
		h.number, h.operations, h.unknown, h.late, window, h.latest.Seconds(), r.unfinished)
	fmt.Fprintf(r.out, "uploads: %d completed, %d aborted, %d open at the end; %d parts, %d lists of parts; %d parts gone that were sent again without an answer; %d uploads emptied by the store in a Complete that was broken off\n",
		u.completed, u.aborted, u.open, u.parts, u.lists, u.doubtful, u.destroyed)
	for _, text := range r.found {
		fmt.Fprintln(r.out, text)
	}
	fmt.Fprintf(r.out, "%d violations\n", len(r.found))
	return len(r.found) == 0
}
