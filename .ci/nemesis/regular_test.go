package main

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

func change(value string, call, ret int64) porcupine.Operation {
	return porcupine.Operation{Input: input{kind: write, value: value}, Output: output{}, Call: call, Return: ret}
}

func found(value string, call, ret int64, late bool) porcupine.Operation {
	return porcupine.Operation{Input: input{kind: read, late: late}, Output: output{found: register{value: value}}, Call: call, Return: ret}
}

// TestStale: what a read of a setting may find.
func TestStale(t *testing.T) {
	const second = int64(time.Second)
	for name, c := range map[string]struct {
		ops   []porcupine.Operation
		wrong int
	}{
		"the initial value":           {[]porcupine.Operation{found("a", 1, 2, false)}, 0},
		"no value":                    {[]porcupine.Operation{found("b", 1, 2, false)}, 1},
		"both during a change":        {[]porcupine.Operation{change("b", 1, 9), found("b", 2, 3, false), found("a", 4, 5, false)}, 0},
		"the old one after a change":  {[]porcupine.Operation{change("b", 1, 2), found("a", 3, 4, false)}, 1},
		"before the change":           {[]porcupine.Operation{found("b", 1, 2, false), change("b", 3, 4)}, 1},
		"a change without an answer":  {[]porcupine.Operation{change("b", 1, math.MaxInt64), change("a", 3, 4), found("b", 8, 9, false)}, 0},
		"changed back":                {[]porcupine.Operation{change("b", 1, 2), change("a", 3, 4), found("a", 5, 6, false)}, 0},
		"late within the window":      {[]porcupine.Operation{change("b", 1, 2), found("a", 9*second, 9*second, true)}, 0},
		"late after the window":       {[]porcupine.Operation{change("b", 1, 2), found("a", 11*second, 11*second, true)}, 1},
		"late though not cut off":     {[]porcupine.Operation{change("b", 1, 2), found("a", 9*second, 9*second, false)}, 1},
		"late, of two changes before": {[]porcupine.Operation{change("b", 1, 2), change("c", 3, 4), found("a", 11*second, 11*second, true)}, 1},
	} {
		h := &history{initial: register{value: "a"}, ops: c.ops}
		if wrong, _ := h.stale(); len(wrong) != c.wrong {
			t.Errorf("%s: %d wrong reads, want %d", name, len(wrong), c.wrong)
		}
	}
}

// TestStep: what an object's model lets an operation see.
func TestStep(t *testing.T) {
	is := register{"v1", "e1"}
	lost := register{"v1", anyETag}
	for name, c := range map[string]struct {
		state register
		in    input
		out   output
		ok    bool
		after register
	}{
		"read":                     {is, input{kind: read}, output{found: is}, true, is},
		"read another":             {is, input{kind: read}, output{found: register{"v0", "e0"}}, false, is},
		"read a lost write's ETag": {lost, input{kind: read}, output{found: is}, true, is},
		"swap":                     {is, input{kind: swap, value: "v2", expect: is}, output{found: register{"v2", "e2"}}, true, register{"v2", "e2"}},
		"swap of another":          {is, input{kind: swap, value: "v2", expect: register{"v0", "e0"}}, output{found: register{"v2", "e2"}}, false, register{"v2", "e2"}},
		"swap refused":             {is, input{kind: swap, value: "v2", expect: is}, output{outcome: refused}, false, is},
		"swap, nothing there":      {is, input{kind: swap, value: "v2", expect: register{"v0", "e0"}}, output{outcome: refused, absent: true}, false, is},
		"create over it":           {is, input{kind: create, value: "v2"}, output{found: register{"v2", "e2"}}, false, register{"v2", "e2"}},
		"create refused":           {is, input{kind: create, value: "v2"}, output{outcome: refused}, true, is},
		"create lost":              {register{}, input{kind: create, value: "v2"}, output{outcome: unknown}, true, register{"v2", anyETag}},
		"swap lost":                {is, input{kind: swap, value: "v2", expect: is}, output{outcome: unknown}, true, register{"v2", anyETag}},
		"touch":                    {is, input{kind: touch}, output{found: register{etag: "e2"}}, true, register{"v1", "e2"}},
		"touch of nothing":         {register{}, input{kind: touch}, output{found: register{etag: "e2"}}, false, register{"", "e2"}},
		"delete":                   {is, input{kind: remove}, output{}, true, register{}},
	} {
		if ok, after := step(c.state, c.in, c.out); ok != c.ok || ok && after != c.after {
			t.Errorf("%s: %v %v, want %v %v", name, ok, after, c.ok, c.after)
		}
	}
}
