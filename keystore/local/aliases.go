package local

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// aliasRecord is kms/alias/<account>/<name>. The key's record has the name too; a single transaction changes both.
type aliasRecord struct {
	Target  string    `json:"target"` // key id
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

const aliasPrefixMessage = `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`

// findAlias resolves an alias. alias/aws/s3 is made when it is first asked for.
func (c *call) findAlias(ctx context.Context, ref keyRef) (*key, error) {
	arn := aliasARN(orDefault(ref.region, c.s.region), ref.account, ref.alias)
	if ref.region != "" && ref.region != c.s.region {
		return nil, failf(codeNotFound, "Alias %s is not found.", arn)
	}
	if ref.alias == managedS3Alias && ref.account == c.caller.AccountID {
		return c.s.managedKey(ctx, ref.account)
	}
	var alias aliasRecord
	_, found, err := c.s.getJSON(ctx, aliasPath(ref.account, ref.alias), &alias)
	if err != nil {
		return nil, err
	}
	if !found {
		if ref.account != c.caller.AccountID {
			return nil, c.denied("kms:"+c.op, arn, deniedNoResource)
		}
		return nil, failf(codeNotFound, "Alias %s is not found.", arn)
	}
	k, err := c.s.load(ctx, ref.account, alias.Target)
	if errors.Is(err, errNoKey) { // deleted since the alias was read
		return nil, failf(codeNotFound, "Alias %s is not found.", arn)
	}
	return k, err
}

func (c *call) checkAliasName(name string) error {
	switch {
	case !strings.HasPrefix(name, aliasNamePrefix) || name == aliasNamePrefix:
		return invalid(aliasPrefixMessage)
	case strings.HasPrefix(name, reservedAliasNames):
		return failf(codeNotAuthorized, "")
	case strings.Contains(name, ":"): // the API's pattern has it, the service has not
		return invalid("%s contains invalid characters for an alias", name)
	}
	return nil
}

// refuseAlias refuses an alias where the key of an alias is expected.
func refuseAlias(target string) error {
	if strings.HasPrefix(target, aliasNamePrefix) || strings.Contains(target, ":"+aliasNamePrefix) {
		return invalid("Aliases must refer to keys. Not aliases")
	}
	return nil
}

// CreateAlias gives a key another name. Both the key and the alias must be allowed to the caller.
func (s *Service) CreateAlias(ctx context.Context, caller keystore.Caller, in *CreateAliasRequest) (*Empty, error) {
	return perform(ctx, s, caller, "CreateAlias", in, func(c *call) (*Empty, error) {
		if err := c.checkAliasName(in.AliasName); err != nil {
			return nil, err
		}
		if err := refuseAlias(in.TargetKeyId); err != nil {
			return nil, err
		}
		if err := c.allowAlias(in.AliasName); err != nil {
			return nil, err
		}
		_, err := c.change(ctx, in.TargetKeyId, access{}, func(e *edit) error {
			path := aliasPath(e.Account, in.AliasName)
			if e.Account != c.caller.AccountID {
				return c.denied("kms:CreateAlias", e.arn(), deniedNoResource)
			}
			if _, found, err := s.getJSON(ctx, path, &aliasRecord{}); err != nil || found {
				return orError(err, failf(codeAlreadyExists, "An alias with the name %s already exists", aliasARN(s.region, e.Account, in.AliasName)))
			}
			if err := s.addAlias(e, in.AliasName); err != nil {
				return err
			}
			e.conds = append(e.conds, state.Cond{Key: path})
			return e.put(path, aliasRecord{e.ID, c.now, c.now})
		})
		return &Empty{}, err
	})
}

func (s *Service) addAlias(e *edit, name string) error {
	if len(e.Aliases) >= s.limits.AliasesPerKey {
		return failf(codeLimitExceeded, "The number of aliases of %s has reached its limit of %d.", e.arn(), s.limits.AliasesPerKey)
	}
	e.Aliases = append(e.Aliases, name)
	return nil
}

// UpdateAlias points an alias at another key of the same type and usage.
func (s *Service) UpdateAlias(ctx context.Context, caller keystore.Caller, in *UpdateAliasRequest) (*Empty, error) {
	return perform(ctx, s, caller, "UpdateAlias", in, func(c *call) (*Empty, error) {
		if err := c.checkAliasName(in.AliasName); err != nil {
			return nil, err
		}
		if err := refuseAlias(in.TargetKeyId); err != nil {
			return nil, err
		}
		if err := c.allowAlias(in.AliasName); err != nil {
			return nil, err
		}
		_, err := c.change(ctx, in.TargetKeyId, access{}, func(e *edit) error {
			return c.retarget(ctx, e, in.AliasName)
		})
		return &Empty{}, err
	})
}

// retarget moves an alias to the key of an edit, in the same transaction out of the old key's record.
func (c *call) retarget(ctx context.Context, e *edit, name string) error {
	path := aliasPath(c.caller.AccountID, name)
	var alias aliasRecord
	revision, found, err := c.s.getJSON(ctx, path, &alias)
	if err != nil || !found {
		return orError(err, failf(codeNotFound, "Alias %s is not found.", aliasARN(c.s.region, c.caller.AccountID, name)))
	}
	old, err := c.s.load(ctx, c.caller.AccountID, alias.Target)
	if err != nil {
		return err
	}
	if err := c.authorize(old, old.ID, access{}); err != nil {
		return err
	}
	switch {
	case e.Account != old.Account:
		return c.denied("kms:UpdateAlias", e.arn(), deniedNoResource)
	case old.Usage != e.Usage || old.spec().family != e.spec().family:
		return invalid("Alias %s cannot be changed from a key with key spec %s and usage %s to one with key spec %s and usage %s.",
			name, old.Spec, old.Usage, e.Spec, e.Usage)
	}
	e.conds = append(e.conds, state.Cond{Key: path, Revision: revision})
	if old.ID != e.ID {
		if old.stale { // as in save
			return orError(c.s.expireKey(ctx, old), state.ErrConflict)
		}
		if err := c.s.addAlias(e, name); err != nil {
			return err
		}
		if err := e.dropAlias(old, name); err != nil {
			return err
		}
	}
	return e.put(path, aliasRecord{e.ID, alias.Created, c.now})
}

// dropAlias takes a name out of another key's record, as part of this edit.
func (e *edit) dropAlias(other *key, name string) error {
	r := other.clone()
	r.Aliases = slices.DeleteFunc(r.Aliases, func(a string) bool { return a == name })
	path := keyPath(r.Account, r.ID)
	e.conds = append(e.conds, state.Cond{Key: path, Revision: other.revision})
	e.others = append(e.others, r.arn())
	return e.put(path, r)
}

// DeleteAlias takes a name away; the key stays.
func (s *Service) DeleteAlias(ctx context.Context, caller keystore.Caller, in *DeleteAliasRequest) (*Empty, error) {
	return perform(ctx, s, caller, "DeleteAlias", in, func(c *call) (*Empty, error) {
		if err := c.checkAliasName(in.AliasName); err != nil {
			return nil, err
		}
		if err := c.allowAlias(in.AliasName); err != nil {
			return nil, err
		}
		return &Empty{}, retry(ctx, func() error { return c.deleteAlias(ctx, in.AliasName) })
	})
}

func (c *call) deleteAlias(ctx context.Context, name string) error {
	account := c.caller.AccountID
	path := aliasPath(account, name)
	var alias aliasRecord
	revision, found, err := c.s.getJSON(ctx, path, &alias)
	if err != nil || !found {
		return orError(err, failf(codeNotFound, "Alias %s is not found.", aliasARN(c.s.region, account, name)))
	}
	k, err := c.s.load(ctx, account, alias.Target)
	if errors.Is(err, errNoKey) {
		return state.ErrConflict // deleted just now, and the alias with it: look again
	}
	if err != nil {
		return err
	}
	if err := c.check(k, k.ID, access{}); err != nil {
		return err
	}
	e := &edit{record: k.clone(), conds: []state.Cond{{Key: path, Revision: revision}}}
	e.Aliases = slices.DeleteFunc(e.Aliases, func(a string) bool { return a == name })
	e.remove(path)
	return c.s.save(ctx, k, e)
}

// ListAliases lists the aliases of the caller's account, or of a single key.
func (s *Service) ListAliases(ctx context.Context, caller keystore.Caller, in *ListAliasesRequest) (*ListAliasesResponse, error) {
	return perform(ctx, s, caller, "ListAliases", in, func(c *call) (*ListAliasesResponse, error) {
		if err := c.allowAccount("kms:ListAliases", "*", nil); err != nil {
			return nil, err
		}
		p, err := openMarker("aliases", in.Marker, in.Limit, 50)
		if err != nil {
			return nil, err
		}
		if in.KeyId == "" {
			return s.listAliases(ctx, c.caller.AccountID, p)
		}
		k, err := c.find(ctx, in.KeyId, false)
		if err != nil {
			return nil, err
		}
		if k.Account != c.caller.AccountID { // another account's aliases, and whether the key exists, are private to that account
			return nil, c.missing(keyRef{region: k.Region, account: k.Account, id: k.ID})
		}
		return s.listAliasesOf(ctx, k, p)
	})
}

// listAliases reads a page of aliases, and an extra alias to see whether the page is the last.
func (s *Service) listAliases(ctx context.Context, account string, p page) (*ListAliasesResponse, error) {
	prefix := aliasPath(account, aliasNamePrefix)
	entries, err := s.state.Range(ctx, prefix, prefix+strings.TrimPrefix(p.after, aliasNamePrefix), p.limit+1)
	if err != nil {
		return nil, err
	}
	return s.aliasPage(account, entries, p)
}

// listAliasesOf reads the aliases named in the key's record.
func (s *Service) listAliasesOf(ctx context.Context, k *key, p page) (*ListAliasesResponse, error) {
	var entries []state.Entry
	for _, name := range slices.Sorted(slices.Values(k.Aliases)) {
		if name <= p.after || len(entries) > p.limit {
			continue
		}
		e, err := s.state.Get(ctx, aliasPath(k.Account, name))
		if errors.Is(err, state.ErrNotFound) { // deleted since the key was read
			continue
		}
		if err != nil {
			return nil, err
		}
		var alias aliasRecord
		if err := decodeJSON(e, &alias); err != nil {
			return nil, err
		}
		if alias.Target == k.ID {
			entries = append(entries, e)
		}
	}
	return s.aliasPage(k.Account, entries, p)
}

func (s *Service) aliasPage(account string, entries []state.Entry, p page) (*ListAliasesResponse, error) {
	var all []AliasListEntry
	for _, e := range entries {
		var alias aliasRecord
		if err := decodeJSON(e, &alias); err != nil {
			return nil, err
		}
		name := aliasNamePrefix + strings.TrimPrefix(e.Key, aliasPath(account, aliasNamePrefix))
		all = append(all, AliasListEntry{name, aliasARN(s.region, account, name), alias.Target, at(alias.Created), at(alias.Updated)})
	}
	out := new(ListAliasesResponse)
	out.Aliases, out.NextMarker = cut("aliases", p, all, func(a AliasListEntry) string { return a.AliasName })
	out.Truncated = out.NextMarker != ""
	return out, nil
}

// orError returns fault, or otherwise if fault is nil.
func orError(fault, otherwise error) error {
	if fault != nil {
		return fault
	}
	return otherwise
}
