// Package ledger keeps how many objects and bytes are sealed under which key in which bucket, as an upper bound that is
// never below the truth.
//
// A write is charged before it reaches the store. Charges are durable by reservation: a [Holding] reserves room for many
// objects in one transaction of the state, and a write takes a part of that room in memory. A crash leaves the unused
// rest of a reservation in the sum, which is then too high and never too low. Deletes and overwrites are not seen: the
// next full walk of all buckets ([Ledger.Begin], [Ledger.Commit]) replaces what was charged before the walk began by what
// the walk found.
package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"waxseal/keystore/state"
)

// Encryption modes beside S3's names of them (AES256, aws:kms, aws:kms:dsse).
const (
	CustomerKey = "SSE-C"
	Plaintext   = "none" // found by a walk only: waxseal writes no plaintext
)

// Holding is what a sum is kept for: the objects of a bucket in one mode under one KMS key.
type Holding struct {
	Bucket string `json:"bucket"`
	Mode   string `json:"encryption"`    // AES256, aws:kms, aws:kms:dsse, SSE-C or none
	Key    string `json:"key,omitempty"` // ARN of the KMS key
}

// Sum is a number of objects with their bytes of plaintext.
type Sum struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Plus returns s with o added.
func (s Sum) Plus(o Sum) Sum { return Sum{s.Objects + o.Objects, s.Bytes + o.Bytes} }

func (s Sum) minus(o Sum) Sum { return Sum{s.Objects - o.Objects, s.Bytes - o.Bytes} }

func (s Sum) covers(o Sum) bool { return s.Objects >= o.Objects && s.Bytes >= o.Bytes }

// Row is a Holding with its upper bound, and what the last walk found of it.
type Row struct {
	Holding
	Sum
	Walked Sum `json:"walked"`
}

// Walk is a full walk of all buckets.
type Walk struct {
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`
}

// Keys of the state.
const (
	prefix  = "ledger/"
	walkKey = "ledger-walk"
	openKey = "ledger-open" // there while a process charges: found at a start, it tells of a crash
)

// Reservations begin small and double, so that a key with few objects is not charged for thousands after a crash.
const (
	firstObjects, mostObjects = 16, 4096
	firstBytes, mostBytes     = 16 << 20, 4 << 30
)

// Ledger is safe for concurrent use. The nil Ledger counts nothing.
type Ledger struct {
	state    state.Store
	replicas *state.Replicas // nil: this process is alone
	now      func() time.Time

	mu       sync.Mutex
	holdings map[Holding]*holding
	walking  *walking
	last     *Walk
	opened   bool // openKey is this process's
}

// walking is a walk that has begun.
type walking struct {
	id    string
	begun time.Time
}

// record is a holding in the state.
type record struct {
	Holding
	Walked  Sum `json:"walked"`  // found by the last walk
	Charged Sum `json:"charged"` // reserved since that walk began
}

// holding is a record in memory, with what this process uses of it.
type holding struct {
	mu       sync.Mutex
	record   record
	revision int64
	room     Sum // reserved by this process and not used
	block    Sum // the next reservation
	flying   Sum // charged by writes that have not ended
	doubtful Sum // charged by writes that ended in doubt: the store may commit them later
	carried  Sum // the part of doubtful that the walk under way takes over
	next     Sum // charged since the walk under way began, with what was flying or doubtful then
}

// Open reads the ledger from the state. replicas are the processes that share the state; nil: this process is alone.
func Open(ctx context.Context, s state.Store, replicas *state.Replicas, now func() time.Time) (*Ledger, error) {
	l := &Ledger{state: s, replicas: replicas, now: now, holdings: make(map[Holding]*holding)}
	return l, l.refreshAll(ctx)
}

// refreshAll reads what the state has, other replicas' charges included.
func (l *Ledger) refreshAll(ctx context.Context) error {
	entries, err := l.state.Range(ctx, prefix, "", 0)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	there := make(map[Holding]bool, len(entries))
	for _, e := range entries {
		var r record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return fmt.Errorf("ledger: %s: %w", e.Key, err)
		}
		there[r.Holding] = true
		l.of(r.Holding).take(r, e.Revision)
	}
	for _, h := range l.all() {
		if err := l.refreshMissing(ctx, h, there); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
	}
	return l.readWalk(ctx)
}

// take takes a record over that is newer than what is known.
func (h *holding) take(r record, revision int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision > h.revision {
		h.record, h.revision = r, revision
	}
}

// refreshMissing reads a holding that a range of the state did not have: it was removed, or written since.
func (l *Ledger) refreshMissing(ctx context.Context, h *holding, there map[Holding]bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if there[h.record.Holding] || h.revision == 0 {
		return nil
	}
	return l.refresh(ctx, h)
}

func (l *Ledger) readWalk(ctx context.Context) error {
	var walk *Walk
	e, err := l.state.Get(ctx, walkKey)
	switch {
	case errors.Is(err, state.ErrNotFound):
		err = nil
	case err == nil:
		walk = new(Walk)
		err = json.Unmarshal(e.Value, walk)
	}
	if err != nil {
		return fmt.Errorf("ledger: the last walk: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = walk
	return nil
}

func newHolding(of Holding) *holding {
	return &holding{record: record{Holding: of}, block: Sum{firstObjects, firstBytes}}
}

// maxName keeps keys of the state within their limit: an external key service may have long names.
const maxName = 512

// stateKey has no part that could hold the separator: neither buckets nor modes have a slash. The record has the names, so
// that a hash can stand for a long one.
func (h Holding) stateKey() string {
	key := h.Key
	if len(key) > maxName {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:])
	}
	return prefix + h.Bucket + "/" + h.Mode + "/" + key
}

func (l *Ledger) of(at Holding) *holding {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.holdings[at]
	if !ok {
		h = newHolding(at)
		l.holdings[at] = h
	}
	return h
}

// Start makes the ledger ready for charges. crashed reports whether the process before this one did not close it.
func (l *Ledger) Start(ctx context.Context) (crashed bool, err error) {
	_, err = l.state.Get(ctx, openKey)
	if err == nil {
		l.opened = true
		return true, nil
	}
	if !errors.Is(err, state.ErrNotFound) {
		return false, fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.state.Txn(ctx, nil, []state.Op{{Key: openKey, Value: []byte("open")}}); err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	l.opened = true
	return false, nil
}

// Charge is a write's share of a Holding until the write ends.
type Charge struct {
	h   *holding
	sum Sum
}

// Charge counts an object of size bytes before it is written. Most charges take no transaction.
func (l *Ledger) Charge(ctx context.Context, at Holding, size int64) (*Charge, error) {
	if l == nil {
		return nil, nil
	}
	h := l.of(at)
	want := Sum{1, size}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.room.covers(want) {
		if err := l.reserve(ctx, h, want); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
	}
	h.room, h.flying, h.next = h.room.minus(want), h.flying.Plus(want), h.next.Plus(want)
	return &Charge{h, want}, nil
}

// End ends a charge with its write. A write is doubtful when the store may still commit it: its answer was lost, for
// example. The next walk, which may have passed the object's name by then, does not drop a doubtful charge.
func (c *Charge) End(doubtful bool) {
	if c == nil {
		return
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.flying = c.h.flying.minus(c.sum)
	if doubtful {
		c.h.doubtful = c.h.doubtful.Plus(c.sum)
	}
}

// reserve makes room for want and a block more. The holding is locked.
func (l *Ledger) reserve(ctx context.Context, h *holding, want Sum) error {
	more := Sum{max(h.block.Objects, want.Objects), max(h.block.Bytes, want.Bytes)}
	if err := l.saveAgain(ctx, h, func(r *record) { r.Charged = r.Charged.Plus(more) }); err != nil {
		return err
	}
	h.room = h.room.Plus(more)
	h.block = Sum{min(2*h.block.Objects, mostObjects), min(2*h.block.Bytes, mostBytes)}
	return nil
}

// saveAgain is save for changes that may be made twice: after an unknown outcome it makes the change again, which can
// charge too much and never too little.
func (l *Ledger) saveAgain(ctx context.Context, h *holding, change func(*record)) error {
	err := l.save(ctx, h, change)
	if !errors.Is(err, state.ErrUnknown) {
		return err
	}
	if err := l.refresh(ctx, h); err != nil {
		return err
	}
	return l.save(ctx, h, change)
}

// save changes a holding's record. Where another process has changed the record meanwhile, the change is made to what that
// process wrote.
func (l *Ledger) save(ctx context.Context, h *holding, change func(*record)) error {
	for {
		next := h.record
		change(&next)
		rev, err := l.write(ctx, next, h.revision)
		if err == nil {
			h.record, h.revision = next, rev
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		if err := l.refresh(ctx, h); err != nil {
			return err
		}
	}
}

func (l *Ledger) write(ctx context.Context, r record, revision int64) (int64, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	key := r.stateKey()
	op := state.Op{Key: key, Value: value}
	if r.Walked == (Sum{}) && r.Charged == (Sum{}) {
		op = state.Op{Key: key, Delete: true}
	}
	rev, err := l.state.Txn(ctx, []state.Cond{{Key: key, Revision: revision}}, []state.Op{op})
	if op.Delete {
		rev = 0
	}
	return rev, err
}

func (l *Ledger) refresh(ctx context.Context, h *holding) error {
	e, err := l.state.Get(ctx, h.record.stateKey())
	if errors.Is(err, state.ErrNotFound) {
		h.record, h.revision = record{Holding: h.record.Holding}, 0
		return nil
	}
	if err != nil {
		return err
	}
	h.record, h.revision = record{}, e.Revision
	return json.Unmarshal(e.Value, &h.record)
}

// Reading is the ledger at a moment.
type Reading struct {
	Walk *Walk `json:"walk,omitempty"` // the last full walk; nil: there was none
	Rows []Row `json:"rows"`           // every holding that may have an object, in order
}

// Read reads the ledger. Beside other replicas it reads the state, which has their charges.
func (l *Ledger) Read(ctx context.Context) (*Reading, error) {
	if l.replicas.Shared() {
		if err := l.refreshAll(ctx); err != nil {
			return nil, err
		}
	}
	r := &Reading{Rows: []Row{}}
	for _, h := range l.all() {
		if row := h.row(); row.Sum != (Sum{}) {
			r.Rows = append(r.Rows, row)
		}
	}
	slices.SortFunc(r.Rows, func(a, b Row) int { return a.Compare(b.Holding) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil {
		last := *l.last
		r.Walk = &last
	}
	return r, nil
}

// OfKey returns the holdings of a KMS key, over all buckets.
func (r *Reading) OfKey(arn string) []Row {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool { return row.Key != arn })
}

// Compare orders holdings by bucket, mode and key.
func (h Holding) Compare(o Holding) int {
	return cmp.Or(strings.Compare(h.Bucket, o.Bucket), strings.Compare(h.Mode, o.Mode), strings.Compare(h.Key, o.Key))
}

func (h *holding) row() Row {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Row{h.record.Holding, h.record.Walked.Plus(h.record.Charged).minus(h.room), h.record.Walked}
}

func (l *Ledger) all() []*holding {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*holding, 0, len(l.holdings))
	for _, h := range l.holdings {
		all = append(all, h)
	}
	return all
}

// Close gives back what is reserved and not used.
func (l *Ledger) Close(ctx context.Context) error {
	var failed []error
	for _, h := range l.all() {
		failed = append(failed, l.giveBack(ctx, h))
	}
	if l.opened {
		_, err := l.state.Txn(ctx, nil, []state.Op{{Key: openKey, Delete: true}})
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func (l *Ledger) giveBack(ctx context.Context, h *holding) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room == (Sum{}) {
		return nil
	}
	room := h.room
	h.room = Sum{}
	return l.save(ctx, h, func(r *record) { r.Charged = r.Charged.minus(room) })
}
