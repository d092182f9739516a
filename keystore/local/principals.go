package local

import (
	"regexp"
	"slices"
	"strings"

	"waxseal/keystore/iam"
)

// Principals that a grant or a key policy can name: an account's root, a user, a role, a session of one, a service.
// Groups are none (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
var (
	principalARN = regexp.MustCompile(`^arn:aws:(?:iam::\d{12}:(?:root|(?:user|role)/(?:[\x21-\x7e]+/)?[\w+=,.@-]+)|` +
		`sts::\d{12}:(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)
	servicePrincipal = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.amazonaws\.com$`)
)

// validPrincipal reports whether p has the form of a principal.
func validPrincipal(p string) bool {
	return servicePrincipal.MatchString(p) || principalARN.MatchString(p)
}

// isPrincipal reports whether p is a service, or a principal that exists.
func (s *Service) isPrincipal(p string) bool {
	return servicePrincipal.MatchString(p) || principalARN.MatchString(p) && s.exists(p)
}

// exists reports whether there is the principal of an ARN. A role exists when the directory has it or a session of it,
// whatever path the ARN gives it; an account's root always does.
func (s *Service) exists(arn string) bool {
	if strings.HasSuffix(arn, ":root") {
		return true
	}
	if _, ok := s.identities.ByARN(arn); ok {
		return true
	}
	role := iam.RoleOf(arn)
	return strings.Contains(role, ":role/") && slices.ContainsFunc(s.identities.Users(), func(u *iam.User) bool {
		return iam.RoleOf(u.ARN) == role
	})
}

// checkPrincipals refuses a policy that names nobody: AWS does, because a principal that is made later under that name
// would get rights that nobody meant for it.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
func (s *Service) checkPrincipals(p *iam.Policy) error {
	for _, arn := range p.PrincipalARNs() {
		if !principalARN.MatchString(arn) || !s.exists(arn) {
			return failf(codeMalformedPolicy, "Policy contains a statement with one or more invalid principals.")
		}
	}
	return nil
}
