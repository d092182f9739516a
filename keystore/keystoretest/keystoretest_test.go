package keystoretest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
)

// TestFake runs the suite on the fake, a stand-in for a key service in other tests.
func TestFake(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		f := keystoretest.NewFake()
		var down atomic.Bool
		f.Hook = func(context.Context, keystoretest.Call) error {
			if down.Load() {
				return keystore.Errorf(keystore.Unavailable, "", "down")
			}
			return nil
		}
		key, other := f.AddKey(), f.AddKey()
		f.SetAlias("alias/photos", key)
		denied := keystore.Caller{ARN: "arn:aws:iam::000000000000:user/eve"}
		f.Deny(denied.ARN, keystore.GenerateDataKey, true)
		f.Deny(denied.ARN, keystore.Decrypt, true)
		return healthy{f, &down}, keystoretest.Fixture{
			Key: key, OtherKey: other, Alias: "alias/photos",
			AliasARN:   "arn:aws:kms:us-east-1:000000000000:alias/photos",
			Missing:    "12345678-1234-1234-1234-123456789012",
			Asymmetric: f.AddAsymmetricKey(),
			Caller:     keystore.Caller{ARN: "arn:aws:iam::000000000000:user/alice"},
			Denied:     &denied,
			SetEnabled: func(_ *testing.T, keyID string, enabled bool) {
				state := keystore.StateDisabled
				if enabled {
					state = keystore.StateEnabled
				}
				f.SetState(keyID, state)
			},
			ScheduleDeletion: func(_ *testing.T, keyID string) { f.SetState(keyID, keystore.StatePendingDeletion) },
			SetDown:          func(_ *testing.T, v bool) { down.Store(v) },
		}
	})
}

// healthy lets Health see the outage, too.
type healthy struct {
	*keystoretest.Fake
	down *atomic.Bool
}

func (h healthy) Health(ctx context.Context) error {
	if h.down.Load() {
		return keystore.Errorf(keystore.Unavailable, "", "down")
	}
	return h.Fake.Health(ctx)
}
