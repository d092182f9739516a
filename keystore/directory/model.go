package directory

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"waxseal/keystore/state"
)

// Keys of the state. Every change also writes revisionKey, on the condition that revisionKey has not changed since the
// read. So the premises of a change still hold when it is made: for example, that a group to delete has no members.
const (
	prefix         = "iam/"
	revisionKey    = prefix + "revision"
	userPrefix     = prefix + "user/"
	groupPrefix    = prefix + "group/"
	rolePrefix     = prefix + "role/"
	policyPrefix   = prefix + "policy/"
	providerPrefix = prefix + "provider/"
	tokenPrefix    = prefix + "token-key/"
)

// Model is the directory's state at a revision. It is read-only, except for the copy passed to a change.
type Model struct {
	Users     map[string]*User // by lower-case name, like the next three fields
	Groups    map[string]*Group
	Roles     map[string]*Role
	Policies  map[string]*Policy
	Providers map[string]*Provider // by URL

	ring     map[string]*tokenKey
	revision int64
	changed  []state.Op
	failed   error
}

func newModel() *Model {
	return &Model{Users: map[string]*User{}, Groups: map[string]*Group{}, Roles: map[string]*Role{}, Policies: map[string]*Policy{},
		Providers: map[string]*Provider{}, ring: map[string]*tokenKey{}}
}

// readModel makes a model of the state's entries.
func readModel(entries []state.Entry) (*Model, error) {
	m := newModel()
	for _, e := range entries {
		if e.Key == revisionKey {
			m.revision = e.Revision
			continue
		}
		if err := m.read(e); err != nil {
			return nil, fmt.Errorf("directory: %s: %w", e.Key, err)
		}
	}
	return m, nil
}

func (m *Model) read(e state.Entry) error {
	var err error
	switch kind, name := cutKey(e.Key); kind {
	case userPrefix:
		m.Users[name], err = decode[User](e.Value)
	case groupPrefix:
		m.Groups[name], err = decode[Group](e.Value)
	case rolePrefix:
		m.Roles[name], err = decode[Role](e.Value)
	case policyPrefix:
		m.Policies[name], err = decode[Policy](e.Value)
	case providerPrefix:
		m.Providers[name], err = decode[Provider](e.Value)
	case tokenPrefix:
		m.ring[name], err = decode[tokenKey](e.Value)
	default:
		err = fmt.Errorf("a record of a kind that this version does not know")
	}
	return err
}

func cutKey(key string) (kind, name string) {
	i := strings.IndexByte(key[len(prefix):], '/')
	if i < 0 {
		return key, ""
	}
	return key[:len(prefix)+i+1], key[len(prefix)+i+1:]
}

func decode[T any](value []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(value, v)
}

// put adds a record to the change. The record must not belong to the model as read: see edit.
func (m *Model) put(key string, record any) {
	value, err := json.Marshal(record)
	if err != nil {
		m.failed = err
		return
	}
	m.changed = append(m.changed, state.Op{Key: key, Value: value})
}

func (m *Model) remove(key string) { m.changed = append(m.changed, state.Op{Key: key, Delete: true}) }

// PutUser adds or replaces a user.
func (m *Model) PutUser(u *User) { m.put(userPrefix+lower(u.Name), u) }

// RemoveUser removes a user.
func (m *Model) RemoveUser(u *User) { m.remove(userPrefix + lower(u.Name)) }

// PutGroup adds or replaces a group.
func (m *Model) PutGroup(g *Group) { m.put(groupPrefix+lower(g.Name), g) }

// RemoveGroup removes a group.
func (m *Model) RemoveGroup(g *Group) { m.remove(groupPrefix + lower(g.Name)) }

// PutRole adds or replaces a role.
func (m *Model) PutRole(r *Role) { m.put(rolePrefix+lower(r.Name), r) }

// RemoveRole removes a role.
func (m *Model) RemoveRole(r *Role) { m.remove(rolePrefix + lower(r.Name)) }

// PutPolicy adds or replaces a managed policy.
func (m *Model) PutPolicy(p *Policy) { m.put(policyPrefix+lower(p.Name), p) }

// RemovePolicy removes a managed policy.
func (m *Model) RemovePolicy(p *Policy) { m.remove(policyPrefix + lower(p.Name)) }

// PutProvider adds or replaces a provider.
func (m *Model) PutProvider(p *Provider) { m.put(providerPrefix+p.URL, p) }

// RemoveProvider removes a provider.
func (m *Model) RemoveProvider(p *Provider) { m.remove(providerPrefix + p.URL) }

// Clone copies policies, for a change.
func (p Policies) Clone() Policies {
	return Policies{Inline: maps.Clone(p.Inline), Attached: slices.Clone(p.Attached)}
}

// Clone copies a user, for a change.
func (u *User) Clone() *User {
	c := *u
	c.Policies, c.Keys, c.Groups = u.Policies.Clone(), slices.Clone(u.Keys), slices.Clone(u.Groups)
	return &c
}

// Clone copies a group, for a change.
func (g *Group) Clone() *Group {
	c := *g
	c.Policies = g.Policies.Clone()
	return &c
}

// Clone copies a role, for a change.
func (r *Role) Clone() *Role {
	c := *r
	c.Policies = r.Policies.Clone()
	return &c
}

// Clone copies a provider, for a change.
func (p *Provider) Clone() *Provider {
	c := *p
	c.ClientIDs, c.Thumbprints = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints)
	return &c
}
