package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"waxseal/keystore/state"
)

// startPause is the pause between two tries of a start that the state broke off.
const startPause = time.Second

// whileStateAway starts over while the state that replicas share does not answer: etcd can go away in the middle of a
// start. Other errors end a start.
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

// startApp is a whole start up to the record of it.
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
