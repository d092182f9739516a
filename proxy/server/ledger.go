package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waxseal/proxy/ledger"
)

// guardWalkAge is the greatest age of a full walk for --guard-key-deletion. Only a walk finds objects written to the
// store past waxseal, by replication or a restore for example.
const guardWalkAge = 24 * time.Hour

// lateCommits is how long a store may take to commit the bytes received from a killed waxseal.
const lateCommits = 10 * time.Second

// openLedger opens the ledger of sealed objects by key.
func (p *App) openLedger(ctx context.Context, c *Config, _ *slog.Logger) (err error) {
	if p.ledger, err = ledger.Open(ctx, p.state, p.replicas, time.Now); err != nil {
		return err
	}
	p.onClose(p.ledger.Close)
	crashed, err := p.ledger.Start(ctx)
	// With replicas, another may have been killed.
	if (crashed || p.replicas.Shared()) && c.UpstreamEndpoint != "" {
		p.walkable = time.Now().Add(lateCommits)
	}
	return err
}

// beginLedger begins a walk of the ledger after the last possible write of an earlier process.
func (p *App) beginLedger(ctx context.Context) (id string, err error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(time.Until(p.walkable)):
		return p.ledger.Begin(ctx)
	}
}

// deletionGuard returns the check that keeps KMS keys with objects from deletion, if --guard-key-deletion is set.
func (p *App) deletionGuard(c *Config) func(ctx context.Context, keyARN string) (string, error) {
	if !c.GuardKeyDeletion || p.ledger == nil {
		return nil
	}
	return func(ctx context.Context, keyARN string) (string, error) {
		has, err := p.ledger.Read(ctx)
		if err != nil {
			return "", err
		}
		return whyKept(has, keyARN, time.Now()), nil
	}
}

// whyKept returns the reason not to delete a key. It is empty only if a recent walk has found no object under the key,
// and none was written since.
func whyKept(has *ledger.Reading, keyARN string, now time.Time) string {
	switch rows := has.OfKey(keyARN); {
	case len(rows) > 0:
		return "up to " + sumOf(rows) + ", may be encrypted under it (run waxseal inventory for the exact number)"
	case has.Walk == nil:
		return "it is not known which objects are encrypted under it: run waxseal inventory first"
	case now.Sub(has.Walk.Begun) > guardWalkAge:
		return fmt.Sprintf("the last full inventory is of %s: run waxseal inventory again", has.Walk.Begun.Format(time.RFC3339))
	}
	return ""
}

// sumOf describes the objects of a key, as "3 objects (12 bytes) in photos, videos". It names at most ten buckets.
func sumOf(rows []ledger.Row) string {
	var sum ledger.Sum
	var buckets []string
	for _, r := range rows {
		sum = sum.Plus(r.Sum)
		if len(buckets) == 0 || buckets[len(buckets)-1] != r.Bucket {
			buckets = append(buckets, r.Bucket)
		}
	}
	const named = 10
	more := ""
	if len(buckets) > named {
		more = fmt.Sprintf(" and %d more buckets", len(buckets)-named)
		buckets = buckets[:named]
	}
	noun := "objects"
	if sum.Objects == 1 {
		noun = "object"
	}
	return fmt.Sprintf("%d %s (%d bytes) in %s%s", sum.Objects, noun, sum.Bytes, strings.Join(buckets, ", "), more)
}

// LedgerWalk is a full walk of all buckets. Its result replaces the ledger's estimate.
type LedgerWalk struct {
	Commit func(ctx context.Context, found []ledger.Row) error
}

// beginWalk begins a walk in this process.
func (p *App) beginWalk(ctx context.Context) (*LedgerWalk, error) {
	id, err := p.beginLedger(ctx)
	if err != nil {
		return nil, err
	}
	return &LedgerWalk{func(ctx context.Context, found []ledger.Row) error { return p.commitWalk(ctx, id, found) }}, nil
}

func (p *App) commitWalk(ctx context.Context, id string, found []ledger.Row) error {
	sums := make(map[ledger.Holding]ledger.Sum, len(found))
	for _, r := range found {
		sums[r.Holding] = sums[r.Holding].Plus(r.Sum)
	}
	return p.ledger.Commit(ctx, id, sums, p.S3.UploadsUnderWay)
}

// beginServedWalk begins a walk in the waxseal serving from the data directory.
func beginServedWalk(ctx context.Context, dir dataDir) (*LedgerWalk, error) {
	body, err := ask(ctx, dir, http.MethodPost, "/ledger/begin")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var begun struct{ ID string }
	if err := json.NewDecoder(body).Decode(&begun); err != nil {
		return nil, err
	}
	return &LedgerWalk{func(ctx context.Context, found []ledger.Row) error {
		text, err := json.Marshal(found)
		if err != nil {
			return err
		}
		body, err := askWith(ctx, dir, http.MethodPost, "/ledger/commit?"+url.Values{"id": {begun.ID}}.Encode(), text)
		if err != nil {
			return err
		}
		return body.Close()
	}}, nil
}

func (p *App) beginWalkOnControl(w http.ResponseWriter, r *http.Request) {
	id, err := p.beginLedger(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	if err := json.NewEncoder(w).Encode(struct{ ID string }{id}); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (p *App) commitWalkOnControl(w http.ResponseWriter, r *http.Request) {
	var found []ledger.Row
	err := json.NewDecoder(r.Body).Decode(&found)
	if err == nil {
		err = p.commitWalk(r.Context(), r.URL.Query().Get("id"), found)
	}
	switch {
	case errors.Is(err, ledger.ErrOtherWalk):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (p *App) tellLedger(w http.ResponseWriter, r *http.Request) {
	has, err := p.ledger.Read(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := json.NewEncoder(w).Encode(has); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Ledger reads the ledger from the running waxseal or, without one, from the data directory.
func Ledger(ctx context.Context, c *Config) (has *ledger.Reading, err error) {
	body, err := ask(ctx, dataDir(c.DataDir), http.MethodGet, "/ledger")
	if err == nil {
		defer body.Close()
		has = new(ledger.Reading)
		return has, json.NewDecoder(body).Decode(has)
	}
	if !errors.Is(err, errNobodyServes) {
		return nil, err
	}
	err = withSealed(ctx, c, func(p *App) error {
		l, err := ledger.Open(ctx, p.state, nil, time.Now)
		if err == nil {
			has, err = l.Read(ctx)
		}
		return err
	})
	return has, err
}
