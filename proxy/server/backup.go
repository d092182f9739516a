package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
	"waxseal/proxy/ledger"
)

// A backup is the whole state: KMS keys, the roots of SSE-S3, service keys, bucket configuration, uploads in flight.
// Its secrets are sealed under the root secret. The root secret is not part of it.
//
//	backup = backupMagic || copy of state.db || SHA-256 of all before it
const backupMagic = "waxseal-backup-v1\n"

// BackupFile writes a backup to a new file.
func BackupFile(ctx context.Context, c *Config, name string) error {
	if err := writeNew(name, func(w io.Writer) error { return backup(ctx, c, w) }); err != nil {
		return err
	}
	return dataDir(c.DataDir).keepBackupTime()
}

// Backup writes a backup to w and stores the time for the metric.
func Backup(ctx context.Context, c *Config, w io.Writer) error {
	if err := backup(ctx, c, w); err != nil {
		return err
	}
	return dataDir(c.DataDir).keepBackupTime()
}

// backup writes a backup. The running waxseal makes it; without one, this process does.
func backup(ctx context.Context, c *Config, w io.Writer) error {
	dir := dataDir(c.DataDir)
	body, err := ask(ctx, dir, "GET", "/backup")
	if err == nil {
		defer body.Close()
		return copyBackup(w, body)
	}
	if !errors.Is(err, errNobodyServes) {
		return err
	}
	return withRecords(ctx, c, func(p *App) error {
		return p.recorded(ctx, c, thisOperator(), backupEvent, func() error { return writeBackup(w, p.state) })
	})
}

// backupEvent is recorded before the first byte of a backup.
var backupEvent = operatorEvent{name: "Backup", readOnly: true}

func (p *App) backupOnControl(c *Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := p.record(r.Context(), c, operatorOf(r), backupEvent); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Connection", "close") // its write deadline is of no use to another request
		if err := writeBackup(pacedWriter{w, controlPatience}, p.state); err != nil {
			panic(http.ErrAbortHandler) // the reader sees an incomplete response
		}
	}
}

func writeBackup(w io.Writer, s state.Store) error {
	sum := sha256.New()
	all := io.MultiWriter(w, sum)
	if _, err := io.WriteString(all, backupMagic); err != nil {
		return err
	}
	if err := s.Backup(all); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// copyBackup copies a backup and returns an error if it is incomplete.
func copyBackup(w io.Writer, r io.Reader) error {
	c := newBackupReader(r)
	if _, err := io.WriteString(w, backupMagic); err != nil {
		return err
	}
	if _, err := io.Copy(w, c); err != nil {
		return err
	}
	_, err := w.Write(c.tail)
	return err
}

// Restore puts a backup in place after checking that it is complete and opens with the root secret of the directory.
func Restore(ctx context.Context, c *Config, r io.Reader, deletions string) error {
	if err := errors.Join(checkDeletions(deletions), c.errShared("restore")); err != nil {
		return err
	}
	dir := dataDir(c.DataDir)
	if err := dir.make(); err != nil {
		return err
	}
	if err := dir.vacate(); err != nil {
		return err
	}
	if _, err := rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), dir.rootKey(), false); err != nil {
		return fmt.Errorf("put the root secret in place first: %w", err)
	}
	scratch, err := os.MkdirTemp(string(dir), ".restore-")
	if err != nil {
		return err
	}
	return errors.Join(restoreThrough(ctx, c, dataDir(scratch), r, deletions), os.RemoveAll(scratch))
}

func restoreThrough(ctx context.Context, c *Config, scratch dataDir, r io.Reader, deletions string) error {
	err := writeNew(scratch.state(), func(w io.Writer) error {
		_, err := io.Copy(w, newBackupReader(r))
		return err
	})
	if err != nil {
		return err
	}
	// The scratch App's own records go with the scratch directory.
	err = withState(ctx, c, scratch, scratch, func(p *App) error {
		return errors.Join(audit.MarkRestored(ctx, p.state, time.Now()), ledger.MarkRestored(ctx, p.state))
	})
	if err != nil {
		return fmt.Errorf("the backup does not open: %w", err)
	}
	if err := settleDeletions(ctx, c, scratch, deletions); err != nil {
		return err
	}
	dir := dataDir(c.DataDir)
	err = withState(ctx, c, scratch, dir, func(p *App) error {
		return p.record(ctx, c, thisOperator(), operatorEvent{name: "Restore", params: map[string]any{"deletions": deletions}})
	})
	if err != nil {
		return err
	}
	if err := os.Link(scratch.state(), dir.state()); err != nil {
		return err
	}
	return syncDir(string(dir))
}

// vacate makes room for a state. It removes an empty file and refuses to touch any other.
func (d dataDir) vacate() error {
	if _, err := os.Lstat(d.state()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	size, err := fileSize(d.state())
	if err == nil && size > 0 {
		err = d.wantEmpty()
	}
	if err != nil {
		return fmt.Errorf("%s is there already: move it aside, a backup is restored into a data directory without one: %w", d.state(), err)
	}
	return os.Remove(d.state())
}

var errInUse = errors.New("it has a state in it")

func (d dataDir) wantEmpty() error {
	s, err := state.OpenBolt(d.state())
	if err != nil {
		return err
	}
	empty, err := isEmpty(s)
	if err == nil && !empty {
		err = errInUse
	}
	return errors.Join(err, s.Close())
}

// withState opens a state outside service, with the root secret and all keys of the service, and writes its records to
// another directory. Due deletions are not carried out.
func withState(ctx context.Context, c *Config, scratch, records dataDir, do func(*App) error) error {
	secret, err := rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), dataDir(c.DataDir).rootKey(), false)
	if err != nil {
		return err
	}
	defer secret.Zero()
	p := &App{secret: secret, looking: true}
	if p.users, err = iam.NewDirectory(nil); err != nil {
		return err
	}
	file, err := scratch.openExisting()
	if err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return file.Close() })
	own := *c
	own.DataDir, own.KMSRate = string(records), 0
	p.state, err = scratch.sealState(ctx, file, secret)
	if err == nil {
		err = p.openRecordsOf(ctx, &own, records == scratch)
	}
	if err == nil {
		err = p.openKeys(ctx, &own, slog.New(slog.DiscardHandler))
	}
	if err == nil {
		err = do(p)
	}
	return errors.Join(err, p.Shutdown(ctx))
}

var errNoBackup = errors.New("this is not a whole waxseal backup")

// backupReader reads the state from a backup and returns an error at the end if the checksum differs.
type backupReader struct {
	r      io.Reader
	sum    hash.Hash
	header bool
	ahead  []byte // at most a checksum's length: possibly the checksum
	tail   []byte // the checksum, once read
}

func newBackupReader(r io.Reader) *backupReader { return &backupReader{r: r, sum: sha256.New()} }

func (b *backupReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.begin(); err != nil {
		return 0, err
	}
	buf := make([]byte, len(p))
	n, err := io.ReadFull(b.r, buf)
	whole := append(b.ahead, buf[:n]...)
	out := max(0, len(whole)-sha256.Size)
	out = min(out, len(p))
	copy(p, whole[:out])
	b.sum.Write(whole[:out])
	b.ahead = bytes.Clone(whole[out:])
	if err == nil || out > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		return out, nil
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return out, err
	}
	if len(b.ahead) != sha256.Size || !bytes.Equal(b.ahead, b.sum.Sum(nil)) {
		return out, errNoBackup
	}
	b.tail = b.ahead
	return out, io.EOF
}

func (b *backupReader) begin() error {
	if b.header {
		return nil
	}
	head := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(b.r, head); err != nil || string(head) != backupMagic {
		return errNoBackup
	}
	b.header = true
	b.sum.Write(head)
	return nil
}
