package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"waxseal/keystore/usage"
)

// usageInterval is the time between two additions of the counted calls to the state. A crash loses only the calls
// avoided by bucket keys since the last: calls made are counted from the records.
const usageInterval = time.Minute

// countUsage counts calls until the process ends.
func (p *App) countUsage(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(usageInterval)
	defer tick.Stop()
	avoided := uint64(0)
	for ending := false; !ending; {
		select {
		case <-ctx.Done():
			ending = true
		case <-tick.C:
		}
		now := p.BucketKeys.Stats().CallsAvoided
		err := p.usage.Update(context.WithoutCancel(ctx))
		if now > avoided && err == nil {
			if err = p.usage.Avoid(context.WithoutCancel(ctx), usage.MonthOf(time.Now()), now-avoided); err == nil {
				avoided = now
			}
		}
		if err != nil {
			log.Warn("calls of the key service are counted later", "err", err)
		}
	}
}

// Usage counts the key service's calls in a month, through the running waxseal or, without one, in this process.
func Usage(ctx context.Context, c *Config, month string) (report *usage.Report, err error) {
	body, err := ask(ctx, dataDir(c.DataDir), http.MethodGet, "/usage?"+url.Values{"month": {month}}.Encode())
	if err == nil {
		defer body.Close()
		report = new(usage.Report)
		return report, json.NewDecoder(body).Decode(report)
	}
	if !errors.Is(err, errNobodyServes) {
		return nil, err
	}
	err = withSealed(ctx, c, func(p *App) error {
		counter, err := usage.NewCounter(p.state, c.AuditDir())
		if err == nil {
			report, err = counter.Report(ctx, month)
		}
		return err
	})
	return report, err
}

func (p *App) tellUsage(w http.ResponseWriter, r *http.Request) {
	month, err := usage.ParseMonth(r.URL.Query().Get("month"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	report, err := p.usage.Report(r.Context(), month)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := json.NewEncoder(w).Encode(report); err != nil {
		panic(http.ErrAbortHandler)
	}
}
