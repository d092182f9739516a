package bucketkey

import (
	"context"
	"testing"

	"waxseal/keystore"

	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// countingProvider counts its authorizations.
type countingProvider struct {
	keystore.Provider
	authorised int
}

func (p *countingProvider) Authorize(context.Context, keystore.Caller, keystore.Action, string, []byte, keystore.Context) error {
	p.authorised++
	return nil
}

// TestAuthorizedMeanwhile: if a requester is authorized between a request's cache miss and its call, the request makes
// no second authorization. It would be an extra event in the audit log.
func TestAuthorizedMeanwhile(t *testing.T) {
	p := new(countingProvider)
	b := New(p, state.NewMemory(), rootkey.New(keystore.RandomSecret()).Sealer("test"), Config{})
	defer b.Close()
	const key = "arn:aws:kms:us-east-1:000000000000:key/k"
	on, err := b.bucketTarget("arn:aws:s3:::b", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // both have looked before
		if err := b.authorize(t.Context(), keystore.Caller{ARN: "alice"}, keystore.Decrypt, on, on.id, nil); err != nil {
			t.Fatal(err)
		}
	}
	if p.authorised != 1 {
		t.Errorf("authorised %d times", p.authorised)
	}
	b.Forget(key)
	if err := b.authorize(t.Context(), keystore.Caller{ARN: "alice"}, keystore.Decrypt, on, on.id, nil); err != nil || p.authorised != 2 {
		t.Errorf("after Forget authorised %d times, %v", p.authorised, err)
	}
}
