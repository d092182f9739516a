package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"waxseal/keystore/state"
)

// At its start the key service carries out deletions that fell due before. In a backup that can be a deletion that
// nobody could cancel any more, so restore requires the operator to decide.
const (
	cancelDeletions = "cancel"
	keepDeletions   = "keep"
)

// deletionNotice is the shortest time between a restore and the deletion of a restored key.
const deletionNotice = 24 * time.Hour

// embeddedKeys is the prefix of the embedded key service's keys.
const embeddedKeys = "kms/key/"

// dueKey is a key to be deleted at the start or within deletionNotice.
type dueKey struct {
	ID           string    `json:"id"`
	Account      string    `json:"account"`
	Region       string    `json:"region"`
	DeletionDate time.Time `json:"deletion_date"`
}

func (k dueKey) String() string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", k.Region, k.Account, k.ID)
}

func checkDeletions(deletions string) error {
	switch deletions {
	case "", cancelDeletions, keepDeletions:
		return nil
	}
	return fmt.Errorf("--deletions: %q is neither %s nor %s", deletions, cancelDeletions, keepDeletions)
}

// settleDeletions refuses a state with due deletions, unless deletions says how to treat them.
func settleDeletions(ctx context.Context, c *Config, scratch dataDir, deletions string) error {
	var due []dueKey
	err := withState(ctx, c, scratch, scratch, func(p *App) (err error) {
		due, err = dueDeletions(ctx, p.state, time.Now().Add(deletionNotice))
		return err
	})
	if err != nil || len(due) == 0 || deletions == keepDeletions {
		return err
	}
	if deletions == "" {
		names := make([]string, len(due))
		for i, k := range due {
			names[i] = k.String()
		}
		return fmt.Errorf("--deletions: waiting periods in this backup are over, or will be within a day, and these KMS keys would be deleted for ever once it is served: %s: say cancel to have them back, disabled, or keep to let them go",
			strings.Join(names, ", "))
	}
	// The changes are recorded in the data directory, where the records stay.
	return withState(ctx, c, scratch, dataDir(c.DataDir), func(p *App) error {
		for _, k := range due {
			if err := p.KeyService.KeepKey(ctx, k.Account, k.ID); err != nil {
				return fmt.Errorf("--deletions: %s: %w", k, err)
			}
		}
		return nil
	})
}

func dueDeletions(ctx context.Context, s state.Store, by time.Time) ([]dueKey, error) {
	records, err := s.Range(ctx, embeddedKeys, "", 0)
	if err != nil {
		return nil, err
	}
	var due []dueKey
	for _, r := range records {
		var k dueKey
		if err := json.Unmarshal(r.Value, &k); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Key, err)
		}
		if !k.DeletionDate.IsZero() && k.DeletionDate.Before(by) {
			due = append(due, k)
		}
	}
	return due, nil
}
