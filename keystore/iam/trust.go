package iam

import (
	"slices"
	"strings"
)

// trustKeys are the condition keys of requests to assume a role, beside the keys of a web identity.
var trustKeys = NewKeys("sts:ExternalId", "sts:RoleSessionName")

// ParseTrust reads a role's trust policy: the principals that may assume the role
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_update-role-trust-policy.html). An identity provider's
// permission must be bound to subjects: otherwise every user of the provider could assume the role.
func ParseTrust(document []byte) (*Policy, error) {
	p, err := ParsePolicy(document, Options{Kind: Resource, NoResource: true, ActionPrefixes: []string{"sts"}, Federated: true})
	if err != nil {
		return nil, err
	}
	for _, s := range p.statements {
		switch {
		case s.resources != nil:
			return nil, malformed("Has prohibited field Resource")
		case s.Effect == EffectAllow && len(s.principals.federated) > 0 && !s.bindsSubjects():
			return nil, malformed("A statement that allows a Federated principal needs a condition StringEquals or StringLike on " +
				Provider(s.principals.federated[0]) + ":sub, with values that do not begin with a wildcard")
		}
		if key := s.VoidKey((*Statement).tellsTrust); key != "" {
			return nil, malformed("waxseal does not support the condition key " + key + " in a trust policy")
		}
	}
	return p, nil
}

// Provider returns the URL of an OpenID Connect provider's ARN, without the scheme, as its condition keys begin.
func Provider(arn string) string {
	_, url, _ := strings.Cut(arn, ":oidc-provider/")
	return url
}

// Federated lists the ARNs of the identity providers in the statements.
func (p *Policy) Federated() []string {
	var all []string
	for _, s := range p.statements {
		all = append(all, s.principals.federated...)
	}
	return all
}

// bindsSubjects reports whether a statement is bound to subjects of each of its providers.
func (s *Statement) bindsSubjects() bool {
	return !slices.ContainsFunc(s.principals.federated, func(arn string) bool {
		return !slices.ContainsFunc(s.conditions, func(c condition) bool {
			return c.key == strings.ToLower(Provider(arn))+":sub" && c.binds()
		})
	})
}

// binds reports whether a condition holds only for values with a given beginning.
func (c *condition) binds() bool {
	o := c.operator
	if o.negated || o.ifExists || o.set == forAll || o.kind != stringEquals && o.kind != stringLike || len(c.operands) == 0 {
		return false
	}
	return !slices.ContainsFunc(c.operands, func(o operand) bool {
		return o.text == "" || strings.ContainsAny(o.text[:1], "*?$")
	})
}

// tellsTrust reports whether requests to assume a role have a condition key.
func (s *Statement) tellsTrust(key string) bool {
	if trustKeys.Has(key) {
		return true
	}
	return slices.ContainsFunc(s.principals.federated, func(arn string) bool {
		provider := strings.ToLower(Provider(arn))
		return key == provider+":sub" || key == provider+":aud"
	})
}
