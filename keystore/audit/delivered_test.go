package audit_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/audit"
)

// TestReadDelivered reads the files of a Deliverer, and skips files by their names.
func TestReadDelivered(t *testing.T) {
	y := newYard(t)
	s := y.open(t)
	y.file(t, s, "Encrypt", "Decrypt", "Decrypt")
	var names, events []string
	d := &audit.Deliverer{Dir: y.dir, Account: "111122223333", Region: "us-east-1", Deliver: func(_ context.Context, key string, body []byte) error {
		names = append(names, key)
		more, err := audit.ReadDelivered(bytes.NewReader(body), audit.Filter{EventName: "Decrypt"}, func(r audit.Record) bool {
			events = append(events, r.EventName)
			return len(events) < 2
		})
		if more {
			t.Error("more records were wanted than there are")
		}
		return err
	}}
	if _, err := d.Once(t.Context()); err != nil || fmt.Sprint(events) != "[Decrypt Decrypt]" || len(names) != 1 {
		t.Fatal(events, names, err)
	}
	for _, row := range []struct {
		name string
		at   time.Time
		want bool
	}{
		{names[0], begin, false}, {names[0], begin.Add(30 * time.Second), false}, {names[0], begin.Add(time.Hour), true},
		{"AWSLogs/x", begin.Add(time.Hour), false}, {"a_b_c_d_e", begin.Add(time.Hour), false},
	} {
		if got := audit.DeliveredBefore(row.name, row.at); got != row.want {
			t.Errorf("%s before %s: %t", row.name, row.at, got)
		}
	}
}

// TestReadDeliveredRefuses refuses files that no Deliverer has written.
func TestReadDeliveredRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "nonsense", "nothing": "", "no records": `{"Records":5}`, "too much": `{"Records":[],"x":"` + strings.Repeat("x", 65<<20) + `"}`,
	} {
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		if _, err := io.WriteString(z, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.ReadDelivered(&body, audit.Filter{}, func(audit.Record) bool { return true }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := audit.ReadDelivered(strings.NewReader("not gzip"), audit.Filter{}, nil); err == nil {
		t.Error("not gzip: no error")
	}
}
