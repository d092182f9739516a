package server

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"waxseal/keystore/audit"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/usage"
)

// openAudit opens the audit records and the chain of their digests.
func (p *App) openAudit(ctx context.Context, c *Config, log *slog.Logger) error {
	register, err := audit.OpenRegister(ctx, p.state)
	if err != nil {
		return err
	}
	err = p.openSink(c, audit.FileOptions{Register: register, Report: func(err error) { log.Warn("audit records", "err", err) }})
	if err != nil {
		return err
	}
	if err := c.keepReserve(); err != nil {
		log.Warn("no room is kept for the removal of old audit records from a full disk", "err", err)
	}
	p.usage, err = usage.NewCounter(p.state, c.AuditDir())
	return err
}

// reserveSize is the space reserved for removing old records. Removal first writes a record and a mark, and a full disk
// would have no space for them.
const reserveSize = 1 << 20

func (c *Config) reserve() string { return filepath.Join(c.AuditDir(), "reserve") }

// keepReserve writes the file that reserves the space, unless it exists.
func (c *Config) keepReserve() error {
	if size, err := fileSize(c.reserve()); err != nil || size == reserveSize {
		return err
	}
	f, err := os.Create(c.reserve())
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, reserveSize))
	return errors.Join(err, f.Sync(), f.Close())
}

// withReserve frees the reserved space for do.
func (c *Config) withReserve(do func() error) error {
	if err := os.Remove(c.reserve()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := do()
	if kept := c.keepReserve(); kept != nil {
		err = errors.Join(err, fmt.Errorf("the disk is still full, and no room is kept for the next time: %w", kept))
	}
	return err
}

// openRecordsOf opens the audit records of a state outside service. Temporary records, removed with their directory,
// need no digests.
func (p *App) openRecordsOf(ctx context.Context, c *Config, passing bool) error {
	if passing {
		return p.openSink(c, audit.FileOptions{})
	}
	return p.openAudit(ctx, c, slog.New(slog.DiscardHandler))
}

func (p *App) openSink(c *Config, o audit.FileOptions) (err error) {
	o.MaxAge = c.AuditInterval // a file closed late is delivered late
	if p.audit, err = audit.OpenFileSink(dataDir(c.DataDir).audit(), o); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return p.audit.Close() })
	return nil
}

// rotateInterval is the time between checks of the current file of records: the records of a quiet day get a digest,
// too.
const rotateInterval = 10 * time.Second

// rotateRecords closes due files, if no delivery does.
func (p *App) rotateRecords(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(rotateInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := p.audit.Rotate(); err != nil {
				log.Warn("audit records have no digest yet", "err", err)
			}
		}
	}
}

// withSealed opens the state if no waxseal serves from the data directory. A state in etcd is opened even beside
// running replicas.
func withSealed(ctx context.Context, c *Config, do func(*App) error) error {
	p := &App{dir: dataDir(c.DataDir)}
	if c.shared() {
		err := p.lookShared(ctx, c)
		if err == nil {
			err = do(p)
		}
		return errors.Join(err, p.Shutdown(ctx))
	}
	file, err := p.dir.openExisting()
	if err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return file.Close() })
	if p.secret, err = rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), p.dir.rootKey(), false); err == nil {
		p.onClose(func(context.Context) error { p.secret.Zero(); return nil })
		p.state, err = p.dir.sealState(ctx, file, p.secret)
		err = p.otherSecret(err)
	}
	if err == nil {
		err = do(p)
	}
	return errors.Join(err, p.Shutdown(ctx))
}

// withRecords opens the state and the audit records if no waxseal serves from the data directory.
func withRecords(ctx context.Context, c *Config, do func(*App) error) error {
	return withSealed(ctx, c, func(p *App) error {
		if err := p.openAudit(ctx, c, slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		return do(p)
	})
}

// withAuditTrust calls do with the state's proof of the audit records. It changes neither state nor records. again
// reads the proof again: a running waxseal may have closed a file meanwhile.
func withAuditTrust(ctx context.Context, c *Config, do func(trust audit.Trust, again func() (audit.Trust, error)) error) error {
	dir := dataDir(c.DataDir)
	trust, err := askTrust(ctx, dir)
	if err == nil {
		return do(trust, func() (audit.Trust, error) { return askTrust(ctx, dir) })
	}
	if !errors.Is(err, errNobodyServes) {
		return err
	}
	// The state stays locked, so that no process starts to write records while they are read.
	return withSealed(ctx, c, func(p *App) error {
		if trust, err = p.auditTrust(ctx); err != nil {
			return err
		}
		return do(trust, func() (audit.Trust, error) { return trust, nil })
	})
}

// auditTrust returns the state's proof of the audit records of all processes sharing it.
func (p *App) auditTrust(ctx context.Context) (audit.Trust, error) {
	trust, err := audit.TrustOf(ctx, p.state)
	trust.Shared = p.shared != nil
	return trust, err
}

func askTrust(ctx context.Context, dir dataDir) (trust audit.Trust, err error) {
	body, err := ask(ctx, dir, http.MethodGet, "/audit")
	if err != nil {
		return trust, err
	}
	defer body.Close()
	return trust, json.NewDecoder(body).Decode(&trust)
}

// tellAuditTrust responds with this process's proof of its records.
func (p *App) tellAuditTrust(w http.ResponseWriter, r *http.Request) {
	// The tail is read first: a file closed in between then has its digest.
	tail := p.audit.Tail()
	trust, err := p.auditTrust(r.Context())
	trust.Tail = &tail
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := json.NewEncoder(w).Encode(trust); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// verifyRounds bounds the restarts of a verification after a running waxseal has closed a file.
const verifyRounds = 5

// AuditCheck holds the inputs of VerifyAudit beside the state.
type AuditCheck struct {
	Dir     string                       // a copy of the records; empty: the records of the data directory, checked against its state
	Keys    map[string]ed25519.PublicKey // public keys kept outside, by audit.KeyID; nil: the keys of the state
	Anchors []audit.Head                 // heads noted outside
}

// VerifyAudit compares the audit records with their digests, and the digests with the state.
func VerifyAudit(ctx context.Context, c *Config, check AuditCheck) (report *audit.Report, err error) {
	if check.Dir != "" {
		if check.Keys == nil {
			return nil, errors.New("--dir: a copy of the records is verified without the state: --public-key says which key has signed it")
		}
		return audit.Verify(check.Dir, check.on(audit.Trust{}))
	}
	err = withAuditTrust(ctx, c, func(trust audit.Trust, again func() (audit.Trust, error)) error {
		for range verifyRounds {
			if report, err = audit.Verify(c.AuditDir(), check.on(trust)); err != nil || !report.Tampered() {
				return err
			}
			now, err := again()
			if err != nil || sameFiles(now, trust) {
				return err
			}
			trust = now
		}
		return nil
	})
	return report, err
}

// sameFiles reports whether no file was closed between two readings.
func sameFiles(a, b audit.Trust) bool {
	return slices.Equal(a.Heads, b.Heads) && (a.Tail == nil || b.Tail == nil || a.Tail.Number == b.Tail.Number)
}

// on returns trust, with keys and anchors kept outside in place of the state's.
func (a AuditCheck) on(trust audit.Trust) audit.Trust {
	trust.Anchors = a.Anchors
	if a.Keys != nil {
		trust.Keys = a.Keys
	}
	return trust
}

// AuditTrust returns the public keys and heads of the audit records.
func AuditTrust(ctx context.Context, c *Config) (trust audit.Trust, err error) {
	err = withAuditTrust(ctx, c, func(t audit.Trust, _ func() (audit.Trust, error)) error {
		trust = t
		return nil
	})
	return trust, err
}

// PruneAudit removes audit records from before a time, through the running waxseal or, without one, in this process.
func PruneAudit(ctx context.Context, c *Config, before time.Time) (pruned audit.Pruned, err error) {
	query := url.Values{"before": {before.UTC().Format(time.RFC3339)}}
	body, err := ask(ctx, dataDir(c.DataDir), http.MethodPost, "/audit/prune?"+query.Encode())
	if err == nil {
		defer body.Close()
		return pruned, json.NewDecoder(body).Decode(&pruned)
	}
	if !errors.Is(err, errNobodyServes) {
		return pruned, err
	}
	err = withRecords(ctx, c, func(p *App) error {
		pruned, err = p.prune(ctx, c, thisOperator(), before)
		return err
	})
	return pruned, err
}

// prune removes old records, even from a full disk.
func (p *App) prune(ctx context.Context, c *Config, who string, before time.Time) (pruned audit.Pruned, err error) {
	err = c.withReserve(func() error {
		pruned, err = p.removeRecords(ctx, c, who, before)
		return err
	})
	return pruned, err
}

// removeRecords removes old files, except files not yet delivered or not yet counted.
func (p *App) removeRecords(ctx context.Context, c *Config, who string, before time.Time) (pruned audit.Pruned, err error) {
	o := audit.PruneOptions{Before: before}
	if err := p.usage.Update(ctx); err != nil {
		return pruned, err
	}
	if o.Below, err = p.usage.CountedBelow(ctx); err != nil {
		return pruned, err
	}
	if o.Below, err = c.deliveredBelow(o.Below); err != nil {
		return pruned, err
	}
	e := operatorEvent{name: "PruneAuditRecords", params: map[string]any{"before": before.UTC().Format(time.RFC3339)}}
	err = p.recorded(ctx, c, who, e, func() error {
		if o.Below == 0 {
			return nil // no file is both counted and delivered
		}
		pruned, err = p.audit.Prune(ctx, o)
		return err
	})
	return pruned, err
}

// deliveredBelow lowers the bound for removable files to the first undelivered file. 0 allows none.
func (c *Config) deliveredBelow(below uint64) (uint64, error) {
	if c.AuditBucket != "" {
		d, err := audit.DeliveryOf(c.AuditDir(), "")
		if err != nil {
			return 0, err
		}
		below = min(below, d.Below)
	}
	if c.AuditWebhook != "" {
		d, err := audit.DeliveryOf(c.AuditDir(), webhookProgress)
		if err != nil {
			return 0, err
		}
		if d.Backlog <= webhookSpool {
			below = min(below, d.Below)
		}
	}
	return below, nil
}

func (p *App) pruneOnControl(c *Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		before, err := time.Parse(time.RFC3339, r.URL.Query().Get("before"))
		if err != nil {
			http.Error(w, fmt.Sprintf("before: %v", err), http.StatusBadRequest)
			return
		}
		pruned, err := p.prune(r.Context(), c, operatorOf(r), before)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if err := json.NewEncoder(w).Encode(pruned); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
