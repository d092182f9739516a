package local

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/state"
)

// CreateKey makes a customer managed key in the caller's account.
func (s *Service) CreateKey(ctx context.Context, caller keystore.Caller, in *CreateKeyRequest) (*CreateKeyResponse, error) {
	return perform(ctx, s, caller, "CreateKey", in, func(c *call) (*CreateKeyResponse, error) {
		r, err := s.newRecord(in, c)
		if err != nil {
			return nil, err
		}
		if err := c.allowCreate(in, r); err != nil {
			return nil, err
		}
		if err := c.checkPolicy(r, r.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
			return nil, err
		}
		if err := s.create(ctx, r); err != nil {
			return nil, err
		}
		c.touched(r)
		md := r.metadata()
		c.reply = map[string]any{"keyMetadata": lowerFields(md)}
		return &CreateKeyResponse{md}, nil
	})
}

// newRecord checks the request for a new key and returns the key's record.
func (s *Service) newRecord(in *CreateKeyRequest, c *call) (*record, error) {
	spec, usage, err := specAndUsage(in)
	if err != nil {
		return nil, err
	}
	origin := orDefault(in.Origin, originKMS)
	switch {
	case in.MultiRegion:
		return nil, failf(codeUnsupported, "Multi-Region keys are not supported by this key service.")
	case origin == "AWS_CLOUDHSM", origin == "EXTERNAL_KEY_STORE", in.CustomKeyStoreId != "", in.XksKeyId != "":
		return nil, failf(codeUnsupported, "Custom key stores are not supported by this key service.")
	}
	if err := s.checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	account := c.caller.AccountID
	r := &record{
		Version: recordVersion, ID: uuid.NewString(), Account: account, Region: s.region, Class: classCustomer,
		Spec: spec.name, Usage: usage, Origin: origin, Description: in.Description, State: keystore.StateEnabled,
		Created: c.now, Policy: orDefault(in.Policy, defaultPolicy(account)), Tags: in.Tags,
	}
	if origin == originExternal {
		r.State = keystore.StatePendingImport
	}
	return r, nil
}

func specAndUsage(in *CreateKeyRequest) (keySpec, string, error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return keySpec{}, "", invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	name := orDefault(orDefault(in.KeySpec, in.CustomerMasterKeySpec), specSymmetric)
	spec, refused, ok := findSpec(name)
	if refused {
		return keySpec{}, "", failf(codeUnsupported, "KeySpec %s is not supported by this key service.", name)
	}
	if !ok {
		return keySpec{}, "", invalid("KeySpec %s is unknown.", name)
	}
	usage := in.KeyUsage
	if usage == "" {
		if spec.family != familySymmetric {
			return keySpec{}, "", invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
		}
		usage = usageEncrypt
	}
	if _, ok := spec.algorithms[usage]; !ok {
		return keySpec{}, "", invalid("KeyUsage %s is not compatible with KeySpec %s", usage, name)
	}
	return spec, usage, nil
}

// addMaterial gives a new key its first material.
func (s *Service) addMaterial(r *record, secret []byte) error {
	m, err := s.sealMaterial(r, secret, material{State: materialCurrent, Created: r.Created})
	if err != nil {
		return err
	}
	r.Materials = append(r.Materials, m)
	return nil
}

// create stores a new key and counts it.
func (s *Service) create(ctx context.Context, r *record) error {
	if r.Origin != originKMS { // its material is to be imported
		return retry(ctx, func() error { return s.createOnce(ctx, r, nil) })
	}
	secret, err := newMaterial(r.spec()) // takes a while for RSA, so nobody is kept waiting for it
	if err != nil {
		return fmt.Errorf("generating %s: %w", r.Spec, err)
	}
	defer clear(secret)
	return s.sealAndStore(func() error {
		if err := s.addMaterial(r, secret); err != nil {
			return err
		}
		return retry(ctx, func() error { return s.createOnce(ctx, r, nil) })
	})
}

// createOnce writes a new key, unless the count of keys changed meanwhile (state.ErrConflict).
func (s *Service) createOnce(ctx context.Context, r *record, with *edit) error {
	e := edit{record: r}
	if with != nil {
		e = *with
	}
	defer s.lockCount(r.Account)()
	var count int
	countKey := countPrefix + r.Account
	revision, _, err := s.getJSON(ctx, countKey, &count)
	if err != nil {
		return err
	}
	if count >= s.limits.Keys && r.Class == classCustomer {
		return failf(codeLimitExceeded, "The number of KMS keys in account %s has reached its limit of %d.", r.Account, s.limits.Keys)
	}
	e.conds = append(e.conds, state.Cond{Key: countKey, Revision: revision})
	if err := e.put(countKey, count+1); err != nil {
		return err
	}
	return s.save(ctx, &key{record: r}, &e) // revision 0: a new key
}

// DescribeKey returns all metadata of a key, without policy and tags. A request for alias/aws/s3 makes the key.
func (s *Service) DescribeKey(ctx context.Context, caller keystore.Caller, in *DescribeKeyRequest) (*DescribeKeyResponse, error) {
	return perform(ctx, s, caller, "DescribeKey", in, func(c *call) (*DescribeKeyResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{aliases: true, tokens: in.GrantTokens})
		if err != nil {
			return nil, err
		}
		return &DescribeKeyResponse{k.metadata()}, nil
	})
}

// ListKeys lists the keys of the caller's account, including AWS managed keys, in the order of their ids.
func (s *Service) ListKeys(ctx context.Context, caller keystore.Caller, in *ListKeysRequest) (*ListKeysResponse, error) {
	return perform(ctx, s, caller, "ListKeys", in, func(c *call) (*ListKeysResponse, error) {
		account := c.caller.AccountID
		if err := c.allowAccount("kms:ListKeys", "*", nil); err != nil {
			return nil, err
		}
		p, err := openMarker("keys", in.Marker, in.Limit, 100)
		if err != nil {
			return nil, err
		}
		prefix := keyPrefix + account + "/"
		entries, err := s.state.Range(ctx, prefix, prefix+p.after, p.limit+1)
		if err != nil {
			return nil, err
		}
		out := &ListKeysResponse{Keys: []KeyListEntry{}}
		for _, e := range entries {
			if len(out.Keys) == p.limit {
				out.Truncated = true
				out.NextMarker = nextMarker("keys", out.Keys[p.limit-1].KeyId)
				break
			}
			id := strings.TrimPrefix(e.Key, prefix)
			out.Keys = append(out.Keys, KeyListEntry{KeyId: id, KeyArn: keyARN(s.region, account, id)})
		}
		return out, nil
	})
}

// EnableKey makes a disabled key usable again.
func (s *Service) EnableKey(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*Empty, error) {
	return s.simpleChange(ctx, caller, "EnableKey", in, in.KeyId, func(_ *call, e *edit) error {
		e.State = keystore.StateEnabled
		return nil
	})
}

// DisableKey stops every use of a key; its ciphertexts stay valid for a later EnableKey.
func (s *Service) DisableKey(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*Empty, error) {
	return s.simpleChange(ctx, caller, "DisableKey", in, in.KeyId, func(_ *call, e *edit) error {
		e.State = keystore.StateDisabled
		return nil
	})
}

// UpdateKeyDescription replaces a key's description.
func (s *Service) UpdateKeyDescription(ctx context.Context, caller keystore.Caller, in *UpdateKeyDescriptionRequest) (*Empty, error) {
	return s.simpleChange(ctx, caller, "UpdateKeyDescription", in, in.KeyId, func(_ *call, e *edit) error {
		e.Description = in.Description
		return nil
	})
}

// simpleChange is an operation with a change to a customer managed key and an empty response.
func (s *Service) simpleChange(ctx context.Context, caller keystore.Caller, op string, in any, keyID string, change func(*call, *edit) error) (*Empty, error) {
	return perform(ctx, s, caller, op, in, func(c *call) (*Empty, error) {
		_, err := c.change(ctx, keyID, access{}, func(e *edit) error { return change(c, e) })
		return &Empty{}, err
	})
}

const (
	minDeletionWindow = 7
	maxDeletionWindow = 30
	day               = 24 * time.Hour
)

// ScheduleKeyDeletion puts a key out of use at once and deletes it at the end of the window, for ever.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, caller keystore.Caller, in *ScheduleKeyDeletionRequest) (*ScheduleKeyDeletionResponse, error) {
	return perform(ctx, s, caller, "ScheduleKeyDeletion", in, func(c *call) (*ScheduleKeyDeletionResponse, error) {
		window := maxDeletionWindow
		if in.PendingWindowInDays != nil {
			window = *in.PendingWindowInDays
		}
		if window < minDeletionWindow || window > maxDeletionWindow {
			return nil, invalid("PendingWindowInDays must be between %d and %d (inclusive)", minDeletionWindow, maxDeletionWindow)
		}
		facts := facts{"kms:ScheduleKeyDeletionPendingWindowInDays": {strconv.Itoa(window)}}
		e, err := c.change(ctx, in.KeyId, access{facts: facts}, func(e *edit) error {
			if err := s.checkKept(ctx, e.arn()); err != nil {
				return err
			}
			e.State = keystore.StatePendingDeletion
			e.DeletionDate = c.now.Add(time.Duration(window) * day)
			return nil
		})
		if err != nil {
			return nil, err
		}
		c.reply["deletionDate"] = e.DeletionDate.UTC().Format("Jan 2, 2006, 3:04:05 PM")
		c.reply["keyState"], c.reply["pendingWindowInDays"] = e.State, window
		return &ScheduleKeyDeletionResponse{e.arn(), at(e.DeletionDate), e.State, window}, nil
	})
}

// checkKept refuses the deletion of a key kept by the operator's guard.
func (s *Service) checkKept(ctx context.Context, arn string) error {
	if s.kept == nil {
		return nil
	}
	why, err := s.kept(ctx, arn)
	if err != nil {
		return err
	}
	if why != "" {
		return failf(codeInvalidState, "%s is not scheduled for deletion: %s.", arn, why)
	}
	return nil
}

// CancelKeyDeletion cancels a scheduled deletion. The key is then disabled; a key without its imported material waits
// for an import again.
func (s *Service) CancelKeyDeletion(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*KeyResponse, error) {
	return perform(ctx, s, caller, "CancelKeyDeletion", in, func(c *call) (*KeyResponse, error) {
		e, err := c.change(ctx, in.KeyId, access{}, func(e *edit) error {
			e.State = keystore.StateDisabled
			if !e.complete() {
				e.State = keystore.StatePendingImport
			}
			e.DeletionDate = time.Time{}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return &KeyResponse{e.arn()}, nil
	})
}

// KeepKey is CancelKeyDeletion by an operator with access to the state: the key's policy may admit no identity of the
// operator. The record names the service.
func (s *Service) KeepKey(ctx context.Context, account, keyID string) error {
	_, err := s.CancelKeyDeletion(ctx, keystore.Caller{AccountID: account, Service: true}, &KeyRequest{KeyId: keyID})
	return err
}

func orDefault(s, preset string) string {
	if s == "" {
		return preset
	}
	return s
}
