package directory

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

// usePrefix is the prefix for the last uses of keys in the state. It lies outside the directory's prefix, because a use
// changes nothing in how requests are resolved.
const usePrefix = "iam-use/"

// useInterval is how long a use may be in memory only.
const useInterval = time.Minute

// Use is the last use of an access key.
type Use struct {
	When    time.Time `json:"when"`
	Service string    `json:"service"` // "s3"
	Region  string    `json:"region"`
}

// uses holds the uses not yet written to the state.
type uses struct {
	mu      sync.Mutex
	pending map[string]Use
}

// Used records a request with a valid signature as the last use of the requester's key.
func (d *Directory) Used(who *iam.Requester, service, region string) {
	if who == nil || who.Session != nil || who.Root {
		return
	}
	now := d.cfg.Now().UTC().Truncate(time.Second)
	d.uses.mu.Lock()
	defer d.uses.mu.Unlock()
	if d.uses.pending == nil {
		d.uses.pending = make(map[string]Use)
	}
	d.uses.pending[who.AccessKey] = Use{now, service, region}
}

// LastUse returns the last use of an access key; without any it is zero.
func (d *Directory) LastUse(ctx context.Context, accessKey string) (Use, error) {
	d.uses.mu.Lock()
	use, ok := d.uses.pending[accessKey]
	d.uses.mu.Unlock()
	if ok {
		return use, nil
	}
	e, err := d.cfg.State.Get(ctx, usePrefix+accessKey)
	if errors.Is(err, state.ErrNotFound) {
		return Use{}, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &use)
	}
	return use, err
}

// flushUses writes the pending uses to the state. After a failure they are tried again a minute later.
func (d *Directory) flushUses(ctx context.Context) {
	d.uses.mu.Lock()
	pending := d.uses.pending
	d.uses.pending = nil
	d.uses.mu.Unlock()
	known := map[string]bool{}
	for _, u := range d.Model().Users {
		for _, k := range u.Keys {
			known[k.ID] = true
		}
	}
	for key, use := range pending {
		if !known[key] {
			continue
		}
		if err := d.flushUse(ctx, key, use); err != nil {
			d.cfg.Log.Warn("the last use of an access key was not written", "access_key", key, "err", err)
			d.uses.keep(key, use)
		}
	}
}

func (d *Directory) flushUse(ctx context.Context, key string, use Use) error {
	value, err := json.Marshal(use)
	if err != nil {
		return err
	}
	_, err = d.cfg.State.Txn(ctx, nil, []state.Op{{Key: usePrefix + key, Value: value}})
	return err
}

func (u *uses) keep(key string, use Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = make(map[string]Use)
	}
	if _, newer := u.pending[key]; !newer {
		u.pending[key] = use
	}
}

// ForgetUse removes the last use of a deleted key.
func (m *Model) ForgetUse(key string) {
	m.changed = append(m.changed, state.Op{Key: usePrefix + key, Delete: true})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// PolicyByARN finds a managed policy.
func (m *Model) PolicyByARN(arn string) *Policy {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	p := m.Policies[lower(name)]
	if p == nil || !strings.HasSuffix(arn, ":policy"+p.Path+p.Name) {
		return nil
	}
	return p
}

// RoleByARN finds a role by its ARN.
func (m *Model) RoleByARN(account, arn string) *Role {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	r := m.Roles[lower(name)]
	if r == nil || r.ARN(account, "role") != arn {
		return nil
	}
	return r
}
