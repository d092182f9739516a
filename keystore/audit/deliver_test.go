package audit_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/audit"
)

// bucket collects deliveries, as a bucket would: a key twice is the object written again.
type bucket struct {
	t       *testing.T
	objects map[string][]byte
	order   []string
	fail    func(n int) (keep bool, err error)
	calls   int
}

func newBucket(t *testing.T) *bucket { return &bucket{t: t, objects: make(map[string][]byte)} }

func (b *bucket) deliver(_ context.Context, key string, body []byte) error {
	b.calls++
	if b.fail != nil {
		keep, err := b.fail(b.calls)
		if err != nil && !keep {
			return err
		}
		defer func() { b.fail = nil }()
		b.put(key, body)
		return err
	}
	b.put(key, body)
	return nil
}

func (b *bucket) put(key string, body []byte) {
	if old, ok := b.objects[key]; ok && !bytes.Equal(old, body) {
		b.t.Errorf("%s was delivered again with other bytes", key)
	} else if !ok {
		b.order = append(b.order, key)
	}
	b.objects[key] = bytes.Clone(body)
}

func (b *bucket) events() []string {
	b.t.Helper()
	var out []string
	for _, key := range b.order {
		z, err := gzip.NewReader(bytes.NewReader(b.objects[key]))
		if err != nil {
			b.t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			b.t.Fatal(err)
		}
		var document struct{ Records []audit.Record }
		if err := json.Unmarshal(text, &document); err != nil {
			b.t.Fatal(err)
		}
		for _, r := range document.Records {
			out = append(out, r.EventName)
		}
	}
	return out
}

func TestDelivery(t *testing.T) {
	dir := t.TempDir()
	now := start
	s := open(t, dir, audit.FileOptions{MaxBytes: 4000, Now: func() time.Time { return now }})
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("E", i))
		write(t, s, want[i])
	}
	b := newBucket(t)
	d := &audit.Deliverer{Dir: dir, Account: "111122223333", Region: "us-east-1", Deliver: b.deliver, Rotate: s.Rotate, BatchBytes: 2000,
		Report: func(err error) { t.Error(err) }}
	n, err := d.Once(t.Context())
	if err != nil || n == 0 || n >= 20 {
		t.Fatal(n, err)
	}
	now = now.Add(time.Hour)
	if _, err := d.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.events(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatal(got)
	}
	form := regexp.MustCompile(`^AWSLogs/111122223333/CloudTrail/us-east-1/2025/05/20/111122223333_CloudTrail_us-east-1_20250520T2046Z_[A-Z2-7]{16}\.json\.gz$`)
	for _, key := range b.order {
		if !form.MatchString(key) {
			t.Fatal(key)
		}
	}
	// A new Deliverer continues where the earlier Deliverer stopped.
	calls := b.calls
	again := &audit.Deliverer{Dir: dir, Account: "111122223333", Region: "us-east-1", Deliver: b.deliver}
	if n, err := again.Once(t.Context()); err != nil || n != 0 || b.calls != calls {
		t.Fatal(n, err)
	}
}

// TestDeliveryFaults fails each delivery in turn, before and after the object was stored, with a restart after each.
func TestDeliveryFaults(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for at := 1; at <= 4; at++ {
			dir := t.TempDir()
			now := start
			s := open(t, dir, audit.FileOptions{MaxBytes: 4000, Now: func() time.Time { return now }})
			var want []string
			for i := range 12 {
				want = append(want, fmt.Sprint("E", i))
				write(t, s, want[i])
			}
			now = now.Add(time.Hour)
			b := newBucket(t)
			fault := errors.New("the store is down")
			b.fail = func(n int) (bool, error) {
				if n == at {
					return stored, fault
				}
				return true, nil
			}
			keepFailing := b.fail
			rounds := 0
			for ; rounds < 10; rounds++ {
				if b.calls < at {
					b.fail = keepFailing
				}
				d := &audit.Deliverer{Dir: dir, Account: "1", Region: "r", Deliver: func(ctx context.Context, key string, body []byte) error {
					if b.calls < at {
						b.fail = keepFailing
					}
					return b.deliver(ctx, key, body)
				}, Rotate: s.Rotate, BatchBytes: 1500}
				_, err := d.Once(t.Context())
				if err == nil {
					break
				}
				if !errors.Is(err, fault) {
					t.Fatal(err)
				}
				b.fail = nil
			}
			if got := b.events(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("stored %v, at %d, after %d rounds: %v", stored, at, rounds, got)
			}
			if rounds != 1 {
				t.Fatalf("stored %v, at %d: %d rounds", stored, at, rounds)
			}
		}
	}
}

// TestDeliveredFilesMayBeRemoved: records written after the removal, and after a restart, are delivered all the same.
func TestDeliveredFilesMayBeRemoved(t *testing.T) {
	dir := t.TempDir()
	b := newBucket(t)
	for _, event := range []string{"A", "B", "C"} {
		s, err := audit.OpenFileSink(dir, audit.FileOptions{MaxAge: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, event)
		d := &audit.Deliverer{Dir: dir, Account: "1", Region: "r", Deliver: b.deliver, Rotate: s.Rotate}
		if n, err := d.Once(t.Context()); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		closed, err := filepath.Glob(filepath.Join(dir, "0*.jsonl"))
		if err != nil || len(closed) != 1 {
			t.Fatal(closed, err)
		}
		if err := os.Remove(closed[0]); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.events(); fmt.Sprint(got) != "[A B C]" {
		t.Fatal(got)
	}
}

func TestDeliveryOfADamagedLine(t *testing.T) {
	dir := t.TempDir()
	good, err := json.Marshal(record("Good"))
	if err != nil {
		t.Fatal(err)
	}
	content := "nonsense\n" + string(good) + "\n\n" + string(good) + "\n{\"torn"
	if err := os.WriteFile(filepath.Join(dir, "000000000007-20250101T000000Z.jsonl"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var reports []error
	b := newBucket(t)
	d := &audit.Deliverer{Dir: dir, Account: "1", Region: "r", Deliver: b.deliver, Report: func(err error) { reports = append(reports, err) }}
	for range 2 {
		if _, err := d.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.events(); fmt.Sprint(got) != "[Good Good]" || len(reports) != 2 || !strings.Contains(reports[0].Error(), "000000000007") {
		t.Fatal(got, reports)
	}
	if err := os.WriteFile(filepath.Join(dir, "delivered.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Once(t.Context()); err == nil {
		t.Fatal("a damaged progress file passed")
	}
}

func TestRunDelivers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{MaxAge: time.Nanosecond})
	write(t, s, "A")
	ctx, cancel := context.WithCancel(t.Context())
	var reported error
	tries := 0
	d := &audit.Deliverer{Dir: dir, Account: "1", Region: "r", Interval: time.Millisecond, Rotate: s.Rotate,
		Report: func(err error) { reported = err },
		Deliver: func(context.Context, string, []byte) error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			cancel()
			return nil
		}}
	if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if reported == nil || tries != 3 {
		t.Fatal(reported, tries)
	}
}
