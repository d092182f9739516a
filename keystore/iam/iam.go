// Package iam knows users and evaluates IAM JSON policies: identity policies of users, bucket policies, and the key
// policies of KMS keys. Its only state is a replaceable directory of users; evaluation is pure.
//
// The grammar and the evaluation follow
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html and
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html. The caller combines the
// decisions of several policies (a key policy, a user's policy, grants): the rules differ between services.
package iam

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Secret is a secret key, hidden from every print verb, encoder and logger. Call Reveal only where the key is used.
type Secret struct {
	text *string // a pointer: for a verb of the wrong type fmt bypasses Format and prints the fields
}

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

const redacted = "[secret]"

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// Format writes a placeholder for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) } //nolint:errcheck // fmt.State cannot report it

// MarshalText returns a placeholder, for JSON, YAML and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credentials are an access key and its secret.
type Credentials struct {
	AccessKey string
	Secret    Secret
}

// User is a signer of requests.
type User struct {
	Name      string
	ARN       string
	AccountID string
	AccessKey string
	Secret    Secret
	Policy    *Policy // nil: nothing is allowed, unless Root or Everything says otherwise
	Root      bool
	// Everything allows all actions of S3 and KMS: the configuration's reader sets it for a user without a policy.
	// Nothing else turns a missing policy into a permission.
	Everything bool
	Upstream   *Credentials // nil: waxseal's own towards the store
}

// Requester returns the user as the signer of requests.
func (u *User) Requester() *Requester {
	id := Requester{
		Name: u.Name, ARN: u.ARN, AccountID: u.AccountID, ID: u.ID(), AccessKey: u.AccessKey, Root: u.Root, Upstream: u.Upstream,
		Rights: Rights{Everything: u.Everything},
	}
	if u.Policy != nil {
		id.Rights.Policies = []*Policy{u.Policy}
	}
	return id.Identify()
}

// UserARN returns the ARN of a user of this name.
func UserARN(account, name string) string { return "arn:aws:iam::" + account + ":user/" + name }

// RootARN returns an account's root ARN, the principal for the whole account.
func RootARN(account string) string { return "arn:aws:iam::" + account + ":root" }

// ID returns the user's unique id, as aws:userid and CloudTrail's principalId show it: the account's number for the root
// user, AIDA and 17 characters drawn from the ARN for users, AROA for roles. A session has its role's and its own name:
// AROAEXAMPLEEXAMPLE123:session.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func (u *User) ID() string {
	if u.Root {
		return u.AccountID
	}
	if _, name, ok := strings.Cut(u.ARN, ":federated-user/"); ok {
		return u.AccountID + ":" + name
	}
	prefix, session := "AIDA", ""
	if _, name, ok := strings.Cut(u.ARN, ":assumed-role/"); ok {
		_, session, _ = strings.Cut(name, "/")
		session = ":" + session
	}
	role := RoleOf(u.ARN)
	if strings.Contains(role, ":role/") {
		prefix = "AROA"
	}
	sum := sha256.Sum256([]byte(role))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17] + session
}

// Principal is the sender of a request.
type Principal struct {
	ARN       string
	AccountID string
	UserID    string
	Anonymous bool
	Service   string // a service with a request of its own, e.g. "logging.s3.amazonaws.com"

	TokenIssued time.Time // of temporary credentials; else zero
	Federated   string    // the issuer of a web identity; else ""
	Audience    string
	Subject     string

	Provider string // the ARN of an identity provider, for a bearer of its token who wants to assume a role
}

// RoleOf returns the ARN of the role of a session or role ARN, without the role's path, absent in a session's ARN:
// for arn:aws:sts::1:assumed-role/R/S and for arn:aws:iam::1:role/path/R it is arn:aws:iam::1:role/R. Any other ARN
// is returned unchanged.
func RoleOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return arn
	}
	kind, name, _ := strings.Cut(parts[5], "/")
	switch {
	case parts[2] == "sts" && kind == "assumed-role":
		name, _, _ = strings.Cut(name, "/")
	case parts[2] == "iam" && kind == "role":
		name = name[strings.LastIndexByte(name, '/')+1:]
	default:
		return arn
	}
	return strings.Join([]string{parts[0], parts[1], "iam", "", parts[4], "role/" + name}, ":")
}

// session reports whether the principal is a session of a role.
func (p Principal) session() bool { return strings.Contains(p.ARN, ":assumed-role/") }

// Is reports whether an ARN names the principal: its own ARN or, for a session, its role's
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles).
func (p Principal) Is(arn string) bool {
	return arn == p.ARN || p.session() && strings.Contains(arn, ":role/") && RoleOf(arn) == RoleOf(p.ARN)
}

// NamedBy returns how an ARN names the principal: Exactly, ByRole, or not at all.
func (p Principal) NamedBy(arn string) Match {
	switch {
	case p.Anonymous:
		return NoPrincipal
	case arn == p.ARN:
		return Exactly
	case p.Is(arn):
		return ByRole
	}
	return NoPrincipal
}

// policyARN returns aws:PrincipalArn: for a session the role's
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalarn).
func (p Principal) policyARN() string {
	if p.session() {
		return RoleOf(p.ARN)
	}
	return p.ARN
}

// kind returns aws:PrincipalType
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable).
func (p Principal) kind() string {
	switch {
	case p.Anonymous:
		return "Anonymous"
	case p.Service != "":
		return ""
	case p.session(), strings.Contains(p.ARN, ":role/"):
		return "AssumedRole"
	case strings.Contains(p.ARN, ":federated-user/"):
		return "FederatedUser"
	case p.ARN == RootARN(p.AccountID):
		return "Account"
	}
	return "User"
}

// username returns aws:username: the part after the last slash of a user's ARN.
func (p Principal) username() (string, bool) {
	_, resource, ok := strings.Cut(p.ARN, ":user/")
	if !ok {
		return "", false
	}
	return resource[strings.LastIndexByte(resource, '/')+1:], true
}

// Directory finds identities by access key and ARN. It may be used, and replaced, by many goroutines.
type Directory struct {
	now atomic.Pointer[contents]
}

// Contents are the complete contents of a directory.
type Contents struct {
	Users       []User                // of the configuration file
	Principals  map[string]string     // the ARNs of other users and of roles, to their unique ids
	Credentials map[string]Credential // of other users, by access key
	// Session resolves access keys without a user, so temporary keys. Nil: there are none.
	Session func(accessKey, token string) (Credential, error)
}

type contents struct {
	Contents
	byKey map[string]Credential
	byARN map[string]*User
}

// NewDirectory returns a directory of these users. Two users may not share an access key or an ARN.
func NewDirectory(users []User) (*Directory, error) {
	d := new(Directory)
	if err := d.Replace(users); err != nil {
		return nil, err
	}
	return d, nil
}

// Replace replaces all contents by users in one step. On an error the earlier contents stay.
func (d *Directory) Replace(users []User) error { return d.Set(Contents{Users: users}) }

// Set replaces all contents in one step. On an error the earlier contents stay.
func (d *Directory) Set(c Contents) error {
	index := &contents{c, make(map[string]Credential, len(c.Users)+len(c.Credentials)), make(map[string]*User, len(c.Users))}
	index.Users = slices.Clone(c.Users)
	for i := range index.Users {
		if err := index.add(&index.Users[i]); err != nil {
			return err
		}
	}
	for key, credential := range c.Credentials {
		if index.byKey[key].Owner != nil {
			return fmt.Errorf("iam: users %q and %q have the same access key", index.byKey[key].Owner.Name, credential.Owner.Name)
		}
		index.byKey[key] = credential
	}
	d.now.Store(index)
	return nil
}

func (c *contents) add(u *User) error {
	switch {
	case u.AccessKey == "" || u.Secret.Reveal() == "":
		return fmt.Errorf("iam: user %q has no access key or no secret key", u.Name)
	case u.ARN == "":
		return fmt.Errorf("iam: user %q has no ARN", u.Name)
	case c.byKey[u.AccessKey].Owner != nil:
		return fmt.Errorf("iam: users %q and %q have the same access key", c.byKey[u.AccessKey].Owner.Name, u.Name)
	case c.byARN[u.ARN] != nil:
		return fmt.Errorf("iam: users %q and %q have the same ARN %s", c.byARN[u.ARN].Name, u.Name, u.ARN)
	}
	c.byKey[u.AccessKey], c.byARN[u.ARN] = Credential{u.Secret, u.Requester()}, u
	return nil
}

// Resolve implements Resolver. No user has a session token.
func (d *Directory) Resolve(accessKey, token string) (Credential, error) {
	now := d.now.Load()
	c, ok := now.byKey[accessKey]
	switch {
	case ok && token != "":
		return Credential{}, ErrInvalidToken
	case ok:
		return c, nil
	case now.Session != nil:
		return now.Session(accessKey, token)
	case token != "":
		return Credential{}, ErrInvalidToken
	}
	return Credential{}, ErrUnknownKey
}

// PrincipalID returns the unique id of the user or role of an ARN. A role's ARN may have any path.
func (d *Directory) PrincipalID(arn string) (id string, ok bool) {
	now := d.now.Load()
	if u := now.byARN[arn]; u != nil {
		return u.ID(), true
	}
	if id, ok = now.Principals[arn]; ok {
		return id, true
	}
	role := RoleOf(arn)
	if !strings.Contains(role, ":role/") {
		return "", false
	}
	for other, id := range now.Principals {
		if RoleOf(other) == role {
			return id, true
		}
	}
	for i := range now.Users {
		if RoleOf(now.Users[i].ARN) == role {
			id, _, _ := strings.Cut(now.Users[i].ID(), ":")
			return id, true
		}
	}
	return "", false
}

// HasID reports whether a user has a unique id.
func (d *Directory) HasID(id string) bool {
	now := d.now.Load()
	if slices.ContainsFunc(now.Users, func(u User) bool { return u.ID() == id }) {
		return true
	}
	for _, other := range now.Principals {
		if other == id {
			return true
		}
	}
	return false
}

// Users lists the users of the configuration file in their order. They must not be changed.
func (d *Directory) Users() []User { return d.now.Load().Users }

// Shared reports whether a user without credentials at the store exists or may come: waxseal's own credentials stand
// for all such users.
func (d *Directory) Shared() bool {
	now := d.now.Load()
	return now.Session != nil || slices.ContainsFunc(now.Users, func(u User) bool { return u.Upstream == nil })
}
