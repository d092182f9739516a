package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"waxseal/keystore/state"
)

// TestStartWaitsForState checks that a start interrupted by the state is repeated. Any other error ends it, as does the
// end of the process.
func TestStartWaitsForState(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		errs  []error
		ended bool
		want  error
		tries int
	}{
		"at once":       {[]error{nil}, false, nil, 1},
		"away":          {[]error{fmt.Errorf("audit: %w", state.ErrUnavailable), nil}, false, nil, 2},
		"answer lost":   {[]error{state.ErrUnknown, nil}, false, nil, 2},
		"away, refused": {[]error{state.ErrUnavailable, refused}, false, refused, 2},
		"ended":         {[]error{state.ErrUnavailable}, true, state.ErrUnavailable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if c.ended {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(ctx)
				cancel()
			}
			tries := 0
			p, err := whileStateAway(ctx, slog.New(slog.DiscardHandler), func() (*App, error) {
				tries++
				if err := c.errs[tries-1]; err != nil {
					return nil, err
				}
				return new(App), nil
			})
			if !errors.Is(err, c.want) || (p == nil) != (c.want != nil) || tries != c.tries {
				t.Errorf("%v, %v after %d tries", p, err, tries)
			}
		})
	}
}
