package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"waxseal/keystore/local"
)

// series are the values of a registry's counters and gauges, by name and the values of the labels.
func series(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = value(m)
		}
	}
	return all
}

func value(m *dto.Metric) float64 {
	if c := m.GetCounter(); c != nil {
		return c.GetValue()
	}
	return m.GetGauge().GetValue()
}

// TestOperatorMetrics checks that the metrics of the alerts exist from the first scrape on, and follow certificate,
// backups and disk.
func TestOperatorMetrics(t *testing.T) {
	k := newKit(t, func(c *Config) { c.TLSSelfSigned, c.AuditBucket = true, kitBucket })
	first := series(t, k.app.registry)
	for _, name := range []string{
		"waxseal_s3_requests_total GetObject 500", "waxseal_s3_requests_total PutObject 503", "waxseal_store_requests_total PUT 0",
		"waxseal_s3_tampered_total", "waxseal_s3_answers_cut_total", "waxseal_audit_deliveries_total", "waxseal_audit_delivery_failures_total",
	} {
		if _, ok := first[name]; !ok {
			t.Errorf("%s is not there", name)
		}
	}
	if free := first["waxseal_data_directory_free_bytes"]; free <= 0 {
		t.Errorf("%v bytes are free", free)
	}
	ends, err := os.Stat(k.app.dir.tlsCert())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := first["waxseal_certificate_not_after_timestamp_seconds"], ends.ModTime().Add(selfSignedFor).Unix(); max(got-float64(want), float64(want)-got) > 3600 {
		t.Errorf("the certificate ends at %v, it was made for %v", got, want)
	}
}

func TestBackupTime(t *testing.T) {
	k := newKit(t)
	const name = "waxseal_backup_last_success_timestamp_seconds"
	if age := time.Since(time.Unix(int64(series(t, k.app.registry)[name]), 0)); age < 0 || age > time.Hour {
		t.Errorf("a first start counts from %v ago", age)
	}
	old := time.Now().Add(-48 * time.Hour)
	age := func() {
		t.Helper()
		if err := os.Chtimes(k.app.dir.backupTime(), old, old); err != nil {
			t.Fatal(err)
		}
	}
	age()
	if got := series(t, k.app.registry)[name]; got != float64(old.Unix()) {
		t.Errorf("after two days: %v, want %v", got, old.Unix())
	}
	if err := Backup(context.Background(), &k.conf, failingWriter{}); err == nil {
		t.Fatal("a backup to a full disk ended well")
	}
	k.end()
	k.serve()
	if got := series(t, k.app.registry)[name]; got > float64(old.Unix()) {
		t.Error("a restart counts as a backup")
	}
	if err := Backup(context.Background(), &k.conf, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	if got := series(t, k.app.registry)[name]; got <= float64(old.Unix()) {
		t.Error("a backup of a waxseal that serves does not count")
	}
	age()
	k.end()
	if err := Backup(context.Background(), &k.conf, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	if got := k.app.dir.lastBackup(); got <= float64(old.Unix()) {
		t.Error("a backup of a waxseal that does not serve does not count")
	}
}

// failingWriter takes nothing.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestThrottlingIsPreset: the first refusal of an operation is an increase.
func TestThrottlingIsPreset(t *testing.T) {
	counts := []local.Count{{Operation: "Decrypt", N: 7}, {Operation: "Encrypt", Code: "DisabledException", N: 1}}
	r := prometheus.NewRegistry()
	r.MustRegister(newServiceMetrics([]string{"Decrypt", "Encrypt", "Sign"}, func() []local.Count { return counts }))
	got := series(t, r)
	for name, want := range map[string]float64{
		"waxseal_kms_requests_total ThrottlingException Decrypt": 0, "waxseal_kms_requests_total ThrottlingException Encrypt": 0,
		"waxseal_kms_requests_total ThrottlingException Sign": 0, // nobody has asked for it yet
		"waxseal_kms_requests_total  Decrypt":                 7, "waxseal_kms_requests_total DisabledException Encrypt": 1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	counts = append(counts, local.Count{Operation: "Decrypt", Code: throttled, N: 3})
	if got := series(t, r); got["waxseal_kms_requests_total ThrottlingException Decrypt"] != 3 {
		t.Errorf("after three refusals: %v", got)
	}
}
