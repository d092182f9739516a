package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"waxseal/keystore/state"
)

// startPause is the pause before a start interrupted by the state is repeated.
const startPause = time.Second

// whileStateAway repeats a start while the shared state does not answer: etcd can go away in the middle of a start. Any
// other error ends the start.
func whileStateAway(ctx context.Context, log *slog.Logger, start func() (*App, error)) (*App, error) {
	for {
		p, err := start()
		if !errors.Is(err, state.ErrUnavailable) && !errors.Is(err, state.ErrUnknown) || ctx.Err() != nil {
			return p, err
		}
		log.Warn("the state does not answer; the start waits for it", "err", err)
		select {
		case <-time.After(startPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// startApp does a whole start, including its audit record.
func startApp(ctx context.Context, c *Config, process Process, log *slog.Logger) (*App, error) {
	p, err := Assemble(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err := p.recordStart(ctx, c, process.Version); err != nil {
		return nil, errors.Join(err, p.Shutdown(ctx))
	}
	return p, nil
}
