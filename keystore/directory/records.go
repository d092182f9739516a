// Package directory keeps the identities of waxseal's account. The users of the configuration file are read-only. The
// state holds users with their access keys, groups, roles, managed policies and OpenID Connect providers, as AWS IAM
// has them. The package resolves access keys and session tokens to requesters with their effective policies. It follows
// the state, so that every process over the same state sees a change.
package directory

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"
)

// Record holds the common fields of users, groups, roles and policies.
type Record struct {
	Name    string    `json:"name"`
	Path    string    `json:"path"`
	ID      string    `json:"id"` // random: a record made anew under an old name is a new identity
	Created time.Time `json:"created"`
}

// Policies are the policies of a user, group or role.
type Policies struct {
	Inline   map[string]string `json:"inline,omitempty"`   // name to document
	Attached []string          `json:"attached,omitempty"` // ARNs of managed policies
}

// User is a user of the state.
type User struct {
	Record
	Policies
	Keys   []AccessKey `json:"keys,omitempty"`
	Groups []string    `json:"groups,omitempty"` // names
}

// AccessKey is a long-term credential of a user.
type AccessKey struct {
	ID       string    `json:"id"`
	Secret   string    `json:"secret"`
	Inactive bool      `json:"inactive,omitempty"`
	Created  time.Time `json:"created"`
}

// String shows no secret.
func (k AccessKey) String() string { return k.ID }

// GoString shows no secret.
func (k AccessKey) GoString() string { return k.ID }

// Group is a group of users.
type Group struct {
	Record
	Policies
}

// Role is a role for sessions to assume.
type Role struct {
	Record
	Policies
	Trust       string `json:"trust"` // the trust policy's document
	Description string `json:"description,omitempty"`
	MaxSession  int    `json:"max_session"` // seconds
}

// Policy is a managed policy.
type Policy struct {
	Record
	Document    string `json:"document"`
	Description string `json:"description,omitempty"`
}

// Provider is an OpenID Connect provider.
type Provider struct {
	URL         string    `json:"url"` // without "https://", as its ARN has it
	ClientIDs   []string  `json:"client_ids,omitempty"`
	Thumbprints []string  `json:"thumbprints,omitempty"`
	Created     time.Time `json:"created"`
}

// Issuer returns the provider's name in tokens.
func (p *Provider) Issuer() string { return "https://" + p.URL }

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

var idEncoding = base32.NewEncoding(idLetters).WithPadding(base32.NoPadding)

// newID returns a unique id of IAM's form: a prefix of four letters, and 17 random letters.
func newID(prefix string) string { return prefix + randomLetters(17) }

// newKeyID returns an access key id of AWS's form: 20 characters.
func newKeyID(prefix string) string { return prefix + randomLetters(16) }

func randomLetters(n int) string {
	b := make([]byte, (n*5+7)/8)
	rand.Read(b) //nolint:errcheck // it never fails
	return idEncoding.EncodeToString(b)[:n]
}

// newSecret returns a secret access key: 40 characters.
func newSecret() string {
	b := make([]byte, 30)
	rand.Read(b) //nolint:errcheck // it never fails
	return base64Text(b)
}

// ARN returns the ARN of a record of a kind ("user", "role", ...).
func (r *Record) ARN(account, kind string) string {
	return "arn:aws:iam::" + account + ":" + kind + r.Path + r.Name
}

// lower returns a name in its form for uniqueness: IAM's names must differ in more than case.
func lower(name string) string { return strings.ToLower(name) }

func newRecord(name, path, idPrefix string, now time.Time) Record {
	return Record{Name: name, Path: path, ID: newID(idPrefix), Created: now.UTC().Truncate(time.Second)}
}

// NewUser returns a user without keys and policies, and so without rights.
func NewUser(name, path string, now time.Time) *User {
	return &User{Record: newRecord(name, path, "AIDA", now)}
}

// NewGroup returns a group without members and policies.
func NewGroup(name, path string, now time.Time) *Group {
	return &Group{Record: newRecord(name, path, "AGPA", now)}
}

// NewRole returns a role without policies.
func NewRole(name, path string, now time.Time) *Role {
	return &Role{Record: newRecord(name, path, "AROA", now)}
}

// NewPolicy returns a managed policy.
func NewPolicy(name, path, document string, now time.Time) *Policy {
	return &Policy{Record: newRecord(name, path, "ANPA", now), Document: document}
}

// NewAccessKey returns an active access key.
func NewAccessKey(now time.Time) AccessKey {
	return AccessKey{ID: newKeyID("AKIA"), Secret: newSecret(), Created: now.UTC().Truncate(time.Second)}
}

// Removable returns the step still needed before the holder of the policies may be removed, "" for none.
func (p Policies) Removable() string {
	switch {
	case len(p.Attached) > 0:
		return "detach all policies"
	case len(p.Inline) > 0:
		return "delete policies"
	}
	return ""
}
