// Package usage counts calls of the key service by month, KMS key, bucket and requester.
//
// The counts are derived from the audit records. A transaction writes the counts to the state together with the
// position in the records up to which they go. So they are exact, also after a crash: the records after the position
// are counted again.
package usage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// Keys in the state. Each directory of records, and so each process, has counts of its own, under its chain's name.
const (
	rowPrefix      = "usage/row/"      // month / chain / hash of key, bucket and requester: a Row
	positionPrefix = "usage/position/" // chain: the audit.Position after the last counted record
	avoidedPrefix  = "usage/avoided/"  // month / chain: calls saved by bucket keys
)

// Row counts the calls of a requester with a key for a bucket in a month.
type Row struct {
	Key        string `json:"key"`       // ARN; empty for calls without a key
	Bucket     string `json:"bucket"`    // empty for calls not made by S3
	Requester  string `json:"requester"` // ARN; of a session, its role's
	Calls      uint64 `json:"calls"`
	Refused    uint64 `json:"refused"`    // of these, with an error
	Asymmetric uint64 `json:"asymmetric"` // of these, with asymmetric keys, priced separately
}

func (r *Row) add(more Row) {
	r.Calls, r.Refused, r.Asymmetric = r.Calls+more.Calls, r.Refused+more.Refused, r.Asymmetric+more.Asymmetric
}

// rowID names a row of a month.
type rowID struct{ month, key, bucket, requester string }

func (id rowID) stateKey(chain string) string {
	sum := sha256.New()
	for _, part := range []string{id.key, id.bucket, id.requester} {
		fmt.Fprintf(sum, "%d %s", len(part), part)
	}
	return rowPrefix + id.month + "/" + chain + "/" + hex.EncodeToString(sum.Sum(nil)[:16])
}

// monthFormat is the format of months.
const monthFormat = "2006-01"

// asymmetric are the operations of asymmetric keys and of pairs of data keys.
var asymmetric = []string{"Sign", "Verify", "GetPublicKey", "DeriveSharedSecret", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}

// rowOf returns the row of a record. A call across accounts has a record in each: the requester's record counts.
func rowOf(r *audit.Record) (rowID, Row, bool) {
	if r == nil || r.EventSource != audit.KMSSource || r.EventType != audit.APICall ||
		r.SharedEventID != "" && r.RecipientAccountID != r.UserIdentity.AccountID {
		return rowID{}, Row{}, false
	}
	id := rowID{month: r.EventTime.UTC().Format(monthFormat), bucket: r.Bucket(), requester: requesterOf(&r.UserIdentity)}
	if len(r.Resources) > 0 {
		id.key = r.Resources[0].ARN
	}
	row := Row{Key: id.key, Bucket: id.bucket, Requester: id.requester, Calls: 1}
	if r.ErrorCode != "" {
		row.Refused = 1
	}
	algorithm, _ := r.RequestParameters["encryptionAlgorithm"].(string)
	if slices.Contains(asymmetric, r.EventName) || strings.HasPrefix(algorithm, "RSAES") || algorithm == "SM2PKE" {
		row.Asymmetric = 1
	}
	return id, row, true
}

func requesterOf(u *audit.UserIdentity) string {
	if u.SessionContext != nil {
		if arn, _ := u.SessionContext.SessionIssuer["arn"].(string); arn != "" {
			return arn
		}
	}
	if u.ARN != "" {
		return u.ARN
	}
	return u.Type
}

// Counter derives the counts for a directory of records. It is safe for concurrent use.
type Counter struct {
	state state.Store
	dir   string
	chain string

	mu sync.Mutex
}

// NewCounter returns a counter for a directory with an open chain.
func NewCounter(s state.Store, dir string) (*Counter, error) {
	chain, err := audit.ChainOf(dir)
	if err != nil {
		return nil, err
	}
	return &Counter{state: s, dir: dir, chain: chain}, nil
}

// batchRows bounds the rows of a transaction: each is a condition and an operation.
const batchRows = 50

// Update counts the files closed since the last Update.
func (c *Counter) Update(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, revision, err := c.position(ctx)
	if err != nil {
		return err
	}
	b := &batch{c: c, ctx: ctx, revision: revision, done: at, rows: make(map[rowID]Row)}
	if at, err = audit.ReadClosed(c.dir, at, b.add); err != nil {
		return err
	}
	return b.commit(at)
}

// position returns how far the rows go.
func (c *Counter) position(ctx context.Context) (at audit.Position, revision int64, err error) {
	e, err := c.state.Get(ctx, positionPrefix+c.chain)
	if errors.Is(err, state.ErrNotFound) {
		return at, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &at)
	}
	if err != nil {
		return at, 0, fmt.Errorf("usage: %s%s: %w", positionPrefix, c.chain, err)
	}
	return at, e.Revision, nil
}

// CountedBelow returns the number of the first file not counted completely: it must be kept.
func (c *Counter) CountedBelow(ctx context.Context) (uint64, error) {
	at, _, err := c.position(ctx)
	return at.File, err
}

// batch collects the additions of a transaction.
type batch struct {
	c        *Counter
	ctx      context.Context
	revision int64 // of the position
	rows     map[rowID]Row
	done     audit.Position
}

func (b *batch) add(r *audit.Record, behind audit.Position) error {
	if id, more, counts := rowOf(r); counts {
		row := b.rows[id]
		row.Key, row.Bucket, row.Requester = more.Key, more.Bucket, more.Requester
		row.add(more)
		b.rows[id] = row
	}
	if len(b.rows) < batchRows {
		return nil
	}
	return b.commit(behind)
}

// commit adds the rows to the rows in the state, and moves the position.
func (b *batch) commit(to audit.Position) error {
	if to == b.done {
		return nil
	}
	value, err := json.Marshal(to)
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	place := positionPrefix + b.c.chain
	conds := []state.Cond{{Key: place, Revision: b.revision}}
	ops := []state.Op{{Key: place, Value: value}}
	for id, more := range b.rows {
		key := id.stateKey(b.c.chain)
		row, revision, err := b.c.row(b.ctx, key)
		if err != nil {
			return err
		}
		row.Key, row.Bucket, row.Requester = more.Key, more.Bucket, more.Requester
		row.add(more)
		value, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("usage: %w", err)
		}
		conds = append(conds, state.Cond{Key: key, Revision: revision})
		ops = append(ops, state.Op{Key: key, Value: value})
	}
	if b.revision, err = b.c.state.Txn(b.ctx, conds, ops); err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	b.done = to
	clear(b.rows)
	return nil
}

func (c *Counter) row(ctx context.Context, key string) (row Row, revision int64, err error) {
	e, err := c.state.Get(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return row, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &row)
	}
	if err != nil {
		return row, 0, fmt.Errorf("usage: %s: %w", key, err)
	}
	return row, e.Revision, nil
}

// Avoid adds the calls saved by bucket keys in a month.
func (c *Counter) Avoid(ctx context.Context, month string, calls uint64) error {
	if calls == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := avoidedPrefix + month + "/" + c.chain
	e, err := c.state.Get(ctx, key)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("usage: %w", err)
	}
	var sum uint64
	if err == nil {
		if err := json.Unmarshal(e.Value, &sum); err != nil {
			return fmt.Errorf("usage: %s: %w", key, err)
		}
	}
	value, err := json.Marshal(sum + calls)
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	_, err = c.state.Txn(ctx, []state.Cond{{Key: key, Revision: e.Revision}}, []state.Op{{Key: key, Value: value}})
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	return nil
}
