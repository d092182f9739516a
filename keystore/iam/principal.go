package iam

import (
	"encoding/json"
	"slices"
	"strings"

	"waxseal/keystore/strictjson"
)

// principals are the entries of a Principal or NotPrincipal element
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
type principals struct {
	anyone     bool
	arns       []string
	accounts   []string // by number, also where the root's ARN was written
	services   []string
	canonicals []string
	federated  []string // ARNs of identity providers
}

// Match is the kind of Principal entry that makes a statement apply, from the weakest to the strongest.
type Match uint8

// The ways to match a principal.
const (
	NoPrincipal Match = iota
	ByAccount         // the account was named: the account's own policies decide
	ByRole            // the policy names the role of a session: the session's policies limit the permission
	ByAnyone          // "*"
	ByService         // the service was named
	Exactly           // the user, role or session itself was named
)

func parsePrincipals(raw json.RawMessage, federated bool) (*principals, error) {
	p := new(principals)
	if s, ok := text(raw); ok {
		if s != "*" {
			return nil, malformed("Invalid principal in policy")
		}
		p.anyone = true
		return p, nil
	}
	members, ok := strictjson.Object(raw)
	if !ok || len(members) == 0 {
		return nil, malformed("Invalid policy syntax.")
	}
	for _, m := range members {
		values, ok := texts(m.Value)
		if !ok || len(values) == 0 || !p.add(m.Name, values, federated) {
			return nil, malformed("Invalid principal in policy")
		}
	}
	return p, nil
}

// parseForeign reads the principals of another directory, which stores also write as a name or a list of names.
func parseForeign(m strictjson.Member, whom func(kind, name string) string) (*principals, error) {
	p := &principals{anyone: m.Name == "NotPrincipal"}
	kinds, ok := strictjson.Object(m.Value)
	if !ok {
		kinds = []strictjson.Member{{Name: "AWS", Value: m.Value}}
	}
	for _, kind := range kinds {
		names, ok := texts(kind.Value)
		if !ok {
			return nil, malformed("Invalid principal in policy")
		}
		for _, name := range names {
			switch arn := whom(kind.Name, name); arn {
			case "*":
				p.anyone = true
			case "":
			default:
				p.arns = append(p.arns, arn)
			}
		}
	}
	return p, nil
}

func (p *principals) add(kind string, values []string, federated bool) bool {
	switch kind {
	case "AWS":
		for _, value := range values {
			if !p.addAWS(value) {
				return false
			}
		}
	case "Service":
		p.services = append(p.services, values...)
	case "CanonicalUser":
		p.canonicals = append(p.canonicals, values...)
	case "Federated":
		if !federated || slices.ContainsFunc(values, func(arn string) bool { return Provider(arn) == "" || strings.ContainsAny(arn, "*?$") }) {
			return false
		}
		p.federated = append(p.federated, values...)
	default:
		return false
	}
	return true
}

// addAWS takes "*", an account's number, an account's root ARN, and the ARN of a user or role. Wildcards inside an
// ARN are not allowed in a Principal.
func (p *principals) addAWS(value string) bool {
	if value == "*" {
		p.anyone = true
		return true
	}
	if !strings.HasPrefix(value, "arn:") {
		if len(value) != 12 || strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
			return false
		}
		p.accounts = append(p.accounts, value)
		return true
	}
	parts := strings.SplitN(value, ":", 6)
	if len(parts) != 6 || parts[2] != "iam" && parts[2] != "sts" || parts[5] == "" || strings.ContainsAny(value, "*?") {
		return false
	}
	if value == RootARN(parts[4]) { // of another partition it is no account here
		p.accounts = append(p.accounts, parts[4])
		return true
	}
	p.arns = append(p.arns, value)
	return true
}

// match returns the strongest entry for a principal.
func (p *principals) match(who Principal) Match {
	switch {
	case who.Service != "":
		for _, service := range p.services {
			if strings.EqualFold(service, who.Service) {
				return ByService
			}
		}
	case who.Provider != "":
		if slices.Contains(p.federated, who.Provider) {
			return Exactly
		}
	case !who.Anonymous:
		if p.names(who) {
			return Exactly
		}
	}
	if p.anyone {
		return ByAnyone
	}
	if who.Service == "" && !who.Anonymous && who.Provider == "" && slices.ContainsFunc(p.arns, who.Is) {
		return ByRole
	}
	if who.Service == "" && !who.Anonymous && who.Provider == "" && who.AccountID != "" {
		for _, account := range p.accounts {
			if account == who.AccountID {
				return ByAccount
			}
		}
	}
	return NoPrincipal
}

// names reports whether an entry means this principal alone, and not its session's role. The root's ARN does so for
// the root user.
func (p *principals) names(who Principal) bool {
	for _, arn := range p.arns {
		if arn == who.ARN {
			return true
		}
	}
	for _, id := range p.canonicals {
		if who.UserID != "" && id == who.UserID {
			return true
		}
	}
	for _, account := range p.accounts {
		if who.ARN == RootARN(account) {
			return true
		}
	}
	return false
}

// excludes reports whether a NotPrincipal element excludes this principal. An account's entry excludes only its root
// user, and a role's entry not its sessions: AWS's examples list users and sessions beside them.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
func (p *principals) excludes(who Principal) bool {
	return p.anyone || p.names(who) || p.match(who) == ByService
}

// matchPrincipal returns the strongest match of a statement's principals. A statement of an identity policy always
// applies to the policy's holder.
func (s *Statement) matchPrincipal(who Principal) Match {
	switch {
	case s.principals == nil:
		return Exactly
	case !s.notPrincipals:
		return s.principals.match(who)
	case s.principals.excludes(who):
		return NoPrincipal
	}
	return ByAnyone
}
