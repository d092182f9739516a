package state

import (
	"context"
	"fmt"
	"iter"
)

// CheckTxn refuses keys, values and transactions beyond the limits, so that all implementations refuse the same.
func CheckTxn(conds []Cond, ops []Op) error {
	if n := len(conds) + len(ops); n > MaxTxnSize {
		return fmt.Errorf("state: transaction of %d conditions and operations, at most %d are allowed", n, MaxTxnSize)
	}
	total := 0
	for _, c := range conds {
		if err := CheckKey(c.Key); err != nil {
			return err
		}
		total += len(c.Key)
	}
	written := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if err := checkOp(op); err != nil {
			return err
		}
		if _, twice := written[op.Key]; twice {
			return fmt.Errorf("state: key %q is in two operations of a transaction", op.Key)
		}
		written[op.Key] = struct{}{}
		total += size(op)
	}
	if total > MaxTxnBytes {
		return fmt.Errorf("state: transaction of %d bytes, at most %d are allowed", total, MaxTxnBytes)
	}
	return nil
}

// CheckKey refuses keys beyond the limits.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKeySize {
		return fmt.Errorf("state: key of %d bytes, 1 to %d are allowed", len(key), MaxKeySize)
	}
	return nil
}

func checkOp(op Op) error {
	if err := CheckKey(op.Key); err != nil {
		return err
	}
	if len(op.Value) > MaxValueSize {
		return fmt.Errorf("state: value of %d bytes, at most %d are allowed", len(op.Value), MaxValueSize)
	}
	return nil
}

func size(op Op) int { return len(op.Key) + len(op.Value) }

// Chunks splits operations into transactions within the limits, also when the store seals their values. The operations
// are applied transaction by transaction, not all at once. Half of each transaction's size stays free for conditions:
// at most one for each operation.
func Chunks(ops []Op) iter.Seq[[]Op] {
	return func(yield func([]Op) bool) {
		begin, total := 0, 0
		for i, op := range ops {
			n := 2*len(op.Key) + len(op.Value) + SealRoom
			if i > begin && (i-begin == MaxTxnSize/2 || total+n > MaxTxnBytes) {
				if !yield(ops[begin:i]) {
					return
				}
				begin, total = i, 0
			}
			total += n
		}
		if begin < len(ops) {
			yield(ops[begin:])
		}
	}
}

// WriteAll applies operations in order, in as many transactions as the limits ask for. After an error the first
// transactions may be applied: WriteAll is for writes that can be repeated.
func WriteAll(ctx context.Context, s Store, ops []Op) error {
	for some := range Chunks(ops) {
		if _, err := s.Txn(ctx, nil, some); err != nil {
			return err
		}
	}
	return nil
}
