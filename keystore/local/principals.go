package local

import "waxseal/keystore/iam"

// checkPrincipals refuses a policy with a principal that does not exist.
func (s *Service) checkPrincipals(p *iam.Policy) error {
	if p.NamesNobody(s.identities) {
		return failf(codeMalformedPolicy, "Policy contains a statement with one or more invalid principals.")
	}
	return nil
}
