package local

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// managedKey returns the AWS managed key alias/aws/s3 of an account, made now if this is the first use of it.
func (s *Service) managedKey(ctx context.Context, account string) (*key, error) {
	var k *key
	err := retry(ctx, func() error {
		var alias aliasRecord
		_, found, err := s.getJSON(ctx, aliasPath(account, managedS3Alias), &alias)
		if err != nil {
			return err
		}
		if found {
			k, err = s.load(ctx, account, alias.Target)
			return err
		}
		if err := s.createManaged(ctx, account); err != nil && !errors.Is(err, state.ErrConflict) {
			return err
		}
		return state.ErrConflict // made, by us or by another: read it
	})
	return k, err
}

func (s *Service) createManaged(ctx context.Context, account string) error {
	now := s.now().UTC()
	r := &record{
		Version: recordVersion, ID: uuid.NewString(), Account: account, Region: s.region, Class: classManaged,
		Spec: specSymmetric, Usage: usageEncrypt, Origin: originKMS, State: keystore.StateEnabled, Created: now,
		Description: "Default key that protects my S3 objects when no other key is defined",
		Policy:      managedPolicy(account, s.region), Aliases: []string{managedS3Alias},
		RotationDays: managedRotation, NextRotation: now.Add(managedRotation * day),
	}
	secret, err := newMaterial(r.spec())
	if err != nil {
		return err
	}
	defer clear(secret)
	return s.sealAndStore(func() error {
		if err := s.addMaterial(r, secret); err != nil {
			return err
		}
		e := &edit{record: r, conds: []state.Cond{{Key: aliasPath(account, managedS3Alias)}}}
		if err := e.put(aliasPath(account, managedS3Alias), aliasRecord{r.ID, now, now}); err != nil {
			return err
		}
		if err := s.announce(e, "CreateKey", now, nil); err != nil {
			return err
		}
		return s.createOnce(ctx, r, e)
	})
}
