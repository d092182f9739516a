package audit

import (
	"strings"
	"time"

	"waxseal/keystore/iam"
)

// Principal is the requester of a request, or the service that acts for a requester or by itself.
type Principal struct {
	Requester  *iam.Requester // nil: anonymous
	AccountID  string         // of the service, for its own calls
	Service    bool           // the service itself
	ViaService bool           // a service makes the request for the principal
}

// Identify returns a principal in CloudTrail's form
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
func Identify(p Principal) UserIdentity {
	who := p.Requester
	switch {
	case p.Service:
		return UserIdentity{Type: "AWSService", AccountID: p.AccountID, InvokedBy: Internal}
	case who == nil:
		return UserIdentity{Type: "AWSAccount", AccountID: "anonymous"}
	}
	id := UserIdentity{Type: "IAMUser", PrincipalID: who.ID, ARN: who.ARN, AccountID: who.AccountID, AccessKeyID: who.AccessKey}
	switch kind, name, _ := strings.Cut(resourceOf(who.ARN), "/"); kind {
	case "root":
		id.Type = "Root"
	case "role":
		id.Type = "Role"
	case "federated-user":
		id.Type = "FederatedUser"
	case "assumed-role":
		id.Type, id.SessionContext = "AssumedRole", sessionOf(who, name)
	default:
		id.UserName = who.Name
	}
	if p.ViaService {
		id.InvokedBy = Internal
	}
	return id
}

// WebIdentity is the bearer of an identity provider's token, in CloudTrail's form for AssumeRoleWithWebIdentity.
func WebIdentity(provider, audience, subject string) UserIdentity {
	return UserIdentity{Type: "WebIdentityUser", PrincipalID: strings.Join([]string{provider, audience, subject}, ":"),
		UserName: subject, IdentityProvider: provider}
}

// sessionOf describes the role of a session. name is the role's and the session's, with a slash between. For a role of
// the configuration file only the session's ARN is known.
func sessionOf(who *iam.Requester, name string) *SessionContext {
	role, _, _ := strings.Cut(name, "/")
	roleID, _, _ := strings.Cut(who.ID, ":")
	issuer := map[string]any{
		"type": "Role", "principalId": roleID, "arn": iam.RoleOf(who.ARN), "accountId": who.AccountID, "userName": role,
	}
	s := who.Session
	if s == nil {
		return &SessionContext{SessionIssuer: issuer}
	}
	issuer["arn"] = s.RoleARN
	c := &SessionContext{SessionIssuer: issuer, Attributes: map[string]any{
		"creationDate": s.Issued.UTC().Format(time.RFC3339), "mfaAuthenticated": "false",
	}}
	if s.Federated != "" {
		c.WebIDFederationData = map[string]any{"federatedProvider": s.Federated, "attributes": map[string]any{"aud": s.Audience, "sub": s.Subject}}
	}
	return c
}

// resourceOf returns the part of an ARN behind the account: "assumed-role/R/S" of arn:aws:sts::1:assumed-role/R/S.
func resourceOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[5]
	}
	return ""
}
