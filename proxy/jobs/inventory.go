package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/ledger"
	"waxseal/proxy/s3"
)

// Inventory counts the objects of every bucket, in all versions, by encryption and KMS key. Its result is complete: an
// object whose encryption cannot be told, or the end of ctx, is an error.
func Inventory(ctx context.Context, e Endpoint, o Options) ([]ledger.Row, error) {
	access, err := newAccess(e)
	if err != nil {
		return nil, err
	}
	buckets := []string{o.Bucket}
	if o.Bucket == "" {
		if buckets, err = access.buckets(ctx); err != nil {
			return nil, err
		}
	}
	sums := make(map[ledger.Holding]ledger.Sum)
	for _, bucket := range buckets {
		o.Bucket = bucket
		if err := inventoryOf(ctx, e, o, sums); err != nil {
			return nil, fmt.Errorf("%s: %w", bucket, err)
		}
	}
	rows := make([]ledger.Row, 0, len(sums))
	for _, h := range slices.SortedFunc(maps.Keys(sums), ledger.Holding.Compare) {
		rows = append(rows, ledger.Row{Holding: h, Sum: sums[h], Walked: sums[h]})
	}
	return rows, nil
}

func (a *access) buckets(ctx context.Context) ([]string, error) {
	all, err := a.core.Client.ListBuckets(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.Name
	}
	return names, nil
}

// inventoryOf adds a bucket's objects to sums.
func inventoryOf(ctx context.Context, e Endpoint, o Options, sums map[ledger.Holding]ledger.Sum) error {
	j, err := New(e, o)
	if err != nil {
		return err
	}
	j.versions = true
	err = j.each(ctx, noBookmark(), func(ctx context.Context, o minio.ObjectInfo) (string, error) {
		h, err := j.holding(ctx, o)
		switch {
		case isGone(err):
			return gone, nil
		case err != nil:
			return "", err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		sums[h] = sums[h].Plus(ledger.Sum{Objects: 1, Bytes: o.Size})
		return "counted", nil
	})
	if err == nil && j.failed > 0 {
		err = fmt.Errorf("the encryption of %d of %d objects could not be told", j.failed, j.seen)
	}
	return err
}

// holding finds what an object is encrypted with, without any use of a key.
func (j *Job) holding(ctx context.Context, o minio.ObjectInfo) (ledger.Holding, error) {
	at := ledger.Holding{Bucket: j.bucket}
	h, err := j.s3.head(ctx, j.bucket, o.Key, o.VersionID)
	switch {
	case errors.Is(err, errCustomerKey):
		at.Mode = ledger.CustomerKey
		return at, nil
	case errors.Is(err, errNotSealed):
		at.Mode = ledger.Plaintext
		return at, nil
	case err != nil:
		return at, err
	case h.Get(s3.HeaderPlaintext) == "true":
		at.Mode = ledger.Plaintext
		return at, nil
	}
	at.Mode, at.Key = h.Get(s3.HeaderSSE), h.Get(s3.HeaderSSEKMSKeyID)
	if at.Mode == "" {
		return at, errors.New("its answer names no encryption")
	}
	return at, nil
}
