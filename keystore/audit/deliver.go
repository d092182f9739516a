package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Deliverer hands the closed files of a FileSink's directory on in batches, in the form and under the names of
// CloudTrail's log files
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-examples.html). Every record is
// delivered at least once: progress is kept in the directory after a batch was taken, and a batch delivered again
// after a crash has the same key and the same bytes.
type Deliverer struct {
	Dir     string
	Account string
	Region  string

	// Deliver stores an object. After an error the batch is delivered again later.
	Deliver func(ctx context.Context, key string, body []byte) error

	// Rotate, if set, is called before each read of the directory: FileSink.Rotate.
	Rotate func() error

	// Report, if set, is called with errors that do not stop the work: a failed round, or a line that is no record.
	Report func(error)

	// Progress is the file in Dir with the progress of the delivery; empty: delivered.json. Each of several Deliverers
	// of a directory needs its own.
	Progress string

	Plain      bool          // the body is JSON; else JSON in gzip, as CloudTrail's files are
	Interval   time.Duration // between two looks at the directory; 0: a minute
	BatchBytes int           // of JSON in an object; 0: 8 MiB
}

const deliveredName = "delivered.json"

// progress is a Deliverer's position: all files before File, and the first Offset bytes of File, are delivered.
type progress struct {
	File   uint64 `json:"file"`
	Offset int64  `json:"offset"`
}

// Run delivers until ctx ends, and returns ctx's error. A failed round is reported and tried again.
func (d *Deliverer) Run(ctx context.Context) error {
	interval := d.Interval
	if interval == 0 {
		interval = time.Minute
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if _, err := d.Once(ctx); err != nil && ctx.Err() == nil {
			d.report(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (d *Deliverer) report(err error) {
	if d.Report != nil {
		d.Report(err)
	}
}

// Once delivers the records of the files closed so far, and returns their number.
func (d *Deliverer) Once(ctx context.Context) (records int, err error) {
	if d.Rotate != nil {
		if err := d.Rotate(); err != nil {
			return 0, err
		}
	}
	done, err := loadProgress(d.Dir, d.progressName())
	if err != nil {
		return 0, err
	}
	files, err := closedFiles(d.Dir)
	if err != nil {
		return 0, err
	}
	// The numbers of the files must outlive a crash before progress by number may.
	if err := syncDir(d.Dir); err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	for _, f := range files {
		if f.number < done.File {
			continue
		}
		if f.number > done.File {
			done = progress{File: f.number}
		}
		n, err := d.file(ctx, f.path, &done)
		records += n
		if err != nil {
			return records, err
		}
	}
	return records, nil
}

func (d *Deliverer) progressName() string {
	if d.Progress == "" {
		return deliveredName
	}
	return d.Progress
}

// loadProgress reads how far a directory's Deliverer has come.
func loadProgress(dir, name string) (progress, error) {
	var p progress
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("audit: %s: %w", name, err)
	}
	return p, nil
}

// Delivery is the progress of a Deliverer.
type Delivery struct {
	Below   uint64 // number of the first file not delivered completely
	Backlog int64  // undelivered bytes of closed files
}

// DeliveryOf returns the progress of a Deliverer of a directory. name is its progress file; empty: delivered.json.
func DeliveryOf(dir, name string) (d Delivery, err error) {
	if name == "" {
		name = deliveredName
	}
	p, err := loadProgress(dir, name)
	if err != nil {
		return d, err
	}
	files, err := closedFiles(dir)
	if err != nil {
		return d, err
	}
	d = Delivery{Below: p.File, Backlog: -p.Offset}
	for _, f := range files {
		if f.number < p.File {
			continue
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return d, fmt.Errorf("audit: %w", err)
		}
		d.Backlog += info.Size()
	}
	d.Backlog = max(d.Backlog, 0)
	return d, nil
}

// save makes progress durable.
func (d *Deliverer) save(p progress) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return writeFile(d.Dir, d.progressName(), b)
}

// file delivers the rest of a closed file, batch by batch.
func (d *Deliverer) file(ctx context.Context, path string, done *progress) (records int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(done.Offset, 0); err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	var b deliveryBatch
	read := done.Offset
	flush := func() error {
		if err := d.deliver(ctx, &b); err != nil {
			return err
		}
		records += len(b.records)
		b = deliveryBatch{}
		done.Offset = read
		return d.save(*done)
	}
	err = eachLine(f, func(number int, line []byte) error {
		if err := b.add(line); err != nil {
			d.report(fmt.Errorf("audit: %s, line %d behind offset %d: left out of the delivery: %w", path, number, done.Offset, err))
		}
		read += int64(len(line)) + 1
		if b.size < d.batchBytes() {
			return nil
		}
		return flush()
	})
	if err == nil && read > done.Offset {
		err = flush()
	}
	return records, err
}

func (d *Deliverer) batchBytes() int {
	if d.BatchBytes == 0 {
		return 8 << 20
	}
	return d.BatchBytes
}

// deliveryBatch is the content of an object.
type deliveryBatch struct {
	records []json.RawMessage
	size    int
	last    time.Time
}

func (b *deliveryBatch) add(line []byte) error {
	var r struct {
		EventTime Time `json:"eventTime"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	b.records = append(b.records, bytes.Clone(line))
	b.size += len(line) + 1
	if r.EventTime.After(b.last) {
		b.last = r.EventTime.Time
	}
	return nil
}

func (d *Deliverer) deliver(ctx context.Context, b *deliveryBatch) error {
	if len(b.records) == 0 {
		return nil
	}
	document, err := json.Marshal(map[string]any{"Records": b.records})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if d.Plain {
		return delivery(d.Deliver(ctx, d.key(b.last, document), document))
	}
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	_, err = z.Write(document)
	if err = errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return delivery(d.Deliver(ctx, d.key(b.last, document), body.Bytes()))
}

func delivery(err error) error {
	if err != nil {
		return fmt.Errorf("audit: delivery: %w", err)
	}
	return nil
}

// key returns the object key of a batch: CloudTrail's, with 16 characters derived from the content in place of its
// random characters, so that the same batch always has the same key.
func (d *Deliverer) key(last time.Time, document []byte) string {
	sum := sha256.Sum256(document)
	unique := base32.StdEncoding.EncodeToString(sum[:10])
	last = last.UTC()
	return fmt.Sprintf("AWSLogs/%s/CloudTrail/%s/%s/%s_CloudTrail_%s_%s_%s.json.gz", d.Account, d.Region,
		last.Format("2006/01/02"), d.Account, d.Region, last.Format(deliveredTime), unique)
}
