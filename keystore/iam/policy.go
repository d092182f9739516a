package iam

import (
	"bytes"
	"encoding/json"
	"strings"

	"waxseal/keystore/strictjson"
)

// Kind is the kind of a policy's holder: it decides about Principal and Resource.
type Kind uint8

// The kinds of policies.
const (
	Resource Kind = iota // a bucket's or a key's: every statement names principals
	Identity             // a user's: no statement names any
)

// Options are the rules of a policy's service. The zero value is a resource policy of any service.
type Options struct {
	Kind     Kind
	MaxBytes int // 0: 128 KiB

	// ActionPrefixes are the services for actions ("s3", "kms"); nil allows all.
	ActionPrefixes []string

	// Resource, if set, reports whether a policy may name this resource.
	Resource func(string) bool

	// NoResource makes Resource optional in statements.
	NoResource bool

	// Federated allows identity providers as principals, in trust policies.
	Federated bool

	// Foreign, if set, is for a document from another directory. It maps an entry of Principal to a principal here: an
	// ARN, "*" for everybody, "" for nobody. NotPrincipal then means everybody.
	Foreign func(kind, name string) string
}

const defaultMaxBytes = 128 << 10

// MalformedError is the error of an invalid policy document. Message is for the client, in S3's MalformedPolicy or
// KMS's MalformedPolicyDocumentException.
type MalformedError struct{ Message string }

func (e *MalformedError) Error() string { return "iam: malformed policy: " + e.Message }

func malformed(message string) error { return &MalformedError{message} }

// Policy is a parsed policy. It does not change.
type Policy struct {
	Version    string
	ID         string
	statements []*Statement
	raw        []byte
	version    json.RawMessage // as it was written, or nil
	id         json.RawMessage
}

// Effect is a statement's effect, Allow or Deny.
type Effect bool

// The effects.
const (
	EffectDeny  Effect = false
	EffectAllow Effect = true
)

// Statement is a statement of a policy. Exported fields are for reading.
type Statement struct {
	Sid    string
	Effect Effect

	Actions, NotActions     []string
	Resources, NotResources []string

	raw           json.RawMessage
	principals    *principals // nil: none named
	notPrincipals bool
	actions       []pattern
	notActions    bool
	resources     []pattern
	notResources  bool
	conditions    []condition
}

// Raw returns the statement as it was written.
func (s *Statement) Raw() json.RawMessage { return bytes.Clone(s.raw) }

// Statements lists the statements in their order.
func (p *Policy) Statements() []*Statement { return p.statements }

// Document returns the policy: the parsed document byte for byte, or, for a part of a policy, the original text of
// its statements between version and id of the whole.
func (p *Policy) Document() []byte { return bytes.Clone(p.raw) }

// ParsePolicy reads a policy. An error is a *MalformedError.
func ParsePolicy(document []byte, o Options) (*Policy, error) {
	limit := o.MaxBytes
	if limit == 0 {
		limit = defaultMaxBytes
	}
	if len(document) > limit {
		return nil, malformed("Policy document exceeds the maximum size.")
	}
	if trimmed := bytes.TrimSpace(document); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, malformed("Policies must be valid JSON and the first byte must be '{'")
	}
	members, ok := strictjson.Object(document)
	if !ok {
		return nil, malformed("This policy contains invalid Json")
	}
	p := &Policy{Version: "2008-10-17", raw: bytes.Clone(document)}
	var statements json.RawMessage
	for _, m := range members {
		if m.Name == "ID" && o.Foreign != nil { // MinIO writes it so
			m.Name = "Id"
		}
		switch m.Name {
		case "Version":
			p.Version, ok = text(m.Value)
			p.version = m.Value
			if !ok || p.Version != "2012-10-17" && p.Version != "2008-10-17" {
				return nil, malformed("The policy must contain a valid version string")
			}
		case "Id":
			p.id = m.Value
			if p.ID, ok = text(m.Value); !ok {
				return nil, malformed("Invalid policy syntax.")
			}
		case "Statement":
			statements = m.Value
		default:
			return nil, malformed("Unknown field " + m.Name)
		}
	}
	if statements == nil {
		return nil, malformed("Missing required field Statement")
	}
	if err := p.parseStatements(statements, o); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) parseStatements(raw json.RawMessage, o Options) error {
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		list = nil
		if err := json.Unmarshal(raw, &list); err != nil {
			return malformed("Invalid policy syntax.")
		}
	}
	if len(list) == 0 {
		return malformed("Could not parse the policy: Statement is empty!")
	}
	sids := make(map[string]bool)
	for _, one := range list {
		s, err := parseStatement(one, p.Version == "2012-10-17", o)
		if err != nil {
			return err
		}
		if s.Sid != "" && sids[s.Sid] {
			return malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		sids[s.Sid] = true
		p.statements = append(p.statements, s)
	}
	return nil
}

// parser reads a statement.
type parser struct {
	s         *Statement
	o         Options
	variables bool // policy variables mean something
	effect    bool
}

func parseStatement(raw json.RawMessage, variables bool, o Options) (*Statement, error) {
	members, ok := strictjson.Object(raw)
	if !ok {
		return nil, malformed("Invalid policy syntax.")
	}
	p := parser{s: &Statement{raw: raw}, o: o, variables: variables}
	for _, m := range members {
		if err := p.element(m); err != nil {
			return nil, err
		}
	}
	return p.s, p.complete()
}

func (p *parser) element(m strictjson.Member) error {
	switch m.Name {
	case "Sid":
		sid, ok := text(m.Value)
		if !ok {
			return malformed("Invalid policy syntax.")
		}
		p.s.Sid = sid
		return nil
	case "Effect":
		return p.parseEffect(m.Value)
	case "Principal", "NotPrincipal":
		return p.parsePrincipal(m)
	case "Action", "NotAction":
		return p.parseActions(m)
	case "Resource", "NotResource":
		return p.parseResources(m)
	case "Condition":
		conditions, err := parseConditions(m.Value, p.variables)
		p.s.conditions = conditions
		return err
	}
	return malformed("Unknown field " + m.Name)
}

func (p *parser) parseEffect(raw json.RawMessage) error {
	effect, ok := text(raw)
	if !ok || effect != "Allow" && effect != "Deny" {
		return malformed("Invalid effect: " + strings.Trim(string(raw), `"`))
	}
	p.effect = true
	p.s.Effect = effect == "Allow"
	return nil
}

func (p *parser) parsePrincipal(m strictjson.Member) error {
	if p.o.Kind == Identity {
		return malformed("Policy document should not specify a principal.")
	}
	if p.s.principals != nil {
		return malformed("Statement has both Principal and NotPrincipal")
	}
	if p.o.Foreign != nil {
		list, err := parseForeign(m, p.o.Foreign)
		p.s.principals = list
		return err
	}
	list, err := parsePrincipals(m.Value, p.o.Federated)
	p.s.principals, p.s.notPrincipals = list, m.Name == "NotPrincipal"
	return err
}

func (p *parser) parseActions(m strictjson.Member) error {
	if p.s.actions != nil {
		return malformed("Statement has both Action and NotAction")
	}
	names, ok := texts(m.Value)
	if !ok || len(names) == 0 {
		return malformed("Policy has invalid action")
	}
	for _, name := range names {
		if !p.validAction(name) {
			return malformed("Policy has invalid action")
		}
		p.s.actions = append(p.s.actions, pattern{simple: wild(name)})
	}
	if m.Name == "Action" {
		p.s.Actions = names
	} else {
		p.s.NotActions, p.s.notActions = names, true
	}
	return nil
}

// validAction takes "*" and "service:name", both parts with wildcards.
func (p *parser) validAction(action string) bool {
	if action == "*" {
		return true
	}
	service, name, ok := strings.Cut(action, ":")
	if !ok || service == "" || name == "" || strings.ContainsFunc(name, notInAction) {
		return false
	}
	if p.o.ActionPrefixes == nil {
		return !strings.ContainsFunc(service, notInService)
	}
	for _, prefix := range p.o.ActionPrefixes {
		if strings.EqualFold(service, prefix) {
			return true
		}
	}
	return false
}

func notInAction(r rune) bool {
	return !(r == '*' || r == '?' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
}

func notInService(r rune) bool { return r != '-' && notInAction(r) }

func (p *parser) parseResources(m strictjson.Member) error {
	if p.s.resources != nil {
		return malformed("Statement has both Resource and NotResource")
	}
	names, ok := texts(m.Value)
	if !ok || len(names) == 0 {
		return malformed("Policy has invalid resource")
	}
	for _, name := range names {
		compiled, ok := compilePattern(name, true, p.variables)
		if !ok || name != "*" && !strings.HasPrefix(name, "arn:") || p.o.Resource != nil && !p.o.Resource(name) {
			return malformed("Policy has invalid resource")
		}
		p.s.resources = append(p.s.resources, compiled)
	}
	if m.Name == "Resource" {
		p.s.Resources = names
	} else {
		p.s.NotResources, p.s.notResources = names, true
	}
	return nil
}

// complete returns an error for a missing required element.
func (p *parser) complete() error {
	switch {
	case !p.effect:
		return malformed("Missing required field Effect")
	case p.o.Kind == Resource && p.s.principals == nil:
		return malformed("Missing required field Principal")
	case p.s.notPrincipals && p.s.Effect == EffectAllow:
		return malformed("Allow with NotPrincipal is not allowed.")
	case p.s.actions == nil:
		return malformed("Missing required field Action")
	case p.s.resources == nil && !p.o.NoResource:
		return malformed("Missing required field Resource")
	}
	return nil
}
