package usage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
	"waxseal/keystore/usage"
)

var begin = time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)

const keyARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func record(event, user, bucket string, at time.Time) *audit.Record {
	return &audit.Record{
		UserIdentity: audit.UserIdentity{Type: "IAMUser", ARN: "arn:aws:iam::111122223333:user/" + user, AccountID: "111122223333"},
		EventTime:    audit.At(at), EventSource: audit.KMSSource, EventName: event, EventType: audit.APICall,
		RequestParameters: map[string]any{"encryptionContext": map[string]any{"aws:s3:arn": "arn:aws:s3:::" + bucket}},
		Resources:         []audit.Resource{{AccountID: "111122223333", Type: audit.KMSKey, ARN: keyARN}},
	}
}

// bench is a directory of records with its state.
type place struct {
	state state.Store
	dir   string
	now   time.Time
	sink  *audit.FileSink
	count *usage.Counter
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{state: state.NewMemory(), dir: t.TempDir(), now: begin}
	register, err := audit.OpenRegister(t.Context(), p.state)
	if err != nil {
		t.Fatal(err)
	}
	p.sink, err = audit.OpenFileSink(p.dir, audit.FileOptions{Register: register, MaxAge: time.Second, Now: func() time.Time { return p.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.sink.Close(); err != nil {
			t.Error(err)
		}
	})
	if p.count, err = usage.NewCounter(p.state, p.dir); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) write(t *testing.T, records ...*audit.Record) {
	t.Helper()
	for _, r := range records {
		if err := p.sink.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *place) closeFile(t *testing.T) {
	t.Helper()
	p.now = p.now.Add(2 * time.Second)
	if err := p.sink.Rotate(); err != nil {
		t.Fatal(err)
	}
}

func (p *place) report(t *testing.T, month string) *usage.Report {
	t.Helper()
	r, err := p.count.Report(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRows counts by key, bucket, requester and month, sessions under their role, a call across accounts once, and no
// event besides calls.
func TestRows(t *testing.T) {
	p := newPlace(t)
	session := record("Decrypt", "x", "photos", begin)
	session.UserIdentity = audit.UserIdentity{Type: "AssumedRole", ARN: "arn:aws:sts::111122223333:assumed-role/R/s",
		SessionContext: &audit.SessionContext{SessionIssuer: map[string]any{"arn": "arn:aws:iam::111122223333:role/R"}}}
	refused := record("Decrypt", "alice", "photos", begin)
	refused.ErrorCode = "AccessDenied"
	across := record("Decrypt", "alice", "photos", begin)
	across.SharedEventID, across.RecipientAccountID = "1", "444455556666"
	own := record("Decrypt", "alice", "photos", begin)
	own.SharedEventID, own.RecipientAccountID = "1", "111122223333"
	rotated := record("RotateKey", "alice", "photos", begin)
	rotated.EventType = audit.ServiceEvent
	object := record("GetObject", "alice", "photos", begin)
	object.EventSource = audit.S3Source
	p.write(t, record("Decrypt", "alice", "photos", begin), refused, own, across, rotated, object, session,
		record("Sign", "bob", "", begin), record("Encrypt", "alice", "other", begin), record("Encrypt", "alice", "photos", begin.Add(time.Minute)))
	want := "[{key photos arn:aws:iam::111122223333:user/alice 3 1 0} {key  arn:aws:iam::111122223333:user/bob 1 0 1} " +
		"{key other arn:aws:iam::111122223333:user/alice 1 0 0} {key photos arn:aws:iam::111122223333:role/R 1 0 0}]"
	for _, when := range []string{"in the current file", "in a closed file", "in the state", "in the state, once"} {
		r := p.report(t, "2026-11")
		for i := range r.Rows {
			if r.Rows[i].Key != keyARN {
				t.Errorf("%s: key %q", when, r.Rows[i].Key)
			}
			r.Rows[i].Key = "key"
		}
		if got := fmt.Sprint(r.Rows); got != want || r.Calls != 6 || r.Refused != 1 || r.Asymmetric != 1 {
			t.Errorf("%s: %d calls %s", when, r.Calls, got)
		}
		if n := p.report(t, "2026-12").Calls; n != 1 {
			t.Errorf("%s: %d calls in the next month", when, n)
		}
		if when == "in the current file" {
			p.closeFile(t)
			continue
		}
		if err := p.count.Update(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyRows counts more rows than fit a transaction, and skips a line that is no record.
func TestManyRows(t *testing.T) {
	p := newPlace(t)
	for i := range 170 {
		p.write(t, record("Decrypt", fmt.Sprint("u", i), "photos", begin), record("Decrypt", "alice", "photos", begin))
	}
	p.closeFile(t)
	name := filepath.Join(p.dir, "000000000002-20261201T000000Z.jsonl")
	if err := os.WriteFile(name, []byte("nonsense\n{\"eventName\":5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.count.Update(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := p.report(t, "2026-11"); r.Calls != 340 || len(r.Rows) != 171 || r.Rows[0].Calls != 170 {
			t.Errorf("%d calls in %d rows, %d of one", r.Calls, len(r.Rows), r.Rows[0].Calls)
		}
	}
	if below, err := p.count.CountedBelow(t.Context()); err != nil || below != 3 {
		t.Errorf("files below %d are counted, %v", below, err)
	}
}

// TestDollars holds the bill of docs/bucket-keys.md: 2,010,000 requests are $5.97.
func TestDollars(t *testing.T) {
	p := newPlace(t)
	p.write(t, record("Decrypt", "alice", "photos", begin), record("Sign", "alice", "", begin))
	for range 2 {
		if err := p.count.Avoid(t.Context(), "2026-11", 1_004_999); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.count.Avoid(t.Context(), "2026-11", 1); err != nil {
		t.Fatal(err)
	}
	r := p.report(t, "2026-11")
	if r.Avoided != 2_009_999 || r.Dollars != 0 || fmt.Sprintf("%.2f", r.Without) != "5.97" {
		t.Errorf("%+v", r)
	}
	if r := p.report(t, "2026-10"); r.Calls != 0 || r.Avoided != 0 || r.Without != 0 {
		t.Errorf("%+v", r)
	}
}

func TestParseMonth(t *testing.T) {
	for text, ok := range map[string]bool{"2026-11": true, "2026-1": false, "2026-13": false, "": false, "2026-11-01": false, "../x": false} {
		if _, err := usage.ParseMonth(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestA4CountEqualsRecords kills a process while it writes records and counts them, again and again: the count equals
// the number of audit records exactly.
func TestA4CountEqualsRecords(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	if dir := os.Getenv("USAGE_TEST_DIR"); dir != "" {
		countForEver(dir)
	}
	dir := t.TempDir()
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestA4CountEqualsRecords$")
		cmd.Env = append(os.Environ(), "USAGE_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 20+round*7 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the counter ended by itself")
		}
		wantCounted(t, dir)
	}
}

// wantCounted compares the count with the records.
func wantCounted(t *testing.T, dir string) {
	t.Helper()
	s, err := state.OpenBolt(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	records := filepath.Join(dir, "audit")
	c, err := usage.NewCounter(s, records)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Report(t.Context(), "2026-11")
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	if err := audit.Read(records, audit.Filter{}, func(audit.Record) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	if r.Calls != n || n < 20 {
		t.Errorf("%d calls are counted, and there are %d records", r.Calls, n)
	}
	if below, err := c.CountedBelow(t.Context()); err != nil || below < 2 {
		t.Errorf("nothing was counted into the state: %d, %v", below, err)
	}
}

// countForEver is the process to kill.
func countForEver(dir string) {
	ctx := context.Background()
	s, err := state.OpenBolt(filepath.Join(dir, "state.db"))
	var register *audit.Register
	var sink *audit.FileSink
	var c *usage.Counter
	if err == nil {
		register, err = audit.OpenRegister(ctx, s)
	}
	if err == nil {
		sink, err = audit.OpenFileSink(filepath.Join(dir, "audit"), audit.FileOptions{Register: register, MaxBytes: 3000})
	}
	if err == nil {
		c, err = usage.NewCounter(s, filepath.Join(dir, "audit"))
	}
	go func() {
		for err == nil {
			if failed := c.Update(ctx); failed != nil {
				fmt.Fprintln(os.Stderr, failed)
				os.Exit(1)
			}
		}
	}()
	for i := 0; err == nil; i++ {
		err = errors.Join(err, sink.Write(ctx, record("Decrypt", fmt.Sprint("u", i%7), "photos", begin)))
		fmt.Println(i)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
