package local

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"waxseal/keystore/state"
)

// twoReplicas returns two key services over the same state, each with its own clock.
func twoReplicas(t *testing.T) (a, b *rig) {
	t.Helper()
	store := state.NewMemory()
	join := func(name string) func(*Config) {
		return func(c *Config) {
			r, err := state.Join(t.Context(), store, name, slog.New(slog.DiscardHandler), time.Hour, keyPrefix)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := r.Leave(context.Background()); err != nil {
					t.Error(err)
				}
			})
			c.State, c.Replicas = store, r
		}
	}
	a = newRig(t, join("a"))
	b = newRig(t, join("b"), func(c *Config) { c.Secrets = a.root })
	b.root = a.root
	return a, b
}

// elsewhere records the changes reported to a replica.
type elsewhere struct {
	mu   sync.Mutex
	arns []string
}

func (e *elsewhere) hear(arn string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arns = append(e.arns, arn)
}

func (e *elsewhere) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	arns := e.arns
	e.arns = nil
	return arns
}

// TestChangesReachReplicas: a change of a key on a replica reaches the second replica before the change is answered,
// and the next request there uses it.
func TestChangesReachReplicas(t *testing.T) {
	a, b := twoReplicas(t)
	md := must(a.CreateKey(background, alice, &CreateKeyRequest{}))(t).KeyMetadata
	other := must(a.CreateKey(background, alice, &CreateKeyRequest{}))(t).KeyMetadata
	var heard elsewhere
	b.OnChangeElsewhere(heard.hear)
	grant := ""
	for _, step := range []struct {
		name   string
		change func() error
		arns   []string
	}{
		{"CreateAlias", func() error {
			_, err := a.CreateAlias(background, alice, &CreateAliasRequest{AliasName: "alias/x", TargetKeyId: md.KeyId})
			return err
		}, []string{md.Arn}},
		{"UpdateAlias", func() error {
			_, err := a.UpdateAlias(background, alice, &UpdateAliasRequest{AliasName: "alias/x", TargetKeyId: other.KeyId})
			return err
		}, []string{md.Arn, other.Arn}},
		{"DeleteAlias", func() error {
			_, err := a.DeleteAlias(background, alice, &DeleteAliasRequest{AliasName: "alias/x"})
			return err
		}, []string{other.Arn}},
		{"DisableKey", func() error { _, err := a.DisableKey(background, alice, &KeyRequest{md.KeyId}); return err }, []string{md.Arn}},
		{"EnableKey", func() error { _, err := a.EnableKey(background, alice, &KeyRequest{md.KeyId}); return err }, []string{md.Arn}},
		{"RotateKeyOnDemand", func() error {
			_, err := a.RotateKeyOnDemand(background, alice, &KeyRequest{md.KeyId})
			return err
		}, []string{md.Arn}},
		{"PutKeyPolicy", func() error {
			_, err := a.PutKeyPolicy(background, alice, &PutKeyPolicyRequest{KeyId: md.KeyId, Policy: defaultPolicy(testAccount)})
			return err
		}, []string{md.Arn}},
		{"CreateGrant", func() error {
			out, err := a.CreateGrant(background, alice, &CreateGrantRequest{KeyId: md.KeyId, GranteePrincipal: alice.ARN, Operations: []string{"Decrypt"}})
			if err == nil {
				grant = out.GrantId
			}
			return err
		}, []string{md.Arn}},
		{"RevokeGrant", func() error {
			_, err := a.RevokeGrant(background, alice, &RevokeGrantRequest{KeyId: md.KeyId, GrantId: grant})
			return err
		}, []string{md.Arn}},
		{"ScheduleKeyDeletion", func() error {
			_, err := a.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: md.KeyId})
			return err
		}, []string{md.Arn}},
	} {
		heard.take()
		if err := step.change(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		arns := heard.take()
		for _, want := range step.arns {
			if !slices.Contains(arns, want) {
				t.Errorf("%s: the other replica heard of %v, not of %s", step.name, arns, want)
			}
		}
	}
	if got := must(b.DescribeKey(background, alice, &DescribeKeyRequest{KeyId: md.KeyId}))(t).KeyMetadata.KeyState; got != "PendingDeletion" {
		t.Errorf("the other replica sees the key %s", got)
	}
}

// TestDeletionNeedsASecondLook (attack R1): a replica deletes no key when it opens the state, none by the wall clock
// alone, and none while the replicas' clocks differ.
func TestDeletionNeedsASecondLook(t *testing.T) {
	a, b := twoReplicas(t)
	id := must(a.CreateKey(background, alice, &CreateKeyRequest{}))(t).KeyMetadata.KeyId
	must(a.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: id, PendingWindowInDays: ptr(7)}))(t)
	there := func(when string, want bool) {
		t.Helper()
		_, err := a.read(background, testAccount, id)
		if (err == nil) != want {
			t.Errorf("%s: the key is there %t, want %t (%v)", when, err == nil, want, err)
		}
	}
	mono := time.Now()
	b.mono = func() time.Time { return mono }
	b.advance(8 * day)
	there("a clock 8 days ahead", true)
	b.advance(time.Minute)
	there("a minute later", true)
	mono = mono.Add(secondLook)
	b.advance(time.Minute)
	there("an hour later, by the clock that nobody can set", false)
}

// TestOpenDeletesNothing (attack R1): see above; the key was due before the replica began.
func TestOpenDeletesNothing(t *testing.T) {
	a, _ := twoReplicas(t)
	id := must(a.CreateKey(background, alice, &CreateKeyRequest{}))(t).KeyMetadata.KeyId
	must(a.ScheduleKeyDeletion(background, alice, &ScheduleKeyDeletionRequest{KeyId: id, PendingWindowInDays: ptr(7)}))(t)
	newRig(t, func(c *Config) {
		c.State, c.Secrets, c.Replicas = a.state, a.root, a.replicas
		c.Now = func() time.Time { return a.clock().Add(8 * day) }
	})
	if _, err := a.read(background, testAccount, id); err != nil {
		t.Errorf("opening the state has deleted the key: %v", err)
	}
}

// TestRootRotatesOnce (attack R19): replicas that find the root due at the same time rotate it once.
func TestRootRotatesOnce(t *testing.T) {
	a, b := twoReplicas(t)
	services := []*Service{a.Service, b.Service}
	for range 3 {
		c := newRig(t, func(cfg *Config) { cfg.State, cfg.Secrets, cfg.Replicas = a.state, a.root, a.replicas })
		c.turn(managedRotation*day + time.Hour)
		services = append(services, c.Service)
	}
	a.turn(managedRotation*day + time.Hour)
	b.turn(managedRotation*day + time.Hour)
	var wg sync.WaitGroup
	for _, s := range services {
		wg.Go(func() {
			if err := s.sweepRoot(background); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var r rootRecord
	if _, _, err := a.getJSON(background, rootKey, &r); err != nil || len(r.Versions) != 2 {
		t.Errorf("%d versions of the root, want 2, %v", len(r.Versions), err)
	}
}
