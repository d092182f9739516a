package keystore

import (
	"context"
	"testing"

	"waxseal/keystore/state"
)

// countingProvider counts the authorisations that it gives.
type countingProvider struct {
	Provider
	authorised int
}

func (p *countingProvider) Authorize(context.Context, Caller, Action, string, []byte, Context) error {
	p.authorised++
	return nil
}

// TestAuthorizedMeanwhile: a requester who was authorised between the look at what is known and the call is not authorised
// once more, which would be one more event in the audit log.
func TestAuthorizedMeanwhile(t *testing.T) {
	p := new(countingProvider)
	b := NewBucketKeys(p, state.NewMemory(), NewRootSecret(RandomSecret()).Sealer("test"), BucketKeysConfig{})
	defer b.Close()
	const key = "arn:aws:kms:us-east-1:000000000000:key/k"
	on, err := b.bucketTarget("arn:aws:s3:::b", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // both have looked before
		if err := b.authorize(t.Context(), Caller{ARN: "alice"}, Decrypt, on, on.id, nil); err != nil {
			t.Fatal(err)
		}
	}
	if p.authorised != 1 {
		t.Errorf("authorised %d times", p.authorised)
	}
	b.Forget(key)
	if err := b.authorize(t.Context(), Caller{ARN: "alice"}, Decrypt, on, on.id, nil); err != nil || p.authorised != 2 {
		t.Errorf("after Forget authorised %d times, %v", p.authorised, err)
	}
}
