package server

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// Substitutes replace parts of an App for an experiment: for example, a clock that runs through a month in seconds. The
// zero value replaces nothing.
type Substitutes struct {
	State    state.Store                               // replaces the file in the data directory; Shutdown leaves it open
	Audit    audit.Sink                                // replaces the files of audit records
	Now      func() time.Time                          // clock of the key service and of bucket keys
	Provider func(keystore.Provider) keystore.Provider // wraps the key service
}

// AssembleWith assembles an App with substitutes. Apps with the same state and root secret are replicas.
func AssembleWith(ctx context.Context, c *Config, log *slog.Logger, with Substitutes) (*App, error) {
	return (&App{with: with}).assemble(ctx, c, log)
}

// stateFile opens the state. empty reports whether it has no entries yet.
func (p *App) stateFile(newState bool) (file state.Store, empty bool, err error) {
	if p.with.State != nil {
		empty, err = isEmpty(p.with.State)
		return p.with.State, empty, err
	}
	if file, empty, err = p.dir.openOrBegin(newState); err != nil {
		return nil, false, err
	}
	p.onClose(func(context.Context) error { return file.Close() })
	return file, empty, nil
}

// records returns the sink of the key service's audit records.
func (p *App) records() audit.Sink { return cmp.Or[audit.Sink](p.with.Audit, p.audit) }

// inFront wraps the key service, if a wrapper is set.
func (w Substitutes) inFront(p keystore.Provider) keystore.Provider {
	if w.Provider == nil {
		return p
	}
	return w.Provider(p)
}
