package local

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// KeySummary is a key as an overview of many keys shows it.
type KeySummary struct {
	ID, ARN      string
	Aliases      []string
	Description  string
	State        string
	Spec, Usage  string
	Managed      bool // AWS managed: its life cycle is not its users' business
	Created      time.Time
	DeletionDate time.Time // zero: none is scheduled
	LastUse      time.Time // zero: never
	LastUseFor   string    // the operation
}

// Summaries returns at most limit keys of an account with ids greater than after, in order; limit 0 returns all. It is
// for the operator's overview and no operation of the API: it asks no policy and leaves no audit record.
func (s *Service) Summaries(ctx context.Context, account, after string, limit int) ([]KeySummary, error) {
	prefix := keyPrefix + account + "/"
	entries, err := s.state.Range(ctx, prefix, prefix+after, limit)
	if err != nil {
		return nil, err
	}
	uses, err := s.lastUses(ctx, len(entries) > usesAtOnce)
	if err != nil {
		return nil, err
	}
	all := make([]KeySummary, len(entries))
	for i, e := range entries {
		r, err := decodeRecord(e.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		use, found := uses[r.ID]
		if uses == nil {
			if use, found, err = s.lastUseOf(ctx, r.ID); err != nil {
				return nil, err
			}
		}
		all[i] = r.summary()
		if found {
			all[i].LastUse, all[i].LastUseFor = use.Time, use.Operation
		}
	}
	return all, nil
}

func (r *record) summary() KeySummary {
	return KeySummary{ID: r.ID, ARN: r.arn(), Aliases: r.Aliases, Description: r.Description, State: r.State, Spec: r.Spec, Usage: r.Usage,
		Managed: r.Class != classCustomer, Created: r.Created, DeletionDate: r.DeletionDate}
}

// usesAtOnce is how many keys are looked up one by one before reading the uses of all keys is the lesser work.
const usesAtOnce = 200

// lastUses returns the last use of every key when all are wanted, else nil.
func (s *Service) lastUses(ctx context.Context, all bool) (map[string]lastUse, error) {
	if !all {
		return nil, nil
	}
	entries, err := s.state.Range(ctx, usagePrefix, "", 0)
	if err != nil {
		return nil, err
	}
	uses := make(map[string]lastUse, len(entries))
	for _, e := range entries {
		var use lastUse
		if err := json.Unmarshal(e.Value, &use); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		uses[strings.TrimPrefix(e.Key, usagePrefix)] = use
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	for id, use := range s.usage.uses {
		if use.Time.After(uses[id].Time) {
			uses[id] = use
		}
	}
	return uses, nil
}
