package iam

import (
	"regexp"
	"slices"
	"strings"
)

// Principals that a policy or a grant can name: an account's root, a user, a role, a session of one, a service. Groups
// are none (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
var (
	principalARN = regexp.MustCompile(`^arn:aws:(?:iam::\d{12}:(?:root|(?:user|role)/(?:[\x21-\x7e]+/)?[\w+=,.@-]+)|` +
		`sts::\d{12}:(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)
	servicePrincipal = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.amazonaws\.com$`)
)

// Identities is a directory of existing principals, such as a Directory.
type Identities interface {
	// PrincipalID returns the unique id of the user or role with an ARN. A session's ARN stands for its role.
	PrincipalID(arn string) (id string, ok bool)
	HasID(id string) bool
}

// ValidPrincipal reports whether p has the form of a principal.
func ValidPrincipal(p string) bool {
	return servicePrincipal.MatchString(p) || principalARN.MatchString(p)
}

// IsPrincipal reports whether p is a service, or a principal that exists.
func IsPrincipal(p string, among Identities) bool {
	return servicePrincipal.MatchString(p) || principalARN.MatchString(p) && exists(p, among)
}

// exists reports whether the principal of an ARN exists. A role exists if the directory has the role or a session of
// it, with any path in the ARN; an account's root always does.
func exists(arn string, among Identities) bool {
	if strings.HasSuffix(arn, ":root") {
		return true
	}
	_, ok := among.PrincipalID(arn)
	return ok
}

// NamesNobody reports whether a statement names, or leaves out, a missing principal. AWS refuses such a policy: a
// principal made later under that name would get unintended rights. A canonical id is compared with the unique ids of
// users. https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
func (p *Policy) NamesNobody(among Identities) bool {
	isNobody := func(principal string) bool { return !IsPrincipal(principal, among) }
	isNoID := func(id string) bool { return !among.HasID(id) }
	return slices.ContainsFunc(p.statements, func(s *Statement) bool {
		named := s.principals
		return named != nil && (slices.ContainsFunc(named.arns, isNobody) || slices.ContainsFunc(named.services, isNobody) ||
			slices.ContainsFunc(named.canonicals, isNoID))
	})
}

// ForEverybody reports whether a statement is about everybody, and names nobody beside.
func (s *Statement) ForEverybody() bool {
	p := s.principals
	return p != nil && p.anyone && !s.notPrincipals && len(p.arns)+len(p.accounts)+len(p.services)+len(p.canonicals)+len(p.federated) == 0
}
