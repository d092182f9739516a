package audit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Sink takes records. When Write returns nil the record is kept, as durably as the sink can; on an error the caller
// must not let the recorded request succeed.
type Sink interface {
	Write(ctx context.Context, r *Record) error
}

// Multi writes each record to all sinks, in their order, and fails when any of them fails.
func Multi(sinks ...Sink) Sink { return multi(sinks) }

type multi []Sink

func (m multi) Write(ctx context.Context, r *Record) error {
	r.Complete(time.Now())
	var failed []error
	for _, s := range m {
		failed = append(failed, s.Write(ctx, r))
	}
	return errors.Join(failed...)
}

// Memory keeps records for a test. Its zero value is ready to use.
type Memory struct {
	mu      sync.Mutex
	records []Record
	err     error
}

// Write keeps a copy of r.
func (m *Memory) Write(ctx context.Context, r *Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	r.Complete(time.Now())
	m.records = append(m.records, *r)
	return nil
}

// Fail makes every later Write return err; nil ends the failures.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// Records returns the records written so far.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Record(nil), m.records...)
}

// Count returns the number of records with an event name; "" counts all.
func (m *Memory) Count(eventName string) int {
	n := 0
	for _, r := range m.Records() {
		if eventName == "" || r.EventName == eventName {
			n++
		}
	}
	return n
}

// Reset forgets all records.
func (m *Memory) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = nil
}
