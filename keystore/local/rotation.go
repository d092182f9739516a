package local

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"waxseal/keystore"
)

const (
	presetRotationDays = 365
	managedRotation    = 365 // days; AWS managed keys and the root of SSE-S3
)

// rotatable returns an error unless a key can rotate automatically: a symmetric key with material made here.
func rotatable(r *record) error {
	if !r.symmetric() {
		return failf(codeUnsupported, "")
	}
	return ownMaterial(r)
}

// ownMaterial returns an error unless a key's material was made here: only such a key has a rotation status.
func ownMaterial(r *record) error {
	if r.Origin != originKMS {
		return failf(codeUnsupported, "%s origin is %s which is not valid for this operation.", r.arn(), r.Origin)
	}
	return nil
}

// EnableKeyRotation makes a key get new material at the end of each period.
func (s *Service) EnableKeyRotation(ctx context.Context, caller keystore.Caller, in *EnableKeyRotationRequest) (*Empty, error) {
	days := presetRotationDays
	if in.RotationPeriodInDays != nil {
		days = *in.RotationPeriodInDays
	}
	return perform(ctx, s, caller, "EnableKeyRotation", in, func(c *call) (*Empty, error) {
		if days < 90 || days > 2560 {
			return nil, invalid("RotationPeriodInDays must be between 90 and 2560 (inclusive)")
		}
		a := access{fit: rotatable, facts: facts{"kms:RotationPeriodInDays": {strconv.Itoa(days)}}}
		_, err := c.change(ctx, in.KeyId, a, func(e *edit) error {
			if e.RotationDays != days { // the period counts from now, but saying the same again does not put it off
				e.RotationDays, e.NextRotation = days, c.now.Add(time.Duration(days)*day)
			}
			return nil
		})
		return &Empty{}, err
	})
}

// DisableKeyRotation ends automatic rotation. The present material stays. For a key of a kind that never rotates it
// does nothing.
func (s *Service) DisableKeyRotation(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*Empty, error) {
	return perform(ctx, s, caller, "DisableKeyRotation", in, func(c *call) (*Empty, error) {
		_, err := c.change(ctx, in.KeyId, access{fit: ownMaterial}, func(e *edit) error {
			e.RotationDays, e.NextRotation = 0, time.Time{}
			return nil
		})
		return &Empty{}, err
	})
}

// GetKeyRotationStatus returns whether and when a key rotates automatically. A key pending deletion does not rotate
// until its deletion is cancelled. Asymmetric and HMAC keys never do: their answer is false and no error, because
// Terraform and similar tools ask it of every key.
func (s *Service) GetKeyRotationStatus(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*GetKeyRotationStatusResponse, error) {
	return perform(ctx, s, caller, "GetKeyRotationStatus", in, func(c *call) (*GetKeyRotationStatusResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{fit: ownMaterial})
		if err != nil {
			return nil, err
		}
		out := &GetKeyRotationStatusResponse{KeyId: k.ID}
		if k.RotationDays > 0 && k.State != keystore.StatePendingDeletion {
			out.KeyRotationEnabled, out.RotationPeriodInDays, out.NextRotationDate = true, k.RotationDays, at(k.NextRotation)
		}
		return out, nil
	})
}

// RotateKeyOnDemand gives a key new current material at once: fresh material, or the pending imported material. The
// schedule of automatic rotation is unchanged.
func (s *Service) RotateKeyOnDemand(ctx context.Context, caller keystore.Caller, in *KeyRequest) (*KeyResponse, error) {
	return perform(ctx, s, caller, "RotateKeyOnDemand", in, func(c *call) (*KeyResponse, error) {
		var e *edit
		err := s.sealAndStore(func() (err error) {
			e, err = c.change(ctx, in.KeyId, access{}, c.rotateOnDemand)
			return err
		})
		if err != nil {
			return nil, err
		}
		c.extra["keyMaterialId"] = e.current().ID
		return &KeyResponse{e.arn()}, nil
	})
}

func (c *call) rotateOnDemand(e *edit) error {
	if !e.symmetric() {
		return failf(codeUnsupported, "")
	}
	if e.OnDemandRotations >= c.s.limits.OnDemandRotation {
		return failf(codeLimitExceeded, "The on-demand rotations limit has been reached for the given keyId. "+
			"No more on-demand rotations can be performed for this key: %s", e.arn())
	}
	e.OnDemandRotations++
	if e.Origin == originExternal {
		return e.promotePending(c.now)
	}
	return c.s.rotate(e.record, c.now, rotationOnDemand)
}

// rotate adds fresh material to a record and makes it current.
func (s *Service) rotate(r *record, now time.Time, kind string) error {
	secret, err := newMaterial(r.spec())
	if err != nil {
		return err
	}
	defer clear(secret)
	m, err := s.sealMaterial(r, secret, material{State: materialCurrent, Created: now, RotationDate: now, RotationType: kind})
	if err != nil {
		return err
	}
	if old := r.current(); old != nil {
		old.State = materialNonCurrent
	}
	r.Materials = append(r.Materials, m)
	return nil
}

func (r *record) promotePending(now time.Time) error {
	next := r.pending()
	if next == nil || next.Sealed == nil {
		return failf(codeInvalidState, "No available key material pending rotation for the key: %s.", r.arn())
	}
	if old := r.current(); old != nil {
		old.State = materialNonCurrent
	}
	next.State, next.RotationDate, next.RotationType = materialCurrent, now, rotationOnDemand
	return nil
}

// ListKeyRotations lists the rotations of a key, or all its material, oldest first.
func (s *Service) ListKeyRotations(ctx context.Context, caller keystore.Caller, in *ListKeyRotationsRequest) (*ListKeyRotationsResponse, error) {
	return perform(ctx, s, caller, "ListKeyRotations", in, func(c *call) (*ListKeyRotationsResponse, error) {
		fit := func(r *record) error {
			if !r.symmetric() {
				return failf(codeUnsupported, "")
			}
			return nil
		}
		k, err := c.use(ctx, in.KeyId, access{fit: fit})
		if err != nil {
			return nil, err
		}
		p, err := openMarker("rotations", in.Marker, in.Limit, 100)
		if err != nil {
			return nil, err
		}
		type numbered struct {
			number string
			RotationsListEntry
		}
		var all []numbered
		for i, m := range k.Materials {
			if in.IncludeKeyMaterial == "ALL_KEY_MATERIAL" || !m.RotationDate.IsZero() {
				all = append(all, numbered{fmt.Sprintf("%08d", i+1), k.rotationEntry(m)})
			}
		}
		shown, next := cut("rotations", p, all, func(n numbered) string { return n.number })
		out := &ListKeyRotationsResponse{Rotations: []RotationsListEntry{}, NextMarker: next, Truncated: next != ""}
		for _, n := range shown {
			out.Rotations = append(out.Rotations, n.RotationsListEntry)
		}
		return out, nil
	})
}

func (r *record) rotationEntry(m material) RotationsListEntry {
	entry := RotationsListEntry{
		KeyId: r.ID, KeyMaterialId: m.ID, KeyMaterialState: m.State,
		RotationDate: at(m.RotationDate), RotationType: m.RotationType,
	}
	if r.Origin == originExternal {
		entry.KeyMaterialDescription = m.Description
		entry.ImportState = pendingImport
		if m.Sealed != nil {
			entry.ImportState, entry.ExpirationModel, entry.ValidTo = imported, m.Expiration, at(m.ValidTo)
		}
	}
	return entry
}

// dropMaterial removes the secret of a material. The id stays if the material has encrypted data: the material can be
// imported again, and until then the key is unusable.
func (r *record) dropMaterial(m *material) {
	if m.State == materialPending {
		id := m.ID // m points into the slice about to move
		r.Materials = slices.DeleteFunc(r.Materials, func(o material) bool { return o.ID == id })
		return
	}
	m.Sealed, m.Expiration, m.ValidTo = nil, "", time.Time{}
	if r.State != keystore.StatePendingDeletion {
		r.State = keystore.StatePendingImport
	}
}
