package local

import (
	"context"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// RevokeGrant ends a grant, by the key's owner.
func (s *Service) RevokeGrant(ctx context.Context, caller keystore.Caller, in *RevokeGrantRequest) (*Empty, error) {
	return perform(ctx, s, caller, "RevokeGrant", in, func(c *call) (*Empty, error) {
		a := access{facts: facts{"kms:GrantIsForAWSResource": {boolText(caller.ViaService != "")}}}
		k, err := c.changeGrants(ctx, in.KeyId, a, func(k *key, e *edit) error { return e.dropGrant(k, in.GrantId, in.DryRun) })
		if err == nil {
			c.reply = map[string]any{"keyId": k.arn()}
		}
		return &Empty{}, err
	})
}

func (e *edit) dropGrant(k *key, grantID string, dryRun bool) error {
	if k.grants.byID[grantID] == nil {
		return failf(codeNotFound, "Grant ID %s not found", grantID)
	}
	if dryRun {
		return errDryRun()
	}
	e.Grants--
	e.remove(grantPath(k.ID, grantID))
	return nil
}

// RetireGrant ends a grant. mayRetire decides who may.
func (s *Service) RetireGrant(ctx context.Context, caller keystore.Caller, in *RetireGrantRequest) (*Empty, error) {
	return perform(ctx, s, caller, "RetireGrant", in, func(c *call) (*Empty, error) {
		keyID, grantID, err := retireTarget(in)
		if err != nil {
			return nil, err
		}
		err = retry(ctx, func() error {
			k, err := c.find(ctx, keyID, false)
			if err != nil {
				return err
			}
			c.touched(k.record)
			if err := c.mayRetire(k, keyID, k.grants.byID[grantID]); err != nil {
				return err
			}
			e := &edit{record: k.clone()}
			if err := e.dropGrant(k, grantID, in.DryRun); err != nil {
				return err
			}
			return s.save(ctx, k, e)
		})
		return &Empty{}, err
	})
}

// mayRetire authorizes RetireGrant. Permission comes with the grant: it belongs to the retiring principal, to a grantee
// with the operation RetireGrant, and to the accounts of the key and of the grant's creator. Users of the key's
// account, and of an account named as retiring principal, may retire the grant if their own policies allow it. Identity
// policies may also deny it; a key policy has no say
// (https://docs.aws.amazon.com/kms/latest/developerguide/grant-delete.html). Only the key's account learns that a grant
// does not exist.
func (c *call) mayRetire(k *key, given string, g *grantRecord) error {
	if c.caller.Service {
		return nil
	}
	who := c.principal()
	req := &iam.Request{
		Principal: who, Action: "kms:RetireGrant", Resource: k.arn(), Conditions: c.conditions(k.record, given, access{}),
	}
	account := iam.RootARN(c.caller.AccountID)
	own := account == iam.RootARN(k.Account) || g != nil && account == g.Retiring
	switch by := c.caller.Requester.Decide(req); {
	case by.Denied():
		return c.denied(req.Action, req.Resource, deniedIdentity)
	case own && (by.Allowed() || who.ARN == account):
		return nil
	case g != nil && who.ARN == iam.RootARN(g.Issuer):
		return nil
	case g != nil && (by.Passes(who.NamedBy(g.Retiring)) && sameID(g.RetiringID, who) ||
		by.Passes(who.NamedBy(g.Grantee)) && sameID(g.GranteeID, who) && has(g.Operations, "RetireGrant")):
		return nil
	case own:
		return c.denied(req.Action, req.Resource, deniedNoIdentity)
	}
	return c.denied(req.Action, req.Resource, deniedNoResource)
}

func retireTarget(in *RetireGrantRequest) (keyID, grantID string, err error) {
	switch {
	case in.GrantToken != "" && in.KeyId == "" && in.GrantId == "":
		account, id, grant, err := parseToken(in.GrantToken)
		if err != nil {
			return "", "", err
		}
		return "arn:aws:kms::" + account + ":key/" + id, grant, nil
	case in.GrantToken == "" && in.KeyId != "" && in.GrantId != "":
		return in.KeyId, in.GrantId, nil
	}
	return "", "", invalid("Please specify either a grant token or both a key ID and a grant ID.")
}
