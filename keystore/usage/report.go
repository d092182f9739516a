package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"waxseal/keystore/audit"
)

// AWS KMS's published prices (https://aws.amazon.com/kms/pricing/) for requests of symmetric keys, in every commercial
// region but few: 20,000 a month are free. Asymmetric requests and the keys themselves ($1 a month each) are not in the
// bill.
const (
	FreeCalls      = 20_000
	DollarsPer10K  = 0.03
	PriceSource    = "https://aws.amazon.com/kms/pricing/"
	priceOfOneCall = DollarsPer10K / 10_000
)

// Report is the usage of a month.
type Report struct {
	Month      string  `json:"month"`
	Rows       []Row   `json:"rows"`
	Calls      uint64  `json:"calls"` // exact: as many as there are audit records
	Refused    uint64  `json:"refused"`
	Asymmetric uint64  `json:"asymmetric"` // of Calls, not in the dollars
	Avoided    uint64  `json:"avoidedApproximate"`
	Dollars    float64 `json:"dollars"`
	Without    float64 `json:"dollarsWithoutBucketKeysApproximate"`
	Prices     string  `json:"prices"`
}

// ParseMonth checks a month, as 2026-11.
func ParseMonth(text string) (string, error) {
	t, err := time.Parse(monthFormat, text)
	if err != nil {
		return "", fmt.Errorf("%q is not a month such as 2026-11", text)
	}
	return t.Format(monthFormat), nil
}

// MonthOf returns the month of an instant.
func MonthOf(t time.Time) string { return t.UTC().Format(monthFormat) }

// Report counts a month up to now: the rows in the state, from all processes that share it, and this directory's
// records after them.
func (c *Counter) Report(ctx context.Context, month string) (*Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := make(map[rowID]Row)
	take := func(id rowID, more Row) {
		row := rows[id]
		row.Key, row.Bucket, row.Requester = more.Key, more.Bucket, more.Requester
		row.add(more)
		rows[id] = row
	}
	entries, err := c.state.Range(ctx, rowPrefix+month+"/", "", 0)
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	for _, e := range entries {
		var row Row
		if err := json.Unmarshal(e.Value, &row); err != nil {
			return nil, fmt.Errorf("usage: %s: %w", e.Key, err)
		}
		take(rowID{month, row.Key, row.Bucket, row.Requester}, row)
	}
	at, _, err := c.position(ctx)
	if err != nil {
		return nil, err
	}
	err = audit.ReadAll(c.dir, at, func(r *audit.Record) error {
		if id, row, counts := rowOf(r); counts && id.month == month {
			take(id, row)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	avoided, err := c.avoided(ctx, month)
	if err != nil {
		return nil, err
	}
	return newReport(month, rows, avoided), nil
}

func (c *Counter) avoided(ctx context.Context, month string) (sum uint64, err error) {
	entries, err := c.state.Range(ctx, avoidedPrefix+month+"/", "", 0)
	if err != nil {
		return 0, fmt.Errorf("usage: %w", err)
	}
	for _, e := range entries {
		var n uint64
		if err := json.Unmarshal(e.Value, &n); err != nil {
			return 0, fmt.Errorf("usage: %s: %w", e.Key, err)
		}
		sum += n
	}
	return sum, nil
}

func newReport(month string, rows map[rowID]Row, avoided uint64) *Report {
	r := &Report{Month: month, Rows: []Row{}, Avoided: avoided, Prices: PriceSource}
	for _, row := range rows {
		r.Rows = append(r.Rows, row)
		r.Calls, r.Refused, r.Asymmetric = r.Calls+row.Calls, r.Refused+row.Refused, r.Asymmetric+row.Asymmetric
	}
	slices.SortFunc(r.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Requester, b.Requester))
	})
	r.Dollars = dollars(r.Calls - r.Asymmetric)
	r.Without = dollars(r.Calls - r.Asymmetric + avoided)
	return r
}

// dollars returns the price of a month's requests.
func dollars(calls uint64) float64 {
	return float64(calls-min(calls, FreeCalls)) * priceOfOneCall
}
