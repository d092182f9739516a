package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// operatorMetrics returns gauges for the operator's duties: certificate, backup, disk.
func (p *App) operatorMetrics() []prometheus.Collector {
	all := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "waxseal_backup_last_success_timestamp_seconds",
			Help: "Time of the last backup (waxseal backup) of this data directory; until there is one, of the first start."}, p.dir.lastBackup),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "waxseal_data_directory_free_bytes",
			Help: "Bytes that are free on the disk of the data directory."}, p.dir.free),
	}
	if p.tls != nil {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "waxseal_certificate_not_after_timestamp_seconds",
			Help: "Time at which the certificate of the S3 and KMS endpoints ends."}, func() float64 { return notAfter(p.tls) }))
	}
	return all
}

// failedReading is the value of an unreadable gauge: it makes the alerts on ages and on free bytes fire.
const failedReading = 0

// notAfter returns the end of the current certificate's validity in seconds since 1970.
func notAfter(conf *tls.Config) float64 {
	cert, err := conf.GetCertificate(nil)
	if err != nil {
		return failedReading
	}
	return float64(cert.Leaf.NotAfter.Unix())
}

// free returns the bytes this user may still write on the data directory's disk.
func (d dataDir) free() float64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(string(d), &st); err != nil {
		return failedReading
	}
	return float64(st.Bavail) * float64(st.Bsize)
}

// lastBackup returns the modification time of the file written by keepBackupTime.
func (d dataDir) lastBackup() float64 {
	info, err := os.Stat(d.backupTime())
	if err != nil {
		return failedReading
	}
	return float64(info.ModTime().Unix())
}

// keepBackupTime sets lastBackup to now. The time is that of a file, so a restart keeps it, and a restored data
// directory, which has no such file, begins anew.
func (d dataDir) keepBackupTime() error {
	now := time.Now()
	err := os.Chtimes(d.backupTime(), now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = writeOnce(d.backupTime(), []byte("The modification time of this file is that of the last backup.\n"))
	}
	if err != nil {
		return fmt.Errorf("time of the backup: %w", err)
	}
	return nil
}

// beginBackupTime starts the age of backups at the first start.
func (d dataDir) beginBackupTime() error {
	if _, err := os.Stat(d.backupTime()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.keepBackupTime()
}

// buildInfo returns a gauge of 1 with the version as a label, like Prometheus' own programs.
func buildInfo(version string) prometheus.Collector {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "waxseal_build_info", Help: "1, labelled with what the program was built from.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()}})
	g.Set(1)
	return g
}

// deliveryMetrics count successful and failed deliveries to the audit bucket.
type deliveryMetrics struct{ delivered, failed prometheus.Counter }

func newDeliveryMetrics() deliveryMetrics {
	return deliveryMetrics{
		delivered: prometheus.NewCounter(prometheus.CounterOpts{Name: "waxseal_audit_deliveries_total",
			Help: "Batches of audit records that the audit bucket has taken."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "waxseal_audit_delivery_failures_total",
			Help: "Rounds in which audit records could not be delivered; the next round tries again."}),
	}
}
