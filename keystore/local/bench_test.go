package local

import (
	"context"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/audit"
)

// nowhere takes records and keeps none.
type nowhere struct{}

func (nowhere) Write(context.Context, *audit.Record) error { return nil }

func benchmark(b *testing.B, op func(p keystore.Provider, arn string, blob []byte) error) {
	store := newRig(&testing.T{}, func(c *Config) { c.Audit = nowhere{} })
	defer store.Close()
	md := store.newKey(nil)
	p := store.Provider()
	dk, err := p.GenerateDataKey(background, viaS3(alice), md.Arn, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := op(p, md.Arn, dk.Blob); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerateDataKey(b *testing.B) {
	benchmark(b, func(p keystore.Provider, arn string, _ []byte) error {
		return failed(p.GenerateDataKey(background, viaS3(alice), arn, nil))
	})
}

func BenchmarkDecrypt(b *testing.B) {
	benchmark(b, func(p keystore.Provider, arn string, blob []byte) error {
		return failed(p.Decrypt(background, viaS3(alice), blob, arn, nil))
	})
}
