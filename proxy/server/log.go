package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// logFlush bounds the delay of a line in the access log.
const logFlush = time.Second

// lineLog collects lines and writes many at once: a write for every request's line would be a third of a small
// request's writes. A warning or error is written at once, with all lines before it.
type lineLog struct {
	slog.Handler
	out *lineBuffer
}

// Formats of the log.
const (
	textLog = "text"
	jsonLog = "json"
)

// newLineLog makes a log to w. stop writes the buffered lines and ends the flushing.
func newLineLog(w io.Writer, format string) (log *slog.Logger, stop func()) {
	out := &lineBuffer{w: bufio.NewWriterSize(w, 64<<10), end: make(chan struct{})}
	out.done.Go(out.run)
	var lines slog.Handler = slog.NewTextHandler(out, nil)
	if format == jsonLog {
		lines = slog.NewJSONHandler(out, nil)
	}
	return slog.New(&lineLog{lines, out}), out.stop
}

// Handle implements slog.Handler.
func (l *lineLog) Handle(ctx context.Context, r slog.Record) error {
	err := l.Handler.Handle(ctx, r)
	if err == nil && (r.Level > slog.LevelInfo || r.Message != "request") {
		err = l.out.flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (l *lineLog) WithAttrs(a []slog.Attr) slog.Handler {
	return &lineLog{l.Handler.WithAttrs(a), l.out}
}

// WithGroup implements slog.Handler.
func (l *lineLog) WithGroup(name string) slog.Handler {
	return &lineLog{l.Handler.WithGroup(name), l.out}
}

type lineBuffer struct {
	mu   sync.Mutex
	w    *bufio.Writer
	end  chan struct{}
	done sync.WaitGroup
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.w.Write(p)
}

func (b *lineBuffer) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.w.Flush()
}

func (b *lineBuffer) run() {
	tick := time.NewTicker(logFlush)
	defer tick.Stop()
	for {
		select {
		case <-b.end:
			return
		case <-tick.C:
			// If the log cannot be written, there is nowhere to report it.
			_ = b.flush()
		}
	}
}

func (b *lineBuffer) stop() {
	close(b.end)
	b.done.Wait()
	_ = b.flush()
}
