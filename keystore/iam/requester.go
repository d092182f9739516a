package iam

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// Requester is a proven identity: resolved once, at the check of a request's signature, and carried with the request to
// every decision. It never changes: if a user is changed or removed during a request, the whole request is judged by
// the earlier rights. No code looks a user up again by ARN. The zero Requester is anonymous and without rights.
type Requester struct {
	Name      string // of the user; of a session the session's own
	ARN       string
	AccountID string
	ID        string // unique: "AIDA...", "AROA...:session", an account's number for its root
	AccessKey string
	Root      bool
	Upstream  *Credentials // nil: waxseal's own towards the store
	Session   *Session     // nil for long-term credentials
	Rights    Rights

	revision string
}

// Session holds the additional facts of temporary credentials.
type Session struct {
	RoleARN  string // with the role's path
	RoleID   string
	RoleName string
	Issued   time.Time // aws:TokenIssueTime
	Expires  time.Time
	// Federated is the issuer of a web identity, without its scheme, for example "token.example.com"; else "".
	Federated string
	Audience  string
	Subject   string
}

// Rights are the policies of an identity. The zero Rights allow nothing.
type Rights struct {
	// Everything allows all actions of S3 and KMS. The configuration file's reader sets it for a user without a policy.
	// Nothing else turns a missing policy into a permission.
	Everything bool
	Policies   []*Policy // of the user, the user's groups, or the role
	// Session are the session policies. Any of them may allow a request, and without such an Allow the identity's
	// policies do not matter. Nil: the session is not limited.
	Session []*Policy
}

// Identify completes a requester: afterwards it has a revision and must not be changed.
func (id Requester) Identify() *Requester {
	id.revision = id.fingerprint()
	return &id
}

// RootOf returns the root user of an account.
func RootOf(account string) *Requester {
	return Requester{Name: "root", ARN: RootARN(account), AccountID: account, ID: account, Root: true}.Identify()
}

// Revision names an identity with all of its rights: equal revisions have equal rights. A cached authorization belongs
// to a revision, so a removed right ends with the next request.
func (id *Requester) Revision() string {
	if id == nil {
		return ""
	}
	return id.revision
}

func (id *Requester) fingerprint() string {
	sum := sha256.New()
	field := func(text []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text)))
		sum.Write(size[:])
		sum.Write(text)
	}
	for _, text := range []string{id.ARN, id.AccountID, id.ID, boolText(id.Root), boolText(id.Rights.Everything), boolText(id.Rights.Session != nil)} {
		field([]byte(text))
	}
	if id.Session != nil {
		field([]byte(id.Session.Issued.UTC().Format(time.RFC3339)))
	}
	for _, list := range [][]*Policy{id.Rights.Policies, id.Rights.Session} {
		field([]byte{byte(len(list) >> 8), byte(len(list))})
		for _, p := range list {
			field(p.raw)
		}
	}
	return string(sum.Sum(nil))
}

// Principal returns the identity for policy evaluation. The nil Requester is the anonymous principal.
func (id *Requester) Principal() Principal {
	if id == nil || id.ARN == "" {
		return Principal{Anonymous: true}
	}
	p := Principal{ARN: id.ARN, AccountID: id.AccountID, UserID: id.ID}
	if s := id.Session; s != nil {
		p.TokenIssued, p.Federated, p.Audience, p.Subject = s.Issued, s.Federated, s.Audience, s.Subject
	}
	return p
}

// Unlimited reports whether no policy of its own limits what the identity does with S3 and KMS.
func (id *Requester) Unlimited() bool {
	return id.Root || id.Rights.Everything && len(id.Rights.Policies) == 0 && id.Rights.Session == nil
}

// Own is the say of an identity's own policies about a request: see Judge.
type Own struct {
	Identity Decision // of the user's, groups' or role's policies
	Session  Decision // of the session policies; Allow without any
}

// Decide returns the say of the identity's own policies: NoMatch for nobody.
func (id *Requester) Decide(r *Request) Own {
	switch {
	case id == nil:
		return Own{}
	case id.Root:
		return Own{Allow, Allow}
	}
	own := Own{Identity: decideAny(id.Rights.Policies, r), Session: Allow}
	if own.Identity == NoMatch && id.Rights.Everything && !reserved(r.Action) && isData(r.Action) {
		own.Identity = Allow
	}
	if id.Rights.Session != nil {
		own.Session = decideAny(id.Rights.Session, r)
	}
	return own
}

// decideAny lets a Deny of any policy win, then an Allow of any.
func decideAny(policies []*Policy, r *Request) Decision {
	best := NoMatch
	for _, p := range policies {
		switch p.decideOwn(r) {
		case Deny:
			return Deny
		case Allow:
			best = Allow
		}
	}
	return best
}

// Decision returns the decision of the identity's own policies, for actions without a resource policy such as
// kms:CreateKey.
func (o Own) Decision() Decision {
	switch {
	case o.Denied():
		return Deny
	case o.Allowed():
		return Allow
	}
	return NoMatch
}

// Denied reports whether a policy of the identity denies the request.
func (o Own) Denied() bool { return o.Identity == Deny || o.Session == Deny }

// Allowed reports whether the identity's policies allow the request by themselves: the identity's own and, where there
// are session policies, those too.
func (o Own) Allowed() bool { return o.Identity == Allow && o.Session == Allow }

// Passes reports whether a permission from a resource's policy or a grant, naming the requester in the way by, is
// enough without the identity's own policies. In the same account a user's or session's own ARN and "*" are enough; a
// role's ARN is limited by the session policies of the role's sessions; an account's number leaves the decision to the
// account's policies.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
func (o Own) Passes(by Match) bool {
	switch by {
	case NoPrincipal:
		return false
	case ByAccount:
		return o.Allowed()
	case ByRole:
		return o.Session == Allow
	}
	return true
}

// Judge combines the say of an identity with that of a resource's policies, as AWS does: a Deny anywhere wins; in the
// same account either may allow, across accounts both must.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
func Judge(own Own, resource Result, sameAccount bool) Decision {
	switch {
	case own.Denied() || resource.Decision == Deny:
		return Deny
	case sameAccount && (own.Allowed() || resource.Decision == Allow && own.Passes(resource.By)),
		!sameAccount && own.Allowed() && resource.Decision == Allow:
		return Allow
	}
	return NoMatch
}

// reservedServices are services with actions that can make administrators. A statement allows such an action only if it
// names the service: "Action": "*" was written for data and keys, before there were users and a console here.
var reservedServices = []string{"iam:", "waxseal:"}

// reserved reports whether a statement must name the service of an action to allow it.
func reserved(action string) bool {
	for _, service := range reservedServices {
		if len(action) > len(service) && strings.EqualFold(action[:len(service)], service) {
			return true
		}
	}
	return false
}

// isData reports whether an action is of S3 or KMS.
func isData(action string) bool {
	return strings.HasPrefix(action, "s3:") || strings.HasPrefix(action, "kms:")
}

// decideOwn is Evaluate for an identity's own policy: an Allow of a reserved action must name its service.
func (p *Policy) decideOwn(r *Request) Decision {
	decision, _ := p.Evaluate(r)
	if decision != Allow || !reserved(r.Action) {
		return decision
	}
	named := *r
	named.named = true
	decision, _ = p.Evaluate(&named)
	return decision
}

// namesService reports whether a pattern of an action names the service of the action, as "iam:*" does and "*" and
// "i*:*" do not.
func namesService(pattern, action string) bool {
	service, _, _ := strings.Cut(action, ":")
	of, _, ok := strings.Cut(pattern, ":")
	return ok && strings.EqualFold(of, service)
}

// Credential is the secret of an access key, with its owner.
type Credential struct {
	Secret Secret
	Owner  *Requester
}

// Resolver resolves an access key, with the session token that came beside it or "", to a credential. Its errors are
// ErrUnknownKey, ErrInvalidToken, ErrExpiredToken and ErrUnavailable.
type Resolver interface {
	Resolve(accessKey, token string) (Credential, error)
}

// Errors of a Resolver.
var (
	ErrUnknownKey   = errors.New("iam: no such access key")
	ErrInvalidToken = errors.New("iam: the session token is not one for this access key")
	ErrExpiredToken = errors.New("iam: the session token has expired")
	// ErrUnavailable says that it is not known now who has an access key, or which rights. A client is to ask again.
	ErrUnavailable = errors.New("iam: users cannot be looked up now")
)
