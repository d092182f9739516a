package jobs

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/proxy/ledger"
	"waxseal/proxy/proxytest"
)

func (b *kit) inventory(bucket string) ([]ledger.Row, error) {
	b.out.Reset()
	return Inventory(context.Background(), b.s3.Endpoint, Options{Bucket: bucket, Workers: 4, Stdout: &b.out, Stderr: io.Discard})
}

// TestInventory counts every kind of object, all versions and all buckets, and what is not encrypted also where nothing is
// read through.
func TestInventory(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	ctx := context.Background()
	if err := b.s3.core.MakeBucket(ctx, "private", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.s3.core.EnableVersioning(ctx, jobBucket); err != nil {
		t.Fatal(err)
	}
	key := b.newKey()
	kms, err := encrypt.NewSSEKMS(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	customer, err := encrypt.NewSSEC(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	b.put("s3", make([]byte, 10), encrypt.NewSSE())
	b.put("kms", make([]byte, 20), kms)
	b.put("kms", make([]byte, 22), kms)
	b.put("marked", make([]byte, 30), kms)
	b.put("customer", make([]byte, 5), customer)
	if err := b.s3.core.RemoveObject(ctx, jobBucket, "marked", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	b.plain("clear", make([]byte, 7))
	b.store.PutObject("private", "clear", make([]byte, 9), nil)

	want := map[ledger.Holding]ledger.Sum{
		{Bucket: jobBucket, Mode: "AES256"}:            {Objects: 1, Bytes: 10},
		{Bucket: jobBucket, Mode: "aws:kms", Key: key}: {Objects: 3, Bytes: 72},
		{Bucket: jobBucket, Mode: "SSE-C"}:             {Objects: 1, Bytes: 5},
		{Bucket: jobBucket, Mode: "none"}:              {Objects: 1, Bytes: 7},
		{Bucket: "private", Mode: "none"}:              {Objects: 1, Bytes: 9},
	}
	rows, err := b.inventory("")
	if err != nil {
		t.Fatal(err, b.out.String())
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows, want %d: %+v", len(rows), len(want), rows)
	}
	for i, r := range rows {
		if r.Sum != want[r.Holding] {
			t.Errorf("%+v has %+v, want %+v", r.Holding, r.Sum, want[r.Holding])
		}
		if i > 0 && rows[i-1].Compare(r.Holding) >= 0 {
			t.Errorf("row %d is out of order: %+v", i, rows)
		}
	}
	if rows, err = b.inventory("private"); err != nil || len(rows) != 1 {
		t.Errorf("of one bucket: %+v, %v", rows, err)
	}
}

// TestInventoryIsCompleteOrFails: an object whose encryption cannot be told is no zero.
func TestInventoryIsCompleteOrFails(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	b.put("spoilt", make([]byte, 10), encrypt.NewSSE())
	b.store.Mutate(jobBucket, "spoilt", func(o *proxytest.Stored) { o.Header.Set("X-Amz-Meta-Waxseal", "nonsense") })
	if rows, err := b.inventory(""); err == nil {
		t.Errorf("an inventory with an object that cannot be read: %+v", rows)
	}
}
