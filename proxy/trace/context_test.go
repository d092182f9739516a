package trace

import (
	"strings"
	"testing"
)

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestParse(t *testing.T) {
	for text, want := range map[string]bool{
		example: true,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00":     true,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-new": true,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-new": false,
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":     false,
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":     false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":     false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":     false,
		"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01":      false,
		"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01":     false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7":        false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1":      false,
		"": false, "-": false, "---": false, strings.Repeat("-", 1000): false,
	} {
		c, ok := Parse(text, "")
		if ok != want || c.Valid() != want {
			t.Errorf("%q: %v, want %v", text, ok, want)
		}
	}
	c, _ := Parse(example, "vendor=1")
	if c.Parent() != example || c.ID() != "4bf92f3577b34da6a3ce929d0e0e4736" || c.State != "vendor=1" {
		t.Errorf("%+v is %s", c, c.Parent())
	}
	for _, state := range []string{"a=\r\nX: y", "a=\x00", "a=\xff", strings.Repeat("a", maxState+1)} {
		if c, _ := Parse(example, state); c.State != "" {
			t.Errorf("the tracestate %q is passed on", state)
		}
	}
}

func TestChild(t *testing.T) {
	c, _ := Parse(example, "vendor=1")
	child := c.Child()
	if child.TraceID != c.TraceID || child.SpanID == c.SpanID || child.Sampled != c.Sampled || child.State != c.State {
		t.Errorf("%+v is no child of %+v", child, c)
	}
	if one, other := New(true), New(false); one.TraceID == other.TraceID || !one.Sampled || other.Sampled || !one.Valid() {
		t.Errorf("%+v and %+v", one, other)
	}
}
