package main

import (
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// meter is a progress bar for concurrent use. Without a terminal it is silent.
type meter struct {
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

func newMeter(what string, total int64) *meter {
	return &meter{bar: progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(500*time.Millisecond), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetVisibility(watched()), progressbar.OptionClearOnFinish())}
}

func watched() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.bar.Add64(n) // it only draws
}

func (m *meter) describe(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bar.Describe(what)
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.bar.Finish()
}
