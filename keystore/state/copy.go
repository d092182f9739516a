package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotSealed is returned for a copy of a state not sealed by this version yet.
var ErrNotSealed = errors.New("state: it is not sealed: start a waxseal of this version on it once")

// Copy copies the entries of a sealed state into an empty store, unchanged: a seal is bound to the key, and valid in
// any store. Records of replicas, and keys with a true skip, are left out. The mark of a sealed state comes last, so
// that an interrupted copy is never taken for a state.
func Copy(ctx context.Context, dst Store, entries []Entry, skip func(key string) bool) (n int, err error) {
	var ops []Op
	var mark *Op
	for _, e := range entries {
		switch op := (Op{Key: e.Key, Value: e.Value}); {
		case e.Key == sealMark:
			mark = &op
		case !strings.HasPrefix(e.Key, replicaPrefix) && !skip(e.Key):
			ops = append(ops, op)
		}
	}
	if mark == nil {
		return 0, ErrNotSealed
	}
	there, err := dst.Range(ctx, "", "", 1)
	if err != nil {
		return 0, err
	}
	if len(there) > 0 {
		return 0, fmt.Errorf("state: there is %s where the copy was to go", there[0].Key)
	}
	for _, op := range append(slices.Clip(ops), *mark) {
		if err := CheckTxn(nil, []Op{op}); err != nil {
			return 0, err
		}
	}
	if err := WriteAll(ctx, dst, ops); err != nil {
		return 0, err
	}
	if _, err := dst.Txn(ctx, []Cond{{Key: sealMark}}, []Op{*mark}); err != nil {
		return 0, err
	}
	return len(ops), nil
}
