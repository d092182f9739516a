// Package trace takes part in distributed traces: it reads and writes W3C trace contexts
// (https://www.w3.org/TR/trace-context/) and sends spans to a collector by OTLP over HTTP, in JSON.
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// Context names a span and the trace that the span belongs to. The zero Context is no span.
type Context struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
	State   string // tracestate: what other systems added, passed on as it is
}

// Limits of tracestate: it is passed on, or left out as a whole.
const maxState = 512

// Parse reads the headers traceparent and tracestate. A traceparent that is not valid is no context: the trace begins
// anew, as the standard has it.
func Parse(parent, state string) (c Context, ok bool) {
	parts := strings.Split(parent, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 || len(parts[3]) != 2 {
		return Context{}, false
	}
	var version, flags [1]byte
	for _, f := range []struct {
		into []byte
		text string
	}{{version[:], parts[0]}, {c.TraceID[:], parts[1]}, {c.SpanID[:], parts[2]}, {flags[:], parts[3]}} {
		if len(f.text) != 2*len(f.into) || strings.ToLower(f.text) != f.text {
			return Context{}, false
		}
		if _, err := hex.Decode(f.into, []byte(f.text)); err != nil {
			return Context{}, false
		}
	}
	if c.TraceID == [16]byte{} || c.SpanID == [8]byte{} {
		return Context{}, false
	}
	c.Sampled = flags[0]&1 == 1
	if len(state) <= maxState && plain(state) {
		c.State = state
	}
	return c, true
}

// plain reports whether a text can stand in a header.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// New begins a trace.
func New(sampled bool) Context {
	c := Context{Sampled: sampled}
	rand.Read(c.TraceID[:])
	rand.Read(c.SpanID[:])
	return c
}

// Child is a new span in the same trace.
func (c Context) Child() Context {
	rand.Read(c.SpanID[:])
	return c
}

// Valid reports whether c is a span.
func (c Context) Valid() bool { return c.TraceID != [16]byte{} }

// ID is the trace's id in hexadecimal; it is empty for no trace.
func (c Context) ID() string {
	if !c.Valid() {
		return ""
	}
	return hex.EncodeToString(c.TraceID[:])
}

// Parent is the value of traceparent for a request that the span makes.
func (c Context) Parent() string {
	flags := "00"
	if c.Sampled {
		flags = "01"
	}
	return "00-" + c.ID() + "-" + hex.EncodeToString(c.SpanID[:]) + "-" + flags
}
