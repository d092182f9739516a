package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"waxseal/keystore"
	"waxseal/keystore/iam"
)

// ListGrants lists the grants of a key.
func (s *Service) ListGrants(ctx context.Context, caller keystore.Caller, in *ListGrantsRequest) (*ListGrantsResponse, error) {
	return perform(ctx, s, caller, "ListGrants", in, func(c *call) (*ListGrantsResponse, error) {
		if err := refuseServices(map[string]string{"GranteeServicePrincipal": in.GranteeServicePrincipal}); err != nil {
			return nil, err
		}
		k, err := c.use(ctx, in.KeyId, access{facts: facts{"kms:GrantIsForAWSResource": {boolText(caller.ViaService != "")}}})
		if err != nil {
			return nil, err
		}
		var found []*grantRecord
		for _, g := range k.grants.byID {
			if (in.GrantId == "" || g.ID == in.GrantId) && (in.GranteePrincipal == "" || g.Grantee == in.GranteePrincipal) {
				found = append(found, g)
			}
		}
		return listGrants(in.Marker, in.Limit, found)
	})
}

// ListRetirableGrants lists the grants with a given retiring principal, in all keys of all accounts.
func (s *Service) ListRetirableGrants(ctx context.Context, caller keystore.Caller, in *ListRetirableGrantsRequest) (*ListGrantsResponse, error) {
	return perform(ctx, s, caller, "ListRetirableGrants", in, func(c *call) (*ListGrantsResponse, error) {
		if err := refuseServices(map[string]string{"RetiringServicePrincipal": in.RetiringServicePrincipal}); err != nil {
			return nil, err
		}
		if err := c.checkRetiring(in.RetiringPrincipal); err != nil {
			return nil, err
		}
		if err := c.allowAccount("kms:ListRetirableGrants", in.RetiringPrincipal, nil); err != nil {
			return nil, err
		}
		p, err := openMarker("retirable", in.Marker, in.Limit, 50)
		if err != nil {
			return nil, err
		}
		return s.listRetirable(ctx, in.RetiringPrincipal, p)
	})
}

// checkRetiring refuses a principal of another account, and a service: their grants are not for the caller to see.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_ListRetirableGrants.html#API_ListRetirableGrants_RequestParameters
func (c *call) checkRetiring(principal string) error {
	parts := strings.Split(principal, ":")
	switch {
	case !iam.ValidPrincipal(principal):
		return failf(codeInvalidArn, "ARN does not refer to a valid principal: %s", principal)
	case len(parts) < 6:
		return failf(codeInvalidArn, "You must specify a principal in your AWS account: %s", principal)
	case parts[4] != c.caller.AccountID:
		return c.denied("kms:ListRetirableGrants", principal, deniedNoResource)
	}
	return nil
}

// listRetirable reads on from the marker, in the order of keys, until the page is full.
func (s *Service) listRetirable(ctx context.Context, principal string, p page) (*ListGrantsResponse, error) {
	quoted, err := json.Marshal(principal)
	if err != nil {
		return nil, err
	}
	out := &ListGrantsResponse{Grants: []GrantListEntry{}}
	after, last := grantPrefix+p.after, ""
	for {
		entries, err := s.state.Range(ctx, grantPrefix, after, sweepPage)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			after = e.Key
			if !bytes.Contains(e.Value, quoted) { // most grants name a different principal, and need no decoding
				continue
			}
			var g grantRecord
			if err := decodeJSON(e, &g); err != nil {
				return nil, err
			}
			if g.Retiring != principal {
				continue
			}
			if len(out.Grants) == p.limit {
				out.NextMarker, out.Truncated = nextMarker("retirable", last), true
				return out, nil
			}
			out.Grants = append(out.Grants, g.entry())
			last = strings.TrimPrefix(e.Key, grantPrefix)
		}
		if len(entries) < sweepPage {
			return out, nil
		}
	}
}

func listGrants(marker string, limit *int, grants []*grantRecord) (*ListGrantsResponse, error) {
	p, err := openMarker("grants", marker, limit, 50)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(grants, func(a, b *grantRecord) int { return cmp.Compare(a.ID, b.ID) })
	shown, next := cut("grants", p, grants, func(g *grantRecord) string { return g.ID })
	out := &ListGrantsResponse{Grants: []GrantListEntry{}, NextMarker: next, Truncated: next != ""}
	for _, g := range shown {
		out.Grants = append(out.Grants, g.entry())
	}
	return out, nil
}
