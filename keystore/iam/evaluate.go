package iam

import (
	"strings"
	"time"
)

// Request is a request to authorize.
type Request struct {
	Principal  Principal
	Action     string // "s3:GetObject"
	Resource   string // an ARN
	Conditions Values // aws:SourceIp, s3:prefix, kms:ViaService, ...

	named bool // an Allow must name the action's service: see decideOwn
}

// Values are the condition keys of a request. Names are case-insensitive.
type Values map[string][]string

// Set gives a key its values; without values the request has the key without a value.
func (v Values) Set(key string, values ...string) { v[strings.ToLower(key)] = values }

// lower is the values with all names in lower case, as Set writes them: the same map, if it is not a literal.
func (v Values) lower() Values {
	for key := range v {
		if strings.ToLower(key) == key {
			continue
		}
		out := make(Values, len(v))
		for key, values := range v {
			out.Set(key, values...)
		}
		return out
	}
	return v
}

// values returns the values of a condition key, given in lower case: the caller's, or else the value derived from the
// principal.
func (r *Request) values(key string) []string {
	if values, ok := r.Conditions[key]; ok {
		return values
	}
	var value string
	switch key {
	case "aws:username":
		value, _ = r.Principal.username()
	case "aws:userid":
		value = r.Principal.UserID
	case "aws:principalarn":
		value = r.Principal.policyARN()
	case "aws:principalaccount":
		value = r.Principal.AccountID
	case "aws:principaltype":
		value = r.Principal.kind()
	case "aws:principalisawsservice":
		value = boolText(r.Principal.Service != "")
	case "aws:resourceaccount":
		value = accountOf(r.Resource)
	case "aws:tokenissuetime":
		if !r.Principal.TokenIssued.IsZero() {
			value = r.Principal.TokenIssued.UTC().Format(time.RFC3339)
		}
	case "aws:federatedprovider":
		value = r.Principal.Federated
	}
	if value == "" {
		return nil
	}
	return []string{value}
}

// accountOf returns the account in an ARN; ARNs of S3 have none.
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

// Decision is a policy's decision on a request.
type Decision uint8

// The decisions.
const (
	NoMatch Decision = iota // no statement applies: an implicit deny, unless another policy allows
	Allow
	Deny
)

func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "no match"
	}
}

// Result is a decision, its statement and the statement's way of naming the principal.
type Result struct {
	Decision  Decision
	Statement *Statement
	By        Match
}

// Evaluate decides about a request. A Deny wins over every Allow.
func (p *Policy) Evaluate(r *Request) (Decision, *Statement) {
	result := p.Decide(r)
	return result.Decision, result.Statement
}

// Decide is Evaluate with more detail: of several statements with Allow, it returns the statement with the most
// direct name of the principal. A key policy with an Allow ByAccount only leaves the decision to the account's own
// policies (https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html).
func (p *Policy) Decide(r *Request) Result {
	lowered := *r
	lowered.Conditions = r.Conditions.lower()
	r = &lowered
	var best Result
	for _, s := range p.statements {
		by := s.matches(r)
		if by == NoPrincipal {
			continue
		}
		if s.Effect == EffectDeny {
			return Result{Deny, s, by}
		}
		if by > best.By {
			best = Result{Allow, s, by}
		}
	}
	return best
}

// DecideAll is Decide for several policies of the same resource.
func DecideAll(policies []*Policy, r *Request) Result {
	var best Result
	for _, p := range policies {
		switch result := p.Decide(r); {
		case result.Decision == Deny:
			return result
		case result.By > best.By:
			best = result
		}
	}
	return best
}

// matches returns how a statement applies to a request, or NoPrincipal.
func (s *Statement) matches(r *Request) Match {
	by := s.matchPrincipal(r.Principal)
	if by == NoPrincipal || !s.matchesAction(r) || !s.matchesResource(r) {
		return NoPrincipal
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(r) {
			return NoPrincipal
		}
	}
	return by
}

func (s *Statement) matchesAction(r *Request) bool {
	action := []rune(r.Action)
	strict := r.named && s.Effect == EffectAllow
	for i, p := range s.actions {
		if glob(p.simple, action, true) && (!strict || s.notActions || namesService(s.Actions[i], r.Action)) {
			return !s.notActions
		}
	}
	return s.notActions && !strict
}

func (s *Statement) matchesResource(r *Request) bool {
	if s.resources == nil {
		return true
	}
	resource := []rune(r.Resource)
	for _, p := range s.resources {
		if p.matches(r, resource, false) {
			return !s.notResources
		}
	}
	return s.notResources
}
