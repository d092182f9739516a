package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLineLog: errors are written at once with all before them, and nothing is lost at the end.
func TestLineLog(t *testing.T) {
	var out lockedBuffer
	log, stop := newLineLog(&out, textLog)
	log.Info("request", "id", "1")
	log.With("a", "b").Error("broken", "id", "2")
	if got := out.String(); !strings.Contains(got, "id=1") || !strings.Contains(got, "id=2") {
		t.Errorf("after an error: %q", got)
	}
	log.Info("request", "id", "3")
	stop()
	if got := out.String(); !strings.Contains(got, "id=3") {
		t.Errorf("after the end: %q", got)
	}
}

// TestJSONLog: with --log-format json every line is an object.
func TestJSONLog(t *testing.T) {
	var out lockedBuffer
	log, stop := newLineLog(&out, jsonLog)
	log.Info("request", "key", "a\n\"b\"\x00\xff")
	log.Error("broken", "err", errors.New("x"))
	stop()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil || object["level"] == nil || object["time"] == nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}
